"""From answers and scores to results.json and answers.jsonl (polyglot)."""

import pathlib
from collections.abc import Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.analysis import scores
from mlit_jax.studies import comparisons, estimates, outcomes, polyglot
from mlit_jax.studies.outcomes import ANSWERS, RESULTS, Outcomes
from mlit_jax.studies.study import Place
from mlit_jax.studies.systems import System

__all__ = ["ANSWERS", "RESULTS", "write"]


def write(
    place: Place,
    config,
    preset: str,
    systems: Sequence[System],
    workdir: pathlib.Path,
) -> None:
  """Writes results.json and answers.jsonl into the working directory."""
  found = Outcomes(place, config, systems)
  table = {name: _scores(found, name) for name in found.systems}
  results = found.head(polyglot.NAME, preset) | {
      "exact_match": found.rates("exact"),
      "language_consistency": found.rates("consistent"),
      "scores": table,
      "gains": _gains(table, config),
      "contests": _contests(place, config),
  }
  outcomes.write(workdir, results, found.rows())


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
  for size in polyglot.SIZES:
    for which in (polyglot.EVERY, polyglot.WITHOUT):
      for design in config.designs:
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
              "cross": _percent(score, sum(others) / len(others)),
          }
        rows.append({"system": name, "languages": languages})
  return rows


def _percent(score: float, against: float) -> float:
  return round(100 * (score / against - 1), estimates.DECIMALS)


def _contests(place: Place, config) -> list[dict[str, Any]]:
  """The parallel models against the monolingual ones, language by language."""
  rows = []
  for a, b in polyglot.contests(config):
    path = place.of(polyglot.contest(a, b)) / comparisons.JUDGMENTS
    judged = records.read_records(path, records.Judgment)
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
