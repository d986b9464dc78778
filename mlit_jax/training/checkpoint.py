"""Training checkpoints: Orbax, asynchronous, checked when they are read.

A directory holds

  STEP/state    the arrays, as Orbax writes them
  STEP/data     what else a run goes on from, and a checksum of each array
  STEP.damaged  one that could not be read, set aside

Orbax writes a step under another name and renames it when it is whole, and only
then are old ones deleted. A checkpoint is read onto any mesh, any number of
devices and any number of hosts.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from mlit_jax.training.checksums import checksums, named_leaves

STATE, DATA = "state", "data"
# What says nothing about the files.
_NO_DAMAGE = MemoryError, PermissionError, jax.errors.JaxRuntimeError

# Orbax's threads log pages of tracebacks for what becomes one error here.
logging.getLogger("absl").addFilter(
    lambda record: "/orbax/" not in record.pathname
)


class CheckpointError(ValueError):
  """A checkpoint that cannot be written or restored; names it."""


class _DamagedError(Exception):
  """This one is not whole; another may be."""


class Checkpoints:
  """The checkpoints of one run, the newest few kept."""

  def __init__(
      self,
      directory: str | os.PathLike,
      *,
      every: int,
      keep: int = 2,
      beside: Mapping[str, Any] | None = None,
      say: Callable[[str], None] | None = None,
  ):
    """Opens (and makes) the directory; every host calls it.

    Args:
      directory: where they lie; the same files on every host.
      every: steps between two of them.
      keep: how many are kept.
      beside: JSON values, by name, that every checkpoint holds: how adapters
        were made, say.
      say: told about damage; by default the first host prints it to stderr.

    Raises:
      CheckpointError: it cannot be written.
    """
    self._directory, self._every = pathlib.Path(directory).absolute(), every
    self._say = say or _print
    self._beside = dict(beside or {})
    with self._writing():
      self._manager = ocp.CheckpointManager(
          self._directory,
          options=ocp.CheckpointManagerOptions(
              max_to_keep=keep,
              # What a killed run was writing.
              cleanup_tmp_directories=True,
          ),
      )

  def save(
      self, step: int, state: Any, data: dict[str, Any], now: bool = False
  ) -> bool:
    """Saves in the background if it is the step's turn.

    Args:
      step: number of finished steps.
      state: pytree of arrays; may be donated once this returns.
      data: what else a run goes on from, as JSON values.
      now: save in any case.

    Returns:
      Whether it is saved now.

    Raises:
      CheckpointError: this or the save before it could not be written. What
        was there before is whole.
    """
    if step % self._every and not now:  # Orbax's first save is out of turn.
      return False
    if step in self._manager.all_steps():
      return False
    sums = checksums(state)
    about = {
        "data": data,
        "arrays": {
            name: [list(leaf.shape), str(leaf.dtype), sums[name]]
            for name, leaf in named_leaves(state).items()
        },
    }
    items = {
        name: ocp.args.JsonSave(value) for name, value in self._beside.items()
    }
    items[STATE] = ocp.args.StandardSave(state)
    items[DATA] = ocp.args.JsonSave(_seal(about))
    with self._writing():
      self._manager.save(step, args=ocp.args.Composite(**items), force=True)
    return True

  def restore(self, like: Any) -> tuple[int, Any, dict[str, Any]] | None:
    """(step, state, data) of the newest whole checkpoint; None without any.

    A damaged one is set aside, which is said, and the one before is taken.

    Args:
      like: a state of the shapes, types and shardings wanted.

    Raises:
      CheckpointError: none is whole, or they are of another shape.
    """
    self.wait()
    damaged = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      path = self._directory / str(step)
      try:
        state, data = self._read(path, like)
      except _DamagedError as e:
        damaged[path] = f"{path}: damaged ({e})"
        continue
      for path, text in damaged.items():
        self._set_aside(path)
        self._say(f"{text}; set aside, going on from step {step}")
      return step, state, data
    if damaged:
      raise CheckpointError(
          "; ".join(damaged.values()) + "; no whole checkpoint is left: start"
          " anew in another directory"
      )
    return None

  def wait(self) -> None:
    """Until everything is written.

    Raises:
      CheckpointError: it could not be.
    """
    with self._writing():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for what is still being written; raises as `wait` does."""
    try:
      self.wait()
    finally:
      with contextlib.suppress(Exception):
        self._manager.close()

  def _read(self, path: pathlib.Path, like: Any):
    """(state, data)."""
    problem, about = None, None
    try:
      about = _read_about(path)
    except _DamagedError as e:
      problem = e
    # One host's view must not send it elsewhere than the others.
    if not _all_agree(problem is None):
      raise problem or _DamagedError("another host cannot read it")
    _check_shapes(path, about["arrays"], like)
    state, problem = None, None
    try:
      state = _read_arrays(path, like, about["arrays"])
    except _DamagedError as e:
      problem = e
    if not _all_agree(problem is None):
      raise problem or _DamagedError("another host cannot read it")
    return state, about["data"]

  def _set_aside(self, path: pathlib.Path) -> None:
    if jax.process_index() == 0:
      number, target = 1, path.with_name(f"{path.name}.damaged")
      while target.exists():
        number, target = number + 1, path.with_name(
            f"{path.name}.damaged-{number + 1}"
        )
      with self._writing():
        path.rename(target)
    _all_agree(True)
    self._manager.reload()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Makes of any failure one clear error."""
    try:
      yield
    except CheckpointError:
      raise
    except Exception as e:  # Orbax passes on whatever its parts raise.
      whole = max(_steps(self._directory), default=None)
      rest = "" if whole is None else f"; the one of step {whole} is whole"
      raise CheckpointError(
          f"{self._directory}: no checkpoint could be written"
          f" ({_reason(e)}){rest}"
      ) from e


def _read_about(path: pathlib.Path) -> dict[str, Any]:
  """What a checkpoint holds beside its arrays: data and checksums."""
  try:
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
      sealed = reader.restore(path / DATA, args=ocp.args.JsonRestore())
    if _seal(sealed["about"]) != sealed:
      raise ValueError("checksum differs")
    return sealed["about"]
  except _NO_DAMAGE:
    raise
  except Exception as e:  # Orbax passes on whatever its parts raise.
    raise _DamagedError(f"{DATA}: {_reason(e)}") from e


def _check_shapes(path, saved: Mapping[str, list], like: Any) -> None:
  """Raises CheckpointError unless `like` has the names, shapes and types."""
  wanted = {
      name: [list(leaf.shape), str(np.dtype(leaf.dtype))]
      for name, leaf in named_leaves(like).items()
  }
  held = {name: about[:2] for name, about in saved.items()}
  if held != wanted:
    raise CheckpointError(
        f"{path}: is of another model or optimiser"
        f" ({_difference(held, wanted)}); give the run another directory"
    )


def _read_arrays(path: pathlib.Path, like: Any, saved: Mapping[str, list]):
  """The arrays of `like`, each as it was saved, or _DamagedError."""
  try:
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
      state = reader.restore(
          path / STATE, args=ocp.args.StandardRestore(like)
      )
  except _NO_DAMAGE:
    raise
  except Exception as e:  # as above
    raise _DamagedError(_reason(e)) from e
  for name, checksum in checksums(state).items():
    if saved[name][2] != checksum:
      raise _DamagedError(f"{name}: checksum differs")
  return state


def _print(text: str) -> None:
  if jax.process_index() == 0:
    print(text, file=sys.stderr, flush=True)


def _seal(about: Mapping[str, Any]) -> dict[str, Any]:
  text = json.dumps(about, sort_keys=True)
  return {
      "about": json.loads(text),
      "sha256": hashlib.sha256(text.encode()).hexdigest(),
  }


def _steps(directory: pathlib.Path) -> list[int]:
  if not directory.is_dir():
    return []
  return [int(p.name) for p in directory.iterdir() if p.name.isdigit()]


def _difference(held: Mapping, wanted: Mapping) -> str:
  for key in sorted(held.keys() | wanted.keys()):
    if held.get(key) != wanted.get(key):
      return f"{key}: {held.get(key)!r} there, {wanted.get(key)!r} here"
  return "they are the same"


def _reason(error: BaseException) -> str:
  if type(error) is Exception and error.__cause__ is not None:
    error = error.__cause__  # Orbax's wrapper of TensorStore's
  text = " ".join(str(error).split())
  if len(text) > 250:  # TensorStore says what at first, and why at last
    text = f"{text[:100]} ... {text[-140:]}"
  return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _all_agree(answer: bool) -> bool:
  """Whether every host says yes; also a barrier."""
  if jax.process_count() == 1:
    return answer
  answers = multihost_utils.process_allgather(np.int32(answer))
  return bool(np.min(answers))
