"""`mlit data` diff and check, as a user runs them."""

import json

import pytest

from mlit_jax import main
from mlit_jax.data.manifest import Manifest, Row


def _mlit(capsys, *argv):
  code = main.main(["data", *map(str, argv)])
  out, err = capsys.readouterr()
  return code, out, err


def _manifest(tmp_path, name, *rows):
  directory = tmp_path / name
  directory.mkdir()
  Manifest(tuple(Row(i, lang, i) for i, lang in rows), "partition", 0).write(
      directory
  )
  return directory


def test_diff(capsys, tmp_path):
  a = _manifest(tmp_path, "a", ("x", "en"), ("y", "en"))
  b = _manifest(tmp_path, "b", ("x", "en"), ("y", "he"))
  code, out, _ = _mlit(capsys, "diff", a, b, "--json", tmp_path / "d.json")
  assert code == 1
  assert "en                 2 -> 1         -1" in out
  assert "other languages: 1 ids, e.g. y: en -> he" in out
  found = json.loads((tmp_path / "d.json").read_text())
  assert found["counts"] == {"en": [2, 1], "he": [0, 1]}
  assert found["only_b"] == [["y", "he", "y"]]
  assert _mlit(capsys, "diff", a, a)[:2] == (0, "equal\n")


def test_diff_of_what_is_no_manifest(capsys, tmp_path):
  code, _, err = _mlit(capsys, "diff", tmp_path, tmp_path)
  assert code == 1
  assert "manifest.json" in err and err.count("\n") == 1


def _rows(path, *rows):
  lines = [
      json.dumps({"id": i, "lang": lang, "prompt": text, "response": "r"})
      for i, lang, text in rows
  ]
  path.write_text("\n".join(lines) + "\n")
  return path


def test_check(capsys, tmp_path):
  train = _rows(
      tmp_path / "t.jsonl",
      ("1", "en", "Name three primary colours, please."),
      ("2", "en", "Who wrote Don Quixote?"),
  )
  held = _rows(
      tmp_path / "e.jsonl", ("9", "en", "name three primary colours please")
  )
  leaks = tmp_path / "leaks.jsonl"
  code, out, _ = _mlit(capsys, "check", train, held, "--output", leaks)
  assert code == 0
  assert "same id 0, same text 1, near-duplicates 0: 1 evaluation" in out
  (row,) = map(json.loads, leaks.read_text().splitlines())
  assert row["train"] == ["1", "en"] and row["kind"] == "text"
  assert _mlit(capsys, "check", train, held, "--fatal")[0] == 1
  clean = _rows(tmp_path / "c.jsonl", ("8", "en", "How tall is a giraffe?"))
  assert _mlit(capsys, "check", train, clean, "--fatal")[0] == 0


def test_check_of_a_built_mixture_finds_its_own_prompts(capsys, tmp_path):
  pytest.importorskip("seqio")
  built = tmp_path / "d"
  assert _mlit(
      capsys, "build", "monolingual:en", "--total", 40, "--vocab_size", 600,
      "--languages", "en,es", "--workdir", built,
  )[0] == 0
  held = _rows(
      tmp_path / "e.jsonl",
      ("x", "en", "What is the capital of a place that is nowhere at all?"),
  )
  code, out, _ = _mlit(capsys, "check", built, held)
  assert code == 0 and "40 training and 1 evaluation" in out
  assert _mlit(capsys, "check", built, built)[1].count("id ") >= 3


def test_wrong_threshold(capsys, tmp_path):
  code, _, err = _mlit(
      capsys, "check", "a", "b", "--threshold", "80"
  )
  assert code == 2 and "does not lie in (0, 1]" in err
