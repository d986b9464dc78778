"""SIGTERM: one may come twice, a second ends the process."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mlit_jax import main, sigterm
from mlit_jax.commands import COMMANDS
from mlit_jax.errors import Preempted


def terminate():
  os.kill(os.getpid(), signal.SIGTERM)


def test_it_is_noticed_once_and_the_handler_is_given_back():
  before, seen = signal.getsignal(signal.SIGTERM), []
  with sigterm.noticed(lambda: seen.append(1)):
    terminate()
    terminate()  # the same one, handed on by a parent
  assert seen == [1] and signal.getsignal(signal.SIGTERM) == before


def test_a_later_one_ends_the_process():
  code = (
      "import os, signal, time\nfrom mlit_jax import sigterm\n"
      "with sigterm.noticed(lambda: print('noticed', flush=True)):\n"
      "  print('up', flush=True)\n  time.sleep(60)\n"
  )
  with subprocess.Popen(
      [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
  ) as process:
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.stdout.readline() == "noticed\n"
    time.sleep(2.5)
    process.terminate()
    assert process.wait(timeout=10) == -signal.SIGTERM


def test_it_is_no_error_that_is_handled():
  with pytest.raises(Preempted), sigterm.raised():
    try:
      terminate()
      time.sleep(10)
    except Exception:
      pytest.fail("swallowed")


def test_within_what_handles_it_itself_nothing_is_raised():
  seen = []
  with sigterm.raised(), sigterm.noticed(lambda: seen.append(1)):
    terminate()
  assert seen == [1]


def test_other_threads_leave_it_as_it_is():
  before = signal.getsignal(signal.SIGTERM)
  found = []

  def look():
    with sigterm.raised():
      found.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=look)
  thread.start()
  thread.join()
  assert found == [before]


def test_a_command_ends_with_75_and_one_line(monkeypatch, capsys):
  def wait(args):
    terminate()
    time.sleep(10)

  score = dataclasses.replace(COMMANDS["score"], run=wait)
  monkeypatch.setitem(COMMANDS, "score", score)
  argv = ["score", "--model", "m", "--input", "i", "--output", "o"]
  assert main.main(argv) == 75
  err = capsys.readouterr().err
  assert err == (
      "mlit score: told to end (SIGTERM); start it again with the same"
      " command, and it goes on from here\n"
  )
