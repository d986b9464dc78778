"""Intervals by bootstrap, over clusters of items."""

from collections.abc import Hashable, Sequence

import numpy as np

RESAMPLES = 2_000


def macro_interval(
    groups: Sequence[tuple[Sequence[float], Sequence[Hashable]]],
    level: float = 0.95,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
  """Percentile bootstrap interval of the mean of the groups' means.

  Clusters are drawn with replacement (Davison and Hinkley 1997, 3.8), the same
  ones in every group: the same item in twelve languages is one draw. A drawing
  that leaves a group empty is drawn without that group.

  Args:
    groups: (values, the cluster of each value), e.g. of each language; one
      group gives the interval of a plain mean.
    level: the confidence level.
    seed: of the draws.
    resamples: how many.

  Returns:
    (low, high); of no width where there is a single cluster or all values of
    every group are equal.

  Raises:
    ValueError: no values, or lengths that differ.
  """
  means = np.nanmean(_drawn_means(groups, seed, resamples), axis=1)
  return _ends(means, level)


def ratio_interval(
    ours: tuple[Sequence[float], Sequence[Hashable]],
    theirs: Sequence[tuple[Sequence[float], Sequence[Hashable]]],
    level: float = 0.95,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
  """The same of a mean over the mean of other groups' means.

  Clusters are drawn as in `macro_interval`, for both sides at once: what makes
  a question hard for all is no part of how sure the ratio is.

  Args:
    ours: (values, the cluster of each value) of the numerator.
    theirs: the groups whose means' mean is the denominator.
    level, seed, resamples: as there.

  Returns:
    (low, high) of the ratio.

  Raises:
    ValueError: no values, lengths that differ, or values of `theirs` that are
      not above 0.
  """
  if any(value <= 0 for values, _ in theirs for value in values):
    raise ValueError("a ratio needs values above 0 in its denominator")
  means = _drawn_means([ours, *theirs], seed, resamples)
  ratios = means[:, 0] / np.nanmean(means[:, 1:], axis=1)
  return _ends(ratios[np.isfinite(ratios)], level)


def _drawn_means(groups, seed: int, resamples: int) -> np.ndarray:
  """Each group's mean in each drawing of the clusters [resamples, groups]."""
  if not groups or any(len(v) != len(c) or not len(v) for v, c in groups):
    raise ValueError("expected groups of values with a cluster each")
  names = dict.fromkeys(c for _, clusters in groups for c in clusters)
  codes = {name: i for i, name in enumerate(names)}
  sums, sizes = [], []
  for values, clusters in groups:
    places = [codes[c] for c in clusters]
    sums.append(np.bincount(places, weights=values, minlength=len(codes)))
    sizes.append(np.bincount(places, minlength=len(codes)))
  sums, sizes = np.array(sums).T, np.array(sizes, np.float64).T
  rng = np.random.default_rng(seed)
  means = []
  # In parts: resamples times clusters would be a large table.
  for begun in range(0, resamples, 500):
    drawn = rng.multinomial(
        len(codes), np.full(len(codes), 1 / len(codes)),
        size=min(500, resamples - begun),
    ).astype(np.float64)
    with np.errstate(invalid="ignore"):
      means.append((drawn @ sums) / (drawn @ sizes))
  return np.concatenate(means)


def _ends(values: np.ndarray, level: float) -> tuple[float, float]:
  tail = (1 - level) / 2
  low, high = np.quantile(values, (tail, 1 - tail))
  return float(low), float(high)
