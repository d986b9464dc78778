"""What a paper's preset works on where it is not there yet.

The data of most papers cannot come with this project, nor can their models.
A preset says how large they are, so that a study can be planned; before it is
begun, each must be given. An address in the config's `sources` that stands for
data to be given is `expected:ROWS:CHARACTERS[:TURNS]`: rows in a language (of
the one with most), characters of a row (prompt and response), and turns of a
user.
"""

import dataclasses
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction, Message
from mlit_jax.studies.study import Step
from mlit_jax.studies.systems import BASE

READER = "expected"
ANY_MODEL = "any_model"  # a base of the user's own


@dataclasses.dataclass(frozen=True)
class Expected:
  """Data that are to be given.

  Attributes:
    rows: in a language; some may have fewer.
    characters: of a row's texts together, on average; assumed.
    turns: of a user, in a question.
  """

  rows: int
  characters: int
  turns: int = 1

  def address(self) -> str:
    """As it stands in `sources`."""
    return f"{READER}:{self.rows}:{self.characters}:{self.turns}"

  def prompts(self, languages: Sequence[str]) -> list[Instruction]:
    """Questions of that size, which say nothing."""
    turn = Message("user", "x" * (self.characters // self.turns))
    return [
        Instruction(f"{number}", lang, (turn,) * self.turns)
        for lang in languages for number in range(self.rows)
    ]


def of(address: str) -> Expected | None:
  """What an address of `sources` promises; None: the data are there.

  Raises:
    UsageError: the address begins like one and is none.
  """
  reader, *numbers = address.split(":")
  if reader != READER:
    return None
  try:
    return Expected(*map(int, numbers))
  except (TypeError, ValueError):
    raise UsageError(
        f"{address!r}: write {READER}:ROWS:CHARACTERS[:TURNS], or"
        " READER:PATH of the data"
    ) from None


def shape(name: str):
  """The shape of a paper's model, from its training config; None: unknown.

  24EU-7B's is not published; it is that of LLaMA 7B here, of its size, and so
  is that of any model.
  """
  from mlit_jax.models.config import DecoderConfig

  module = importlib.import_module(f"mlit_jax.configs.train.{name}")
  if not getattr(module, "SHAPE", None):
    module = importlib.import_module("mlit_jax.configs.train.llama_7b")
  return DecoderConfig(**module.SHAPE)


def missing(graph: Sequence[Step], config) -> list[str]:
  """Options that must be given before the steps can be done, each explained."""
  found, others = [], _bases(graph)
  if model := others.pop(BASE, ""):
    of_model = "" if model == ANY_MODEL else f" of {model}"
    found.append(f"--study.base=DIR (a model directory{of_model})")
  if others:
    found.append(
        f"--study.other_bases.NAME=DIR (a model directory of NAME, for"
        f" {' '.join(others)})"
    )
  if not config.judge:
    found.append("--study.judge=KIND:MODEL (mlit judge --help)")
  named = dict.fromkeys(
      name for step in graph for name in _named(dict(step.params))
      if name in config.sources
  )
  for name in named:
    promised = of(config.sources[name])
    found.append(
        f"--study.sources.{name}=READER:PATH (up to {promised.rows:,} rows"
        " a language)"
    )
  return found


def check(study: str, graph: Sequence[Step], config) -> None:
  """UsageError, in one line, while something has still to be given."""
  if options := missing(graph, config):
    raise UsageError(
        f"{study} needs what does not come with mlit: give"
        f" {', '.join(options)}; --plan does without"
    )


def _bases(graph: Sequence[Step]) -> dict[str, str]:
  """Base -> the model that it must be, where its directory is not given."""
  return {
      step.name.partition("-")[2] or BASE: step.params["expected"]
      for step in graph if step.params.get("expected")
  }


def _named(value: Any, name: str = "") -> Iterator[str]:
  """Names of sources whose addresses in a step's parameters only promise."""
  if isinstance(value, dict):
    for key, part in value.items():
      if key != "config":
        yield from _named(part, key)
  elif isinstance(value, list | tuple):
    # A material is (its name, its address).
    first = value[0] if value and isinstance(value[0], str) else ""
    for part in value:
      yield from _named(part, first)
  elif isinstance(value, str) and value.startswith(f"{READER}:"):
    yield name
