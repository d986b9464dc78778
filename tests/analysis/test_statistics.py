"""Intervals and correlations against literals and SciPy."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from mlit_jax.analysis import statistics


def _bonett_price(win, tie, loss, quantile):
  """The paper's interval of p_win - p_loss, put on the scale of the score."""
  n = win + tie + loss
  p, q = (win + 1) / (n + 2), (loss + 1) / (n + 2)
  half = quantile * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
  ends = ((1 + p - q - half) / 2, (1 + p - q + half) / 2)
  return max(0, ends[0]), min(1, ends[1])


def test_interval_literals():
  # 60 wins of 60: d = 61/62 - 1/62 = 0.967742, its standard error
  # sqrt((1 - d * d) / 62) = 0.031997; Student's t with 59 degrees of freedom is
  # 2.000995: (1 + 0.967742 - 0.064026) / 2.
  low, high = statistics.mean_interval([1] * 60, range(60))
  assert low == pytest.approx(0.951858, abs=1e-6)
  assert high == 1
  # 60 ties: 2.000995 * sqrt(2 / 62 / 62) / 2 = 0.022821 to each side.
  low, high = statistics.mean_interval([0.5] * 60, range(60))
  assert (low, high) == pytest.approx((0.477179, 0.522821), abs=1e-6)


@pytest.mark.parametrize(
    "counts, quantile",
    # Student's t, 0.975, from a table: 59, 19 and 7 degrees of freedom.
    [((30, 20, 10), 2.000995), ((0, 1, 19), 2.093024), ((8, 0, 0), 2.364624)],
)
def test_single_values_give_bonett_and_price(counts, quantile):
  win, tie, loss = counts
  values = [1.0] * win + [0.5] * tie + [0.0] * loss
  got = statistics.mean_interval(values, range(len(values)))
  want = _bonett_price(*counts, quantile)
  assert got == pytest.approx(want, abs=1e-6)


def test_clusters_count_by_their_design_effect():
  rng = np.random.default_rng(0)
  shared = rng.integers(0, 2, 40)
  own = rng.integers(0, 2, (40, 3))
  table = np.where(rng.random((40, 3)) < 0.6, shared[:, None], own)
  # The jackknife over equal clusters gives their variance independently.
  left_out = np.array([np.delete(table, g, 0).mean() for g in range(40)])
  robust = 39 / 40 * ((left_out - table.mean()) ** 2).sum()
  deff = robust / (table.var(ddof=1) / table.size)
  assert deff > 1.3
  win, loss = table.sum() / deff, (1 - table).sum() / deff
  want = _bonett_price(win, 0, loss, 2.022691)  # t, 39 degrees of freedom
  clusters = np.repeat(np.arange(40), 3)
  got = statistics.mean_interval(table.ravel(), clusters)
  assert got == pytest.approx(want, abs=1e-6)
  order = rng.permutation(table.size)
  assert got == pytest.approx(
      statistics.mean_interval(table.ravel()[order], clusters[order])
  )


def test_copies_of_a_value_are_no_new_evidence():
  equal = statistics.mean_interval([1] * 24, [i // 12 for i in range(24)])
  assert equal == statistics.mean_interval([1, 1], [0, 1])
  # Two clusters whose sums happen to agree do not make a sure mean.
  low, high = statistics.mean_interval([0, 1, 0, 1], [0, 0, 1, 1])
  assert (low, high) == (0, 1)
  assert statistics.mean_interval([0.2, 0.3], ["x", "x"]) == (0, 1)


def test_interval_is_mirrored_exactly():
  values = np.random.default_rng(1).choice([0, 0.5, 1], 90, p=[0.2, 0.3, 0.5])
  clusters = [i % 30 for i in range(90)]
  low, high = statistics.mean_interval(values, clusters)
  mirrored = statistics.mean_interval(1 - values, clusters)
  assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-15)


def test_coverage_by_enumeration():
  stats = pytest.importorskip("scipy.stats")
  ends = [
      statistics.mean_interval([1] * k + [0] * (60 - k), range(60))
      for k in range(61)
  ]
  for p in np.linspace(0.01, 0.99, 99):
    chances = stats.binom.pmf(np.arange(61), 60, p)
    covered = sum(
        c for c, (low, high) in zip(chances, ends, strict=True)
        if low <= p <= high
    )
    assert covered > 0.93, p


def test_level_changes_the_width():
  values = [0, 1] * 20
  widths = [
      np.ptp(statistics.mean_interval(values, range(40), level))
      for level in (0.5, 0.9, 0.95)
  ]
  # t with 39 degrees of freedom at 0.75, 0.95 and 0.975.
  assert widths[1] / widths[0] == pytest.approx(1.684875 / 0.680833, rel=1e-5)
  assert widths[2] / widths[1] == pytest.approx(2.022691 / 1.684875, rel=1e-5)


def test_pearson_literal_and_scipy():
  got = statistics.pearson([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
  # atanh(0.8) = 1.098612; 1.959964 / sqrt(2) = 1.385904.
  assert (got.r, got.low, got.high) == pytest.approx(
      (0.8, math.tanh(-0.287292), math.tanh(2.484516)), abs=1e-6
  )
  assert got.n == 5
  stats = pytest.importorskip("scipy.stats")
  x, y = np.random.default_rng(2).normal(size=(2, 30))
  want = stats.pearsonr(x, y)
  got = statistics.pearson(x, y, level=0.9)
  assert (got.r, got.low, got.high) == pytest.approx(
      (want.statistic, *want.confidence_interval(0.9))
  )


def test_pearson_at_the_edges():
  line = statistics.pearson([1, 2, 3, 4], [-2, -4, -6, -8])
  assert (line.r, line.low, line.high) == pytest.approx((-1, -1, -1))
  few = statistics.pearson([1, 2, 3], [1, 3, 2])
  assert (few.r, few.low, few.high) == pytest.approx((0.5, -1, 1))


def test_wrong_use():
  for values, clusters in (([], []), ([1, 0], [1]), ([1.1, 0], [1, 2])):
    with pytest.raises(ValueError, match="values"):
      statistics.mean_interval(values, clusters)
  with pytest.raises(ValueError, match="between 0 and 1"):
    statistics.mean_interval([float("nan"), 1], [1, 2])
  with pytest.raises(ValueError, match="level"):
    statistics.mean_interval([0, 1], [1, 2], level=95)
  for x, y in (([1, 1], [1, 2]), ([1], [1]), ([1, 2], [1, 2, 3])):
    with pytest.raises(ValueError, match="vary|pairs"):
      statistics.pearson(x, y)
  with pytest.raises(ValueError, match="finite"):
    statistics.pearson([1, math.inf], [1, 2])


def test_analysis_starts_without_scipy_or_jax():
  code = (
      "import sys, mlit_jax.analysis.judgments;"
      "print(sorted({'jax','tensorflow','scipy'} & set(sys.modules)))"
  )
  out = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert out.stdout.strip() == "[]"


def test_a_fitted_lines_band_by_hand_and_by_scipy():
  """y = 1 + 0.6 x, residual variance 3.2 / 2, t(0.975, 2) = 4.302653."""
  x, y = [1, 2, 3, 4], [2, 1, 4, 3]
  at = [2.5, 1.0]
  values, low, high = statistics.fitted_line(x, y, at)
  np.testing.assert_allclose(values, [2.5, 1.6])
  # Half widths 4.302653 * 1.264911 * sqrt(1 / 4 + (at - 2.5)² / 5).
  np.testing.assert_allclose(values - low, [2.721236, 4.553501], rtol=1e-6)
  np.testing.assert_allclose(high - values, values - low)
  # At x = 0 it is what the intercept's standard error gives.
  found = stats.linregress(x, y)
  (value,), (low,), _ = statistics.fitted_line(x, y, [0])
  assert value == pytest.approx(found.intercept)
  half = stats.t.ppf(0.975, 2) * found.intercept_stderr
  assert value - low == pytest.approx(half)


def test_a_line_that_no_pairs_or_two_give():
  assert statistics.fitted_line([], [], [1]) is None
  assert statistics.fitted_line([1], [2], [1]) is None
  assert statistics.fitted_line([3, 3, 3], [1, 2, 3], [3]) is None
  values, low, high = statistics.fitted_line([0, 1], [1, 3], [0.5])
  assert values[0] == pytest.approx(2)
  assert (low[0], high[0]) == (-np.inf, np.inf)
