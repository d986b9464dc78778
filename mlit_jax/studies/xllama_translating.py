"""Translations, sentence by sentence and as a whole (xllama).

Zhu et al. (2023, section 4) score FLORES-101 by COMET, BLEURT and BLEU over
sentence pieces. The law is fitted to chrF of single sentences; beside it stand
chrF++ and spBLEU of a whole test set, as sacreBLEU counts them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.evals import mt
from mlit_jax.judging import reference
from mlit_jax.studies import estimates, material, pipeline, steps
from mlit_jax.studies.study import Place


def sentences(
    place: Place,
    system: str,
    name: str,
    languages: Sequence[str],
    given: Mapping[str, str],
) -> dict[tuple[str, str], float]:
  """(sentence, language) -> chrF of a system's translation, 0 to 1."""
  return {
      (row.id, row.lang): reference.similarity(text, row.response)
      for row, text in _read(place, system, name, languages, given)
  }


def translated(
    place: Place,
    system: str,
    name: str,
    languages: Sequence[str],
    given: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
  """Language -> mean chrF of a system's translations, 0 to 100."""
  scores = sentences(place, system, name, languages, given)
  found = {}
  for lang in languages:
    rows = [(id_, v) for (id_, to), v in scores.items() if to == lang]
    found[lang] = estimates.mean([i for i, _ in rows], [v for _, v in rows])
  return found


def whole(
    place: Place,
    system: str,
    name: str,
    languages: Sequence[str],
    given: Mapping[str, str],
) -> dict[str, dict[str, dict[str, Any]]]:
  """chrF++ and, where its tokenizer is found, spBLEU of all translations.

  Returns:
    Measure -> language -> value from 0 to 100, bootstrap interval and n.
  """
  groups: dict[str, tuple[list[str], list[str]]] = {
      lang: ([], []) for lang in languages
  }
  for row, text in _read(place, system, name, languages, given):
    texts, wanted = groups[row.lang]
    texts.append(text)
    wanted.append(row.response)
  found: dict[str, dict[str, Any]] = {}
  for lang, (texts, wanted) in groups.items():
    for measure, entry in mt.corpus_scores(texts, wanted).items():
      found.setdefault(measure, {})[lang] = {
          "value": round(entry["score"], estimates.DECIMALS),
          "ci": [round(end, estimates.DECIMALS) for end in entry["ci"]],
          "n": len(texts),
      }
  return found


def _read(
    place: Place, system: str, name: str, languages, given
) -> Iterator[tuple[records.Instruction, str]]:
  """What was to be translated, and a system's translation of it."""
  path = place.of(pipeline.decoding(system, name)) / steps.RESPONSES
  texts = {
      (r.id, r.lang): r.response
      for r in records.read_records(path, records.Response)
  }
  for row in material.prompts(name, languages, given):
    yield row, texts[row.id, row.lang]
