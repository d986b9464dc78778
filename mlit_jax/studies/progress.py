"""Shows what a study is doing: a moving line on a terminal, or plain lines."""

import sys
import threading
import time
from typing import TextIO

_WIDTH = 78
_TICK = 1.0  # seconds


class Progress:
  """Prints a line per finished step; on a terminal the last line moves.

  It also moves while a step has nothing to tell (a model compiles): it says for
  how many seconds each has been at work.
  """

  def __init__(self, stream: TextIO | None = None):
    self._stream = stream or sys.stderr
    self._moving = self._stream.isatty()
    self._began = time.monotonic()
    self._total, self._done, self._last = 0, 0, 0.0
    self._running: dict[str, tuple[float, str]] = {}  # since when, what
    self._lock, self._ended = threading.RLock(), threading.Event()

  def begin(self, total: int, done: int) -> None:
    """How many steps there are, and how many had been done before."""
    self._total, self._done = total, done
    if done:
      self._line(f"{done} steps were done before")
    if self._moving:
      threading.Thread(target=self._tick, daemon=True).start()

  def started(self, name: str) -> None:
    with self._lock:
      self._running[name] = time.monotonic(), ""
      self._draw()

  def show(self, name: str, detail: str) -> None:
    """What a running step is at; plain output leaves it out."""
    with self._lock:
      if name in self._running:
        self._running[name] = self._running[name][0], detail
        if time.monotonic() - self._last > 0.1:
          self._draw()

  def finished(self, name: str, seconds: float) -> None:
    with self._lock:
      del self._running[name]
      self._done += 1
      whole = time.monotonic() - self._began
      head = f"[{self._done:>{len(str(self._total))}}/{self._total}] {name}"
      self._line(f"{head:<40} {seconds:7.1f} s   total {whole:6.1f} s")
      self._draw()

  def end(self) -> None:
    """Takes the moving line away: an error would be written behind it."""
    self._ended.set()
    with self._lock:
      self._running.clear()
      if self._moving:
        self._stream.write(f"\r{'':<{_WIDTH}}\r")
        self._stream.flush()

  def _tick(self) -> None:
    while not self._ended.wait(_TICK):
      with self._lock:
        self._draw()

  def _draw(self) -> None:
    if self._moving and self._running:
      now = self._last = time.monotonic()
      text = " | ".join(
          f"{name} {now - since:.0f} s  {detail}".rstrip()
          for name, (since, detail) in self._running.items()
      )
      self._stream.write(f"\r{text[:_WIDTH]:<{_WIDTH}}")
      self._stream.flush()

  def _line(self, text: str) -> None:
    if self._moving:
      text = f"\r{text:<{_WIDTH}}"
    self._stream.write(text + "\n")
    self._stream.flush()
