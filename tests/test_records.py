"""Records: what is read, what is refused with which words, whole files."""

import json
import math
import os

import pytest

from mlit_jax import records

TURNS = [
    {"role": "system", "content": "Kurz."},
    {"role": "user", "content": "你好"},
    {"role": "assistant", "content": ""},
    {"role": "user", "content": "مرحبا"},
]
INSTRUCTION = {
    "id": "a/1",
    "lang": "ar",
    "messages": TURNS,
    "response": "أهلا",
    "source": {"line": 3},
}
RESPONSE = {
    "id": "a/1",
    "lang": "ar",
    "messages": TURNS,
    "model": "mono-ar",
    "response": "",
    "finish_reason": "length",
    "num_tokens": 0,
    "failure": "too_long",
}
JUDGMENT = {
    "id": "a/1",
    "lang": "ar",
    "protocol": "side_by_side",
    "judge": "reference",
    "system_a": "A",
    "system_b": "B",
    "order": "ba",
    "raw": "[[A]]",
    "failure": "",
    "verdict": "b",
    "gate": {"a": "ar", "b": ""},
}
RATING = {
    **{k: v for k, v in JUDGMENT.items() if k != "verdict"},
    "protocol": "rating",
    "score": 7.5,
}
ROWS = [
    (records.Instruction, INSTRUCTION),
    (records.Response, RESPONSE),
    (records.Judgment, JUDGMENT),
    (records.Judgment, RATING),
]


@pytest.mark.parametrize(("cls", "row"), ROWS)
def test_a_row_comes_back_as_it_was(tmp_path, cls, row):
  path = tmp_path / "rows.jsonl"
  line = json.dumps(row, ensure_ascii=False) + "\n"
  # Empty lines are no rows.
  path.write_text("\n" + line + "  \n" + line, encoding="utf-8")
  found = records.read_records(path, cls)
  assert [r.to_row() for r in found] == [row, row]
  records.write_records(tmp_path / "again.jsonl", found)
  lines = (tmp_path / "again.jsonl").read_text(encoding="utf-8").splitlines()
  assert [json.loads(text) for text in lines] == [row, row]


def test_the_fields_of_an_instruction():
  found = records.Instruction.from_row(INSTRUCTION)
  assert found.messages[1] == records.Message("user", "你好")
  assert (found.prompt, found.response) == ("مرحبا", "أهلا")
  assert found.extra == {"source": {"line": 3}}
  raw = records.Instruction.from_row({"id": "1", "lang": "en", "prompt": "Hi"})
  assert raw.messages == (records.Message("user", "Hi"),)
  assert raw.to_row() == {
      "id": "1",
      "lang": "en",
      "messages": [{"role": "user", "content": "Hi"}],
  }


def _without(row, key):
  return {k: v for k, v in row.items() if k != key}


def _said(*turns):
  return {
      **INSTRUCTION,
      "messages": [{"role": r, "content": c} for r, c in turns],
  }


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (_without(INSTRUCTION, "id"), "the row has no 'id'; it has ['lang',"),
        (INSTRUCTION | {"id": 7}, "'id' must be text, not 7"),
        (INSTRUCTION | {"id": " "}, "'id' is empty"),
        (INSTRUCTION | {"lang": ""}, "'lang' is empty"),
        (INSTRUCTION | {"lang": "e\ud800"}, "'lang' holds a lone surrogate"),
        (INSTRUCTION | {"response": None}, "'response' must be text, not None"),
        (INSTRUCTION | {"note": ["\udfff"]}, "'note' holds a lone surrogate"),
        (INSTRUCTION | {"prompt": "Hi"}, "both 'prompt' and 'messages'"),
        (_without(INSTRUCTION, "messages"), "'messages' must be a list of"),
        (INSTRUCTION | {"messages": []}, "'messages' must be a list of"),
        (INSTRUCTION | {"messages": "Hi"}, "'messages' must be a list of"),
        (INSTRUCTION | {"messages": ["Hi"]}, "a message must be an object"),
        (INSTRUCTION | {"messages": [{"role": "user"}]}, "no 'content'"),
        (_said(("bot", "Hi")), "role 'bot' is not one of"),
        (_said(("user", ["Hi"])), "'content' must be text, not ['Hi']"),
        (_said(("user", "\ud83d")), "'content' holds a lone surrogate"),
        (_said(("user", " \n")), "must be the user's and not empty"),
        (_said(("user", "Hi"), ("assistant", "Ho")), "must be the user's"),
    ],
)
def test_instructions_that_cannot_be_used(row, words):
  with pytest.raises(records.RecordError) as e:
    records.Instruction.from_row(row)
  assert words in str(e.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (RESPONSE | {"num_tokens": "9"}, "must be a whole number, not '9'"),
        (RESPONSE | {"num_tokens": True}, "must be a whole number, not True"),
        (RESPONSE | {"num_tokens": 9.0}, "must be a whole number, not 9.0"),
        (RESPONSE | {"response": "\udc00"}, "'response' holds a lone surr"),
        (RESPONSE | {"messages": []}, "'messages' must be a list of"),
        (_without(RESPONSE, "model"), "the row has no 'model'"),
    ],
)
def test_responses_that_cannot_be_used(row, words):
  with pytest.raises(records.RecordError) as e:
    records.Response.from_row(row)
  assert words in str(e.value)


def test_everything_a_judge_says_of_its_reply_is_kept():
  more = {
      "turn": 2, "sample": 3, "prompt": "score_pair-1.fi",
      "finish_reason": "stop", "revision": "judge-2026-11-01",
      "scores": {"a": 8, "b": 5.5}, "earlier": ["hm"],
      "usage": {"input": 812, "output": 96},
      "user_prompt": "kept as it is",
  }
  judgment = records.Judgment.from_row(JUDGMENT | more)
  assert judgment.scores["b"] == 5.5
  assert judgment.extra == {"user_prompt": "kept as it is"}
  assert judgment.to_row() == JUDGMENT | more
  # What a protocol has no use for does not fill the file.
  assert records.Judgment.from_row(JUDGMENT).to_row() == JUDGMENT


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (JUDGMENT | {"order": "aa"}, "order 'aa' is not one of ('ab', 'ba')"),
        (JUDGMENT | {"verdict": "A"}, "verdict 'A' is not a, b or tie"),
        (JUDGMENT | {"failure": "refused"}, "can have no verdict and no score"),
        (RATING | {"failure": "empty"}, "can have no verdict and no score"),
        (_without(JUDGMENT, "verdict") | {"failure": "bad"}, "failure 'bad'"),
        (JUDGMENT | {"score": 1}, "a verdict or a score, not both"),
        (RATING | {"score": "7"}, "'score' must be a number, not '7'"),
        (RATING | {"score": True}, "'score' must be a number, not True"),
        (RATING | {"score": math.inf}, "'score' must be finite, not inf"),
        (RATING | {"score": math.nan}, "'score' must be finite, not nan"),
        (RATING | {"score": 10**400}, "'score' must be finite, not 1000"),
        (JUDGMENT | {"gate": "ar"}, "'gate' must be an object, not 'ar'"),
        (JUDGMENT | {"gate": {"a": None}}, "'gate' must hold text, not None"),
        (JUDGMENT | {"gate": {"a": "\ud800"}}, "'gate' holds a lone surrogate"),
        (JUDGMENT | {"scores": {"a": "8"}}, "'scores' must hold a number"),
        (JUDGMENT | {"scores": {"a": math.inf}}, "'score' must be finite"),
        (JUDGMENT | {"usage": {"input": 1.5}}, "'usage' must hold a whole"),
        (JUDGMENT | {"earlier": "[[A]]"}, "'earlier' must be a list of texts"),
        (_without(JUDGMENT, "verdict"), "a verdict, a score or a failure"),
        (JUDGMENT | {"verdict": ""}, "a verdict, a score or a failure"),
        (JUDGMENT | {"scores": {"a": 8}}, "'scores' are of a and b, not ['a']"),
        (JUDGMENT | {"turn": 0}, "'turn' counts from 1"),
        (JUDGMENT | {"note": "\ud800"}, "the row' holds a lone surrogate"),
        (_without(JUDGMENT, "raw"), "the row has no 'raw'"),
    ],
)
def test_judgments_that_cannot_be_used(row, words):
  with pytest.raises(records.RecordError) as e:
    records.Judgment.from_row(row)
  assert words in str(e.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"id": "1"}\n{"id": "2"', ":2: the last line has no newline"),
        (b'{"id": "1"}\n{"id": "2"}', ":2: the last line has no newline"),
        (b'{"id": "1"}\n{"id": 2\n', ":2: not JSON (Expecting ',' delimiter"),
        (b"\n\nid: 1\n", ":3: not JSON (Expecting value at column 1)"),
        (b'{"id": "\xff"}\n', ":1: not UTF-8; save the file as UTF-8"),
        (b'["id"]\n', ":1: expected a JSON object, not ['id']"),
        (b'{"score": NaN}\n', ":1: not JSON (NaN is no JSON number)"),
        (b'{"score": -Infinity}\n', "(-Infinity is no JSON number)"),
        (b"[" * 100_000 + b"\n", ":1: not JSON (maximum recursion depth"),
        (b"1" * 5000 + b"\n", ":1: not JSON (Exceeds the limit"),
        (b"\xef\xbb\xbf{}\n", ":1: not JSON (Unexpected UTF-8 BOM"),
    ],
)
def test_lines_that_are_no_row(tmp_path, data, words):
  path = tmp_path / "rows.jsonl"
  path.write_bytes(data)
  with pytest.raises(records.RecordError) as e:
    list(records.read_jsonl(path))
  assert str(e.value).startswith(f"{path}:")
  assert words in str(e.value)
  assert "\n" not in str(e.value)


def test_read_jsonl_numbers_the_lines(tmp_path):
  path = tmp_path / "rows.jsonl"
  path.write_bytes(b'{"a": 1}\r\n\n{"a": "\xe4\xbd\xa0"}\n')
  assert list(records.read_jsonl(path)) == [(1, {"a": 1}), (3, {"a": "你"})]
  path.write_bytes(b"")
  assert list(records.read_jsonl(path)) == []


def test_a_bad_row_is_named_with_file_and_line(tmp_path):
  path = tmp_path / "rows.jsonl"
  rows = [INSTRUCTION, INSTRUCTION | {"lang": 3}]
  path.write_text("".join(json.dumps(r) + "\n" for r in rows))
  with pytest.raises(records.RecordError) as e:
    records.read_records(path, records.Instruction)
  assert str(e.value) == f"{path}:2: 'lang' must be text, not 3"


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_read(tmp_path, name):
  with pytest.raises(records.RecordError, match="cannot be read: "):
    records.read_records(tmp_path / name, records.Instruction)


def test_a_failed_write_leaves_the_old_file_whole(tmp_path):
  path = tmp_path / "rows.jsonl"
  good = records.Instruction.from_row(INSTRUCTION)
  records.write_records(path, [good])
  before = path.read_bytes()

  def broken_off():
    yield good
    raise RuntimeError("the source ended")

  with pytest.raises(RuntimeError, match="the source ended"):
    records.write_records(path, broken_off())
  with pytest.raises(UnicodeEncodeError):
    records.write_text(path, ["fine\n", "\ud800\n"])
  with pytest.raises(ValueError, match="not JSON compliant"):
    records.write_json(path, {"score": math.nan})
  nan = records.Instruction("1", "en", good.messages, extra={"x": math.nan})
  with pytest.raises(ValueError, match="not JSON compliant"):
    records.write_records(path, [nan])
  assert path.read_bytes() == before
  assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_who_reads_while_it_is_written_reads_the_old_file(tmp_path):
  path = tmp_path / "a.txt"
  records.write_text(path, ["old\n"])
  with open(path, encoding="utf-8") as reader:
    records.write_text(path, ["new\n"])
    assert reader.read() == "old\n"
  assert path.read_text() == "new\n"


def test_write_text_makes_the_folder_and_keeps_the_umask(tmp_path):
  path = tmp_path / "new" / "folder" / "a.txt"
  old = os.umask(0o027)
  try:
    records.write_text(path, ["one ", "二\n"])
  finally:
    os.umask(old)
  assert path.read_bytes() == b"one \xe4\xba\x8c\n"
  assert path.stat().st_mode & 0o777 == 0o640


def test_write_json_sorts_the_keys(tmp_path):
  records.write_json(tmp_path / "x.json", {"b": 1, "a": ["ä"]})
  assert (tmp_path / "x.json").read_text(encoding="utf-8") == (
      '{\n "a": [\n  "ä"\n ],\n "b": 1\n}\n'
  )
