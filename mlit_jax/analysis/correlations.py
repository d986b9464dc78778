"""Correlations of measures with an outcome, and what one point does to them."""

import dataclasses
import math
import statistics as normal
from collections.abc import Mapping, Sequence

import numpy as np

from mlit_jax.analysis import statistics
from mlit_jax.analysis.statistics import Correlation


@dataclasses.dataclass(frozen=True)
class Row:
  """A measure's correlation with an outcome.

  None where a side is constant or fewer than three points are there.

  Attributes:
    measure: its name.
    everything: over all points.
    without: with one point left out, where one was named.
  """

  measure: str
  everything: Correlation | None
  without: Correlation | None = None


def spearman(
    x: Sequence[float], y: Sequence[float], level: float = 0.95
) -> Correlation:
  """Spearman's rank correlation with the interval of Bonett and Wright (2000).

  Equal values share the mean of their ranks. The interval is tanh(atanh(r) ± z
  sqrt((1 + r²/2) / (n - 3))); with n = 3 or fewer pairs it is (-1, 1).

  Raises:
    ValueError: as statistics.pearson.
  """
  from scipy import stats

  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  statistics.pearson(x, y, level)  # refuses what ranks would hide
  found = statistics.pearson(stats.rankdata(x), stats.rankdata(y), level)
  if found.n <= 3 or abs(found.r) == 1:
    return found
  z = normal.NormalDist().inv_cdf((1 + level) / 2)
  half = z * math.sqrt((1 + found.r**2 / 2) / (found.n - 3))
  centre = math.atanh(found.r)
  return Correlation(
      found.r, math.tanh(centre - half), math.tanh(centre + half), found.n
  )


def without_each(
    x: Sequence[float],
    y: Sequence[float],
    labels: Sequence[str],
    level: float = 0.95,
) -> dict[str, Correlation | None]:
  """Pearson's correlation with every point left out in turn, by its label.

  Raises:
    ValueError: labels that are not one for each point, or that stand twice.
  """
  _check_labels(labels, x)
  found = {}
  for i, label in enumerate(labels):
    kept = [k for k in range(len(labels)) if k != i]
    found[label] = _pearson([x[k] for k in kept], [y[k] for k in kept], level)
  return found


def table(
    measures: Mapping[str, Sequence[float]],
    outcome: Sequence[float],
    labels: Sequence[str],
    outlier: str = "",
    level: float = 0.95,
) -> list[Row]:
  """Pearson's correlation of each measure with the outcome.

  As in Tables 1 to 3 of Ji and Chen (2024): over all points, and without one
  (there the checkpoint with which Korean was added).

  Args:
    measures: name -> a value for each point.
    outcome: of each point.
    labels: what points are called.
    outlier: the label of the point to leave out, or "".
    level: of the intervals.

  Raises:
    ValueError: lengths that differ, or an outlier that is no label.
  """
  _check_labels(labels, outcome)
  if outlier and outlier not in labels:
    raise ValueError(f"no point is called {outlier!r}")
  rows = []
  for name, values in measures.items():
    if len(values) != len(labels):
      raise ValueError(
          f"{name} has {len(values)} values for {len(labels)} points"
      )
    without = None
    if outlier:
      without = without_each(values, outcome, labels, level)[outlier]
    rows.append(Row(name, _pearson(values, outcome, level), without))
  return rows


def _pearson(x, y, level) -> Correlation | None:
  """None where a side does not vary; two points always lie on a line."""
  if len(x) < 3 or min(x) == max(x) or min(y) == max(y):
    return None
  return statistics.pearson(x, y, level)


def _check_labels(labels, values) -> None:
  if len(labels) != len(values):
    raise ValueError(f"{len(labels)} labels for {len(values)} points")
  if len(set(labels)) < len(labels):
    raise ValueError("a label stands twice")
