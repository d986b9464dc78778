"""Does a judge prefer long answers, and who would win at equal lengths?

Lengths are in characters, so that they do not depend on a tokenizer, and are
compared within a language alone.
"""

import collections
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlit_jax.judging import pairs as pairs_lib

Key = tuple[str, str, int]  # id, language, turn
Lengths = Mapping[Key, Mapping[str, int]]
# Keep the fit finite where lengths decide everything. What lengths and systems
# explain alike is the lengths', so their terms cost less.
_RIDGE, _RIDGE_LENGTHS = 1e-3, 1e-8
_SAMPLES, _STEPS, _DECIMALS = 500, 50, 6


def summarise(
    pairs: Sequence[pairs_lib.Pair], lengths: Lengths, level: float = 0.95
) -> dict[str, Any]:
  """How length and verdict go together, of one language's pairs.

  Args:
    pairs: of one comparison; failed ones are left out.
    lengths: of the answers: (id, language, turn) -> side -> characters.
    level: of the interval.

  Returns:
    longer_rate: share of the decided pairs (no ties, lengths not equal) that
      the longer answer won; 0.5 = no preference. None without any.
    length_controlled: {"score", "ci"}: system a's score in percent at equal
      lengths. As in length-controlled AlpacaEval (Dubois et al. 2024) a
      logistic model has a term for the systems and one for tanh of the
      difference in length, in standard deviations of this language's, and here
      a third for which answer is longer, by however little; the score is the
      model's with the terms of length left out. Exchanging the systems mirrors
      it exactly. The interval is of a bootstrap over the ids. None where one
      system's answers are all the longer: then nobody can tell.
  """
  rows = []
  for pair in pairs:
    if pair.failed:
      continue
    sides = lengths[pair.ab.id, pair.ab.lang, pair.ab.turn]
    rows.append((pair.ab.id, pair.value, sides["a"] - sides["b"]))
  decided = [(v, d) for _, v, d in rows if v != 0.5 and d]
  longer = sum((v == 1) == (d > 0) for v, d in decided)
  found: dict[str, Any] = {
      "longer_rate": (
          round(longer / len(decided), _DECIMALS) if decided else None
      ),
      "length_controlled": {"score": None, "ci": [None, None]},
  }
  if not rows:
    return found
  clusters = collections.defaultdict(list)
  for id_, value, difference in rows:
    clusters[id_].append((value, difference))
  groups, rng = list(clusters.values()), random.Random(0)
  score = at_equal_lengths([r for g in groups for r in g])
  if score is None:
    return found
  drawn = (
      at_equal_lengths([
          row for _ in groups for row in groups[rng.randrange(len(groups))]
      ])
      for _ in range(_SAMPLES)
  )
  spread = sorted(x for x in drawn if x is not None)
  if not spread:
    spread = [0.0, 1.0]
  tail = (1 - level) / 2
  found["length_controlled"] = {
      "score": _percent(score),
      "ci": [
          _percent(float(np.quantile(spread, q))) for q in (tail, 1 - tail)
      ],
  }
  return found


def at_equal_lengths(rows: Sequence[tuple[float, float]]) -> float | None:
  """Probability of system a's winning, of (value, length of a minus b's).

  None if one system's answers are all the longer.
  """
  values = np.array([v for v, _ in rows])
  lengths = np.array([d for _, d in rows], np.float64)
  scale = math.sqrt(float(np.mean(lengths**2))) or 1.0
  if lengths.any() and (lengths.min() >= 0 or lengths.max() <= 0):
    return None
  # Columns: the systems, the lengths. All change sign with the systems.
  x = np.stack(
      [np.ones_like(lengths), np.tanh(lengths / scale), np.sign(lengths)],
      axis=1,
  )
  weights = np.zeros(3)
  penalty = len(rows) * np.diag([_RIDGE, _RIDGE_LENGTHS, _RIDGE_LENGTHS])
  for _ in range(_STEPS):  # Newton's; the penalised likelihood is convex
    chance = 1 / (1 + np.exp(-x @ weights))
    slope = x.T @ (values - chance) - penalty @ weights
    curve = (x * (chance * (1 - chance))[:, None]).T @ x + penalty
    step = np.linalg.solve(curve, slope)
    weights += step
    if np.abs(step).max() < 1e-10:
      break
  return 1 / (1 + math.exp(-weights[0]))


def _percent(share: float) -> float:
  return round(100 * share, _DECIMALS)
