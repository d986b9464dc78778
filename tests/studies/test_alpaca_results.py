"""Alpaca's sums where a judge failed, and what its page calls ahead."""

import types

import small_studies

from mlit_jax import records
from mlit_jax.studies import alpaca_results
from mlit_jax.studies.report.views import alpaca as view


def _rated(scores, found="en"):
  return [
      records.Judgment(
          f"{i}", "en", "rating", "j", "A", "", "ab", "raw", score=score,
          gate={"a": found}, failure="" if score is not None else "refused",
      )
      for i, score in enumerate(scores)
  ]


def _row(scores, found="en"):
  judged = types.SimpleNamespace(
      judgments={"A": {"en": _rated(scores, found)}}
  )
  return alpaca_results._ratings(judged, "A", ("en",))["en"]


def test_a_failed_judgment_is_not_worth_nothing():
  whole, three = _row([3.0, 2.0, 3.0, 2.0]), _row([3.0, None, 2.0, 2.5])
  assert whole["sum"] == three["sum"] == 10
  assert (three["n"], three["failed"]) == (3, 1)
  point = view._point("en", three)
  assert (point.y, point.n) == (10, 3)
  assert point.low == 4 * three["ci"][0] and point.high == 4 * three["ci"][1]
  elsewhere = _row([3.0, None, 3.0], found="fi")
  assert (elsewhere["sum"], elsewhere["ungated"]["sum"]) == (0, 9)
  assert elsewhere["language_robustness"] == 9
  none = _row([None, None])
  assert none["sum"] is none["ungated"]["sum"] is None
  assert view._point("en", none).y is None and view._ungated(none) == ""


def _small(*labels):
  """Results of a run, of some of its models, none of them ahead."""
  results = small_studies.results("alpaca")
  labels = labels or tuple(results["budgets"])
  results["budgets"] = {k: results["budgets"][k] for k in labels}
  for group in ("seen", "unseen"):
    for label in labels:
      for i, row in enumerate(results["growth"][group][label].values()):
        row |= {"score": 1.0 + 0.1 * i, "ci": [0.5 + 0.1 * i, 1.5 + 0.1 * i]}
  return results


def _win(results, group, label, budget):
  results["growth"][group][label][budget] |= {"score": 2.5, "ci": [2.4, 2.6]}


def test_only_what_is_clearly_ahead_is_called_so():
  results = _small("base")
  heads = [head for head, _ in view._findings(results)]
  assert heads == [
      f"On base: nothing is clearly ahead in the {x} languages."
      for x in ("seen", "unseen")
  ]
  _win(results, "seen", "base", "all")
  head, text = view._findings(results)[0]
  assert head.endswith("one model, all data scores most in the seen languages.")
  assert "Sums over" in text
  # A budget without any score leaves the sums out.
  lang = results["test_languages"]["seen"][0]
  results["budgets"]["base"][lang]["all"]["sum"] = None
  assert len(view._findings(results)) == len(heads) - 1


def test_many_models_have_one_finding_a_group():
  results = _small()
  labels = list(results["budgets"])
  assert len(labels) == 4
  assert [head for head, _ in view._findings(results)] == [
      f"In the {x} languages no way to spend the budget is clearly ahead on"
      " any of 4 models." for x in ("seen", "unseen")
  ]
  _win(results, "seen", labels[0], "all")
  _win(results, "seen", labels[1], "all")
  _win(results, "seen", labels[2], "sampled")
  (head, text), _ = view._findings(results)
  assert head == (
      "In the seen languages one model, all data scores most on 2 of 4 models."
  )
  assert "one model, drawn at random: " in text and "On 1 nothing" in text
  # 2.5 twice, and 1.0 and so much as its place is from the first.
  place = list(results["growth"]["seen"][labels[3]]).index("all")
  mean = (2.5 + 2.5 + 2 * (1 + 0.1 * place)) / 4
  assert f"one model, all data {mean:.2f}" in text
