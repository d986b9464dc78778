"""Paired differences: the t interval, exchange tests, adjusted p-values."""

import numpy as np
import pytest
from scipy import stats

from mlit_jax.analysis import paired


def test_one_value_per_cluster_is_students_paired_interval():
  x = np.random.default_rng(0).normal(0.3, 1, 25)
  found = paired.difference(x, range(25))
  theirs = stats.ttest_1samp(x, 0).confidence_interval(0.95)
  assert found["ci"] == pytest.approx([theirs.low, theirs.high], abs=1e-5)
  assert found["difference"] == pytest.approx(x.mean(), abs=1e-6)
  assert (found["n"], found["clusters"]) == (25, 25)


def test_clusters_that_repeat_a_value_count_once():
  x = np.random.default_rng(1).normal(0.3, 1, 25)
  once = paired.difference(x, range(25))
  thrice = paired.difference(np.repeat(x, 3), np.repeat(range(25), 3))
  assert thrice["ci"] == pytest.approx(once["ci"], abs=1e-5)
  assert thrice["p"] == once["p"] and thrice["n"] == 75


@pytest.mark.parametrize("number", [6, 12, 40, 900])
def test_p_is_that_of_scipys_exchange(number):
  x = np.random.default_rng(2).normal(0, 1, number)
  x += 1.6 / number**0.5 - x.mean() * (number > 12)
  theirs = stats.permutation_test(
      (x,), np.sum, permutation_type="samples", n_resamples=9999,
      vectorized=True, rng=np.random.default_rng(0),
  ).pvalue
  exact = number <= 12
  found = paired.difference(x, range(number))["p"]
  assert found == pytest.approx(theirs, abs=1e-6 if exact else 0.015)


def test_mirror_and_degenerate_data():
  x = np.random.default_rng(3).normal(0.3, 1, 25)
  one, two = paired.difference(x, range(25)), paired.difference(-x, range(25))
  assert one["difference"] == -two["difference"] and one["p"] == two["p"]
  assert one["ci"] == [-end for end in two["ci"][::-1]]
  same = paired.difference([1.0] * 10, range(10))
  assert same["ci"] == [None, None] and same["p"] == round(2 / 2**10, 6)
  none = paired.difference([0.0] * 10, range(10))
  assert (none["difference"], none["p"]) == (0, 1)
  assert paired.difference([0.5, 0.4], ["x", "x"])["ci"] == [None, None]
  with pytest.raises(ValueError, match="a cluster for every difference"):
    paired.difference([], [])


@pytest.mark.slow
def test_coverage_and_false_findings_with_clusters():
  rng, cover, found, runs = np.random.default_rng(4), 0, 0, 1000
  for run in range(runs):
    ids = rng.normal(0, 1, 40)
    x = np.repeat(ids, 5) + rng.normal(0, 1, 200)
    row = paired.difference(x, np.repeat(range(40), 5), seed=run)
    cover += row["ci"][0] <= 0 <= row["ci"][1]
    found += row["p"] <= 0.05
  print(f"95% intervals cover {cover / runs:.3f}, p <= 0.05 in {found / runs}")
  assert 0.93 <= cover / runs <= 0.97 and 0.03 <= found / runs <= 0.07


def test_adjusted_ps():
  # Holm by hand; Benjamini and Hochberg's (1995, section 3.2) fifteen p-values,
  # of which they find four at 0.05, and Bonferroni-like procedures three.
  ps = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459,
        0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000]
  assert sum(p <= 0.05 for p in paired.benjamini_hochberg(ps)) == 4
  assert sum(p <= 0.05 for p in paired.holm(ps)) == 3
  assert paired.holm([0.01, 0.04, 0.03, 0.005]) == [0.03, 0.06, 0.06, 0.02]
  assert paired.holm([]) == paired.benjamini_hochberg([]) == []
  assert paired.holm([0.9, 0.8]) == [1, 1]
  # 0.01 * 4, 0.02 * 3, 0.03 * 2, then no less than what came before.
  assert paired.holm([0.04, 0.01, 0.03, 0.02]) == [0.06, 0.04, 0.06, 0.06]


def test_every_two_systems_on_their_common_questions():
  values = {
      "a": {(i, "en"): 1.0 for i in range(8)},
      "b": {(i, "en"): i % 2 for i in range(4)},
      "c": {(9, "en"): 1.0},
  }
  rows = paired.adjust(paired.between(values))
  assert [(r["a"], r["b"], r["n"], r["difference"]) for r in rows] == [
      ("a", "b", 4, 0.5)
  ]
  assert rows[0]["p"] == rows[0]["p_holm"] == rows[0]["p_bh"] == 0.5


@pytest.mark.parametrize(("won", "lost", "same"), [(8, 2, 40), (30, 12, 0)])
def test_the_test_of_right_and_wrong_is_mcnemars(won, lost, same):
  differences = [1.0] * won + [-1.0] * lost + [0.0] * same
  exact = stats.binomtest(won, won + lost).pvalue
  found = paired.exchange_test(differences, range(len(differences)))
  assert found == pytest.approx(exact, abs=0.01)


def test_the_test_of_means_is_scipys():
  differences = np.random.default_rng(3).normal(0.3, 1, size=40)
  theirs = stats.permutation_test(
      (differences, np.zeros(40)), lambda a, b: np.mean(a - b),
      permutation_type="samples", n_resamples=10_000, rng=1,
  ).pvalue
  found = paired.exchange_test(differences, range(40))
  assert found == pytest.approx(theirs, abs=0.01)


def test_a_cluster_is_flipped_whole():
  # One cluster: as likely one way as the other.
  assert paired.exchange_test([1.0] * 30, [0] * 30) == 1
  assert paired.exchange_test([1.0] * 30, range(30)) < 0.001
  assert paired.exchange_test([0.0] * 30, range(30)) == 1


def test_a_test_needs_a_cluster_for_each_difference():
  with pytest.raises(ValueError, match="a cluster for every difference"):
    paired.exchange_test([1.0], [])
