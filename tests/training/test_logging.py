"""Numbers on files and on the terminal."""

import contextlib
import io
import json
import os
import pty
import struct

import pytest

from mlit_jax.errors import UsageError
from mlit_jax.training import logging_writers
from mlit_jax.training.logging_speed import Rates, Speed
from mlit_jax.training.logging_terminal import Terminal, describe


def _lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_step_stands_once_after_a_resume(tmp_path):
  path = tmp_path / "metrics.jsonl"
  first = logging_writers.JsonLines(path)
  for step in (1, 2, 3):
    first.write(step, {"loss": 4.0 - step})
  first.close()
  with path.open("a") as file:
    file.write('{"step": 4, "lo')  # Killed while it wrote.
  second = logging_writers.JsonLines(path)
  assert len(path.read_text().splitlines()) == 4  # Untouched until it writes.
  second.write(3, {"loss": 9.0})
  assert _lines(path) == [
      {"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0},
      {"step": 3, "loss": 9.0},
  ]
  second.close()


def test_tensorboards_events(tmp_path):
  writer = logging_writers.TensorBoard(tmp_path)
  writer.write(1, {"loss": 2.0, "loss/en": 3.0})
  writer.write(2, {"loss": 1.0})
  writer.close()
  from tensorboardX.proto import event_pb2

  path, = tmp_path.iterdir()
  data, found = path.read_bytes(), []
  while data:  # TFRecord: length, its checksum, the record, its checksum.
    length, = struct.unpack_from("<Q", data)
    event = event_pb2.Event.FromString(data[12:12 + length])
    for value in event.summary.value:
      found.append((event.step, value.tag, value.simple_value))
    data = data[16 + length:]
  assert found == [(1, "loss", 2.0), (1, "loss/en", 3.0), (2, "loss", 1.0)]


def test_without_wandb_it_says_how_to_get_it(tmp_path, monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "wandb", None)
  with pytest.raises(UsageError, match=r"pip install mlit-jax\[wandb\]"):
    logging_writers.WeightsAndBiases(tmp_path, "p", "n", {})


def test_weights_and_biases_without_a_network(tmp_path, monkeypatch):
  pytest.importorskip("wandb")
  monkeypatch.setenv("WANDB_MODE", "offline")
  monkeypatch.setenv("WANDB_API_KEY", "s" * 40)
  for step in (1, 2):  # The second goes on with the first.
    run = logging_writers.WeightsAndBiases(tmp_path, "p", "n", {"a": 1})
    run.write(step, {"loss": 1.0})
    run.close()
  files = [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_symlink()]
  assert len({p for p in files if p.suffix == ".wandb"}) >= 1
  assert not any(b"s" * 40 in p.read_bytes() for p in files)
  assert len((tmp_path / "wandb_id.txt").read_text()) == 8


def test_rates_by_hand():
  times = iter([0.0, 60.0, 62.0, 64.0, 100.0, 102.0])
  speed = Speed(step_flops=1e12, peak_flops=2e12, clock=lambda: next(times))
  assert speed.step(10, 20, 5) is None  # It has compiled.
  speed.step(10, 20, 4)
  speed.pause()
  assert speed.step(10, 20, 3) == Rates(10 / 60, 20 / 60, 1 / 240, 180.0)
  # 60 s and 2 s; a quarter of all places hold tokens.
  rates = speed.step(0, 20, 2)
  assert rates.tokens == pytest.approx(10 / 62)
  assert rates.mfu == pytest.approx(1e12 * 2 * 10 / 40 / 62 / 2e12)
  assert rates.left == 2 * 31


def test_words():
  assert describe(2.5, None) == "loss 2.5000"
  assert describe(2.5, Rates(1234.5, 2000.0, None, 65.4)) == (
      "loss 2.5000  1,234 tokens/s (2,000 padded)  left 0:01:05"
  )
  assert "MFU 41.2 %" in describe(2.5, Rates(1.0, 1.0, 0.412, 1.0))


def test_plain_lines_where_there_is_no_terminal():
  stream = io.StringIO()
  shown = Terminal(2, stream)
  for step in (1, 2, 3, 4, 5):
    shown.step(step, 5, 1.0, None)
  shown.line("done")
  shown.close()
  assert stream.getvalue().splitlines() == [
      "step 2/5  loss 1.0000", "step 4/5  loss 1.0000",
      "step 5/5  loss 1.0000", "done",
  ]


def test_a_moving_line_on_a_terminal():
  parent, child = pty.openpty()
  with os.fdopen(child, "w") as stream:
    shown = Terminal(100, stream)
    shown.step(1, 2, 1.5, None)
    shown.line("saved [it]")
    shown.step(2, 2, 1.25, None)
    shown.close()
  parts = []
  with contextlib.suppress(OSError):  # Linux's end of a closed terminal.
    while part := os.read(parent, 65536):
      parts.append(part)
  os.close(parent)
  text = b"".join(parts).decode()
  assert "saved [it]" in text and "loss 1.2500" in text and "step 2/2" in text
