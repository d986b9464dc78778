"""A profiler's trace of some steps."""

import os


class Profile:
  """Traces from the first to the last of some steps, for TensorBoard.

  Attributes:
    was_begun: whether a step that is asked for has been reached.
  """

  def __init__(
      self, directory: str | os.PathLike, steps: tuple[int, int] | None
  ):
    """Starts at once if the first step is asked for.

    Args:
      directory: where the trace goes.
      steps: first and last, from 1; None: nothing is traced.
    """
    self._directory, self._running = os.fspath(directory), False
    self._first, self._last = steps or (0, 0)
    self.was_begun = False
    self.after(0)

  def after(self, step: int) -> None:
    """Called when so many steps are started.

    The device lags behind by up to a step, which the trace goes on for.
    """
    import jax

    if self._first and step == self._first - 1:
      jax.profiler.start_trace(self._directory)
      self._running = self.was_begun = True
    elif step == self._last + 1:
      self.close()

  def close(self) -> None:
    """Ends a trace that is still running."""
    import jax

    if self._running:
      jax.profiler.stop_trace()
      self._running = False
