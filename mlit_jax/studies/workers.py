"""Processes that do a study's steps beside each other.

A small model's step does not keep the cores busy: two processes of one thread
each make 1.7 times the steps of one process with two threads (LOG.md).
"""

import concurrent.futures
import fcntl
import multiprocessing
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from mlit_jax import sigterm
from mlit_jax.errors import UsageError
from mlit_jax.studies.study import Place, Step

# Held by every worker for as long as it lives, by others only for a moment.
LOCK = ".workers.lock"
_MAX_JOBS = 4
_PATIENCE = 10.0  # seconds
_SAVING = 20.0  # seconds; a machine that is taken away leaves 30
_POLL = 0.1


class WorkerError(RuntimeError):
  """A worker that died; names what it was doing."""


class Pool:
  """Starts processes when they are needed; they know the study's graph."""

  def __init__(
      self,
      make_graph: Callable[[], Sequence[Step]],
      workdir: pathlib.Path,
      steps: pathlib.Path,
      jobs: int,
  ):
    """Starts nothing yet.

    Args:
      make_graph: makes the study's steps anew in a process of its own, so it
        must be picklable.
      workdir: the study's.
      steps: where its steps' directories are.
      jobs: number of processes; the machine's cores are shared out over them.
    """
    self._jobs = jobs
    self._context = multiprocessing.get_context("spawn")
    self._shown = self._context.SimpleQueue()
    self._start = (
        make_graph, workdir / LOCK, steps, self._shown,
        max(1, num_cores() // jobs),
    )
    self._executor: concurrent.futures.ProcessPoolExecutor | None = None
    self._running: dict[concurrent.futures.Future, str] = {}

  @property
  def running(self) -> int:
    return len(self._running)

  @property
  def free(self) -> int:
    return self._jobs - len(self._running)

  def submit(self, step: str) -> None:
    """Hands a step to a process; WorkerError if one has died."""
    if self._executor is None:
      self._executor = concurrent.futures.ProcessPoolExecutor(
          self._jobs, self._context, _begin, self._start
      )
    try:
      self._running[self._executor.submit(_work, step)] = step
    # OSError: another worker has died this moment, and its pipes are closed.
    except (concurrent.futures.BrokenExecutor, OSError):
      raise self._death() from None

  def wait(self, show: Callable[[str, str], None]) -> Iterator[tuple]:
    """Waits for a step to end; yields (name, seconds) of those that did.

    Args:
      show: told (name, detail) of the running steps' progress.

    Raises:
      WorkerError: a worker died.
      Exception: whatever a step raised.
    """
    done: set = set()
    while not done:
      done, _ = concurrent.futures.wait(
          self._running, _POLL, concurrent.futures.FIRST_COMPLETED
      )
      while not self._shown.empty():
        show(*self._shown.get())
    for future in done:
      try:
        seconds = future.result()
      except concurrent.futures.BrokenExecutor:
        raise self._death() from None
      yield self._running.pop(future), seconds

  def _death(self) -> WorkerError:
    return WorkerError(
        f"a process that worked on {', '.join(self._running.values())} died,"
        " perhaps for want of memory; start again, with a smaller --jobs if it"
        " repeats"
    )

  def preempt(self) -> None:
    """Tells running steps to end; waits for those that train to save."""
    for process in multiprocessing.active_children():
      process.terminate()
    concurrent.futures.wait(self._running, _SAVING)

  def close(self) -> None:
    """Ends the processes, with whatever they are doing."""
    if self._executor is None:
      return
    if self._running:
      for process in multiprocessing.active_children():
        process.kill()
    self._executor.shutdown(cancel_futures=True)
    self._executor, self._running = None, {}


def num_cores() -> int:
  """Cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def default_jobs() -> int:
  """One per core up to four; one alone where an accelerator is."""
  import jax

  return min(num_cores(), _MAX_JOBS) if jax.default_backend() == "cpu" else 1


def check_none_left(workdir: pathlib.Path) -> None:
  """Waits until no worker of a killed run is at work any more.

  Raises:
    UsageError: one still is after some seconds.
  """
  deadline = time.monotonic() + _PATIENCE
  with open(workdir / LOCK, "w") as lock:
    while True:
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
      except BlockingIOError:
        if time.monotonic() > deadline:
          raise UsageError(
              f"{workdir}: a worker of an earlier run is still busy there; end"
              " it, or wait"
          ) from None
        time.sleep(_POLL)


def _begin(make_graph, lock, steps, shown, threads) -> None:
  """First words of a worker."""
  global _graph, _steps, _shown, _lock
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
  signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as long as no step is done
  threading.Thread(target=_end_with_parent, daemon=True).start()
  _lock = open(lock, "w")  # noqa: SIM115  Held open: so is the lock.
  fcntl.flock(_lock, fcntl.LOCK_SH)
  os.environ["NPROC"] = str(threads)  # read by XLA when it starts
  from mlit_jax import cpu

  cpu.keep_freed_memory()
  _graph = {step.name: step for step in make_graph()}
  _steps, _shown = steps, shown


def _end_with_parent() -> None:
  # A killed parent's worker must not go on writing beside the next run's.
  multiprocessing.parent_process().join()
  os._exit(1)


def _work(name: str) -> float:
  """Does a step; returns the seconds it took."""
  began = last = time.monotonic()

  def show(detail: str) -> None:
    nonlocal last
    if (now := time.monotonic()) - last > _POLL:
      last = now
      _shown.put((name, detail))

  with sigterm.raised():
    _graph[name].work(Place(_steps / name, _steps), show)
  return time.monotonic() - began
