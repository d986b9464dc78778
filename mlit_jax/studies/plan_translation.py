"""What translating a study's training data would take."""

import dataclasses
from collections.abc import Sequence

from mlit_jax import languages as languages_lib
from mlit_jax.records import Instruction
from mlit_jax.studies import expected, material, pipeline


@dataclasses.dataclass(frozen=True)
class Translation:
  """What it would take to translate the training data.

  Attributes:
    languages: into which.
    characters: of the main language's rows, times the languages.
  """

  languages: tuple[str, ...]
  characters: int


def translation(config) -> Translation | None:
  """Of a study's own source whose rows are all in one language; else None."""
  given = pipeline.given(config)
  if material.is_pocket(config.train) or expected.of(given[config.train]):
    return None
  rows = material.instructions(config.train, tuple(config.languages), given)
  held = {lang for _, lang in rows}
  missing = tuple(x for x in config.languages if x not in held)
  source = [row for (_, lang), row in rows.items()
            if lang == config.main_language]
  if not missing or not source:
    return None
  return Translation(
      missing, len(missing) * sum(len(text(row)) for row in source)
  )


def language_names(codes: Sequence[str]) -> str:
  return ", ".join(languages_lib.get(code).name for code in codes)


def text(row: Instruction) -> str:
  """All that stands in an example."""
  return "\n".join([*(m.content for m in row.messages), row.response])
