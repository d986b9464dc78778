"""What a machine has to translate before a study can begin."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from mlit_jax import languages as languages_lib
from mlit_jax.data import recipe_spec
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction
from mlit_jax.studies import expected, material, pipeline
from mlit_jax.studies.study import Step


@dataclasses.dataclass(frozen=True)
class Translation:
  """A source that is not there in every language.

  Attributes:
    source: its name in the config.
    origin: the language that its rows come in.
    languages: those that it is lacking.
    rows: in the language that they come in.
    characters: of these rows, times the languages: what a service counts.
    is_assumed: whether the rows, too, are still to be given.
  """

  source: str
  origin: str
  languages: tuple[str, ...]
  rows: int
  characters: int
  is_assumed: bool


def translations(graph: Sequence[Step], config) -> list[Translation]:
  """What has to be translated, source by source.

  A source counts in the languages that models are tuned on with it or asked
  in, and in no others. Of one that is not there yet, the config's
  `translation.sources` says in which language it comes, if in one; of one that
  is there, its rows do.

  Args:
    graph: of the study.
    config: of the study.
  """
  given = pipeline.given(config)
  origins = config.translation.sources.to_dict()
  tuned, asked = _tuned(graph), _asked(graph)
  found = []
  for name in dict.fromkeys([*tuned, *asked]):
    if name not in given or _is_parallel(name):
      continue
    languages = tuple(
        dict.fromkeys([*tuned.get(name, ()), *asked.get(name, ())])
    )
    origin = origins.get(name, "")
    if (promised := expected.of(given[name])) is not None:
      missing = tuple(x for x in languages if origin and x != origin)
      rows = promised.rows
      characters = rows * promised.characters
    else:
      missing = lacking(name, languages, given)
      origin = origin or config.main_language
      texts = rows_in(name, origin, given) if missing else []
      rows, characters = len(texts), sum(len(text(row)) for row in texts)
    if missing and rows:
      found.append(
          Translation(
              name, origin, missing, rows, characters * len(missing),
              promised is not None,
          )
      )
  return found


def check(graph: Sequence[Step], config) -> None:
  """UsageError, in one line, if questions are not there in all languages."""
  given = pipeline.given(config)
  for name, languages in _asked(graph).items():
    if name not in given or expected.of(given[name]):
      continue
    if missing := lacking(name, languages, given):
      raise UsageError(
          f"sources.{name}={given[name]} has no questions in"
          f" {language_names(missing)}: translate them first (mlit translate),"
          " or leave the languages out (--study.languages)"
      )


def lacking(
    name: str, languages: Sequence[str], given: Mapping[str, str]
) -> tuple[str, ...]:
  """The languages that one of `given`, which is there, has no rows in."""
  return _lacking(name, tuple(languages), given[name])


@functools.cache  # many models are tuned on one source
def _lacking(name: str, languages: tuple[str, ...], address: str):
  rows = material.instructions(name, languages, {name: address})
  held = {lang for _, lang in rows}
  return tuple(x for x in languages if x not in held)


def rows_in(
    name: str, language: str, given: Mapping[str, str]
) -> list[Instruction]:
  """A source's rows in one language."""
  return list(material.instructions(name, (language,), given).values())


def questions(
    name: str, lang: str, origin: str, given: Mapping[str, str]
) -> list[Instruction]:
  """What models are asked in a language, or will be once it is translated.

  Args:
    name: as material.prompts takes it.
    lang: the language.
    origin: the one whose rows stand for those that are not there yet.
    given: source -> READER:PATH.
  """
  return material.prompts(name, (lang,), given) or [
      dataclasses.replace(row, lang=lang)
      for row in material.prompts(name, (origin,), given)
  ]


def language_names(codes: Sequence[str]) -> str:
  return ", ".join(languages_lib.get(code).name for code in codes)


def text(row: Instruction) -> str:
  """All that stands in an example."""
  return "\n".join([*(m.content for m in row.messages), row.response])


def _is_parallel(name: str) -> bool:
  """Whether a source is a text and its translation, or about such a text."""
  name = name.removesuffix("-test")
  return name in (material.INTO, material.OUT_OF, material.READING)


def _tuned(graph: Sequence[Step]) -> dict[str, tuple[str, ...]]:
  """Source -> the languages that models are tuned on with it."""
  found: dict[str, dict[str, None]] = {}
  for step in graph:
    if recipe := step.params.get("recipe"):
      for name, codes in recipe_spec.languages(recipe).items():
        found.setdefault(name, {}).update(dict.fromkeys(codes))
  return {name: tuple(codes) for name, codes in found.items()}


def _asked(graph: Sequence[Step]) -> dict[str, tuple[str, ...]]:
  """Source -> the languages that models are asked in."""
  found: dict[str, dict[str, None]] = {}
  for step in graph:
    if "prompts" in step.params:
      name, _ = step.params["prompts"]
      found.setdefault(name, {}).update(dict.fromkeys(step.params["languages"]))
  return {name: tuple(codes) for name, codes in found.items()}
