"""What people's judgments say, and whether a judge agrees with them."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import agreement, scores, statistics
from mlit_jax.judging import pairs

_DECIMALS = 6
_Values = Mapping[tuple[str, str, tuple[str, int]], float]
_VERDICTS = {"a": 1.0, "tie": 0.5, "b": 0.0}


def values(judgments: Iterable[records.Judgment]) -> _Values:
  """(system, language, (id, turn)) -> worth, averaged over all who judged.

  A rating is worth itself, 0 where a gate found the wrong language. A verdict
  is worth 1 for system a, 0 for b and 0.5 for neither; the system is then
  `A against B`. A judge's two orders are a pair, which is won or lost only if
  they agree. Failures are left out, a pair with one whole.

  Raises:
    RecordError: a judgment of one system has no score.
  """
  return {key: sum(v) / len(v) for key, v in _given(judgments).items()}


def _given(
    judgments: Iterable[records.Judgment],
) -> Mapping[tuple[str, str, tuple[str, int]], Sequence[float]]:
  """As `values`, but what each rater gave."""
  found = collections.defaultdict(list)
  both = collections.defaultdict(dict)
  for j in judgments:
    if j.system_b:
      both[j.judge, j.sample, *_key(j)][j.order] = j
    elif not j.failure:
      if j.score is None:
        raise records.RecordError(
            f"{j.id} {j.lang}: {j.judge} gave {j.system_a} no score"
        )
      rated = j.protocol == "rating"
      found[_key(j)].append(scores.gated(j) if rated else j.score)
  for (*_, system, lang, item), orders in both.items():
    if any(j.failure for j in orders.values()):
      continue
    if len(orders) == 2:
      value = pairs.Pair(orders["ab"], orders["ba"]).value
    else:
      value = _VERDICTS[next(iter(orders.values())).verdict]
    found[system, lang, item].append(value)
  return found


def shares(
    judgments: Sequence[records.Judgment], level: float = 0.95
) -> dict[str, dict[str, dict[float, dict[str, Any]]]]:
  """How often each rating was given (pinch, Figure 2).

  Every rating counts, of two raters of an answer both.

  Args:
    judgments: of one protocol.
    level: of the intervals, which are clustered on the parallel id.

  Returns:
    Language -> system -> worth, ascending -> {"score": percent, "ci", "n": of
    all ratings}. Every whole number of the scale is there, also one that
    nobody gave, and what else was given; of two systems 0, 0.5 and 1.

  Raises:
    RecordError: a judgment of one system has no score.
  """
  grouped = collections.defaultdict(list)
  for (system, lang, (id_, _)), given in _given(judgments).items():
    grouped[lang, system] += [(id_, value) for value in given]
  if not grouped:
    return {}
  scale = {value for rows in grouped.values() for _, value in rows}
  if judgments[0].system_b:
    scale.update(_VERDICTS.values())
  else:
    low, high = scores.bounds(judgments[0].protocol)
    scale.update(float(x) for x in range(int(low), int(high) + 1))
  found: dict[str, Any] = collections.defaultdict(dict)
  for (lang, system), rows in grouped.items():
    found[lang][system] = {
        value: _share([x == value for _, x in rows], [x for x, _ in rows],
                      level)
        for value in sorted(scale)
    }
  return dict(found)


def _share(
    hits: Sequence[bool], ids: Sequence[str], level: float
) -> dict[str, Any]:
  ends = statistics.mean_interval([float(x) for x in hits], ids, level)
  return {
      "score": round(100 * sum(hits) / len(hits), _DECIMALS),
      "ci": [round(100 * end, _DECIMALS) for end in ends],
      "n": len(hits),
  }


def ratings(
    human: Iterable[records.Judgment], judge: Iterable[records.Judgment]
) -> tuple[list[agreement.Rating], int]:
  """What both gave, for agreement.summarise; and what people alone did."""
  theirs, its = values(human), values(judge)
  both = [
      agreement.Rating(
          system, lang, value, its[system, lang, (id_, turn)],
          id_ if turn == 1 else f"{id_} turn {turn}",
      )
      for (system, lang, (id_, turn)), value in theirs.items()
      if (system, lang, (id_, turn)) in its
  ]
  return both, len(theirs) - len(both)


def summarise(
    human: Sequence[records.Judgment], level: float = 0.95
) -> dict[str, Any]:
  """Language -> system -> {"score", "ci", "n"}, and how raters agree.

  Args:
    human: of one protocol.
    level: of the intervals, which are clustered on the parallel id.

  Returns:
    Language -> {"systems": ..., "first_position_rate": share of the verdicts
    (no ties) for the answer shown first, "raters": Krippendorff's alpha of two
    raters and more, else None}. Scores are in the protocol's units.
  """
  found: dict[str, Any] = {}
  for lang in sorted({j.lang for j in human}):
    rows = [j for j in human if j.lang == lang]
    systems = collections.defaultdict(dict)
    for (system, _, item), value in values(rows).items():
      systems[system][item] = value
    decided = [j for j in rows if j.verdict in ("a", "b")]
    firsts = sum(j.order[0] == j.verdict for j in decided)
    found[lang] = {
        "systems": {
            name: _mean(items, rows[0].protocol, level)
            for name, items in systems.items()
        },
        "first_position_rate": (
            round(firsts / len(decided), _DECIMALS) if decided else None
        ),
        "raters": _raters(rows),
    }
  return found


def _key(j: records.Judgment) -> tuple[str, str, tuple[str, int]]:
  system = f"{j.system_a} against {j.system_b}" if j.system_b else j.system_a
  return system, j.lang, (j.id, j.turn)


def _mean(
    items: Mapping[tuple[str, int], float], protocol: str, level: float
) -> dict[str, Any]:
  low, high = scores.bounds(protocol)
  shares = [(value - low) / (high - low) for value in items.values()]
  ids = [id_ for id_, _ in items]
  ends = statistics.mean_interval(shares, ids, level)
  return {
      "score": round(sum(items.values()) / len(items), _DECIMALS),
      "ci": [round(low + end * (high - low), _DECIMALS) for end in ends],
      "n": len(items),
  }


def _raters(rows: Sequence[records.Judgment]) -> float | None:
  """Krippendorff's alpha, which bears with items that not all have rated."""
  table = [values(j for j in rows if j.judge == judge)
           for judge in sorted({j.judge for j in rows})]
  keys = sorted({key for row in table for key in row})
  return agreement.alpha(
      [[row.get(key, float("nan")) for key in keys] for row in table]
  )
