"""A machine that is taken away: save, and ask to be started again."""

import signal
import threading
from types import FrameType
from typing import Self

import jax
from jax.experimental import multihost_utils

# sysexits.h's EX_TEMPFAIL: not done, to be started again.
EXIT_STATUS = 75


class Watch:
  """Notices SIGTERM while it is open, at the same step on every host.

  On several hosts JAX's own signal handler, set when they joined, tells the
  coordinator, which finds a step that none of them has passed. On one, a second
  SIGTERM ends the process at once.
  """

  def __init__(self):
    self._asked = threading.Event()
    self._before = None

  def __enter__(self) -> Self:
    # Python lets the main thread alone handle signals; elsewhere (a study's
    # worker, a notebook) SIGTERM does what it did.
    alone = jax.process_count() == 1
    if alone and threading.current_thread() is threading.main_thread():
      self._before = signal.signal(signal.SIGTERM, self._notice)
    return self

  def __exit__(self, *exception) -> None:
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)
      self._before = None

  def _notice(self, number: int, frame: FrameType | None) -> None:
    self._asked.set()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

  def asked(self, step: int) -> bool:
    """Whether to save and end now, before or after this very step.

    Args:
      step: number of finished steps; every host asks once after each.
    """
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._asked.is_set()
