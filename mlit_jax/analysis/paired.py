"""Differences between systems on the same questions, many at a time."""

import functools
import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from mlit_jax.analysis import statistics

_DRAWS, _DECIMALS = 9999, 6
_MOST_EXACT = 12  # clusters, for which every change of signs is looked at


def difference(
    differences: Sequence[float],
    clusters: Sequence[Hashable],
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
  """The mean of paired differences, its interval, and whether it is chance.

  Args:
    differences: a's value less b's on the same question.
    clusters: of each, e.g. the parallel id: what one id's questions in several
      languages say is not independent.
    level: of the interval.
    seed: of the test.

  Returns:
    difference: the mean.
    ci: Student's interval of the mean with the cluster-robust variance (Liang
      and Zeger, 1986, times G / (G - 1)) and G - 1 degrees of freedom, G being
      the number of clusters. None if all differences are the same: then they
      say nothing of how they vary.
    p: of a test that exchanges the two systems in whole clusters (signs of the
      clusters' sums; two-sided). Every exchange is looked at for up to 12
      clusters, else 9,999 drawn ones, so that p is 0.0001 at least.
    n, clusters: their numbers.

  Raises:
    ValueError: there are none, or lengths that differ.
  """
  x, place, number = _placed(differences, clusters)
  n = x.size
  mean = math.fsum(x) / n
  ci = [None, None]
  if number > 1 and x.min() != x.max():
    residual = np.bincount(place, weights=x - mean, minlength=number)
    error = math.sqrt(math.fsum(residual**2) * number / (number - 1)) / n
    half = statistics.t_quantile((1 + level) / 2, number - 1) * error
    ci = [round(mean - half, _DECIMALS), round(mean + half, _DECIMALS)]
  sums = np.bincount(place, weights=x, minlength=number)
  return {
      "difference": round(mean, _DECIMALS), "ci": ci,
      "p": round(_exchange(sums, seed), _DECIMALS), "n": n,
      "clusters": number,
  }


def exchange_test(
    differences: Sequence[float], clusters: Sequence[Hashable], seed: int = 0
) -> float:
  """The p-value of `difference`, whose arguments these are, alone.

  For one value a cluster it is the exact McNemar test in the limit (Fisher
  1935, section 21).
  """
  x, place, number = _placed(differences, clusters)
  return _exchange(np.bincount(place, weights=x, minlength=number), seed)


def between(
    systems: Mapping[str, Mapping[tuple, float]],
    level: float = 0.95,
    seed: int = 0,
) -> list[dict[str, Any]]:
  """Every two systems' difference on the questions that both have.

  Args:
    systems: name -> question -> value; a question begins with its parallel id.
    level, seed: see difference.

  Returns:
    Rows of {"a", "b"} and difference's numbers; two systems without a common
    question have no row.
  """
  rows = []
  for a, b in itertools.combinations(systems, 2):
    both = [q for q in systems[a] if q in systems[b]]
    if both:
      found = difference(
          [systems[a][q] - systems[b][q] for q in both],
          [q[0] for q in both], level, seed,
      )
      rows.append({"a": a, "b": b, **found})
  return rows


def adjust(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Rows with p_holm and p_bh beside p, all rows being one family.

  p_holm bounds the chance of any wrong finding (Holm, 1979), p_bh the expected
  share of wrong ones among the findings (Benjamini and Hochberg, 1995).
  """
  ps = [row["p"] for row in rows]
  return [
      {**row, "p_holm": a, "p_bh": b}
      for row, a, b in zip(
          rows, holm(ps), benjamini_hochberg(ps), strict=True
      )
  ]


def holm(ps: Sequence[float]) -> list[float]:
  """Holm's adjusted p-values (1979, Scand. J. Statist. 6)."""
  order = np.argsort(ps, kind="stable")
  steps = np.asarray(ps, np.float64)[order] * np.arange(len(ps), 0, -1)
  found = np.empty(len(ps))
  found[order] = np.minimum(1, np.maximum.accumulate(steps))
  return [round(float(p), _DECIMALS) for p in found]


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
  """Benjamini and Hochberg's adjusted p-values (1995, J. R. Stat. Soc. B)."""
  if not len(ps):
    return []
  from scipy import stats  # half a second to import

  found = stats.false_discovery_control(ps, method="bh")
  return [round(float(p), _DECIMALS) for p in found]


def _placed(differences, clusters) -> tuple[np.ndarray, list[int], int]:
  """Differences, the number of each one's cluster, and how many there are."""
  x = np.asarray(differences, np.float64)
  if x.ndim != 1 or not x.size or x.size != len(clusters):
    raise ValueError(
        f"expected a cluster for every difference, not {len(clusters)} for"
        f" {x.size}"
    )
  codes = {c: i for i, c in enumerate(dict.fromkeys(clusters))}
  return x, [codes[c] for c in clusters], len(codes)


def _exchange(sums: np.ndarray, seed: int) -> float:
  """The share of exchanges that give as large a sum, on either side."""
  observed = abs(math.fsum(sums))
  # What is equal but for rounding is as large.
  limit = observed - 1e-9 * max(1.0, float(np.abs(sums).sum()))
  number = len(sums)
  if number <= _MOST_EXACT:
    signs = np.array([*itertools.product((1, -1), repeat=number)])
    return float(np.mean(np.abs(signs @ sums) >= limit))
  together = max(1, 4_000_000 // number)  # 32 MB
  as_large = sum(
      int((np.abs(_signs(first, together, number, seed) @ sums) >= limit).sum())
      for first in range(0, _DRAWS, together)
  )
  return (as_large + 1) / (_DRAWS + 1)


@functools.lru_cache(maxsize=1)
def _signs(first: int, together: int, number: int, seed: int) -> np.ndarray:
  """The exchanges drawn from `first` on; kept, as many tests want the same."""
  rng = np.random.default_rng((seed, first))
  size = min(together, _DRAWS - first), number
  return 2.0 * rng.integers(0, 2, size, np.int8) - 1
