"""From endings' log-likelihoods to results.json (Lucky 52)."""

import collections
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import correlations, similarity
from mlit_jax.data import counts as counts_lib
from mlit_jax.studies import (
    estimates,
    lucky52,
    material,
    outcomes,
    pipeline,
    steps,
)
from mlit_jax.studies import systems as systems_lib
from mlit_jax.studies.outcomes import ANSWERS, RESULTS, Outcomes
from mlit_jax.studies.study import Place
from mlit_jax.studies.systems import BASE, System

__all__ = ["ANSWERS", "RESULTS", "write"]
NUMBER = "number"
# Who has seen a language (section 3.2).
GROUPS = ("base and tuning", "base only", "tuning only", "neither")


def write(
    place: Place,
    config,
    preset: str,
    systems: Sequence[System],
    workdir: pathlib.Path,
) -> None:
  """Writes results.json and answers.jsonl into the working directory."""
  found = Outcomes(place, config, systems)
  choices = [
      (test, choice) for test in config.tests
      for choice in material.choices(
          test, config.languages, pipeline.given(config)
      )
  ]
  clusters = {(test, x.id, x.lang): x.cluster for test, x in choices}
  values = {
      name: _values(place.of(lucky52.scoring(name)) / steps.SCORES, clusters)
      for name in found.systems
  }
  groups = exposure(config)
  results = found.head(lucky52.NAME, preset) | {
      "order": {
          "systems": list(found.systems),
          "languages": list(config.tuned_languages),
      },
      "left_out": systems_lib.not_asked(config, lucky52.EXPERIMENTS),
      "updates": _updates(found, config),
      "exposure": groups,
      "tests": {
          test: _test(values, test, groups, config) for test in config.tests
      },
  }
  outcomes.write(workdir, results, _rows(place, found, choices))


def _rows(place: Place, found: Outcomes, choices) -> Iterator[dict[str, Any]]:
  """A row a question; a model's answer is the ending it finds likelier."""
  chosen = {
      name: {
          (row["test"], row["id"], row["lang"]): (
              row["logprobs"].index(max(row["logprobs"]))
          )
          for _, row in records.read_jsonl(
              place.of(lucky52.scoring(name)) / steps.SCORES
          )
      }
      for name in found.systems
  }
  for test, choice in choices:
    key = test, choice.id, choice.lang
    yield {
        "id": f"{test}/{choice.id}",
        "lang": choice.lang,
        "prompt": choice.context,
        "reference": choice.endings[choice.right],
        "answers": {
            name: {
                "text": choice.endings[best[key]],
                "found": choice.lang,
                "exact": best[key] == choice.right,
            }
            for name, best in chosen.items() if key in best
        },
    }


def exposure(config) -> dict[str, list[str]]:
  """Group -> languages, computed from the lists (the paper's differ once)."""
  seen = ()
  if config.base_languages or not pipeline.adopts(config):
    seen = pipeline.base_languages(config)
  groups: dict[str, list[str]] = {name: [] for name in GROUPS}
  for lang in config.languages:
    in_base, in_tuning = lang in seen, lang in config.tuned_languages
    index = {(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}[in_base, in_tuning]
    groups[GROUPS[index]].append(lang)
  return groups


def _values(
    path: pathlib.Path, clusters
) -> dict[str, dict[str, list[tuple[str, float]]]]:
  """Test -> language -> (cluster, 1 if the right ending is the likeliest).

  Raises:
    RecordError: it has scores of a question that its test no longer has.
  """
  found = collections.defaultdict(lambda: collections.defaultdict(list))
  for line in path.read_text(encoding="utf-8").splitlines():
    row = json.loads(line)
    best = row["logprobs"].index(max(row["logprobs"]))
    value = float(best == row["right"])
    key = row["test"], row["id"], row["lang"]
    if key not in clusters:
      raise records.RecordError(
          f"{path}: {row['test']} has no question {row['id']} in"
          f" {row['lang']} any more; do the scores again: --from 'score-*'"
      )
    found[row["test"]][row["lang"]].append((clusters[key], value))
  return found


def _test(values, test: str, groups, config) -> dict[str, Any]:
  """Accuracy by system: per language, over all, and per exposure group."""
  rows = {}
  # A benchmark need not have all of the study's languages.
  asked = [x for x in config.languages if values[BASE][test][x]]
  groups = {
      group: members for group, codes in groups.items()
      if (members := [x for x in codes if x in asked])
  }
  for name, by_test in values.items():
    languages = by_test[test]
    rows[name] = {
        "languages": {
            lang: estimates.rate(languages[lang]) for lang in asked
        },
        "all": _over(languages, asked),
        "groups": {
            group: _over(languages, members)
            for group, members in groups.items()
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
  found = {
      "languages": asked, "systems": rows, "base": rows[BASE]["all"],
      "points": points,
  }
  if lucky52.SIMILARITY in config.experiments:
    found["correlations"] = _correlations(rows, config)
  return found


def _correlations(rows, config) -> dict[str, Any]:
  """Accuracy against number and similarity, by language (Tables 1 to 3).

  The paper left out the checkpoint that looked odd. Where the config names
  none, it is the one whose absence moves the correlation of the number with
  the accuracy over all languages most.
  """
  order = tuple(config.tuned_languages)
  names = [lucky52.model_name(k) for k in range(1, len(order) + 1)]
  number = [float(k) for k in range(1, len(order) + 1)]
  outlier = config.outlier or _most_influential(
      number, [rows[name]["all"]["value"] for name in names], order
  )
  measures = similarity.measures(config.sounds)
  languages = {}
  for lang in rows[names[0]]["languages"]:
    values = {NUMBER: number} | {
        name: [
            similarity.aggregate(like, order[:k], lang)
            for k in range(1, len(order) + 1)
        ]
        for name, like in measures.items()
    }
    outcome = [rows[name]["languages"][lang]["value"] for name in names]
    languages[lang] = {
        row.measure: {
            "everything": estimates.correlation(row.everything),
            "without": estimates.correlation(row.without),
        }
        for row in correlations.table(values, outcome, order, outlier)
    }
  return {
      "outlier": outlier, "chosen": bool(config.outlier),
      "measures": [NUMBER, *measures], "languages": languages,
  }


def _most_influential(number, accuracy, order) -> str:
  """The point whose absence moves a correlation most; "" without one."""
  (row,) = correlations.table({NUMBER: number}, accuracy, order)
  if row.everything is None:
    return ""
  moved = {
      lang: abs(found.r - row.everything.r)
      for lang, found in correlations.without_each(
          number, accuracy, order
      ).items() if found is not None
  }
  return max(moved, key=moved.get, default="")


def _over(languages, members) -> dict[str, Any]:
  return estimates.rate(row for lang in members for row in languages[lang])


def _updates(found: Outcomes, config) -> list[dict[str, int]]:
  """U = ceil(N L E / (B W)), by the formula and as really done.

  Packed rows hold several examples and need fewer; an epoch that ends with a
  batch of its own needs more.
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
