"""What a comparison of two systems amounts to, per language and overall."""

import collections
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import length_control, statistics
from mlit_jax.judging import pairs as pairs_lib

OVERALL = "overall"
_DECIMALS = 6
_MOST_REASONS = 10
_ADDRESS = re.compile(r"(https?://)(?:[^\s/@]*@)?([^\s?#]*)(?:[?#]\S*)?")
# The judge replied, but the reply holds no verdict.
PARSE_FAILURES = frozenset({"unparsable", "out_of_range", "empty"})


def summarise(
    judgments: Iterable[records.Judgment],
    level: float = 0.95,
    lengths: length_control.Lengths | None = None,
) -> dict[str, dict[str, Any]]:
  """Summarises the side-by-side judgments of two systems.

  A pair is an instruction in one language, judged in both orders. A pair of
  which one order failed counts in `failed` and nowhere else but in the rates
  that say so. What would divide by nothing is None.

  Args:
    judgments: of one comparison, both orders of every instruction.
    level: the confidence level of `ci`.
    lengths: of the answers, (id, language, turn) -> side -> characters; with
      them a language's summary has length_control.summarise's numbers, too.

  Returns:
    Language -> summary, in alphabetical order, and "overall" over all pairs
    together (so a language weighs by its pairs):
      score: system a's discounted-tie score in percent: 1 for a win, 0.5 for a
        tie, 0 for a loss, averaged over pairs; 50 = indistinguishable
        (Shaham et al., 2024, section 2, Evaluation).
      n, win, tie, loss: numbers of pairs judged, and of system a's results.
      ci: [low, high] in percent, clustered on the parallel id.
      flip_rate: share of the n pairs whose verdict changes with the order.
      first_position_rate: share of the decided verdicts (no ties) of the n
        pairs that went to the answer shown first; 0.5 = no preference.
      parse_failure_rate: share of all judgments whose reply holds no verdict.
      gate_rate: {"a", "b"}: share of the answers, failed pairs included, found
        to be in the instruction's language; the gate's abstaining, e.g. on an
        empty answer, counts as not.
      failed: number of pairs lost to failures.
      failures: type -> number of judgments.
      transport_reasons: of transport_reasons, where there are any.
      scores: {"a", "b"}: each system's mean score over both orders, of
        protocols that give one to each.

  Raises:
    ValueError: no judgments, or they are not those of one comparison, complete.
  """
  pairs = pairs_lib.pair_up(judgments)
  if not pairs:
    raise ValueError("there are no judgments to summarise")
  groups = collections.defaultdict(list)
  for pair in pairs:
    groups[pair.ab.lang].append(pair)
  summary = {lang: _summary(groups[lang], level) for lang in sorted(groups)}
  if lengths is not None:
    for lang, found in summary.items():
      found |= length_control.summarise(groups[lang], lengths, level)
  return summary | {OVERALL: _summary(pairs, level)}


def _summary(
    pairs: Sequence[pairs_lib.Pair], level: float
) -> dict[str, Any]:
  judged = [pair for pair in pairs if not pair.failed]
  values = [pair.value for pair in judged]
  n, win, loss = len(values), values.count(1.0), values.count(0.0)
  tie = n - win - loss
  ci = [None, None]
  if judged:
    interval = statistics.mean_interval(
        values, [pair.ab.id for pair in judged], level
    )
    ci = [round(100 * end, _DECIMALS) for end in interval]
  # The letter A was chosen: system a in the order ab, system b in ba.
  firsts = sum(
      (pair.ab.verdict == "a") + (pair.ba.verdict == "b") for pair in judged
  )
  decided = sum(
      (pair.ab.verdict != "tie") + (pair.ba.verdict != "tie")
      for pair in judged
  )
  failures = collections.Counter(
      judgment.failure
      for pair in pairs
      for judgment in (pair.ab, pair.ba)
      if judgment.failure
  )
  unparsed = sum(failures[kind] for kind in PARSE_FAILURES)
  summary = {
      "score": _rate(100 * (win + tie / 2), n),
      "n": n,
      "win": win,
      "tie": tie,
      "loss": loss,
      "ci": ci,
      "flip_rate": _rate(sum(pair.flipped for pair in judged), n),
      "first_position_rate": _rate(firsts, decided),
      "parse_failure_rate": _rate(unparsed, 2 * len(pairs)),
      "gate_rate": {side: _gate_rate(pairs, side) for side in ("a", "b")},
      "failed": len(pairs) - n,
      "failures": dict(sorted(failures.items())),
  }
  summary |= transport_reasons(j for pair in pairs for j in (pair.ab, pair.ba))
  scored = [j.scores for pair in judged for j in (pair.ab, pair.ba) if j.scores]
  if scored:
    summary["scores"] = {
        side: _rate(sum(s[side] for s in scored), len(scored)) for side in "ab"
    }
  return summary


def transport_reasons(
    judgments: Iterable[records.Judgment],
) -> dict[str, dict[str, int]]:
  """Why no reply came: {"transport_reasons": {reason: judgments}}, or nothing.

  The commonest come first; of addresses all but the server and the path is
  left out, since keys may stand there.
  """
  reasons = collections.Counter(
      _ADDRESS.sub(r"\1\2", " ".join(j.raw.split())) or "no reason was given"
      for j in judgments if j.failure == "transport"
  ).most_common()
  found = dict(reasons[:_MOST_REASONS])
  if rest := sum(count for _, count in reasons[_MOST_REASONS:]):
    found["others"] = rest
  return {"transport_reasons": found} if found else {}


def _gate_rate(pairs: Sequence[pairs_lib.Pair], side: str) -> float | None:
  found = [
      pair.ab.gate[side] == pair.ab.lang
      for pair in pairs
      if side in pair.ab.gate
  ]
  return _rate(sum(found), len(found))


def _rate(part: float, whole: int) -> float | None:
  return round(part / whole, _DECIMALS) if whole else None
