"""Brings together what several working directories of one study have done."""

import filecmp
import os
import pathlib
import shutil
from collections.abc import Sequence

from mlit_jax.errors import UsageError
from mlit_jax.studies import runner
from mlit_jax.studies import study as study_lib

# Of no use once a step is done, and as large as everything else together.
_CHECKPOINTS = "checkpoints"


def take(
    steps: Sequence[study_lib.Step],
    workdir: runner.Workdir,
    others: Sequence[pathlib.Path],
) -> dict[str, pathlib.Path]:
  """Copies the steps that others have done, and that are not done here.

  A step done elsewhere with other parameters, or with other needs, has another
  hash and is not taken. What a step that is taken was made from (its data, a
  base that was pre-trained) must be the same here, byte for byte: models tuned
  from two bases, even if only their last bits differ, are not those of one
  study. Steps with files outside their directories (results, the report) are
  left to be done here, and those with an absolute link that leads nowhere here
  (to a base that was given).

  Args:
    steps: the graph, each step after those it needs.
    workdir: where they go; opened, so that nobody else is at work there.
    others: working directories; what is under way there is left alone.

  Returns:
    Name of each step taken -> whose.

  Raises:
    UsageError: one of `others` is no study's, or is this one; or what a step
      was made from differs. What was copied before stays.
  """
  for other in others:
    if not (other / runner.STEPS).is_dir():
      raise UsageError(
          f"{other}: no study's working directory to take from; it has no"
          f" {runner.STEPS}/"
      )
    if other.resolve() == workdir.path.resolve():
      raise UsageError(f"{other}: the working directory itself")
  done_here = runner.status(steps, workdir.path)
  done_there = {other: runner.status(steps, other) for other in others}
  made_by: dict[str, pathlib.Path] = {}
  for step in steps:
    owner = next((x for x in others if done_there[x][step.name]), None)
    if owner is None or done_here[step.name] or step.leaves:
      continue
    for need in step.needs:
      here = done_here[need] or made_by.get(need, owner) != owner
      if here and done_there[owner][need]:
        _check_same(workdir.path, owner, need)
    if _copy(owner, workdir.path, step.name):
      made_by[step.name] = owner
  return made_by


def _copy(other: pathlib.Path, here: pathlib.Path, name: str) -> bool:
  """A step's directory, all or nothing; False if a link out leads nowhere."""
  part = here / runner.STEPS / f".{name}.taken"
  shutil.rmtree(part, ignore_errors=True)
  shutil.copytree(
      other / runner.STEPS / name, part, symlinks=True,
      ignore=shutil.ignore_patterns(_CHECKPOINTS),
  )
  links = (x for x in part.rglob("*") if x.is_symlink())
  if any(x.readlink().is_absolute() and not x.exists() for x in links):
    shutil.rmtree(part)
    return False
  target = here / runner.STEPS / name
  shutil.rmtree(target, ignore_errors=True)
  os.replace(part, target)
  return True


def _check_same(here: pathlib.Path, other: pathlib.Path, name: str) -> None:
  mine, theirs = (x / runner.STEPS / name for x in (here, other))
  for path in sorted({*_files(mine), *_files(theirs)}):
    one, two = mine / path, theirs / path
    if not (
        one.is_file() and two.is_file()
        and filecmp.cmp(one, two, shallow=False)
    ):
      raise UsageError(
          f"{one} and {two} differ: step {name!r} was done twice, by machines"
          f" that round differently; copy {mine} to the other directories"
          " before their runs are made, and make these again"
      )


def _files(directory: pathlib.Path) -> list[pathlib.Path]:
  """What a step made: files under a directory, relative to it.

  Without checkpoints, and without what links point to: that is a model which
  was given, or another step's.
  """
  return [
      path.relative_to(directory) for path in directory.rglob("*")
      if path.is_file() and not path.is_symlink()
      and _CHECKPOINTS not in path.relative_to(directory).parts
  ]
