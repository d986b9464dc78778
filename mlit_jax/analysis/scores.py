"""What the scores of one system amount to, per language and overall."""

import collections
from collections.abc import Iterable, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.analysis import statistics
from mlit_jax.judging import protocols

_DECIMALS = 6


def summarise(
    judgments: Iterable[records.Judgment], level: float = 0.95
) -> dict[str, dict[str, Any]]:
  """Summarises the scores that one system's answers were given.

  A failed judgment counts in `failed` and nowhere else but in the rates that
  say so. In the protocol `rating` an answer that was found to be in another
  language than the instruction's is worth 0 (Chen et al., 2024, section 3);
  one where the gate abstained keeps its rating.

  Args:
    judgments: of one system, protocol and judge.
    level: the confidence level of `ci`.

  Returns:
    Language -> summary, in alphabetical order, and "overall":
      score, ci: the mean, in the protocol's own units (a share of YES for
        correctness), and its interval, clustered on the parallel id.
      sum: of the scores (Chen et al. report sums over 50 prompts).
      n: number of scores.
      ungated: {"score", "sum"} without the gate, of ratings.
      language_robustness: the sum without the gate less that with it, of
        ratings.
      turns: turn -> mean, where there are several.
      parse_failure_rate, failed, failures, transport_reasons, gate_rate: as
        for comparisons.
      win, tie, loss, flip_rate, first_position_rate: None, as there is no
        other system.

  Raises:
    ValueError: no judgments, or they are not those of one system.
  """
  judgments = list(judgments)
  about = {(j.protocol, j.judge, j.system_a) for j in judgments}
  if len(about) != 1:
    raise ValueError(
        "expected the judgments of one protocol, judge and system, not of"
        f" {sorted(about)}"
    )
  if judgments[0].system_b:
    raise ValueError(f"{judgments[0].protocol} compares two systems")
  groups = collections.defaultdict(list)
  for j in judgments:
    groups[j.lang].append(j)
  summary = {lang: _summary(groups[lang], level) for lang in sorted(groups)}
  return summary | {judgments_lib.OVERALL: _summary(judgments, level)}


def pooled(
    judgments: Iterable[records.Judgment], level: float = 0.95
) -> dict[str, Any]:
  """Mean score over answers of any systems and languages.

  Args:
    judgments: of one protocol; of any systems, each asked elsewhere.
    level: the confidence level of `ci`.

  Returns:
    score, ci and n, as `summarise` has them.
  """
  judged = [j for j in judgments if not j.failure]
  if not judged:
    return {"score": None, "ci": [None, None], "n": 0}
  (protocol,) = {j.protocol for j in judged}
  values = [gated(j) if protocol == "rating" else j.score for j in judged]
  ends = _interval(judged, values, *bounds(protocol), level)
  return {"score": _mean(values), "ci": ends, "n": len(values)}


def language_cost(
    judgments: Iterable[records.Judgment], level: float = 0.95
) -> dict[str, Any]:
  """What answers in another language cost a system (Chen et al., 2024).

  Their language robustness: a language's sum of ratings without the gate less
  that with it, averaged over the languages.

  Args:
    judgments: ratings of one system, or of one in each language.
    level: the confidence level of `ci`.

  Returns:
    value: the points lost, on average a language; answers whose judgment
      failed are taken to lose as much as the others.
    ci: of that, from what each answer loses, clustered on the parallel id.
    n: number of ratings.

  Raises:
    ValueError: judgments of another protocol.
  """
  judgments = list(judgments)
  judged = [j for j in judgments if not j.failure]
  if any(j.protocol != "rating" for j in judged):
    raise ValueError("only ratings have a language gate to take away")
  if not judged:
    return {"value": None, "ci": [None, None], "n": 0}
  lost = [j.score - gated(j) for j in judged]
  languages = len({j.lang for j in judgments})
  ends = _interval(judged, lost, *bounds("rating"), level)
  scale = len(judgments) / languages
  return {
      "value": round(scale * sum(lost) / len(lost), _DECIMALS),
      "ci": [round(scale * end, _DECIMALS) for end in ends],
      "n": len(lost),
  }


def _summary(
    judgments: Sequence[records.Judgment], level: float
) -> dict[str, Any]:
  judged = [j for j in judgments if not j.failure]
  protocol = protocols.PROTOCOLS[judgments[0].protocol]
  rated = protocol.name == "rating"
  values = [gated(j) if rated else j.score for j in judged]
  low, high = bounds(protocol.name)
  failures = collections.Counter(j.failure for j in judgments if j.failure)
  unparsed = sum(failures[k] for k in judgments_lib.PARSE_FAILURES)
  found = [j.gate["a"] == j.lang for j in judgments if "a" in j.gate]
  summary = {
      "score": _mean(values),
      "ci": _interval(judged, values, low, high, level),
      "sum": round(sum(values), _DECIMALS),
      "n": len(values),
      "win": None, "tie": None, "loss": None,
      "flip_rate": None, "first_position_rate": None,
      "parse_failure_rate": round(unparsed / len(judgments), _DECIMALS),
      "gate_rate": {"a": _mean(found)},
      "failed": len(judgments) - len(judged),
      "failures": dict(sorted(failures.items())),
  }
  summary |= judgments_lib.transport_reasons(judgments)
  if rated:
    plain = [j.score for j in judged]
    summary["ungated"] = {
        "score": _mean(plain), "sum": round(sum(plain), _DECIMALS)
    }
    summary["language_robustness"] = round(sum(plain) - sum(values), _DECIMALS)
  turns = sorted({j.turn for j in judgments})
  if len(turns) > 1:
    summary["turns"] = {
        str(turn): _mean([
            value for j, value in zip(judged, values, strict=True)
            if j.turn == turn
        ])
        for turn in turns
    }
  return summary


def bounds(protocol: str) -> tuple[float, float]:
  """The least and the most that an answer can be worth; a verdict has 0 to 1.

  A rating is 0 where the language is wrong.
  """
  found = protocols.for_people(protocols.PROTOCOLS[protocol])
  return (0, 1) if found.paired else (found.form.low, found.form.high)


def gated(j: records.Judgment) -> float:
  """A rating, or 0 where the answer was found to be in another language."""
  return j.score if j.gate.get("a", "") in ("", j.lang) else 0.0


def _mean(values: Sequence[float]) -> float | None:
  return round(sum(values) / len(values), _DECIMALS) if values else None


def _interval(judged, values, low, high, level) -> list[float | None]:
  if not values:
    return [None, None]
  shares = [(value - low) / (high - low) for value in values]
  ends = statistics.mean_interval(shares, [j.id for j in judged], level)
  return [round(low + end * (high - low), _DECIMALS) for end in ends]
