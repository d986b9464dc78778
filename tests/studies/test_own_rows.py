"""What is said of rows of one's own before a study begins."""

import json

import pytest

from mlit_jax import main
from mlit_jax.commands import study
from mlit_jax.errors import UsageError
from mlit_jax.studies import own_rows

# A text of 60 letters or so in each language, the number told by its end.
TEXTS = {
    "en": "Turkey is encircled by seas on three sides, as number {}.",
    "ar": "تركيا محاطة بالبحار من ثلاث جهات وهذا هو الرقم {}.",
    "zh": "土耳其三面环海，西面是爱琴海，北面是黑海，南面则是地中海，第{}号。",
}


def _rows(first, number, **changes):
  return [
      {"id": f"q{i}", "lang": lang, "prompt": text.format(i), "response": "ok"}
      | changes
      for i in range(first, first + number) for lang, text in TEXTS.items()
  ]


def _write(path, rows):
  path.write_text(
      "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows),
      encoding="utf-8",
  )


@pytest.fixture
def folder(save_base, tmp_path, monkeypatch):
  _write(tmp_path / "train.jsonl", _rows(0, 6))
  _write(tmp_path / "test.jsonl", _rows(6, 4))
  save_base(tmp_path / "base", [r["prompt"] for r in _rows(0, 40)], 330)
  monkeypatch.chdir(tmp_path)
  return tmp_path


def _words(*more):
  return [
      "--study.base=base", "--study.languages=en,ar,zh",
      "--study.num_examples=4", "--study.percents=50.0,100.0",
      "--study.sources.train=rows:train.jsonl",
      "--study.sources.test=rows:test.jsonl", "--study.judge=reference", *more,
  ]


def _look(*more):
  return own_rows.look(study.load("pinch:own", _words(*more))[2])


def test_nothing_is_said_of_good_rows(folder):
  assert _look() == []


def test_rows_that_are_cut_are_counted(folder):
  (said,) = _look("--study.tune.row_length=8")
  assert said.startswith(
      "sources.train=rows:train.jsonl: longer than --study.tune.row_length=8"
      " tokens: 18 of 18 rows, which lose their end (18 the whole response);"
      " the longest has "
  )
  longest = int(said.rpartition(" ")[2])
  # One token less than the longest row has: that row, at least, loses it.
  (said,) = _look(f"--study.tune.row_length={longest - 1}")
  assert "(0 the whole response)" in said
  assert _look(f"--study.tune.row_length={longest}") == []


def test_questions_that_are_learnt_are_counted(folder):
  rows = _rows(6, 4)
  rows[4]["prompt"] = f"  {rows[4]['prompt']} "  # of q7 in Arabic
  _write(folder / "train.jsonl", [*_rows(0, 6), dict(rows[4], id="other")])
  (said,) = _look()
  assert said == (
      "sources.test=rows:test.jsonl: 1 of 12 questions are also examples to"
      " learn from, the first 'q7' [ar]; ask others, or scores show what was"
      " remembered"
  )


def test_items_that_are_learnt_in_another_language_are_counted(folder):
  """The file was cut within an item: English was learnt, the rest is asked."""
  _write(folder / "train.jsonl", _rows(0, 7)[:-2])
  _write(folder / "test.jsonl", _rows(6, 4)[1:])
  (said,) = _look()
  assert said == (
      "sources.test=rows:test.jsonl: 2 of 11 questions have the id of an"
      " example, the first 'q6' [ar]: rows of one id are one item, in other"
      " languages, and are best learnt or asked; give others ids of their own"
  )


def test_a_language_in_anothers_script_is_named(folder):
  rows = _rows(0, 6)
  for row in rows:
    if row["lang"] == "ar":
      row["prompt"] = TEXTS["en"].format(row["id"])
  _write(folder / "train.jsonl", rows)
  (said,) = _look()
  assert said == (
      "sources.train=rows:train.jsonl: what is said to be Arabic (ar) is not in"
      " its script; is the right language given?"
  )


def test_notes_come_before_the_plan(folder, capsys):
  assert main.main(
      ["study", "pinch:own", "--plan", *_words("--study.tune.row_length=8")]
  ) == 0
  out, error = capsys.readouterr()
  assert error.startswith("note: sources.train=") and "note" not in out


@pytest.mark.parametrize("file, rows, words", [
    ("train", [], "sources.train=rows:train.jsonl has no rows in en ar zh"),
    ("train", [{k: v for k, v in r.items() if k != "response"} if i == 7 else r
               for i, r in enumerate(_rows(0, 6))],
     "no response to learn in 1 of 18 rows, the first 'q2' [ar]; add"),
    ("test", [{k: v for k, v in r.items() if k != "response"}
              for r in _rows(6, 4)],
     "no response that the reference judge could compare with in 12 of 12"),
])
def test_what_would_stop_it_later_is_an_error(folder, file, rows, words):
  _write(folder / f"{file}.jsonl", rows)
  with pytest.raises(UsageError) as e:
    _look()
  assert words in str(e.value)
  if file == "test":  # another judge may do without
    assert _look("--study.judge=replay:train.jsonl") == []


@pytest.mark.parametrize("change, words", [
    (("--study.languages=en,Arabic,zh",), "'Arabic': write 'ar' for it"),
    (("--study.base=bigscience/bloom",), "nothing is fetched from a hub"),
    (("--study.sources.train=train.jsonl",), "rows:PATH for rows of your own"),
])
def test_a_newcomers_slips(folder, capsys, change, words):
  assert main.main(["study", "pinch:own", "--plan", *_words(*change)]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert words in line


def test_rows_without_ids(folder, capsys):
  _write(
      folder / "train.jsonl",
      [{k: v for k, v in r.items() if k != "id"} for r in _rows(0, 6)],
  )
  assert main.main(["study", "pinch:own", "--plan", *_words()]) != 0
  (line,) = capsys.readouterr().err.splitlines()
  assert line.endswith(
      "rows that say the same in several languages need the same 'id'"
  )


def test_a_bad_row_says_what_can_be_done(folder, capsys):
  rows = _rows(0, 6)
  del rows[2]["lang"]
  _write(folder / "train.jsonl", rows)
  assert main.main(["study", "pinch:own", "--plan", *_words()]) != 0
  (line,) = capsys.readouterr().err.splitlines()
  assert 'train.jsonl:3: ' in line and 'add it, e.g. "lang": "es"' in line
  assert "max_bad" not in line
