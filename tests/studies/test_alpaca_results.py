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


def test_only_what_is_clearly_ahead_is_called_so():
  results = small_studies.results("alpaca")
  label = next(iter(results["budgets"]))
  means = results["growth"]["seen"][label]
  for i, row in enumerate(means.values()):
    row |= {"score": 1.0 + 0.1 * i, "ci": [0.5 + 0.1 * i, 1.5 + 0.1 * i]}
  heads = [head for head, _ in view._findings(results)]
  assert "nothing is clearly ahead in the seen languages." in heads[0]
  last = list(means)[-1]
  means[last] |= {"score": 2.5, "ci": [2.4, 2.6]}
  head, text = view._findings(results)[0]
  assert head.endswith("scores most in the seen languages.")
  assert view._BUDGETS[last] in head and "Sums over" in text
  # A budget without any score leaves the sums out.
  lang = results["test_languages"]["seen"][0]
  results["budgets"][label][lang][last]["sum"] = None
  assert len(view._findings(results)) == len(heads) - 1
