"""Intervals of means, and correlations."""

import dataclasses
import math
import statistics
from collections.abc import Hashable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Correlation:
  """A Pearson correlation with its interval, over n pairs."""

  r: float
  low: float
  high: float
  n: int


def mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable], level: float = 0.95
) -> tuple[float, float]:
  """Confidence interval of a mean of values in [0, 1] that come in clusters.

  The adjusted Wald interval of Bonett and Price (2012, J. Educ. Behav. Stat.
  37(4), for the difference of two proportions of paired data, which is what a
  side-by-side score is: won, tied or lost): one observation of 0 and one of 1
  join the data, so that neither 60 wins of 60 nor 60 ties give an interval of
  no width. Values of a cluster may depend on each other, so the data count as
  n / deff observations, where the design effect deff (Kish, 1965) is the
  cluster-robust variance of the mean (Liang and Zeger, 1986, times
  G / (G - 1)) over that of independent values. It is never taken below 1; when
  all values are equal it cannot be estimated, and each cluster counts once.
  The quantile is Student's with G - 1 degrees of freedom, for few clusters.

  For one value per cluster this is Bonett and Price's interval but for the
  quantile. It is centred on the mean drawn a little towards 0.5, and that of
  1 - values is its mirror image.

  Args:
    values: n values in [0, 1].
    clusters: the cluster of each value, e.g. its parallel id; G different ones.
    level: the confidence level, between 0 and 1.

  Returns:
    (low, high), within [0, 1]; (0, 1) for a single cluster, which says nothing
    about how clusters vary.

  Raises:
    ValueError: no values, values outside [0, 1], or lengths that differ.
  """
  x = np.asarray(values, dtype=np.float64)
  if x.ndim != 1 or x.size == 0 or x.size != len(clusters):
    raise ValueError(
        f"expected as many clusters as values, at least one; got {x.shape}"
        f" values and {len(clusters)} clusters"
    )
  if not np.all((x >= 0) & (x <= 1)):
    raise ValueError("values must lie between 0 and 1")
  _check_level(level)
  codes = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
  num_clusters, n = len(codes), x.size
  if num_clusters == 1:
    return 0.0, 1.0
  # Centred values are negated exactly when the systems change places.
  x = x - 0.5
  mean = math.fsum(x) / n
  residuals = x - mean
  square_sum = math.fsum(residuals**2)
  if x.min() == x.max():
    effective = num_clusters
  else:
    sums = np.bincount([codes[c] for c in clusters], weights=residuals)
    robust = math.fsum(sums**2) * num_clusters / (num_clusters - 1) / n**2
    independent = square_sum / (n - 1) / n
    effective = n / max(1.0, robust / independent)
  # The two observations lie at -0.5 and 0.5: sum 0, sum of squares 0.5.
  total = effective + 2
  centre = effective * mean / total
  second = (effective * (square_sum / n + mean**2) + 0.5) / total
  half = t_quantile((1 + level) / 2, num_clusters - 1) * math.sqrt(
      (second - centre**2) / total
  )
  return max(0.0, 0.5 + (centre - half)), min(1.0, 0.5 + (centre + half))


def pearson(
    x: Sequence[float], y: Sequence[float], level: float = 0.95
) -> Correlation:
  """Pearson's correlation with Fisher's z interval (Fisher, 1921).

  Returns:
    r, and tanh(atanh(r) ± z / sqrt(n - 3)); with n = 3 or fewer pairs nothing
    is known of the spread and the interval is (-1, 1).

  Raises:
    ValueError: fewer than two pairs, lengths that differ, values that are not
      finite, or a side without variance.
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  n = x.size
  if x.ndim != 1 or x.shape != y.shape or n < 2:
    raise ValueError(f"expected pairs, two or more; got {x.shape}, {y.shape}")
  if not (np.isfinite(x).all() and np.isfinite(y).all()):
    raise ValueError("a correlation needs finite values")
  _check_level(level)
  if x.min() == x.max() or y.min() == y.max():
    raise ValueError("a correlation needs values that vary on both sides")
  x, y = x - x.mean(), y - y.mean()
  r = math.fsum(x * y) / math.sqrt(math.fsum(x * x) * math.fsum(y * y))
  r = min(1.0, max(-1.0, r))
  if n <= 3:
    return Correlation(r, -1.0, 1.0, n)
  if abs(r) == 1:
    return Correlation(r, r, r, n)
  z = statistics.NormalDist().inv_cdf((1 + level) / 2)
  half = z / math.sqrt(n - 3)
  return Correlation(
      r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), n
  )


def fitted_line(
    x: Sequence[float],
    y: Sequence[float],
    at: Sequence[float],
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
  """The least-squares line at some places, and its confidence band.

  Of each place the interval of the line's height there (Draper and Smith 1998,
  section 3.1): value ± t · s · sqrt(1/n + (at - mean)² / sum (x - mean)²) with
  n - 2 degrees of freedom.

  Returns:
    Values, lower and upper ends; the ends are infinite for two pairs, of which
    nothing is known. None where x does not vary, or there is no second pair.
  """
  x, y, at = (np.asarray(v, np.float64) for v in (x, y, at))
  _check_level(level)
  if x.size < 2 or x.min() == x.max():
    return None
  slope, offset = np.polyfit(x, y, 1)
  values = slope * at + offset
  degrees = x.size - 2
  if not degrees:
    endless = np.full(at.shape, math.inf)
    return values, -endless, endless
  spread = math.fsum((x - x.mean()) ** 2)
  error = math.sqrt(math.fsum((y - slope * x - offset) ** 2) / degrees)
  half = t_quantile((1 + level) / 2, degrees) * error * np.sqrt(
      1 / x.size + (at - x.mean()) ** 2 / spread
  )
  return values, values - half, values + half


def _check_level(level: float) -> None:
  if not 0 < level < 1:
    raise ValueError(f"the level must lie between 0 and 1, not {level}")


def t_quantile(probability: float, degrees: int) -> float:
  """Student's t, cut at a probability."""
  # SciPy takes longer to import than everything else that judging needs.
  from scipy import special

  return float(special.stdtrit(degrees, probability))
