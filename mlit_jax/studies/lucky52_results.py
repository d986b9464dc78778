"""From endings' log-likelihoods to results.json (Lucky 52)."""

import collections
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from mlit_jax.data import counts as counts_lib
from mlit_jax.studies import estimates, lucky52, outcomes, pipeline, steps
from mlit_jax.studies.outcomes import RESULTS, Outcomes
from mlit_jax.studies.study import Place
from mlit_jax.studies.systems import BASE, System

__all__ = ["RESULTS", "write"]
# Who has seen a language (section 3.2).
GROUPS = ("base and tuning", "base only", "tuning only", "neither")


def write(
    place: Place,
    config,
    preset: str,
    systems: Sequence[System],
    workdir: pathlib.Path,
) -> None:
  """Writes results.json into the working directory."""
  found = Outcomes(place, config, systems)
  values = {
      name: _values(place.of(lucky52.scoring(name)) / steps.SCORES)
      for name in found.systems
  }
  groups = exposure(config)
  results = found.head(lucky52.NAME, preset) | {
      "order": {
          "systems": list(found.systems),
          "languages": list(config.tuned_languages),
      },
      "updates": _updates(found, config),
      "exposure": groups,
      "tests": {
          test: _test(values, test, groups, config) for test in config.tests
      },
  }
  outcomes.write(workdir, results, ())


def exposure(config) -> dict[str, list[str]]:
  """Group -> languages, computed from the lists (the paper's differ once)."""
  seen = () if config.base else pipeline.base_languages(config)
  groups: dict[str, list[str]] = {name: [] for name in GROUPS}
  for lang in config.languages:
    in_base, in_tuning = lang in seen, lang in config.tuned_languages
    index = {(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}[in_base, in_tuning]
    groups[GROUPS[index]].append(lang)
  return groups


def _values(path: pathlib.Path) -> dict[str, dict[str, list]]:
  """Test -> language -> (id, 1 where the right ending is the likeliest)."""
  found = collections.defaultdict(lambda: collections.defaultdict(list))
  for line in path.read_text(encoding="utf-8").splitlines():
    row = json.loads(line)
    best = row["logprobs"].index(max(row["logprobs"]))
    value = float(best == row["right"])
    found[row["test"]][row["lang"]].append((row["id"], value))
  return found


def _test(values, test: str, groups, config) -> dict[str, Any]:
  """Accuracy by system: per language, over all, and per exposure group."""
  rows = {}
  for name, by_test in values.items():
    languages = by_test[test]
    rows[name] = {
        "languages": {
            lang: estimates.rate(languages[lang]) for lang in config.languages
        },
        "all": _over(languages, config.languages),
        "groups": {
            group: _over(languages, members)
            for group, members in groups.items() if members
        },
    }
  points = [
      {
          "number": k,
          "added": lang,
          "system": lucky52.model_name(k),
          "accuracy": rows[lucky52.model_name(k)]["all"],
      }
      for k, lang in enumerate(config.tuned_languages, start=1)
  ]
  return {"systems": rows, "base": rows[BASE]["all"], "points": points}


def _over(languages, members) -> dict[str, Any]:
  return estimates.rate(row for lang in members for row in languages[lang])


def _updates(found: Outcomes, config) -> list[dict[str, int]]:
  """U = ceil(N L E / (B W)): said by the formula, and what was really done.

  Rows are packed, so that fewer steps are needed than examples would say.
  """
  rows = []
  for k in range(1, len(config.tuned_languages) + 1):
    rows.append({
        "number": k,
        "formula": counts_lib.num_updates(
            config.num_examples, k, config.tune.epochs, config.tune.batch_size,
            1,
        ),
        "steps": found.training(lucky52.model_name(k))["steps"],
    })
  return rows
