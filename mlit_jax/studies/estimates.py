"""Scores and rates with their intervals, as results.json holds them."""

import collections
from collections.abc import Iterable, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import paired, statistics
from mlit_jax.judging import pairs as pairs_lib

DECIMALS = 6
BY_DEFINITION = {"score": 50.0, "ci": [50.0, 50.0], "n": 0}


def mean(ids: Sequence[str], values: Sequence[float]) -> dict[str, Any]:
  """Mean in percent of values in [0, 1], its interval clustered on the ids."""
  if not values:
    return {"score": None, "ci": [None, None], "n": 0}
  low, high = statistics.mean_interval(values, ids)
  return {
      "score": round(100 * sum(values) / len(values), DECIMALS),
      "ci": [round(100 * low, DECIMALS), round(100 * high, DECIMALS)],
      "n": len(values),
  }


def rate(rows: Iterable[tuple[str, float]]) -> dict[str, Any]:
  """Mean in percent of (id, value), under the name `value`."""
  rows = list(rows)
  found = mean([id_ for id_, _ in rows], [float(v) for _, v in rows])
  return {"value": found["score"], "n": found["n"], "ci": found["ci"]}


def difference(
    ids: Sequence[str], ours: Sequence[float], theirs: Sequence[float]
) -> dict[str, Any]:
  """Mean difference in points of paired values in [0, 1], clustered on ids."""
  if not ids:
    return {"score": None, "ci": [None, None], "p": None, "n": 0}
  found = paired.difference(
      [100 * (a - b) for a, b in zip(ours, theirs, strict=True)], ids
  )
  return {
      "score": found["difference"], "ci": found["ci"], "p": found["p"],
      "n": found["n"],
  }


def correlation(found: statistics.Correlation | None) -> dict[str, Any]:
  """A correlation; r is None where one side does not vary."""
  if found is None:
    return {"r": None, "ci": [None, None], "n": 0}
  return {
      "r": round(found.r, DECIMALS),
      "ci": [round(found.low, DECIMALS), round(found.high, DECIMALS)],
      "n": found.n,
  }


def pooled(judgments: Iterable[records.Judgment]) -> dict[str, Any]:
  """A side-by-side score over several opponents, one per language."""
  return mean(*pair_values(judgments))


def pair_values(
    judgments: Iterable[records.Judgment],
) -> tuple[list[str], list[float]]:
  """Ids and values of the pairs that were judged in both orders."""
  groups = collections.defaultdict(list)
  for j in judgments:
    groups[j.lang].append(j)
  ids, values = [], []
  for group in groups.values():
    for pair in pairs_lib.pair_up(group):
      if not pair.failed:
        ids.append(pair.ab.id)
        values.append(pair.value)
  return ids, values
