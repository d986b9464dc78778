"""Shows what a study is doing: a moving line on a terminal, or plain lines."""

import sys
import time
from typing import TextIO

_WIDTH = 78


class Progress:
  """Prints a line per finished step; on a terminal the last line moves."""

  def __init__(self, stream: TextIO | None = None):
    self._stream = stream or sys.stderr
    self._moving = self._stream.isatty()
    self._began = time.monotonic()
    self._total, self._done, self._last = 0, 0, 0.0
    self._details: dict[str, str] = {}

  def begin(self, total: int, done: int) -> None:
    """How many steps there are, and how many had been done before."""
    self._total, self._done = total, done
    if done:
      self._line(f"{done} steps were done before")

  def started(self, name: str) -> None:
    self._details[name] = ""
    self._draw()

  def show(self, name: str, detail: str) -> None:
    """What a running step is at; plain output leaves it out."""
    if name in self._details:
      self._details[name] = detail
      if time.monotonic() - self._last > 0.1:
        self._draw()

  def finished(self, name: str, seconds: float) -> None:
    del self._details[name]
    self._done += 1
    whole = time.monotonic() - self._began
    head = f"[{self._done:>{len(str(self._total))}}/{self._total}] {name}"
    self._line(f"{head:<40} {seconds:7.1f} s   total {whole:6.1f} s")
    self._draw()

  def clear(self) -> None:
    """Takes the moving line away."""
    if self._moving:
      self._stream.write(f"\r{'':<{_WIDTH}}\r")
      self._stream.flush()

  def _draw(self) -> None:
    if self._moving and self._details:
      self._last = time.monotonic()
      text = " | ".join(f"{n}  {d}".rstrip() for n, d in self._details.items())
      self._stream.write(f"\r{text[:_WIDTH]:<{_WIDTH}}")
      self._stream.flush()

  def _line(self, text: str) -> None:
    if self._moving:
      text = f"\r{text:<{_WIDTH}}"
    self._stream.write(text + "\n")
    self._stream.flush()
