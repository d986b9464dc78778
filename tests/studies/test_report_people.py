"""From a study's answers to sheets, and from ratings to its report."""

import csv
import io
import json

import generic_study
import pytest

from mlit_jax import main, records
from mlit_jax.studies.report import page


@pytest.fixture
def study(tmp_path):
  return generic_study.write(tmp_path / "alpaca")


def _rate(study, sheets, rater, rate, protocol=("rating",)):
  """Makes sheets, fills them in by `rate`, reads them into the study."""
  if not sheets.exists():
    made = ["annotate", "make", *protocol, "--study", str(study), "--output",
            str(sheets)]
    assert main.main(made) == 0
  key = {
      row["item"]: row for _, row in records.read_jsonl(sheets / "key.jsonl")
  }
  filled = []
  for path in sorted(sheets.glob("sheet-*.csv")):
    text = path.read_text(encoding="utf-8-sig")
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerows(
        [head, *([*r[:-2], rate(key[r[0]]), ""] for r in rows)]
    )
    filled.append(sheets / f"{rater}-{path.name}")
    filled[-1].write_text(file.getvalue(), encoding="utf-8")
  return [f"{rater}={path}" for path in filled]


def _table(study, name):
  with open(study / "tables" / f"{name}.csv", encoding="utf-8") as file:
    return {row[""]: row for row in csv.DictReader(file)}


def test_people_who_rate_as_the_judge_does_and_one_who_does_not(
    study, tmp_path
):
  def as_judge(row):
    return generic_study._rating(row["system_a"], row["lang"])

  def contrary(row):
    return as_judge(row) if row["lang"] == "he" else 4 - as_judge(row)

  sheets, protocol = tmp_path / "sheets", ("rating", "--a", "base", "all")
  given = _rate(study, sheets, "anna", as_judge, protocol)
  given += _rate(study, sheets, "ben", contrary)
  people = study / "people.jsonl"
  read = ["annotate", "read", str(sheets / "key.jsonl"), *given]
  assert main.main([*read, "--output", str(people)]) == 0
  assert main.main(["report", str(study)]) == 0
  text = (study / "report.html").read_text()
  assert "What people say" in text and "48 by rating from 2 people" in text
  assert "Rated by 2 people. Judge: reference" in text
  scores = _table(study, "people_rating")
  # In English base has 3 and "all" 3 from the judge and anna, 1 from ben.
  assert generic_study._rating("base", "en") == 3
  row = scores["base, English"]
  assert (row["people"], row["judge"], row["people n"]) == ("2.0", "3.0", "4")
  assert float(row["people ci_low"]) < 2 < float(row["people ci_high"])
  assert scores["base, Hebrew"]["people"] == scores["base, Hebrew"]["judge"]
  # As the study has its languages and systems, however they were shuffled.
  assert list(scores) == [
      f"{x}, {y}" for y in ("English", "Hebrew", "Arabic")
      for x in ("base", "all")
  ]
  # The distribution (pinch, Figure 2): anna's 3s and ben's 1s, half each.
  shares = _table(study, "people_rating_shares")
  assert list(shares) == list(scores)
  row = shares["base, English"]
  given = ["3, good", "2, medium", "1, poor", "0, wrong language or unreadable"]
  assert [float(row[x]) for x in given] == [50, 0, 50, 0]
  assert [x for x in row if x in given] == given
  # Four questions, two raters; and as the means above it.
  assert row["3, good n"] == "8"
  assert float(row["3, good ci_low"]) < 50 < float(row["3, good ci_high"])
  for name, row in shares.items():
    mean = sum(int(x[0]) * float(row[x]) / 100 for x in given)
    assert mean == pytest.approx(float(scores[name]["people"]))
  assert "n = 8 ratings behind each bar, by 2 people; 95% intervals" in text
  with open(study / "tables" / "shares_rating.csv", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 4 * len(shares)
  assert {row["x"] for row in rows} == set(shares)
  for suffix in ("pdf", "png", "svg"):
    assert (study / "figures" / f"shares_rating.{suffix}").stat().st_size > 999
  agreement = _table(study, "agreement_rating")
  assert agreement["Hebrew"]["equal"] == "1.0"
  assert agreement["Hebrew"]["equal n"] == "8"
  assert float(agreement["English"]["equal"]) == 0
  # `mlit annotate read --judge` says the same.
  other = tmp_path / "people.jsonl"
  judge = ["--judge", str(study / "judgments.jsonl")]
  assert main.main([*read, *judge, "--output", str(other)]) == 0
  summary = json.loads(other.with_suffix(".summary.json").read_text())
  for lang, name in (("en", "English"), ("he", "Hebrew")):
    row = summary[lang]["agreement"]["items"]["alpha"]
    found = agreement[name]["α"]
    assert found == ("" if row is None else str(row["value"]))


def test_pairs_of_a_study_that_compares(write_study, tmp_path):
  study = write_study(tmp_path / "pinch", codes=("en", "he"))
  sheets = tmp_path / "sheets"
  # The judge's wins of mono-en: the first question; people say so, and more.
  given = _rate(
      study, sheets, "anna", lambda row: 1 + row["order"].index("a"),
      ("side_by_side", "--a", "mono-en", "--b", "mono-he"),
  )
  assert main.main([
      "annotate", "read", str(sheets / "key.jsonl"), *given, "--output",
      str(study / "people.jsonl"),
  ]) == 0
  text = page.write_report(study).read_text()
  assert "Does the judge agree with people, by side_by_side?" in text
  row = _table(study, "people_side_by_side")["mono-en against mono-he, Hebrew"]
  # One win, three ties and two losses of the six pairs that did not fail.
  assert float(row["people"]) == 1
  assert float(row["judge"]) == pytest.approx(2.5 / 6, abs=1e-6)
  assert (row["people n"], row["judge n"]) == ("7", "6")
  row = _table(study, "people_side_by_side_shares")[
      "mono-en against mono-he, Hebrew"
  ]
  assert [row[x] for x in ("better", "neither better", "worse")] == [
      "100.0", "0.0", "0.0"
  ]


def test_without_people_there_is_no_such_section(study):
  assert "What people say" not in page.write_report(study).read_text()


def test_a_broken_file_is_named_and_nothing_written(study, capsys):
  (study / "people.jsonl").write_text('{"id": "q0"}\n')
  assert main.main(["report", str(study)]) == 1
  assert f"{study / 'people.jsonl'}:1: " in capsys.readouterr().err
  assert not (study / "report.html").exists()
  assert not (study / "tables").exists()


@pytest.mark.parametrize("options, words", [
    (("rating", "--study", "{study}", "--a", "mono-fi"),
     "no system 'mono-fi'; there are base, mono-en"),
    (("rating", "--study", "{none}", "--a", "base"), "there are no answers"),
    (("rating", "--study", "{study}", "--prompts", "P", "--a", "base"),
     "either --prompts or --study"),
    (("rating", "--a", "base"), "either --prompts or --study"),
    (("mt_bench", "--study", "{study}", "--a", "base"), "the last turn alone"),
    (("rating", "--study", "{study}", "--a", "base", "--lang", "en"),
     "--lang and --references"),
])
def test_wrong_use_of_a_study_says_the_mend(
    study, tmp_path, capsys, options, words
):
  given = [x.format(study=study, none=tmp_path / "none") for x in options]
  made = ["annotate", "make", *given, "--output", str(tmp_path / "sheets")]
  assert main.main(made) == 2
  assert words in capsys.readouterr().err
  assert not (tmp_path / "sheets").exists()
