"""Runs a study's graph: finished steps are skipped, a killed run continues.

A working directory holds

  study.json     which study, preset and config it belongs to
  steps/NAME/    a step's files; done.json, written last, holds its hash
  timings.json   seconds per step, of the run that did it
"""

import json
import os
import pathlib
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mlit_jax import locked_directory, records
from mlit_jax.errors import Preempted, UsageError
from mlit_jax.studies import study as study_lib
from mlit_jax.studies import workers
from mlit_jax.studies.progress import Progress

STUDY, TIMINGS, STEPS = "study.json", "timings.json", "steps"
_DONE, _STARTED = "done.json", "started.json"
# A step's states; BEGUN: somebody is at it, or was killed while at it.
DONE, BEGUN, OPEN = "done", "begun", "open"
_MAX_NAMED = 3


class Workdir(locked_directory.LockedDirectory):
  """A study's working directory, locked until it is closed."""

  def __init__(
      self,
      path: str | os.PathLike,
      identity: Mapping[str, Any],
      *,
      update: bool = False,
  ):
    """Opens or makes the directory.

    Args:
      path: where; made if it does not exist.
      identity: study, preset and flat config, as JSON values.
      update: take over a directory whose config differs, and redo what that
        changes.

    Raises:
      UsageError: the directory cannot be written, is in use, holds something
        else, or another config and `update` was not asked for. Nothing is
        changed then.
    """
    self._identity = json.loads(json.dumps(identity))
    super().__init__(path, lambda: self._check_ours(update))
    workers.check_none_left(self.path)
    records.write_json(self.path / STUDY, self._identity)

  def _check_ours(self, update: bool) -> None:
    held = locked_directory.read_marker(
        self.path / STUDY, "a study's", ("config",), (workers.LOCK,)
    )
    if held is None:
      return
    for key in ("study", "preset"):
      if held.get(key) != self._identity[key]:
        raise UsageError(
            f"{self.path}: holds {key} {held.get(key)!r}, not"
            f" {self._identity[key]!r}; choose another --workdir"
        )
    changed = locked_directory.differences(
        held["config"], self._identity["config"]
    ).values()
    if changed and not update:
      named = locked_directory.some(changed, _MAX_NAMED)
      raise UsageError(
          f"{self.path}: was made with {named}; choose another"
          " --workdir, or add --update to redo what that changes"
      )

  @property
  def steps(self) -> pathlib.Path:
    return self.path / STEPS


def run(
    steps: Sequence[study_lib.Step],
    workdir: Workdir,
    progress: Progress,
    pool: workers.Pool | None = None,
) -> int:
  """Does what is not done yet.

  Args:
    steps: the graph, each step after those it needs.
    workdir: where.
    progress: shows what happens.
    pool: does all steps but those that want all cores, which are done here.
      None: all are done here, one by one.

  Returns:
    The number of steps done now (the others had been done before).

  Raises:
    Preempted: by SIGTERM; what was training has saved a checkpoint.
  """
  work = _Work(steps, workdir, progress)
  try:
    while work.open:
      ready = work.ready()
      beside = [step for step in ready if not step.alone]
      # What begins in a worker at one time must do so at another, too: the
      # number of threads changes the last bits of a model.
      if pool is None or not (beside or pool.running):
        if pool is not None:
          pool.close()  # what it holds in memory is not needed now
        work.do((beside or ready)[0])
        continue
      for step in beside[: pool.free]:
        work.start(step)
        pool.submit(step.name)
      for name, seconds in pool.wait(progress.show):
        work.finish(name, seconds)
  except Preempted:
    if pool is not None:
      pool.preempt()
    raise
  finally:
    progress.end()
    if pool is not None:
      pool.close()
  return work.count


class _Work:
  """What is open, running and done."""

  def __init__(self, steps, workdir: Workdir, progress: Progress):
    self._workdir, self._progress = workdir, progress
    self._wanted = study_lib.hashes(steps)
    self._timings = _read_timings(workdir.path / TIMINGS)
    done = status(steps, workdir.path)
    self.open = {step.name: step for step in steps if not done[step.name]}
    self._running: set[str] = set()
    self.count = 0
    progress.begin(len(steps), len(steps) - len(self.open))

  def ready(self) -> list[study_lib.Step]:
    """Steps not begun whose needs are met, in the graph's order."""
    return [
        step for step in self.open.values()
        if step.name not in self._running
        and not any(need in self.open for need in step.needs)
    ]

  def start(self, step: study_lib.Step) -> study_lib.Place:
    place = study_lib.Place(
        self._workdir.steps / step.name, self._workdir.steps
    )
    mark = self._wanted[step.name]
    if _read_hash(place.directory / _STARTED) != mark:
      shutil.rmtree(place.directory, ignore_errors=True)
    (place.directory / _DONE).unlink(missing_ok=True)
    records.write_json(place.directory / _STARTED, {"hash": mark})
    self._running.add(step.name)
    self._progress.started(step.name)
    return place

  def do(self, step: study_lib.Step) -> None:
    place = self.start(step)
    began = time.monotonic()
    step.work(place, lambda text: self._progress.show(step.name, text))
    self.finish(step.name, time.monotonic() - began)

  def finish(self, name: str, seconds: float) -> None:
    mark = {"hash": self._wanted[name]}
    records.write_json(self._workdir.steps / name / _DONE, mark)
    self._timings[name] = round(seconds, 2)
    records.write_json(self._workdir.path / TIMINGS, self._timings)
    self._running.discard(name)
    del self.open[name]
    self._progress.finished(name, seconds)
    self.count += 1


def status(
    steps: Sequence[study_lib.Step], workdir: pathlib.Path
) -> dict[str, bool]:
  """Step name -> whether it is done."""
  wanted = study_lib.hashes(steps)
  return {
      step.name: (
          _read_hash(workdir / STEPS / step.name / _DONE) == wanted[step.name]
          and all((workdir / path).exists() for path in step.leaves)
      )
      for step in steps
  }


def states(
    steps: Sequence[study_lib.Step],
    workdir: pathlib.Path,
    again: Collection[str] = (),
) -> dict[str, str]:
  """Step name -> DONE, BEGUN or OPEN; may be asked while a run is at work.

  Args:
    steps: of the study.
    workdir: where it runs.
    again: names of steps that are to be done again: they are OPEN.
  """
  wanted, done = study_lib.hashes(steps), status(steps, workdir)

  def state(name: str) -> str:
    if name in again:
      return OPEN
    if done[name]:
      return DONE
    begun = _read_hash(workdir / STEPS / name / _STARTED) == wanted[name]
    finished = (workdir / STEPS / name / _DONE).exists()
    return BEGUN if begun and not finished else OPEN

  return {step.name: state(step.name) for step in steps}


def forget(names: Iterable[str], workdir: Workdir) -> None:
  """Throws away what steps have made, so that they are done again."""
  for name in names:
    shutil.rmtree(workdir.steps / name, ignore_errors=True)


def _read_hash(path: pathlib.Path) -> str | None:
  try:
    return json.loads(path.read_text(encoding="utf-8"))["hash"]
  except (OSError, ValueError, KeyError, TypeError):
    return None


def _read_timings(path: pathlib.Path) -> dict[str, float]:
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError):
    return {}
