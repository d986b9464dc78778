"""What results.json of a study says, as dataclasses."""

import dataclasses
from collections.abc import Mapping
from typing import Self

from mlit_jax import languages as languages_lib

KINDS = (
    "base", "control", "monolingual", "mixture", "half", "number", "bilingual",
)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A score or rate in percent with its interval, over n observations.

  `value`, `low` and `high` are None where nothing could be measured.
  """

  value: float | None
  low: float | None
  high: float | None
  n: int

  def clearly_above(self, other: "Estimate") -> bool:
    """Whether the whole interval lies above the other's; False if unknown."""
    if self.low is None or other.high is None:
      return False
    return self.low > other.high


NOTHING = Estimate(None, None, None, 0)


@dataclasses.dataclass(frozen=True)
class Comparison(Estimate):
  """A side-by-side score, from the side of the first system named."""

  win: int
  tie: int
  loss: int
  flip_rate: float | None
  failed: int
  failures: Mapping[str, int]

  def mirrored(self) -> Self:
    """The same comparison from the side of the other system."""

    def mirror(percent):
      return None if percent is None else round(100 - percent, 6)

    return dataclasses.replace(
        self,
        value=mirror(self.value),
        low=mirror(self.high),
        high=mirror(self.low),
        win=self.loss,
        loss=self.win,
    )


@dataclasses.dataclass(frozen=True)
class System:
  """A model of the study.

  Attributes:
    kind: one of KINDS.
    language: code of what it was tuned on; "" for base and mixtures.
    percent: of a mixture, the share spread over the languages; else None.
    counts: language code -> number of tuning examples.
    steps, tokens: of tuning; None where not recorded.
  """

  name: str
  kind: str
  language: str
  percent: float | None
  counts: Mapping[str, int]
  steps: int | None
  tokens: int | None


@dataclasses.dataclass(frozen=True)
class Judge:
  """Who judged."""

  spec: str
  is_language_model: bool
  note: str


@dataclasses.dataclass(frozen=True)
class Base:
  """The untuned model that every system starts from.

  Attributes:
    tokens_seen: in pre-training; None where not known.
    shares: language code -> share of its pre-training data, 0 to 1.
  """

  name: str
  parameters: int
  vocab_size: int
  num_layers: int
  embed_dim: int
  tokens_seen: int | None
  shares: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Point:
  """One percentage of the P% curve.

  Attributes:
    languages: language code -> score; None where the system is itself the
      model it would be compared with.
    english: the score in the study's main language, mostly English.
    others, average: over the pairs of the other, and of all languages.
  """

  percent: float
  system: str
  languages: Mapping[str, Comparison | None]
  english: Estimate
  others: Estimate
  average: Estimate


@dataclasses.dataclass(frozen=True)
class Study:
  """Everything results.json says.

  Attributes:
    systems: by name; base, controls, monolingual models, mixtures, those of a
      kind in the order of their languages or percentages.
    heat_map: code trained on -> code evaluated on -> score.
    against_base, against_control: code -> score of the monolingual model of
      that language.
    exact_match, language_consistency: system -> code -> rate.
    language_unknown: the same of answers whose language could not be told.
    judgments: how many there were, each pair in both orders.
    failures: kind -> how many of them gave no verdict.
    floor: what the lower end of the scores against base and control should
      exceed; None if the study sets none.
  """

  name: str
  preset: str
  seed: int
  version: str
  judge: Judge
  languages: tuple[languages_lib.Language, ...]
  base: Base
  systems: Mapping[str, System]
  heat_map: Mapping[str, Mapping[str, Comparison]]
  curve: tuple[Point, ...]
  against_base: Mapping[str, Comparison]
  against_control: Mapping[str, Comparison]
  exact_match: Mapping[str, Mapping[str, Estimate]]
  language_consistency: Mapping[str, Mapping[str, Estimate]]
  language_unknown: Mapping[str, Mapping[str, Estimate]]
  exact_match_by_task: Mapping[str, Estimate]
  judgments: int
  failures: Mapping[str, int]
  floor: float | None

  @property
  def codes(self) -> tuple[str, ...]:
    return tuple(language.code for language in self.languages)

  @property
  def main(self) -> languages_lib.Language:
    """The language that the mixtures start from."""
    for point in self.curve:
      start = self.systems.get(point.system)
      if start is not None and start.kind == "monolingual":
        return languages_lib.get(start.language)
    return languages_lib.get("en")

  def of_kind(self, kind: str) -> list[System]:
    return [x for x in self.systems.values() if x.kind == kind]

  def label(self, system: str) -> str:
    """What a reader calls the system."""
    if system not in self.systems:
      return system
    found = self.systems[system]
    if found.kind == "base":
      return "Untuned base"
    if found.kind == "mixture":
      return f"{found.percent:g}% mixture"
    if found.kind == "half":
      return f"{found.percent:g}% over half"
    if not found.language:
      codes = [code for code, n in found.counts.items() if n]
      return " + ".join(codes)
    name = languages_lib.get(found.language).name
    if found.kind == "control":
      return f"{name} control"
    return f"{name} model"
