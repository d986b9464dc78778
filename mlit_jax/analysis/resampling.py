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
  for _ in range(0, resamples, 500):
    drawn = rng.multinomial(
        len(codes), np.full(len(codes), 1 / len(codes)),
        size=min(500, resamples),
    ).astype(np.float64)
    with np.errstate(invalid="ignore"):
      means.append(np.nanmean((drawn @ sums) / (drawn @ sizes), axis=1))
  tail = (1 - level) / 2
  low, high = np.quantile(np.concatenate(means), (tail, 1 - tail))
  return float(low), float(high)
