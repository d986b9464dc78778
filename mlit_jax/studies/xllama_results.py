"""From answers, judgments and laws to results.json and answers.jsonl (xllama).
"""

import collections
import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlit_jax import records
from mlit_jax.analysis import consistency, representation
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.data import manifest
from mlit_jax.studies import (
  comparisons,
  estimates,
  material,
  outcomes,
  pipeline,
  representing,
  xllama,
  xllama_laws,
  xllama_reading,
)
from mlit_jax.studies import systems as systems_lib
from mlit_jax.studies import xllama_systems as models
from mlit_jax.studies import xllama_translating as translating
from mlit_jax.studies.outcomes import ANSWERS, JUDGMENTS, RESULTS, Outcomes
from mlit_jax.studies.study import Place
from mlit_jax.studies.systems import BASE, System

__all__ = ["ANSWERS", "JUDGMENTS", "RESULTS", "write"]
_DRAWN = 20  # sentences of a language in a map


def write(
    place: Place,
    config,
    preset: str,
    systems: Sequence[System],
    workdir: pathlib.Path,
) -> None:
  """Writes results.json, answers.jsonl and judgments.jsonl."""
  found = Outcomes(place, config, systems)
  wanted, sources = models.experiments(config), pipeline.given(config)
  asked = {(s, name): codes for s, name, codes in xllama.asked(config)}
  reading = material.prompts(
      material.READING, tuple(config.languages), sources
  )
  texts = xllama_reading.clusters(reading)
  right = {
      system: _right(place, system)
      for system, name in asked if name == material.READING
  }
  questions = {
      system: {
          lang: xllama_reading.rate(row[lang], texts)
          for lang in asked[system, material.READING]
      }
      for system, row in right.items()
  }
  results = found.head(xllama.NAME, preset) | {
      "targets": list(models.targets(config)),
      "experiments": list(wanted),
      "left_out": {
          name: why for name, why in systems_lib.not_asked(
              config, models.EXPERIMENTS
          ).items() if name not in wanted
      },
      "exact_match": found.rates("exact"),
      "language_consistency": found.rates("consistent"),
      "questions": questions,
      "questions_first": {
          system: xllama_reading.first(row, reading, texts)
          for system, row in right.items()
      },
      "questions_matched": {
          system: xllama_reading.matched(place, system, reading, texts)
          for system in questions
      },
      "questions_carried_over": {
          system: carried for system, row in right.items()
          if (
              carried := xllama_reading.carried_over(
                  row, config.main_language, texts
              )
          )
      },
      "gain": _gain(right, questions, texts, config),
      "translation": {
          name: {
              system: translating.translated(
                  place, system, name, codes, sources
              )
              for (system, given), codes in asked.items() if given == name
          }
          for name in (material.INTO, material.OUT_OF)
      },
      "translation_whole": {
          name: _whole(place, asked, name, sources)
          for name in (material.INTO, material.OUT_OF)
      },
      "contests": _contests(place, config),
      "representation": _representations(place, config),
  }
  if config.evaluation == material.POCKET:
    results["consistency"] = _consistency(found, config)
  if models.ABLATION in wanted:
    results["ablation"] = _ablation(questions, config)
  for name, row in results["systems"].items():
    if found.systems[name].kind == models.ALLOCATION:
      row["pairs_by_language"] = _pairs(place, name)
  if models.SCALING in wanted:
    results |= xllama_laws.read(place.of(models.LAWS))
  if models.ALLOCATION in wanted:
    for budget in config.budgets:
      results["allocations"][str(budget)]["gain"] = _shared_out(
          place, budget, config
      )
  if models.MONOLINGUAL in wanted:
    results["monolingual"] = _monolingual(place, config)
  more = [
      found.more_rows(
          name, {s: codes for (s, given), codes in asked.items()
                 if given == name}
      )
      for name in (material.READING, material.INTO, material.OUT_OF)
  ]
  outcomes.write(
      workdir, results, itertools.chain(found.rows(), *more),
      _judgments(place, config, questions),
  )


def _judgments(place: Place, config, questions) -> Iterator[records.Judgment]:
  """Of the questions about a text, by their ids in answers.jsonl, and of the
  contests."""
  for system in questions:
    path = place.of(models.judging(system)) / comparisons.JUDGMENTS
    for j in records.read_records(path, records.Judgment):
      yield dataclasses.replace(j, id=f"{material.READING}/{j.id}")
  for a, b, _ in xllama.contests(config):
    path = place.of(models.contest(a, b)) / comparisons.JUDGMENTS
    yield from records.read_records(path, records.Judgment)


def gain(
    ours: Mapping[str, float | None], theirs: Mapping[str, float | None]
) -> dict[str, Any]:
  """By how many points one system is ahead: by language, and on average.

  (The paper's 27.83 is this, over six languages of XQuAD in its Table 2.)
  None where a judge gave no verdict, and then of the average, too.
  """
  languages = {
      lang: None if None in (ours[lang], theirs[lang])
      else _round(ours[lang] - theirs[lang])
      for lang in ours
  }
  mean = None
  if None not in languages.values():
    mean = _round(
        sum(ours[x] - theirs[x] for x in languages) / len(languages)
    )
  return {"languages": languages, "mean": mean}


def _whole(place: Place, asked, name: str, sources) -> dict[str, Any]:
  """Measure -> system -> language -> its translations scored as a whole."""
  found: dict[str, Any] = {}
  for (system, given), codes in asked.items():
    if given == name:
      scored = translating.whole(place, system, name, codes, sources)
      for measure, row in scored.items():
        found.setdefault(measure, {})[system] = row
  return found


def _gain(right, questions, texts, config) -> dict[str, Any]:
  """Each language's own model against the English one, on its questions."""
  goals = models.targets(config)
  found = gain(*(
      {x: questions[system(x)][x]["value"] for x in goals}
      for system in (models.coit, lambda x: models.ENGLISH_ONLY)
  ))
  pairs = []
  for lang in goals:
    ours, theirs = (
        dict(right[name][lang])
        for name in (models.coit(lang), models.ENGLISH_ONLY)
    )
    pairs += [(texts[i], ours[i], theirs[i]) for i in ours if i in theirs]
  pooled = estimates.difference(
      *([pair[k] for pair in pairs] for k in range(3))
  )
  return found | {"over_all": pooled}


def _shared_out(place: Place, budget: int, config) -> dict[str, Any]:
  """What the laws' shares gain over equal ones, sentence by sentence."""
  ours, theirs = (
      translating.sentences(
          place, models.allocated(budget, kind), material.INTO,
          models.targets(config), pipeline.given(config),
      )
      for kind in (models.OPTIMISED, models.UNIFORM)
  )
  return estimates.difference(
      [id_ for id_, _ in ours], list(ours.values()),
      [theirs[key] for key in ours],
  )


def _right(place: Place, system: str) -> dict[str, list[tuple[str, float]]]:
  """Language -> (question, 1 if the judge finds its answer right, else 0)."""
  path = place.of(models.judging(system)) / comparisons.JUDGMENTS
  groups = collections.defaultdict(list)
  for j in records.read_records(path, records.Judgment):
    if not j.failure:
      groups[j.lang].append((j.id, j.score))
  return groups


def _contests(place: Place, config) -> list[dict[str, Any]]:
  rows = []
  for a, b, codes in xllama.contests(config):
    path = place.of(models.contest(a, b)) / comparisons.JUDGMENTS
    judged = records.read_records(path, records.Judgment)
    found = judgments_lib.summarise(judged)
    rows.append({"a": a, "b": b, "languages": {x: found[x] for x in codes}})
  return rows


def _pairs(place: Place, system: str) -> dict[str, int]:
  """Language -> pairs of sentences that a system was really tuned on."""
  drawn = manifest.read(place.of(f"data-{system}"))
  return dict(collections.Counter(
      row.lang for row in drawn.rows
      if row.id.startswith(f"{material.INTO}/")
  ))


def _ablation(questions, config) -> list[dict[str, Any]]:
  lang = config.ablated_language
  return [
      {
          "system": name,
          "data": dict(
              zip(("main", "own", "into", "out_of"), flags, strict=True)
          ),
          "accuracy": questions[name][lang],
      }
      for name, flags in models.ablations(config).items()
  ]


def _monolingual(place: Place, config) -> dict[str, Any]:
  """What reading on is worth, as a law beside that of translation data."""
  lang = config.ablated_language
  gamma = xllama_laws.similarities(place, config)[lang]

  def score(system):
    return translating.translated(
        place, system, material.INTO, (lang,), pipeline.given(config)
    )[lang]

  points = [
      {"x": size, **score(f"after-{models.reader(lang, size)}")}
      for size in config.document_sizes
  ]
  return {
      "language": lang,
      "without": score(f"both-{lang}"),
      "points": points,
      "fit": xllama_laws.described(xllama_laws.fit(points, gamma)),
  }


def _consistency(found: Outcomes, config) -> dict[str, Any]:
  """System -> language -> do its answers say what its English ones say?

  An answer means the questions whose right answer it is, letter by letter, in
  its language; two answers are alike if they share one.
  """
  main = config.main_language
  meanings = _meanings(tuple(config.languages))
  rows = {}
  for name, answers in found.answers.items():
    known = {
        key: meanings[key[1]].get(outcomes.plain(answer["text"]))
        for key, answer in answers.items()
    }
    there = {lang for _, lang in answers}
    codes = [x for x in models.targets(config) if x in there]
    rows[name] = {
        lang: _described(
            consistency.between(known, main, lang, consistency.overlapping)
        )
        for lang in codes
    }
  return rows


def _meanings(languages) -> dict[str, dict[str, frozenset[str]]]:
  """Language -> text -> what it may answer: the facts it is right for."""
  found = {}
  for lang in languages:
    texts = collections.defaultdict(set)
    rows = [
        *material.instructions(material.POCKET, (lang,), {}).values(),
        *material.prompts(material.POCKET, (lang,), {}),
    ]
    for row in rows:
      # Phrasings of one question differ in what follows the last slash.
      texts[outcomes.plain(row.response)].add(row.id.rsplit("/", 1)[0])
    found[lang] = {text: frozenset(ids) for text, ids in texts.items()}
  return found


def _described(found: consistency.Consistency) -> dict[str, Any]:
  def percent(value):
    return None if value is None else _round(100 * value)

  return {
      "value": percent(found.value),
      "ci": [percent(found.low), percent(found.high)],
      "n": found.n,
      "chance": percent(found.chance),
      "unread": percent(found.unread),
  }


def _representations(place: Place, config) -> dict[str, Any]:
  """System -> a map of every layer, and how far languages lie apart in it."""
  rows = {}
  for name in (BASE, *models.broad(config)):
    path = place.of(models.vectors(name)) / representing.VECTORS
    rows[name] = [
        {"layer": i, **_layer(layer, config)}
        for i, layer in enumerate(_layers(representing.read(path)))
    ]
  return rows


def _layers(vectors) -> list[dict[str, np.ndarray]]:
  number = len(next(iter(vectors.values())))
  return [{k: v[i] for k, v in vectors.items()} for i in range(number)]


def _layer(vectors: Mapping[str, np.ndarray], config) -> dict[str, Any]:
  main, codes = config.main_language, tuple(config.languages)
  english = vectors[main]
  points, variance = representation.project(
      np.concatenate([vectors[code][:_DRAWN] for code in codes])
  )
  number = min(_DRAWN, len(english))
  return {
      "similarity": {
          x: _round(representation.cosine_similarity(english, vectors[x]))
          for x in models.targets(config)
      },
      "separation": {
          x: _separation(english, vectors[x]) for x in models.targets(config)
      },
      "variance": [_round(100 * x) for x in variance],
      "n": len(english),
      "points": {
          code: [
              [float(f"{v:.4g}") for v in row]
              for row in points[i * number : (i + 1) * number]
          ]
          for i, code in enumerate(codes)
      },
  }


def _separation(english, other) -> dict[str, Any]:
  ends = representation.separation_interval(english, other)
  return {
      "value": _round(representation.separation(english, other)),
      "ci": [None, None] if ends is None else [_round(x) for x in ends],
      "n": len(english),
  }


def _round(value: float) -> float:
  return round(value, estimates.DECIMALS)
