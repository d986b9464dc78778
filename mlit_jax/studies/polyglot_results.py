"""From answers and scores to results.json and answers.jsonl (polyglot)."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.analysis import scores
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
      "gains": _gains(table, config),
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


def _gains(table, config) -> list[dict[str, Any]]:
  """What a mixture gains, in percent, over monolingual models.

  `own`: over the language's own; `cross`: over the mean of the others', the
  paper's cross-lingual comparison.
  """
  rows = []
  for size in polyglot.sizes(config):
    for which in polyglot.sets(config):
      for design in polyglot.designs(config):
        name = polyglot.mixture(size, which, design)
        languages = {}
        for lang in config.languages:
          score = table[name][lang]["score"]
          own = table[polyglot.mono(size, lang)][lang]["score"]
          others = [
              table[polyglot.mono(size, x)][lang]["score"]
              for x in config.languages if x != lang
          ]
          languages[lang] = {
              "own": _percent(score, own),
              "cross": _percent(score, _mean(others)),
          }
        rows.append({"system": name, "languages": languages})
  return rows


def _mean(scores: Sequence[float | None]) -> float | None:
  """None where one of them is: a judge that gave no verdict at all."""
  return None if None in scores else sum(scores) / len(scores)


def _percent(score: float | None, against: float | None) -> float | None:
  if score is None or against is None:
    return None
  return round(100 * (score / against - 1), estimates.DECIMALS)


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
