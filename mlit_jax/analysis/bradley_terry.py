"""Bradley–Terry strengths of many systems, from comparisons two by two."""

import collections
import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from mlit_jax.analysis import statistics

Comparison = tuple[Hashable, str, str, float]
_SAMPLES, _STEPS, _DECIMALS = 500, 100, 6
_ALIKE = 1e-9  # an interval of no more is rounding


class ComparisonsError(ValueError):
  """Comparisons from which no common scale follows."""


def fit(
    comparisons: Iterable[Comparison], level: float = 0.95, seed: int = 0
) -> dict[str, dict[str, Any]]:
  """Strengths on one scale (Bradley and Terry, 1952), with intervals.

  The chance that a beats b is 1 / (1 + exp(strength b - strength a)). A tie is
  half a win for each. One tie joins every two systems that were compared, so
  that one which won everything has a finite strength; as mean_interval does,
  this draws a little towards equality. The interval is Student's with the
  standard error of a bootstrap over the clusters.

  Args:
    comparisons: (cluster, a, b, a's value from 0 to 1), the cluster being e.g.
      the parallel id, whose comparisons in all languages depend on each other.
    level: of the intervals.
    seed: of the bootstrap.

  Returns:
    System -> {"strength", "ci", "n"}, strongest first; the strengths are
    natural logarithms of odds and add up to 0, n is the number of comparisons.

  Raises:
    ComparisonsError: there are none, or two groups of systems were never
      compared with each other.
    ValueError: a value outside [0, 1], or a system compared with itself.
  """
  clusters: Mapping[Hashable, list] = collections.defaultdict(list)
  for cluster, a, b, value in comparisons:
    if a == b or not 0 <= value <= 1:
      raise ValueError(f"no comparison: {a!r}, {b!r}, {value!r}")
    clusters[cluster].append((a, b, value))
  rows = [row for found in clusters.values() for row in found]
  names = sorted({name for a, b, _ in rows for name in (a, b)})
  _check_connected(rows, names)
  place = {name: i for i, name in enumerate(names)}
  size = len(names)
  # Cluster, a, b -> a's wins over b.
  wins = np.zeros((len(clusters), size, size))
  for k, found in enumerate(clusters.values()):
    for a, b, value in found:
      wins[k, place[a], place[b]] += value
      wins[k, place[b], place[a]] += 1 - value
  total = wins.sum(axis=0)
  compared = (total + total.T) > 0
  strengths = _strengths((total + 0.5 * compared)[None])[0]
  rng = np.random.default_rng(seed)
  share = np.full(len(clusters), 1 / len(clusters))
  times = rng.multinomial(len(clusters), share, _SAMPLES)
  drawn = (times @ wins.reshape(len(clusters), -1)).reshape(-1, size, size)
  spread = _strengths(drawn + 0.5 * compared).std(axis=0, ddof=1)
  half = None
  if len(clusters) > 1:
    number = len(clusters)
    half = statistics.t_quantile((1 + level) / 2, number - 1) * spread
    half *= math.sqrt(number / (number - 1))
  counts = collections.Counter(name for a, b, _ in rows for name in (a, b))
  order = sorted(range(size), key=lambda i: (-strengths[i], names[i]))
  return {
      names[i]: {
          "strength": round(float(strengths[i]), _DECIMALS),
          # One cluster, or all alike, say nothing of how clusters vary.
          "ci": [None, None] if half is None or half[i] < _ALIKE else [
              round(float(strengths[i] - half[i]), _DECIMALS),
              round(float(strengths[i] + half[i]), _DECIMALS),
          ],
          "n": counts[names[i]],
      }
      for i in order
  }


def chance(a: float, b: float) -> float:
  """The chance that a system of strength a beats one of strength b."""
  return 1 / (1 + math.exp(b - a))


def _strengths(wins: np.ndarray) -> np.ndarray:
  """Maximum likelihood of (sample, a, b) wins; all systems won and lost."""
  games = wins + wins.swapaxes(1, 2)
  won, size = wins.sum(axis=2), wins.shape[1]
  strengths = np.zeros(wins.shape[:2])
  for _ in range(_STEPS):  # Newton's; the likelihood is concave
    ahead = np.clip(strengths[:, :, None] - strengths[:, None, :], -50, 50)
    expected = 1 / (1 + np.exp(-ahead))
    slope = won - (games * expected).sum(axis=2)
    weight = games * expected * (1 - expected)
    curve = weight.sum(axis=2)[..., None] * np.eye(size) - weight
    # The scale's origin is free: a curve in the direction that changes nothing.
    step = np.linalg.solve(curve + 1 / size, slope[..., None])[..., 0]
    strengths += np.clip(step, -2, 2)
    if np.abs(step).max() < 1e-10:
      break
  return strengths - strengths.mean(axis=1, keepdims=True)


def _check_connected(rows, names) -> None:
  if not names:
    raise ComparisonsError("there are no comparisons")
  near = collections.defaultdict(set)
  for a, b, _ in rows:
    near[a].add(b)
    near[b].add(a)
  reached, new = set(), {names[0]}
  while new:
    reached |= new
    new = {b for a in new for b in near[a]} - reached
  if rest := set(names) - reached:
    raise ComparisonsError(
        f"{', '.join(sorted(rest))} were never compared with"
        f" {', '.join(sorted(reached))}, directly or through others"
    )
