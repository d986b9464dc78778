"""A study as a graph of steps, each known by the hash of all it depends on."""

import dataclasses
import difflib
import fnmatch
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlit_jax.errors import UsageError

# Raised when a step's meaning changes without its parameters doing so: what
# was made before is then made anew.
FORMAT = 1


class Place:
  """Where a step works.

  Attributes:
    directory: the step's own; empty at first, or as a killed run left it.
  """

  def __init__(self, directory: pathlib.Path, steps: pathlib.Path):
    self.directory = directory
    self._steps = steps

  @property
  def workdir(self) -> pathlib.Path:
    """The study's working directory, for what must outlive a step."""
    return self._steps.parent

  def of(self, step: str) -> pathlib.Path:
    """The directory of a step that this one needs."""
    return self._steps / step


@dataclasses.dataclass(frozen=True)
class Step:
  """One piece of work.

  Attributes:
    name: unique in the study; also the name of its directory.
    work: does it; called with the place and a function that shows progress.
    params: what decides the result besides the needs, as JSON values.
    needs: names of the steps whose results it reads.
    leaves: what it makes outside its directory, relative to the working
      directory; where one is gone, the step is not done.
    alone: whether it is to have all cores: it waits until nothing else can be
      done, and is then done by itself.
  """

  name: str
  work: Callable[[Place, Callable[[str], None]], None]
  params: Mapping[str, Any]
  needs: tuple[str, ...] = ()
  leaves: tuple[str, ...] = ()
  alone: bool = False


def named(steps: Sequence[Step], patterns: Sequence[str]) -> list[str]:
  """The steps that names or patterns mean: `judge-*` is every step of judging.

  Raises:
    UsageError: one means none; names the nearest.
  """
  names, found = [step.name for step in steps], set()
  for pattern in patterns:
    met = fnmatch.filter(names, pattern)
    if not met:
      near = difflib.get_close_matches(pattern, names, n=1)
      hint = f"did you mean {near[0]!r}?" if near else (
          "--status lists them"
      )
      raise UsageError(f"no step {pattern!r}; {hint}")
    found.update(met)
  return [name for name in names if name in found]


def needed(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
  """The named steps and all that they need, in the graph's order."""
  wanted = set(names)
  for step in reversed(steps):
    if step.name in wanted:
      wanted.update(step.needs)
  return [step for step in steps if step.name in wanted]


def dependent(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
  """The named steps and all that need them, in the graph's order."""
  found = set(names)
  for step in steps:
    if found.intersection(step.needs):
      found.add(step.name)
  return [step for step in steps if step.name in found]


def hashes(steps: Sequence[Step]) -> dict[str, str]:
  """Step name -> hash of its parameters and of everything it needs.

  Args:
    steps: each after those it needs.

  Raises:
    ValueError: a name stands twice, or a need does not stand before.
  """
  found: dict[str, str] = {}
  for step in steps:
    if step.name in found:
      raise ValueError(f"two steps are called {step.name!r}")
    missing = [need for need in step.needs if need not in found]
    if missing:
      raise ValueError(f"{step.name!r} needs {missing}, not defined before it")
    text = json.dumps(
        {
            "format": FORMAT,
            "name": step.name,
            "params": step.params,
            "needs": {need: found[need] for need in sorted(step.needs)},
        },
        sort_keys=True,
    )
    found[step.name] = hashlib.sha256(text.encode()).hexdigest()
  return found
