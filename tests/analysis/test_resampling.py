"""Bootstrap, against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from mlit_jax.analysis import resampling

RNG = np.random.default_rng(3)


def test_the_interval_of_one_mean_is_scipys():
  values = RNG.exponential(size=80)
  theirs = stats.bootstrap(
      (values,), np.mean, method="percentile", n_resamples=10_000, rng=1
  ).confidence_interval
  found = resampling.macro_interval([(values, range(80))])
  assert found == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_clusters_are_drawn_whole():
  """Fifty items that each stand there four times are fifty items."""
  values = RNG.normal(size=50)
  once = resampling.macro_interval([(values, range(50))])
  four = resampling.macro_interval(
      [(np.repeat(values, 4), np.repeat(range(50), 4))]
  )
  assert four == pytest.approx(once, abs=1e-12)
  apart = resampling.macro_interval([(np.repeat(values, 4), range(200))])
  width = (apart[1] - apart[0]) / (once[1] - once[0])
  assert width == pytest.approx(0.5, abs=0.05)


def test_parallel_items_are_drawn_together():
  """The mean over languages of the same values varies as one language's."""
  values = RNG.normal(size=60)
  one = resampling.macro_interval([(values, range(60))])
  three = resampling.macro_interval([(values, range(60))] * 3)
  assert three == pytest.approx(one, abs=1e-12)
  apart = resampling.macro_interval(
      [(values, [(lang, i) for i in range(60)]) for lang in "abc"]
  )
  width = (apart[1] - apart[0]) / (one[1] - one[0])
  assert width == pytest.approx(3**-0.5, abs=0.06)
  # Each language counts once, however many items it has.
  big = [(np.ones(900), [("a", i) for i in range(900)])]
  small = [(np.zeros(9), [("b", i) for i in range(9)])]
  assert resampling.macro_interval(big + small) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("groups", [[], [([], [])], [([1.0], [1, 2])]])
def test_nothing_to_draw_from_is_an_error(groups):
  with pytest.raises(ValueError, match="a cluster each"):
    resampling.macro_interval(groups)


def test_the_interval_of_a_ratio_is_scipys():
  """Of a mean over another's on the same items, which are drawn together."""
  theirs = RNG.uniform(2, 9, size=60)
  ours = theirs * 1.2 + RNG.normal(scale=0.3, size=60)
  expected = stats.bootstrap(
      (ours, theirs), lambda x, y, axis: x.mean(axis) / y.mean(axis),
      paired=True, method="percentile", n_resamples=10_000, rng=1,
  ).confidence_interval
  low, high = resampling.ratio_interval(
      (ours, range(60)), [(theirs, range(60))]
  )
  assert (low, high) == pytest.approx(
      (expected.low, expected.high), abs=0.003
  )
  assert low < 1.2 < high and high - low < 0.06
  # A denominator of several means is their mean, however long they are.
  twice = [(theirs, range(60)), (np.repeat(theirs, 2), np.repeat(range(60), 2))]
  assert resampling.ratio_interval((ours, range(60)), twice) == pytest.approx(
      (low, high), abs=1e-12
  )


def test_a_ratio_to_nothing_is_refused():
  with pytest.raises(ValueError, match="above 0"):
    resampling.ratio_interval(([1.0], ["a"]), [([0.0], ["a"])])


@pytest.mark.parametrize("number", [7, 500, 1200])
def test_as_many_are_drawn_as_are_asked_for(number):
  groups = [([0.0, 1.0, 1.0], ["a", "b", "c"])]
  assert resampling._drawn_means(groups, 0, number).shape == (number, 1)
