"""Two study directories against each other."""

import json
import math
import re

import generic_study
import pytest
from scipy import stats

from mlit_jax import main, records
from mlit_jax.errors import UsageError
from mlit_jax.studies.report import comparison, comparison_page


def _edit(directory, name, change):
  """Rewrites each row of a JSONL file."""
  path = directory / f"{name}.jsonl"
  rows = [row for _, row in records.read_jsonl(path)]
  lines = [json.dumps(x, ensure_ascii=False) + "\n" for x in map(change, rows)]
  records.write_text(path, lines)


def _differences(a, b):
  found = comparison.differences(comparison.read(a), comparison.read(b))
  return {(x.metric, x.system, x.language): x for x in found}


@pytest.fixture
def pair(tmp_path):
  return [generic_study.write(tmp_path / name) for name in ("one", "two")]


def _answers(right, other_right):
  """Rows of one system in one language, right in so many."""
  return [
      {
          "id": f"q{i}", "lang": "en", "prompt": "?", "reference": "!",
          "answers": {
              "all": {"text": "!", "found": "en", "exact": bool(x)}
          },
      }
      for i, x in enumerate([*right, *other_right])
  ]


def test_interval_is_bonett_and_prices(pair):
  """J. Educ. Behav. Stat. 37(4), 2012: paired proportions, adjusted Wald."""
  only_a, only_b, both, neither = 14, 4, 26, 16
  a = [1] * (only_a + both) + [0] * (only_b + neither)
  b = [0] * only_a + [1] * (both + only_b) + [0] * neither
  for directory, right in zip(pair, (a, b)):
    (directory / "judgments.jsonl").unlink()
    lines = [json.dumps(row) + "\n" for row in _answers(right, [])]
    records.write_text(directory / "answers.jsonl", lines)
  found = _differences(*pair)[comparison.EXACT, "all", ""]
  n = only_a + only_b + both + neither
  assert (found.n, round(found.value, 9)) == (n, round(100 * 10 / 60, 9))
  p, q = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
  half = stats.t.ppf(0.975, n - 1) * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
  assert found.low == pytest.approx(100 * (p - q - half))
  assert found.high == pytest.approx(100 * (p - q + half))
  assert found.is_clear


def test_same_directories_differ_in_nothing(pair):
  found = _differences(*pair)
  metrics = {metric for metric, _, _ in found}
  assert metrics == {"exact", "language", "rating, judge reference"}
  assert len(found) == 3 * 4 * 4  # metrics, systems, languages and all
  for x in found.values():
    assert x.value == 0 and x.low < 0 < x.high
  a, b = map(comparison.read, pair)
  assert comparison.changed(a, b) == []


def test_ratings_differ_in_their_own_unit(pair):
  def lower(row):
    if row["system_a"] == "all" and row["lang"] == "he":
      row["score"] = 1.0
    return row

  _edit(pair[1], "judgments", lower)
  found = _differences(*pair)
  metric = "rating, judge reference"
  ours = found[metric, "all", "he"]
  assert (ours.first, ours.second, ours.value) == (3.0, 1.0, 2.0)
  assert found[metric, "all", "en"].value == 0
  # Between them: two thirds of a point, over three languages.
  assert found[metric, "all", ""].value == pytest.approx(2 / 3)

  def elsewhere(row):
    return row | {"gate": {"a": "ru"}} if row["system_a"] == "all" else row

  # An answer in another language is worth nothing.
  _edit(pair[1], "judgments", elsewhere)
  assert _differences(*pair)[metric, "all", "he"].second == 0


def test_only_questions_in_the_same_words_are_compared(pair):
  def other_words(row):
    return row | {"prompt": "!?"} if row["id"] == "q1" else row

  _edit(pair[1], "answers", other_words)
  found = _differences(*pair)
  assert {x.n for x in found.values() if x.language} == {3}
  a, b = map(comparison.read, pair)
  assert comparison.num_shared(a, b) == 9


def test_side_by_side_pairs_by_opponent(make_study):
  a, b = (make_study(name=x, codes=("en", "he")) for x in ("one", "two"))

  def lose(row):
    mine = row.get("verdict") and row["system_a"] == "base"
    return row | {"verdict": "b"} if mine else row

  _edit(b, "judgments", lose)
  found = _differences(a, b)
  metric = "side_by_side, judge reference"
  # conftest.VERDICTS: of six judged pairs one won, two lost, three tied.
  ours = found[metric, "base", "he"]
  assert (ours.n, ours.first, ours.second) == (6, pytest.approx(250 / 6), 0)
  assert found[metric, "mono-en", "he"].value == 0
  assert "Opponents are each" in comparison_page.write(a, b).read_text()


def test_page_says_what_differs(pair, capsys):
  def change(row):
    for answer in row["answers"].values():
      answer["exact"] = True
    return row

  _edit(pair[0], "answers", change)
  config = {"seed": 0, "tune.epochs": 4}
  for directory, seed in zip(pair, (0, 1)):
    records.write_json(
        directory / "study.json", {"config": config | {"seed": seed}}
    )
  assert main.main(["report", str(pair[0]), "--against", str(pair[1])]) == 0
  path = pair[0] / "comparison.html"
  assert capsys.readouterr().out == f"comparison: {path}\n"
  text = path.read_text()
  shown = re.sub(r"<[^>]+>", " ", text)
  assert "one against two" in shown and "config: seed" in shown
  assert "tune.epochs" not in shown
  assert "Answers equal to the reference, in percent: +75.0" in shown
  linked = re.findall(r'href="((?:figures|tables)/[^"]+)"', text)
  assert linked and all((pair[0] / x).exists() for x in linked)
  assert not (pair[1] / "comparison.html").exists()


def test_without_common_questions_the_results_are_compared(pair):
  for directory in pair:
    (directory / "answers.jsonl").unlink()
  results = json.loads((pair[1] / "results.json").read_text())
  row = results["exact_match"]["all"]["he"]
  row |= {"value": 30.0, "ci": [10.0, 40.0]}
  records.write_json(pair[1] / "results.json", results)
  a, b = map(comparison.read, pair)
  assert list(comparison.differences(a, b)) == []
  found = {key: rest for key, *rest in comparison.unpaired(a, b)}
  # 50 [20, 80] and 30 [10, 40]: Newcombe's method 10 by hand.
  first, second, low, high = found["exact_match.all.he"]
  assert (first, second) == (50.0, 30.0)
  assert low == pytest.approx(20 - math.hypot(30, 10))
  assert high == pytest.approx(20 + math.hypot(30, 20))
  text = comparison_page.write(*pair).read_text()
  assert "exact_match.all.he" in text and "No question is in both" in text


def test_entries_of_lists_go_by_their_names(pair):
  """Two curves with different points must not be set against each other."""
  for directory, percents in zip(pair, ((1, 10), (10, 50))):
    (directory / "answers.jsonl").unlink()
    results = json.loads((directory / "results.json").read_text())
    results["curve"] = [
        {"percent": p, "english": {"score": float(p), "ci": [0.0, 100.0]}}
        for p in percents
    ] + [{"nameless": {"score": 1.0, "ci": [0.0, 2.0]}}]
    records.write_json(directory / "results.json", results)
  a, b = map(comparison.read, pair)
  found = {key: rest[:2] for key, *rest in comparison.unpaired(a, b)}
  assert {key: x for key, x in found.items() if key.startswith("curve")} == {
      "curve[percent 10].english": [10.0, 10.0]
  }
  text = comparison_page.write(*pair).read_text()
  assert "same questions" not in text and "The questions differ" in text


def test_other_judges_are_said(pair):
  _edit(pair[1], "judgments", lambda row: row | {"judge": "other"})
  text = re.sub(r"\s+", " ", comparison_page.write(*pair).read_text())
  assert "Judged only in one:" in text and "Judged only in two:" in text
  assert "judge other" in text
  assert "Opponents are each" not in text
  (pair[1] / "judgments.jsonl").unlink()
  (pair[1] / "answers.jsonl").unlink()
  a, b = map(comparison.read, pair)
  assert comparison.judged_alone(a, b) == ["rating, judge reference"]


def test_wrong_use(pair, tmp_path, capsys):
  with pytest.raises(UsageError, match="compared with itself"):
    comparison_page.write(pair[0], pair[0])
  (tmp_path / "empty").mkdir()
  code = main.main(["report", str(pair[0]), "--against", str(tmp_path)])
  error = capsys.readouterr().err
  assert code == 1 and "results.json: cannot be read" in error
  (pair[1] / "study.json").write_text("{")
  with pytest.raises(records.RecordError, match=r"study\.json: damaged"):
    comparison_page.write(*pair)
  assert not (pair[0] / "comparison.html").exists()
