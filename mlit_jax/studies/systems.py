"""The models that a study tunes, each with its recipe."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax.data import counts as counts_lib

BASE = "base"


@dataclasses.dataclass(frozen=True)
class System:
  """A model of a study.

  Attributes:
    name: e.g. `mono-en`.
    kind: what it is in the study: base, monolingual, mixture, control, ...
    recipe: what it is tuned on (data/recipe_spec.py); None for a base.
    base: the name of the model it starts from.
    tuning: the section of the config that says how it is tuned.
    shuffled: whether its responses are exchanged among the prompts (control).
    language: the one language it is tuned on; "" if there are several.
    about: what else sets it apart, as JSON values: percent, budget, ...
  """

  name: str
  kind: str
  recipe: Mapping[str, Any] | None = None
  base: str = BASE
  tuning: str = "tune"
  shuffled: bool = False
  language: str = ""
  about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def describe(self) -> dict[str, Any]:
    """What results.json says of it."""
    row: dict[str, Any] = {"kind": self.kind}
    if self.recipe is not None:
      row |= {"base": self.base, "tuning": self.tuning}
    if self.language:
      row["language"] = self.language
    return row | dict(self.about)


def part(source: str, design: str, **fields) -> dict[str, Any]:
  """A part of a recipe."""
  return {"source": source, "design": design, **fields}


def recipe(seed: int, *parts: Mapping[str, Any]) -> dict[str, Any]:
  return {"seed": seed, "parts": [dict(p) for p in parts]}


def partition(
    config, counts: Mapping[str, int], main: str = ""
) -> dict[str, Any]:
  """Each id of the study's training source in one language, by a table."""
  main = main or config.main_language
  return recipe(
      config.seed,
      part(config.train, "partition", counts=dict(counts), main=main),
  )


def mono(language: str) -> str:
  return f"mono-{language}"


def monolingual(config, language: str) -> System:
  """Tuned on one language alone."""
  counts = {language: config.num_examples}
  return System(
      mono(language), "monolingual", partition(config, counts),
      language=language,
  )


def control(config, language: str) -> System:
  """Tuned on one language's prompts, each with another one's response."""
  counts = {language: config.num_examples}
  return System(
      f"control-{language}", "control", partition(config, counts),
      shuffled=True, language=language,
  )


def percent(
    config, languages: Sequence[str], share: float, name: str, kind: str
) -> System:
  """P% over the languages, the rest in the main one (pinch, section 4.1)."""
  counts = counts_lib.percent(
      languages, share, config.num_examples, config.main_language,
      (config.one_percent or None) if share == 1 else None,
  )
  return System(
      name, kind, partition(config, counts), about={"percent": share}
  )


def not_asked(config, experiments: Sequence[str]) -> dict[str, str]:
  """Experiment -> why it is left out, of those that nobody asked for.

  Args:
    config: of the study.
    experiments: all that the study knows.
  """
  return {
      name: "--study.experiments does not name it"
      for name in experiments if name not in config.experiments
  }


def distinct(systems: Sequence[System]) -> list[System]:
  """Without those that stand twice (two experiments may share a model).

  Raises:
    ValueError: two different ones have the same name.
  """
  found: dict[str, System] = {}
  for system in systems:
    if found.setdefault(system.name, system) != system:
      raise ValueError(f"two different systems are called {system.name!r}")
  return list(found.values())
