"""How many examples and tokens a study's texts are, before they are built."""

import functools
import math
import pathlib
from collections.abc import Sequence

from mlit_jax.data import recipe_spec, tokenizers
from mlit_jax.records import Instruction
from mlit_jax.studies import (
    expected,
    material,
    pipeline,
    plan_translation,
    steps,
)
from mlit_jax.studies.plan_translation import text

# Of the pocket vocabulary, over all languages; of larger ones it is higher.
_CHARACTERS_PER_TOKEN = 2.5
SAMPLE = 200  # texts that are looked at


class Texts:
  """Counts what there is, and reckons with what is promised or translated."""

  def __init__(self, config, vocabulary: pathlib.Path | None):
    """Of a study.

    Args:
      config: of the study.
      vocabulary: the directory of its tokenizer, if there is one already.
    """
    self._config, self._vocabulary = config, vocabulary
    self._given = pipeline.given(config)
    self._prompts: dict[tuple, dict[str, tuple[int, int, int]]] = {}

  @functools.cached_property
  def _characters_per_token(self) -> float:
    """Measured with the study's tokenizer, if there is one already."""
    place = self._vocabulary
    if self._config.base:
      place = pipeline.base_directory(self._config)
    if place is None or self._promised(self._config.train):
      return _CHARACTERS_PER_TOKEN
    tokenizer = tokenizers.load(place)
    rows = material.instructions(
        self._config.train, tuple(self._config.languages), self._given
    )
    every = list(rows.values()) or self._untranslated(self._config.train)
    sample = every[:: max(1, len(every) // SAMPLE)]
    tokens = sum(len(tokenizer.encode(text(row))) for row in sample)
    return sum(len(text(row)) for row in sample) / max(1, tokens)

  def _promised(self, name: str) -> expected.Expected | None:
    """What a source is to hold, if it is not there yet."""
    return expected.of(self._given[name]) if name in self._given else None

  def _is_there(self, name: str, languages: Sequence[str]) -> bool:
    """Whether a source has rows in all of some languages."""
    return name not in self._given or not (
        self._promised(name)
        or plan_translation.lacking(name, languages, self._given)
    )

  def _untranslated(self, name: str) -> list[Instruction]:
    origin = pipeline.origin(self._config, name)
    return plan_translation.rows_in(name, origin, self._given)

  def drawn(self, recipe) -> tuple[int, int, int]:
    """Examples and tokens of a recipe, and tokens that it holds out.

    Args:
      recipe: as in data/recipe_spec.py.
    """
    asked = recipe_spec.languages(recipe)
    if all(self._is_there(*item) for item in asked.items()):
      made, rows = steps.draw(recipe, self._given)
      tokens = []
      for manifest in (made.train, made.validation):
        every = (text(rows[r.id, r.lang]) for r in manifest.rows)
        tokens.append(self.tokens(sum(map(len, every))))
      return len(made.train.rows), *tokens
    examples, characters, held = 0, 0, {}
    for part, size in zip(
        recipe["parts"], recipe_spec.sizes(recipe), strict=True
    ):
      name = part["source"]
      codes = recipe_spec.languages({"parts": [part]})[name]
      length = self.length(name, codes)
      examples += size
      characters += size * length
      held |= {(name, code): length for code in codes}
    unseen = recipe.get("validation", 0) * sum(held.values())
    return examples, self.tokens(characters), self.tokens(unseen)

  def length(self, name: str, languages: Sequence[str]) -> float:
    """Characters of a source's example on average; 0 without any."""
    if row := self._promised(name):
      return row.characters
    rows = material.instructions(name, languages, self._given).values() or (
        self._untranslated(name)
    )
    return sum(len(text(x)) for x in rows) / max(1, len(rows))

  def tokens(self, characters: float) -> int:
    """About so many tokens are in so many characters."""
    return math.ceil(characters / self._characters_per_token)

  def questions(
      self, name: str, languages: tuple[str, ...]
  ) -> dict[str, tuple[int, int, int]]:
    """Language -> questions of a source, their turns and their tokens."""
    if (name, languages) not in self._prompts:
      found: dict[str, tuple[int, int, int]] = {}
      origin = pipeline.origin(self._config, name)
      for row in (
          row for lang in languages
          for row in plan_translation.questions(
              name, lang, origin, self._given
          )
      ):
        questions, turns, tokens = found.get(row.lang, (0, 0, 0))
        asked = sum(m.role == "user" for m in row.messages)
        length = self.tokens(sum(len(m.content) for m in row.messages))
        found[row.lang] = questions + 1, turns + asked, tokens + length
      self._prompts[name, languages] = found
    return self._prompts[name, languages]
