"""From answers and ratings to results.json and answers.jsonl (alpaca)."""

import pathlib
from collections.abc import Sequence
from typing import Any

from mlit_jax.analysis import scores
from mlit_jax.studies import alpaca, estimates, outcomes
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
  languages = alpaca.test_languages(config)
  found = Outcomes(place, config, systems, languages)
  ratings = {
      name: _ratings(found, name, languages) for name in found.systems
  }
  budgets = _budgets(found, ratings, config)
  results = found.head(alpaca.NAME, preset) | {
      "test_languages": {
          "seen": list(config.test_languages),
          "unseen": list(alpaca.unseen(config)),
      },
      "sizes": {
          base: found.training(base)["parameters"]
          for base in alpaca.bases(config)
      },
      "families": {
          base: found.training(base)["family"]
          for base in alpaca.bases(config)
      },
      "variants": {
          x.label: {"base": x.base, "method": x.method}
          for x in alpaca.variants(config)
      },
      "left_out": alpaca.left_out(config),
      "num_questions": len(found.prompts) // len(languages),
      "exact_match": found.rates("exact"),
      "language_consistency": found.rates("consistent"),
      "ratings": ratings,
      "budgets": budgets,
      "growth": _growth(found, budgets, config),
  }
  if alpaca.ROBUSTNESS in config.experiments:
    results["robustness"] = _robustness(found, config)
    results["change"] = _change(found, budgets, config)
  outcomes.write(workdir, results, found.rows(), found.every_judgment())


def _ratings(found: Outcomes, name: str, languages) -> dict[str, Any]:
  """Language -> score, sum, interval and the same without the gate.

  A sum is the mean times the questions: one whose judgment failed is not
  worth 0, which would set systems back for what their judge did.
  """
  keys = (
      "score", "ci", "sum", "n", "ungated", "language_robustness",
      "parse_failure_rate", "failed", "gate_rate",
  )
  rows = {}
  for lang in languages:
    summary = scores.summarise(found.judgments[name][lang])[lang]
    plain, asked = summary["ungated"], summary["n"] + summary["failed"]
    for row in (summary, plain):
      row["sum"] = _over(asked, row["sum"], summary["n"])
    summary["language_robustness"] = _over(
        asked, summary["language_robustness"], summary["n"]
    )
    rows[lang] = {key: summary[key] for key in keys}
  return rows


def _over(asked: int, total: float, number: int) -> float | None:
  """What a sum over some of the questions would be over all."""
  if not number:
    return None
  return round(total * asked / number, estimates.DECIMALS)


def _budgets(found: Outcomes, ratings, config) -> dict[str, Any]:
  """Variant -> language -> budget -> system and its sum (Figures 1, 2, 3).

  `monolingual` is the language's own model, where there is one; `main` the
  main language's, used for everybody.
  """
  table = {}
  for variant in alpaca.variants(config):
    name_of = variant.system
    table[variant.label] = {}
    for lang in alpaca.test_languages(config):
      row = {
          "base": variant.base, "main": name_of(f"mono-{config.main_language}")
      }
      if lang in config.languages:
        row["monolingual"] = name_of(f"mono-{lang}")
      row |= {budget: name_of(budget) for budget in config.budgets}
      table[variant.label][lang] = {
          budget: {"system": name, **_short(ratings[name][lang])}
          for budget, name in row.items()
      }
  return table


def _growth(found: Outcomes, budgets, config) -> dict[str, Any]:
  """Seen or unseen -> variant -> budget -> mean rating in those languages."""
  table: dict[str, Any] = {}
  groups = {"seen": config.test_languages, "unseen": alpaca.unseen(config)}
  for group, codes in groups.items():
    table[group] = {}
    for label, by_language in budgets.items() if codes else ():
      rows = [by_language[lang] for lang in codes]
      table[group][label] = {
          budget: scores.pooled(
              j for lang, row in zip(codes, rows, strict=True)
              for j in found.judgments[row[budget]["system"]][lang]
          )
          for budget in rows[0]
      }
  return table


def _robustness(found: Outcomes, config) -> dict[str, Any]:
  """System -> what the gate costs it over the seen languages (Figure 4)."""
  return {
      name: scores.language_cost(
          j for lang in config.test_languages
          for j in found.judgments[name][lang]
      )
      for name in found.systems
  }


def _change(found: Outcomes, budgets, config) -> dict[str, Any]:
  """Variant -> budget -> what the gate costs over the seen languages.

  Each language answered by the budget's model for it (Figure 4).
  """
  table: dict[str, Any] = {}
  for label, by_language in budgets.items():
    rows = {lang: by_language[lang] for lang in config.test_languages}
    table[label] = {
        budget: scores.language_cost(
            j for lang, row in rows.items()
            for j in found.judgments[row[budget]["system"]][lang]
        )
        for budget in next(iter(rows.values()))
    }
  return table


def _short(row) -> dict[str, Any]:
  return {key: row[key] for key in ("sum", "score", "ci", "n", "failed")}
