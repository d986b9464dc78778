"""A terminal's last line moves, also while a step has nothing to tell."""

import io
import re
import time

import pytest

from mlit_jax.studies import progress as progress_lib


class Terminal(io.StringIO):
  """Keeps what was written to it."""

  def isatty(self):
    return True


@pytest.fixture
def ticks(monkeypatch):
  """What the thread that moves the line waits for: the test."""
  monkeypatch.setattr(progress_lib, "_TICK", 0.02)


def _screen(text: str) -> list[str]:
  """The lines that are left to be seen."""
  return [line.rsplit("\r", 1)[-1].rstrip() for line in text.split("\n")]


def _wait(terminal, pattern):
  for _ in range(500):
    if re.search(pattern, _screen(terminal.getvalue())[-1]):
      return
    time.sleep(0.02)
  raise AssertionError(_screen(terminal.getvalue()))


def test_the_line_moves_while_a_model_compiles(ticks, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(progress_lib.time, "monotonic", lambda: now[0])
  terminal = Terminal()
  progress = progress_lib.Progress(terminal)
  progress.begin(3, 1)
  progress.started("model-en")
  progress.started("model-he")
  assert _screen(terminal.getvalue()) == [
      "1 steps were done before", "model-en 0 s | model-he 0 s",
  ]
  now[0] = 74.2
  _wait(terminal, r"^model-en 74 s \| model-he 74 s$")
  progress.show("model-he", "step 3/300")
  _wait(terminal, r"^model-en 74 s \| model-he 74 s  step 3/300$")
  progress.finished("model-en", 74.2)
  lines = _screen(terminal.getvalue())
  assert lines[1].split() == [
      "[2/3]", "model-en", "74.2", "s", "total", "74.2", "s"
  ]
  assert lines[2] == "model-he 74 s  step 3/300"


def test_what_ends_leaves_no_moving_line(ticks):
  terminal = Terminal()
  progress = progress_lib.Progress(terminal)
  progress.begin(2, 0)
  progress.started("model-en")
  progress.end()
  assert _screen(terminal.getvalue()) == [""]
  told = terminal.getvalue()
  progress.show("model-en", "too late")
  assert terminal.getvalue() == told


def test_plain_output_has_lines_alone():
  plain = io.StringIO()
  progress = progress_lib.Progress(plain)
  progress.begin(1, 0)
  progress.started("data")
  progress.show("data", "half")
  progress.finished("data", 1.25)
  progress.end()
  assert plain.getvalue().split() == [
      "[1/1]", "data", "1.2", "s", "total", "0.0", "s"
  ]
