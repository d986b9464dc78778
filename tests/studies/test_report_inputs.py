"""A report of files that do not fit: one line that says where and what."""

import json

import pytest

from mlit_jax import records
from mlit_jax.studies.report import page

FEW = ("en", "he", "sw")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: s.pop("judge"), "has no 'judge'"),
        (lambda s: s.update(study="lucky"), "no report for study 'lucky'"),
        (lambda s: s.update(languages=["en", "xx"]), "unknown language 'xx'"),
        (lambda s: s.update(seed="0"), "seed must be a whole number"),
        (lambda s: s["heat_map"]["mono-en"]["he"].pop("ci"),
         "heat_map.mono-en.he has no 'ci'"),
        (lambda s: s["heat_map"].update(ghost={}), "heat_map.ghost"),
        (lambda s: s["against_base"]["en"].update(score=101), "not a perc"),
        (lambda s: s["exact_match"].update(base=[]), "exact_match.base"),
        (lambda s: s["curve"][0].pop("languages"), "curve[0] has no 'langu"),
        (lambda s: s["systems"]["p1"].update(kind="?"), "systems.p1.kind"),
        (lambda s: s["against_base"].update(fi=None), "'fi' is not among"),
    ],
)
def test_wrong_results_name_file_and_field(make_study, change, words):
  directory = make_study(change, codes=FEW)
  with pytest.raises(records.RecordError) as error:
    page.write_report(directory)
  message = str(error.value)
  assert message.startswith(f"{directory / 'results.json'}: ")
  assert words in message and "\n" not in message
  assert not (directory / "report.html").exists()
  assert not (directory / "tables").exists()


def test_unreadable_files_name_themselves(make_study, tmp_path):
  with pytest.raises(records.RecordError, match=r"results\.json: cannot be re"):
    page.write_report(tmp_path / "absent")
  directory = make_study(codes=FEW)
  path = directory / "results.json"
  whole = path.read_text()
  for text, words in ((whole[:900], "not JSON"), ("[]", "must be an object"),
                      (whole.replace("711000", "NaN"), "NaN")):
    path.write_text(text)
    with pytest.raises(records.RecordError, match=words):
      page.write_report(directory)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda row: row.pop("prompt"), "needs 'prompt'"),
        (lambda row: row.update(lang="xx"), "unknown language 'xx'"),
        (lambda row: row["answers"].update(base="?"), "the answer of 'base'"),
        (lambda row: row["answers"]["base"].pop("exact"), "needs 'exact'"),
        (lambda row: row.update(id="capital/france-paris/1"), "a second row"),
        (lambda row: row.update(reference="\ud800"), "lone surrogate"),
    ],
)
def test_wrong_answers_name_file_and_line(make_study, change, words):
  directory = make_study(codes=FEW)
  path = directory / "answers.jsonl"
  lines = path.read_text().splitlines()
  row = json.loads(lines[2])
  change(row)
  lines[2] = json.dumps(row)
  path.write_text("\n".join(lines) + "\n")
  with pytest.raises(records.RecordError) as error:
    page.write_report(directory)
  assert str(error.value).startswith(f"{path}:3: ")
  assert words in str(error.value)


def test_a_page_says_whose_answers_are_empty(make_study):
  directory = make_study(codes=FEW)
  path = directory / "answers.jsonl"
  assert "Empty answers." not in page.write_report(directory).read_text()
  rows = [json.loads(line) for line in path.read_text().strip().split("\n")]
  for row in rows:
    row["answers"]["base"]["text"] = " \n\n"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  text = page.write_report(directory).read_text()
  number = len(rows)
  assert f"nothing in them: Untuned base {number} of {number}." in text
