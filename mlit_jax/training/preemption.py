"""A machine that is taken away: save, and ask to be started again."""

import contextlib
import threading
from typing import Self

import jax
from jax.experimental import multihost_utils

from mlit_jax import sigterm


class Watch:
  """Notices SIGTERM while it is open, at the same step on every host.

  On several hosts JAX's own signal handler, set when they joined, tells the
  coordinator, which finds a step that none of them has passed.
  """

  def __init__(self):
    self._asked = threading.Event()
    self._open = contextlib.ExitStack()

  def __enter__(self) -> Self:
    if jax.process_count() == 1:
      self._open.enter_context(sigterm.noticed(self._asked.set))
    return self

  def __exit__(self, *exception) -> None:
    self._open.close()

  def asked(self, step: int) -> bool:
    """Whether to save and end now, before or after this very step.

    Args:
      step: number of finished steps; every host asks once after each.
    """
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._asked.is_set()
