"""Several processes as one run: TPU pods, clusters, processes of one machine.

The environment says what a process is a part of:

  MLIT_DISTRIBUTED=auto   JAX finds out: TPU VMs, SLURM, Open MPI, Kubernetes
  MLIT_COORDINATOR=HOST:PORT, MLIT_NUM_PROCESSES, MLIT_PROCESS_INDEX
                          said outright (launch/local_pod.sh)

and nothing of it: that it is alone. A process that is not alone does its work
in a child. Where a host dies, JAX's runtime aborts the others with a trace of
its own stack; the parent waits for that, and says in one line what happened.
"""

import atexit
import collections
import contextlib
import ctypes
import io
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple

from mlit_jax.errors import (
    FAILED,
    INTERRUPTED,
    PREEMPTED,
    WRONG_USE,
    Preempted,
    UsageError,
)

# Seconds after which a host that is silent counts as dead.
HEARTBEAT = 20
_JOIN = 300  # seconds that hosts have to find each other
_END = 3600  # seconds that the others wait for the first one's last files
_NAMES = "MLIT_COORDINATOR", "MLIT_NUM_PROCESSES", "MLIT_PROCESS_INDEX"
# How JAX, Gloo and Orbax say that another process is gone.
_LOST = re.compile(
    r"gloo|coordination service|heartbeat|\bUNAVAILABLE\b|Socket closed"
    r"|Connection (reset|closed)|[Bb]arrier .*(failed|timed out)"
    r"|DEADLINE_EXCEEDED", re.IGNORECASE,
)
_FATAL = b"distributed service detected fatal errors"
# Native messages about other hosts; what follows them belongs to them.
_ABOUT_HOSTS = re.compile(
    rb"coordination_service|preemption_|\[Gloo\]|^F\d{4} .*client\.h"
)
_PR_SET_PDEATHSIG = 1


class DistributedError(RuntimeError):
  """The hosts did not find each other, or one of them is gone."""


class Host(NamedTuple):
  """Which process this is of how many."""

  index: int
  number: int


class _Explicit(NamedTuple):
  coordinator: str
  number: int
  index: int


def run(work: Callable[[], int]) -> int:
  """Does the work as one of the hosts that the environment names.

  To be called before JAX is used. Every host does the same work; files are
  written and lines printed by the first alone (`jax.process_index() == 0`).

  Args:
    work: returns the exit status.

  Returns:
    What `work` did, on every host.

  Raises:
    UsageError: the environment makes no sense.
    DistributedError: the hosts did not find each other.
  """
  settings = _settings(os.environ)
  if settings is None:
    return work()
  _supervise()
  host = _join(settings)
  try:
    status = work()
  except Preempted:
    # All hosts are, at one step; the first says so.
    _shut_down()
    if host.index == 0:
      raise
    return PREEMPTED
  except BaseException as e:
    if loss := _loss(e):
      print(
          f"mlit: {_lost(host)} ({_line(loss)})", file=sys.stderr, flush=True
      )
      os._exit(PREEMPTED)
    # The others must not be waited for: they wait for this one.
    atexit.register(_leave, e)
    raise
  _shut_down()
  return status


def _shut_down() -> None:
  import jax

  with contextlib.suppress(RuntimeError):  # all is done
    jax.distributed.shutdown()


def _settings(env) -> _Explicit | str | None:
  """How to join: outright, `auto`, or None."""
  given = [name for name in _NAMES if env.get(name)]
  how = env.get("MLIT_DISTRIBUTED", "")
  if how not in ("", "auto"):
    raise UsageError(f"MLIT_DISTRIBUTED={how}: give auto, or nothing")
  if not given:
    return how or None
  if missing := [name for name in _NAMES if name not in given]:
    raise UsageError(f"{given[0]} is set, but not {', '.join(missing)}")
  try:
    number, index = (int(env[name]) for name in _NAMES[1:])
  except ValueError:
    number, index = 0, 0
  if not 0 <= index < number:
    raise UsageError(
        f"MLIT_PROCESS_INDEX={env[_NAMES[2]]} of"
        f" MLIT_NUM_PROCESSES={env[_NAMES[1]]}: give 0 to number - 1"
    )
  if not re.fullmatch(r"\S+:\d+", env[_NAMES[0]]):
    raise UsageError(f"MLIT_COORDINATOR={env[_NAMES[0]]}: give HOST:PORT")
  return _Explicit(env[_NAMES[0]], number, index)


def _join(settings: _Explicit | str) -> Host:
  import jax

  arguments = {}
  if isinstance(settings, _Explicit):
    arguments = {
        "coordinator_address": settings.coordinator,
        "num_processes": settings.number, "process_id": settings.index,
    }
  try:
    jax.distributed.initialize(
        **arguments, initialization_timeout=_JOIN,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=_END,
    )
  except (ValueError, RuntimeError) as e:
    raise DistributedError(
        f"the hosts did not find each other ({_line(e)}); all must be started"
        " together, and reach the first one"
    ) from None
  return Host(jax.process_index(), jax.process_count())


def _lost(host: Host | None) -> str:
  which = f"host {host.index} of {host.number}" if host else "this host"
  return (
      f"{which} lost another one, and stops; start all of them again, and the"
      " run goes on from its last checkpoint"
  )


def _loss(error: BaseException) -> BaseException | None:
  """The error that tells of a lost host: this one, or what is behind it.

  Behind one of ours is often another: a checkpoint under way when a host dies
  cannot be finished, and says so.
  """
  import jax

  found: BaseException | None = error
  while found is not None:
    ours = type(found).__module__.startswith("mlit_jax")
    # Behind an error, only JAX's own: storage has words like Gloo's.
    kinds = (RuntimeError, ValueError, OSError)
    if found is not error:
      kinds = jax.errors.JaxRuntimeError
    if isinstance(found, kinds) and not ours and _LOST.search(str(found)):
      return found
    context = None if found.__suppress_context__ else found.__context__
    found = found.__cause__ or context
  return None


def _line(error: BaseException) -> str:
  text = " ".join(str(error).split())
  return text if len(text) <= 200 else f"{text[:200]}..."


def _leave(error: BaseException) -> None:
  status = FAILED
  if isinstance(error, UsageError):
    status = WRONG_USE
  elif isinstance(error, KeyboardInterrupt):
    status = INTERRUPTED
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)


def _supervise() -> None:
  """Goes on in a child; the parent ends with the child's status."""
  sys.stdout.flush()
  sys.stderr.flush()
  read, write = os.pipe()
  child = os.fork()
  if child == 0:
    os.close(read)
    _be_child(write)
    return
  os.close(write)
  for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(name, lambda number, _: os.kill(child, number))
  held = _forward(read)
  _, status = os.waitpid(child, 0)
  code = os.waitstatus_to_exitcode(status)
  if code < 0:
    if code == -signal.SIGABRT and any(_FATAL in line for line in held):
      print(f"mlit: {_lost(None)}", file=sys.stderr)
      code = PREEMPTED
    else:
      os.write(2, b"".join(held))
      print(f"mlit: ended by signal {-code}", file=sys.stderr)
      code = FAILED
  sys.stderr.flush()
  os._exit(code)


def _be_child(pipe: int) -> None:
  """Native messages go to the parent; what Python says goes out at once."""
  # Signals reach it through the parent; it does not outlive the parent.
  os.setpgid(0, 0)
  with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  for name, number in (("stdout", 1), ("stderr", 2)):
    direct = os.dup(number)
    os.dup2(pipe, number)
    setattr(sys, name, io.TextIOWrapper(
        os.fdopen(direct, "wb", 0), encoding="utf-8",
        errors="backslashreplace", write_through=True,
    ))
  os.close(pipe)


def _forward(pipe: int) -> collections.deque:
  """Passes native messages on; holds back what is about other hosts."""
  held: collections.deque = collections.deque(maxlen=200)
  with os.fdopen(pipe, "rb") as lines:
    for line in lines:
      if held or _ABOUT_HOSTS.search(line):
        if b"[Gloo] Rank" not in line:  # said whenever hosts join
          held.append(line)
      else:
        os.write(2, line)
  return held
