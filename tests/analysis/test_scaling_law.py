"""The scaling law: planted parameters come back, within their intervals."""

import math
import pathlib
import re

import numpy as np
import pytest

from mlit_jax.analysis import scaling_law
from mlit_jax.analysis.scaling_law import Law

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def test_a_law_by_hand():
  # (0.25 * 400) ** -0.5 = 1 / 10
  law = Law(alpha=300.0, beta=-0.5, gamma=0.25)
  assert law.score(400) == pytest.approx(70.0)
  # dS/dX = 0.5 * 30 / 400
  assert law.slope(400) == pytest.approx(0.0375)
  assert law.examples(0.0375) == pytest.approx(400)
  assert law.score(0) == -math.inf


def test_exact_points_give_the_parameters_back():
  planted = Law(alpha=180.0, beta=-0.19, gamma=0.43)
  found = scaling_law.fit(SIZES, [planted.score(x) for x in SIZES], 0.43)
  assert found.law.alpha == pytest.approx(180.0, rel=1e-8)
  assert found.law.beta == pytest.approx(-0.19, rel=1e-8)
  assert found.r_squared == pytest.approx(1.0)
  assert found.residual < 1e-8 and found.at_bound == "" and found.n == 5


def test_intervals_hold_the_planted_parameters_as_often_as_they_say():
  planted = Law(alpha=120.0, beta=-0.15, gamma=0.5)
  rng, runs = np.random.default_rng(0), 400
  clean = np.array([planted.score(x) for x in SIZES])
  held = np.zeros(2)
  for _ in range(runs):
    found = scaling_law.fit(SIZES, clean + rng.normal(0, 0.3, 5), 0.5)
    for i, (name, true) in enumerate((("alpha", 120.0), ("beta", -0.15))):
      low, high = getattr(found, f"{name}_ci")
      held[i] += low <= true <= high
  # 95 %, give or take three standard errors of 400 draws.
  assert np.all(np.abs(held / runs - 0.95) < 0.033), held / runs


def test_errors_are_those_of_scipy():
  from scipy import optimize

  scores = [62.0, 69.5, 73.8, 79.0, 81.2]
  sizes = [100, 300, 1000, 3000, 10000]
  found = scaling_law.fit(sizes, scores, 0.5)
  best, covariance = optimize.curve_fit(
      lambda x, a, b: 100 - a * (0.5 * x) ** b, sizes, scores, (80.0, -0.2)
  )
  assert (found.law.alpha, found.law.beta) == pytest.approx(best, rel=1e-5)
  errors = np.sqrt(np.diag(covariance))
  assert (found.alpha_se, found.beta_se) == pytest.approx(errors, rel=1e-3)


def test_similarity_moves_alpha_and_not_the_curve():
  scores = [50.0, 58.0, 63.0, 70.0, 74.0]
  near, far = (scaling_law.fit(SIZES, scores, g) for g in (0.9, 0.3))
  assert near.law.beta == pytest.approx(far.law.beta)
  for x in SIZES:
    assert near.law.score(x) == pytest.approx(far.law.score(x))
  factor = (0.9 / 0.3) ** -near.law.beta
  assert near.law.alpha == pytest.approx(far.law.alpha * factor)


@pytest.mark.parametrize(
    ("scores", "bound"),
    [
        ([60.0, 59.0, 58.5, 57.0, 56.0], "0"),  # more data does harm
        ([1.0, 90.0, 99.0, 99.9, 99.99], "-1"),  # faster than 1 / X
    ],
)
def test_a_bound_is_named_and_has_no_errors(scores, bound):
  found = scaling_law.fit(SIZES, scores)
  assert found.at_bound == bound
  assert found.beta_se is None and found.alpha_ci == (None, None)
  assert -1 < found.law.beta < 0 < found.law.alpha


def test_two_points_leave_nothing_to_judge_errors_by():
  found = scaling_law.fit([100, 1000], [60.0, 80.0])
  assert found.law.beta == pytest.approx(math.log10(0.5))
  assert found.residual == pytest.approx(0, abs=1e-9)
  assert found.beta_se is None and found.beta_ci == (None, None)


@pytest.mark.parametrize(
    ("sizes", "scores", "gamma", "words"),
    [
        ([1, 2], [3.0], 1.0, "as many scores"),
        ([5, 5], [3.0, 4.0], 1.0, "two different sizes"),
        ([0, 5], [3.0, 4.0], 1.0, "no value without examples"),
        ([1, 5], [3.0, 100.0], 1.0, "scores below that"),
        ([1, 5], [3.0, float("nan")], 1.0, "scores below that"),
        ([1, 5], [3.0, 4.0], 0.0, "gamma=0.0"),
        ([1, 5], [3.0, 4.0], 1.5, "gamma=1.5"),
    ],
)
def test_what_cannot_be_fitted_is_refused(sizes, scores, gamma, words):
  with pytest.raises(ValueError, match=words):
    scaling_law.fit(sizes, scores, gamma)


@pytest.mark.parametrize("wrong", [(0.0, -0.1), (5.0, 0.0), (5.0, -1.0)])
def test_a_law_has_its_bounds(wrong):
  with pytest.raises(ValueError):
    Law(*wrong)


def test_the_documentations_example_runs():
  page = pathlib.Path(__file__).parents[2] / "docs" / "analysis.md"
  (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
  names = {}
  exec(code, names)  # of this repository
  assert names["fit"].law.score(600) == pytest.approx(50.2, abs=0.5)
  assert names["fit"].at_bound == "" and names["fit"].n == 4
