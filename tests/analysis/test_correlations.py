"""A planted correlation is found, an absent one is not."""

import numpy as np
import pytest
from scipy import stats

from mlit_jax.analysis import correlations, statistics


def _draw(rng, rho, n):
  x = rng.normal(size=n)
  return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_a_planted_correlation_is_found_and_an_absent_one_is_not(method):
  measure = {
      "pearson": statistics.pearson, "spearman": correlations.spearman,
  }[method]
  rng, runs = np.random.default_rng(3), 600
  found = {
      rho: [measure(*_draw(rng, rho, 40)) for _ in range(runs)]
      for rho in (0.0, 0.7)
  }
  clear = {
      rho: np.mean([not c.low <= 0 <= c.high for c in rows])
      for rho, rows in found.items()
  }
  assert clear[0.7] > 0.97
  # 5 % of the time something is seen in nothing; three standard errors.
  assert abs(clear[0.0] - 0.05) < 0.028
  # The intervals hold the truth as often as they say. Of ranks the planted
  # correlation is 6 / pi asin(rho / 2) (Pearson, 1907).
  truth = 0.7 if method == "pearson" else 6 / np.pi * np.arcsin(0.35)
  held = np.mean([c.low <= truth <= c.high for c in found[0.7]])
  assert abs(held - 0.95) < 0.03


def test_spearman_is_scipys_with_ties():
  x = [1, 2, 2, 3, 5, 8, 8, 9]
  y = [2, 1, 4, 4, 4, 9, 7, 5]
  found = correlations.spearman(x, y)
  assert found.r == pytest.approx(stats.spearmanr(x, y).statistic)
  assert found.low < found.r < found.high and found.n == 8
  # Wider than Fisher's interval of the same r.
  ranks = statistics.pearson(stats.rankdata(x), stats.rankdata(y))
  assert found.low < ranks.low and found.high > ranks.high


def test_an_outlier_hides_a_correlation_that_its_absence_shows():
  x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
  y = [10.0, 20.0, 30.0, 40.0, 50.0, -60.0]
  labels = ["en", "zh", "af", "ar", "az", "ko"]
  (row,) = correlations.table({"number": x}, y, labels, "ko")
  assert row.without.r == pytest.approx(1.0) and row.without.n == 5
  assert row.everything.r == pytest.approx(stats.pearsonr(x, y).statistic)
  assert row.everything.r < 0
  each = correlations.without_each(x, y, labels)
  assert list(each) == labels
  assert each["ko"].r == row.without.r
  assert all(each[k].r < 0.3 for k in labels if k != "ko")


def test_what_does_not_vary_has_no_correlation():
  y = [1.0, 2.0, 3.0, 5.0]
  same, once = correlations.table(
      {"same": [4.0] * 4, "once": [4.0, 4.0, 4.0, 5.0]}, y, "abcd", "d"
  )
  assert same.everything is None and same.without is None
  assert once.everything.r > 0 and once.without is None
  (row,) = correlations.table({"x": y}, y, "abcd")
  assert row.everything.r == pytest.approx(1) and row.without is None
  # Two points are always on a line.
  (row,) = correlations.table({"x": y[:3]}, y[:3], "abc", "a")
  assert row.everything.r == pytest.approx(1) and row.without is None


@pytest.mark.parametrize(
    ("measures", "labels", "outlier", "words"),
    [
        ({"x": [1, 2]}, "abc", "", "2 values for 3 points"),
        ({"x": [1, 2, 3]}, "ab", "", "2 labels for 3 points"),
        ({"x": [1, 2, 3]}, "aba", "", "stands twice"),
        ({"x": [1, 2, 3]}, "abc", "ko", "no point is called 'ko'"),
    ],
)
def test_points_and_labels_belong_together(measures, labels, outlier, words):
  with pytest.raises(ValueError, match=words):
    correlations.table(measures, [1.0, 2.0, 3.0], labels, outlier)
