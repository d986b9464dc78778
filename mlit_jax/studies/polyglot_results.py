"""From answers and scores to results.json and answers.jsonl (polyglot)."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.analysis import resampling, scores
from mlit_jax.studies import comparisons, estimates, outcomes, polyglot
from mlit_jax.studies.outcomes import ANSWERS, JUDGMENTS, RESULTS, Outcomes
from mlit_jax.studies.study import Place
from mlit_jax.studies.systems import System

__all__ = ["ANSWERS", "JUDGMENTS", "RESULTS", "write"]


def write(
    place: Place,
    config,
    preset: str,
    systems: Sequence[System],
    workdir: pathlib.Path,
) -> None:
  """Writes results.json, answers.jsonl and judgments.jsonl."""
  found = Outcomes(place, config, systems)
  table = {name: _scores(found, name) for name in found.systems}
  contests = {
      (a, b): records.read_records(
          place.of(polyglot.contest(a, b)) / comparisons.JUDGMENTS,
          records.Judgment,
      )
      for a, b in polyglot.contests(config)
  }
  results = found.head(polyglot.NAME, preset) | {
      "exact_match": found.rates("exact"),
      "language_consistency": found.rates("consistent"),
      "scores": table,
      "gains": _gains(found, config),
      "contests": _contests(contests),
      "left_out": polyglot.left_out(config),
  }
  judgments = itertools.chain(found.every_judgment(), *contests.values())
  outcomes.write(workdir, results, found.rows(), judgments)


def _scores(found: Outcomes, name: str) -> dict[str, Any]:
  """Language -> MT-Bench-X score, 1 to 10, of both turns and of each."""
  keys = ("score", "ci", "n", "turns", "parse_failure_rate", "failed",
          "gate_rate")
  rows = {}
  for lang in found.languages:
    summary = scores.summarise(found.judgments[name][lang])[lang]
    rows[lang] = {key: summary[key] for key in keys if key in summary}
  return rows


def _gains(found: Outcomes, config) -> list[dict[str, Any]]:
  """What a mixture gains, in percent, over monolingual models.

  `own`: over the language's own; `cross`: over the mean of the others', the
  paper's cross-lingual comparison. Intervals are a bootstrap's over the
  conversations.
  """
  rows = []
  for size in polyglot.sizes(config):
    for which in polyglot.sets(config):
      for design in polyglot.designs(config):
        name = polyglot.mixture(size, which, design)
        languages = {}
        for lang in config.languages:
          ours = _scored(found, name, lang)
          alone = {
              x: _scored(found, polyglot.mono(size, x), lang)
              for x in config.languages
          }
          languages[lang] = {
              "own": gain(ours, [alone.pop(lang)]),
              "cross": gain(ours, list(alone.values())),
          }
        rows.append({"system": name, "languages": languages})
  return rows


_Scores = tuple[Sequence[float], Sequence[str]]


def _scored(found: Outcomes, name: str, lang: str) -> _Scores:
  """Scores of a system in a language, and the conversation of each."""
  judged = [j for j in found.judgments[name][lang] if not j.failure]
  return [j.score for j in judged], [j.id for j in judged]


def gain(ours: _Scores, theirs: Sequence[_Scores]) -> dict[str, Any]:
  """By how many percent a mean is above the mean of others' means.

  n is the number of our scores; no value where the judge gave some system no
  score at all.
  """
  if not all(values for values, _ in (ours, *theirs)):
    return {"value": None, "ci": [None, None], "n": 0}
  means = [sum(values) / len(values) for values, _ in (ours, *theirs)]
  value = means[0] / (sum(means[1:]) / len(theirs))
  ends = resampling.ratio_interval(ours, theirs)
  return {
      "value": _percent(value), "ci": [_percent(end) for end in ends],
      "n": len(ours[0]),
  }


def _percent(ratio: float) -> float:
  return round(100 * (ratio - 1), estimates.DECIMALS)


def _contests(
    contests: Mapping[tuple[str, str], Sequence[records.Judgment]],
) -> list[dict[str, Any]]:
  """The parallel models against the monolingual ones, language by language."""
  rows = []
  for (a, b), judged in contests.items():
    rows.append({
        "a": a, "b": b,
        "turns": {
            str(turn): judgments_lib.summarise(
                [j for j in judged if j.turn == turn]
            )
            for turn in sorted({j.turn for j in judged})
        },
    })
  return rows
