"""Raw rows of files: formats, damage, memory, bad rows."""

import gzip
import itertools
import json
import pathlib
import tracemalloc

import pyarrow
import pytest
from pyarrow import parquet

from mlit_jax.data import quality
from mlit_jax.data.sources import SourceError, rows

_TABLE = [{"a": "1", "b": "да"}, {"a": "2", "b": 'x "y"\tz'}]


def _read(path, **options):
  """(rows, [(line, reason)]) of a location."""
  bad = quality.BadRows(max_bad=1000)
  found, problems = [], []
  bad.add = lambda row, reason, detail: problems.append((row.line, reason))
  for row in rows.read(path, bad, **options):
    found.append(row)
  return found, problems


def _data(path, **options):
  found, problems = _read(path, **options)
  assert problems == []
  return [row.data for row in found]


def test_every_format_gives_the_same_rows(write, tmp_path):
  assert _data(write("a.jsonl", _TABLE)) == _TABLE
  assert _data(write("a.json", _TABLE)) == _TABLE
  assert _data(write("b.jsonl.gz", _TABLE)) == _TABLE
  assert _data(write("b.json.gz", _TABLE)) == _TABLE
  # Rows line by line in a file called .json, as many have it.
  lines = "\n".join(json.dumps(row) for row in _TABLE)
  assert _data(write("c.json", f"\ufeff{lines}")) == _TABLE
  assert _data(write("d.csv", 'a,b\r\n1,да\r\n2,"x ""y""\tz"\r\n')) == _TABLE
  assert _data(write("d.tsv", 'a\tb\n1\tда\n2\t"x ""y""\tz"')) == _TABLE
  parquet.write_table(
      pyarrow.Table.from_pylist(_TABLE), tmp_path / "e.parquet"
  )
  assert _data(tmp_path / "e.parquet") == _TABLE
  assert _data(write("f.json", "[]")) == []
  assert _data(write("f.jsonl", "")) == []
  assert _data(write("f.csv", "")) == []


def test_rows_know_where_they_stand(write):
  found, problems = _read(write("a.jsonl", '{"a":1}\n\nno\n{"a":2}\n'))
  assert [(row.line, row.index) for row in found] == [(1, 0), (4, 2)]
  assert problems == [(3, "not_json")]
  found, _ = _read(write("a.json", '[{"a":1},\n\n {"a":\n2}, {"a": 3}\n]\n'))
  assert [(row.line, row.index) for row in found] == [(1, 0), (3, 1), (4, 2)]
  # A field with line breaks; lines separated by U+2028 are one line.
  found, _ = _read(write("a.csv", 'a\n"x\n\ny"\nz\n"u\u2028v"\n'))
  assert [(r.line, r.data["a"]) for r in found] == [
      (2, "x\n\ny"), (5, "z"), (6, "u\u2028v"),
  ]


def test_bad_lines_of_json(write):
  deep = "[" * 100_000
  found, problems = _read(
      write(
          "a.jsonl",
          b'{"a": 1}\n{"a": \n[1, 2]\n"text"\n{"a": "caf\xe9"}\n{"a": NaN}\n'
          b'{"a": ' + deep.encode() + b"\n" + b'{"a": ' + b"9" * 9999 + b"}\n"
          b'{"a": "' + b"x" * (1 << 20) + b'"}\n{"a": 2}',
      )
  )
  assert [row.data for row in found] == [{"a": 1}, {"a": 2}]
  assert found[1].line == found[1].index + 1 == 10
  assert problems == [
      (2, "not_json"), (3, "wrong_type"), (4, "wrong_type"), (5, "not_utf8"),
      (6, "not_json"), (7, "not_json"), (8, "not_json"), (9, "too_long"),
  ]


def test_bad_rows_of_tables(write):
  found, problems = _read(
      write(
          "a.csv",
          b"a,b\n1,2\n1\n1,2,3\n\nx,caf\xe9\n"
          + b"y" * (1 << 20) + b",1\n3,4\n",
      )
  )
  assert [row.data for row in found] == [
      {"a": "1", "b": "2"}, {"a": "3", "b": "4"},
  ]
  assert problems == [
      (3, "columns"), (4, "columns"), (6, "not_utf8"), (7, "too_long"),
  ]
  # A quote that is never closed takes in the rest, up to the limit.
  text = 'a,b\n1,"x\n' + "y,z\n" * (1 << 18) + "y"
  _, problems = _read(write("b.csv", text))
  assert problems[0] == (2, "too_long")


def test_parquet_that_is_not_utf8(tmp_path):
  raw = pyarrow.array([b"a", b"caf\xe9", b"b"], pyarrow.binary())
  text = pyarrow.StringArray.from_buffers(3, *raw.buffers()[1:])
  parquet.write_table(pyarrow.table({"a": text}), tmp_path / "a.parquet")
  found, problems = _read(tmp_path / "a.parquet")
  assert [(row.line, row.data["a"]) for row in found] == [(1, "a"), (3, "b")]
  assert problems == [(2, "not_utf8")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, {"a": 2}', "broken off"),
        ('[{"a": 1}, {"a"', ":1: the JSON list is damaged: Expecting ':'"),
        ('[{"a": 1} ', "expected ',', not 'the end'"),
        ('[\n{"a": 1}\n{"a": 2}]', ":3: .* expected ',', not '{'"),
        ('[{"a": 1}] x', "something stands behind its end"),
        ('[{"a": 1},]', ":1: the JSON list is damaged: "),
        ('[{"a": Infinity}]', "Infinity is no JSON number"),
        ('["' + "x" * (1 << 21) + '"]', "no whole row within 1,048,576 bytes"),
        (b'[{"a": "caf\xe9"}]', "not UTF-8"),
    ],
)
def test_damaged_lists_are_no_bad_rows(write, text, message):
  with pytest.raises(SourceError, match=message):
    _read(write("a.json", text))


def test_lists_over_many_chunks(write):
  table = [{"n": n, "text": "я" * (n % 977)} for n in range(2000)]
  assert _data(write("a.json", table)) == table
  assert _data(write("a.json", json.dumps(table))) == table
  # Numbers that reach to the end of a chunk are read to their end.
  numbers = list(range(10**6, 10**6 + 30_000))
  _, problems = _read(write("b.json", json.dumps(numbers)))
  assert len(problems) == 30_000


def test_damaged_files(write, tmp_path):
  whole = gzip.compress(json.dumps({"a": "x" * 9999}).encode() * 99)
  (tmp_path / "a.jsonl.gz").write_bytes(whole[:-20])
  with pytest.raises(SourceError, match=r"a.jsonl.gz: damaged: .*fetch it ag"):
    _read(tmp_path / "a.jsonl.gz")
  (tmp_path / "b.jsonl.gz").write_bytes(b'{"a": 1}\n')
  with pytest.raises(SourceError, match="damaged: Not a gzipped file"):
    _read(tmp_path / "b.jsonl.gz")
  (tmp_path / "c.parquet").write_bytes(b"PAR1 and no more")
  with pytest.raises(SourceError, match="damaged Parquet file"):
    _read(tmp_path / "c.parquet")
  with pytest.raises(SourceError, match="the name does not tell the format"):
    _read(write("d.xlsx", "a"))
  with pytest.raises(SourceError, match="no such file or folder"):
    _read(tmp_path / "nowhere.jsonl")


def test_folders(write, tmp_path):
  write("shards/part-1.jsonl", _TABLE[:1])
  write("shards/part-2.jsonl", _TABLE[1:])
  write("shards/README.md", "# none of it")
  found, _ = _read(tmp_path / "shards")
  assert [row.data for row in found] == _TABLE
  assert [(pathlib.Path(r.file).name, r.line, r.index) for r in found] == [
      ("part-1.jsonl", 1, 0), ("part-2.jsonl", 1, 1),
  ]
  # Never training and test in one.
  write("splits/train-00.jsonl", _TABLE[:1])
  write("splits/test.jsonl", _TABLE[1:])
  assert _data(tmp_path / "splits") == _TABLE[:1]
  assert _data(tmp_path / "splits", split="test") == _TABLE[1:]
  with pytest.raises(SourceError, match="no split 'dev'; it has test train"):
    _read(tmp_path / "splits", split="dev")
  write("mixed/a.jsonl", _TABLE)
  write("mixed/b.csv", "a\n1\n")
  with pytest.raises(SourceError, match="several kinds, .csv .jsonl; name one"):
    _read(tmp_path / "mixed")
  (tmp_path / "empty").mkdir()
  with pytest.raises(SourceError, match="holds no file of"):
    _read(tmp_path / "empty")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz"])
def test_memory_does_not_grow_with_the_file(write, name):
  """30 MB of rows are read in less than 3 MB."""
  text = "x" * 3000
  rows_of = {
      "a.csv": itertools.chain(["a\n"], itertools.repeat(f"{text}\n", 10_000)),
      "a.json": itertools.chain(
          ["["], [f'{{"a":"{text}"}},\n'] * 9_999, [f'{{"a":"{text}"}}]']
      ),
  }.get(name, [f'{{"a":"{text}"}}\n'] * 10_000)
  path = write(name, "".join(rows_of))
  bad = quality.BadRows()
  tracemalloc.start()
  try:
    count = sum(1 for _ in rows.read(path, bad))
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert count == 10_000
  assert peak < 3e6
