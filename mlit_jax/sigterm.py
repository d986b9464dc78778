"""SIGTERM: what a machine that is taken away sends before it goes."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from mlit_jax.errors import Preempted

_SAME = 2.0  # seconds


@contextlib.contextmanager
def noticed(notice: Callable[[], None]) -> Iterator[None]:
  """Calls `notice` when SIGTERM comes, instead of ending the process.

  A second one ends it at once; but what follows within two seconds is the same
  one, which schedulers send to all processes of a job and parents hand on.

  Python lets the main thread alone handle signals; elsewhere (a notebook's
  thread) SIGTERM does what it did.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  first = None

  def handle(number: int, frame: FrameType | None) -> None:
    nonlocal first
    now = time.monotonic()
    if first is None:
      first = now
      notice()
    elif now - first > _SAME:
      signal.signal(number, signal.SIG_DFL)
      signal.raise_signal(number)

  before = signal.signal(signal.SIGTERM, handle)
  try:
    yield
  finally:
    # None: whoever set it was not Python, and is no longer there.
    signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextlib.contextmanager
def raised() -> Iterator[None]:
  """SIGTERM raises Preempted in here, wherever the main thread is."""
  with noticed(_raise):
    yield


def _raise() -> None:
  raise Preempted("told to end (SIGTERM)")
