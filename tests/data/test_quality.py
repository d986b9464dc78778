"""Bad rows: counted by reason, set aside, fatal above the limit."""

import json
import stat

import pytest

from mlit_jax.data import quality
from mlit_jax.errors import UsageError


def _row(line=1, data="{"):
  return quality.Row("a.jsonl", line, line - 1, data)


def _read(path):
  return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_first_bad_row_is_fatal_unless_more_are_allowed():
  with (
      pytest.raises(quality.BadRowsError) as e,
      quality.BadRows() as bad,
      bad.catch(_row(7)),
  ):
    raise quality.BadRow("empty", "'output' is empty")
  assert str(e.value) == (
      "a.jsonl:7: 'output' is empty (empty; bad rows so far: 1, allowed: 0);"
      " mend them, or allow more with max_bad"
  )


def test_a_count_allows_that_many_rows(tmp_path):
  file = tmp_path / "new" / "bad.jsonl"
  with quality.BadRows(file, max_bad=2) as bad:
    bad.add(_row(1), "not_json", "x")
    bad.add(_row(2), "empty", "y")
    bad.num_good = 1000
    assert not file.exists()
  assert bad.counts == {"not_json": 1, "empty": 1}
  assert bad.summary() == "1,000 good rows, 2 bad (empty 1, not_json 1)"
  with (
      pytest.raises(quality.BadRowsError, match="so far: 3, allowed: 2"),
      quality.BadRows(file, max_bad=2) as bad,
  ):
    for line in range(1, 9):
      bad.add(_row(line), "empty", "z")
  # The file of the reading that failed, and no other file.
  assert [row["line"] for row in _read(file)] == [1, 2, 3]
  assert [x.name for x in file.parent.iterdir()] == ["bad.jsonl"]


def test_a_share_is_checked_at_the_end(tmp_path):
  with quality.BadRows(max_bad=0.01) as bad:
    bad.add(_row(), "empty", "x")
    bad.num_good = 99
  with (
      pytest.raises(quality.BadRowsError) as e,
      quality.BadRows(tmp_path / "b.jsonl", max_bad=0.01) as bad,
  ):
    bad.add(_row(), "empty", "x")
    bad.num_good = 98
  assert str(e.value) == (
      "98 good rows, 1 bad (empty 1); that is 1.01%, and 1.00% are allowed;"
      " mend them, or allow more with max_bad; they are listed in"
      f" {tmp_path / 'b.jsonl'}"
  )
  with quality.BadRows(max_bad=0.0) as bad:
    assert bad.summary() == "0 good rows, 0 bad"


def test_another_error_is_not_replaced(tmp_path):
  with (
      pytest.raises(ZeroDivisionError),
      quality.BadRows(tmp_path / "b.jsonl", max_bad=0.0) as bad,
  ):
    bad.add(_row(), "empty", "x")
    raise ZeroDivisionError
  assert len(_read(tmp_path / "b.jsonl")) == 1


def test_what_is_set_aside_is_readable_and_cut(tmp_path):
  file = tmp_path / "bad.jsonl"
  with quality.BadRows(file, max_bad=9) as bad:
    bad.add(_row(3, b"caf\xe9"), "not_utf8", "not UTF-8 at byte 3")
    bad.add(_row(4, {"text": "\ud800", "ok": "да"}), "surrogate", "\ud800")
    bad.add(_row(5, "я" * 100_000), "too_long", "long")
    bad.add(_row(6, {"at": {1, 2}}), "wrong_type", "a set")
  rows = _read(file)
  assert rows[0] == {
      "file": "a.jsonl", "line": 3, "reason": "not_utf8",
      "detail": "not UTF-8 at byte 3", "row": r"caf\xe9",
  }
  assert rows[1]["row"] == r'{"text": "\ud800", "ok": "да"}'
  assert rows[1]["detail"] == r"\ud800"
  assert rows[2]["row"] == "я" * 2000
  assert rows[3]["row"] == '{"at": "{1, 2}"}'
  assert stat.S_IMODE(file.stat().st_mode) & 0o044  # not the temporary's mode


def test_no_bad_rows_leave_an_empty_file(tmp_path):
  file = tmp_path / "bad.jsonl"
  file.write_text("an earlier run's\n")
  with quality.BadRows(file):
    pass
  assert file.read_text() == ""


@pytest.mark.parametrize("max_bad", [-1, 1.5, True, float("nan")])
def test_limits_that_cannot_be_meant(max_bad):
  with pytest.raises(UsageError, match="number of rows or a share"):
    quality.BadRows(max_bad=max_bad)


def test_limits_as_people_write_them():
  assert quality.parse_max_bad("20") == 20
  half = quality.parse_max_bad(" 0.5% ")
  assert (half, type(half)) == (pytest.approx(0.005), float)
  assert type(quality.parse_max_bad("0")) is int
  for text in ("many", "0.5", "%", ""):
    with pytest.raises(UsageError, match="no limit for bad rows"):
      quality.parse_max_bad(text)


def _reason(function, *args):
  with pytest.raises(quality.BadRow) as e:
    function(*args)
  return e.value.reason, str(e.value)


def test_texts():
  quality.check_text("output", "да")
  assert _reason(quality.check_text, "output", " \n")[0] == "empty"
  reason, detail = _reason(quality.check_text, "output", "ok \udce9")
  assert (reason, detail) == (
      "surrogate", "'output' holds a lone surrogate at 3"
  )


def test_languages_by_script():
  russian = "Столица Франции — Париж, город на Сене."
  quality.check_language(russian, "ru", None)
  assert _reason(quality.check_language, russian, "en", None) == (
      "wrong_language", "0% of 30 letters are in the script of en"
  )
  quality.check_language("Да.", "en", None)  # too short to say
  quality.check_language("```\nprint('hello, hello, hello')\n```", "ru", None)
  quality.check_language(f"{russian} Paris is the capital.", "en", None)


def test_languages_by_an_identifier():
  asked = []

  def identify(text):
    asked.append(text)
    return "deu_Latn" if "der" in text else ""

  german = "Das ist der Hund, der mich gestern gebissen hat."
  quality.check_language(german, "de", identify)
  assert _reason(quality.check_language, german, "en", identify) == (
      "wrong_language", "identified as de instead of en"
  )
  quality.check_language("No article of that kind here.", "en", identify)
  # The label of Chinese says nothing of the script.
  quality.check_language("我們去看看吧", "zh-Hant", lambda text: "zh")
  assert len(asked) == 3


def test_ids_are_distinct_in_a_language():
  seen = quality.Seen()
  seen.check("a/1", "en")
  seen.check("a/1", "fi")
  seen.check("a/2", "en")
  assert _reason(seen.check, "a/1", "fi") == (
      "duplicate_id", "the id 'a/1' is there twice in fi"
  )
