"""A run on the terminal: a moving line, or plain lines elsewhere."""

import datetime
import sys
from typing import TextIO

from mlit_jax.training.logging_speed import Rates


class Terminal:
  """Shows where a run is.

  On a terminal a bar with loss, tokens a second, utilisation and the time left;
  where standard error is a file or a pipe, a plain line every so many steps.
  """

  def __init__(self, every: int, stream: TextIO | None = None):
    """Shows nothing yet.

    Args:
      every: steps between two plain lines.
      stream: where to; standard error by default.
    """
    self._every, self._bar, self._task = every, None, None
    self._stream = stream or sys.stderr

  def step(
      self, step: int, num_steps: int, loss: float, rates: Rates | None
  ) -> None:
    """A step is done; the last one is always shown."""
    text = describe(loss, rates)
    if self._stream.isatty():
      self._move(step, num_steps, text)
    elif step % self._every == 0 or step == num_steps:
      self.line(f"step {step}/{num_steps}  {text}")

  def line(self, text: str) -> None:
    """A line that stays."""
    if self._bar is not None:
      self._bar.console.print(text, markup=False, highlight=False)
    else:
      print(text, file=self._stream, flush=True)

  def close(self) -> None:
    """Leaves the bar as it stands."""
    if self._bar is not None:
      self._bar.stop()
      self._bar = None

  def _move(self, step: int, num_steps: int, text: str) -> None:
    if self._bar is None:
      from rich import console, progress

      self._bar = progress.Progress(
          progress.TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
          progress.BarColumn(bar_width=20),
          progress.TextColumn("{task.description}", markup=False),
          console=console.Console(file=self._stream),
      )
      self._bar.start()
      self._task = self._bar.add_task(text, total=num_steps)
    self._bar.update(self._task, completed=step, description=text)


def describe(loss: float, rates: Rates | None) -> str:
  """Loss and rates in words."""
  parts = [f"loss {loss:.4f}"]
  if rates is not None:
    parts.append(
        f"{rates.tokens:,.0f} tokens/s ({rates.places:,.0f} padded)"
    )
    if rates.mfu is not None:
      parts.append(f"MFU {100 * rates.mfu:.1f} %")
    parts.append(f"left {datetime.timedelta(seconds=round(rates.left))}")
  return "  ".join(parts)
