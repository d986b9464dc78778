"""The command itself: what its reader or its user ends."""

import dataclasses
import os
import subprocess
import sys

import pytest

from mlit_jax import commands, main


@pytest.mark.parametrize("argv", ["train --config_help", "data sources"])
def test_a_reader_that_has_gone_is_no_error(argv):
  """As `mlit … | head`, whose head has read enough."""
  reads, writes = os.pipe()
  os.close(reads)
  try:
    done = subprocess.run(
        [sys.executable, "-c", "from mlit_jax import main; main.run()",
         *argv.split()],
        stdout=writes, stderr=subprocess.PIPE, text=True,
    )
  finally:
    os.close(writes)
  assert done.stderr == ""
  assert done.returncode == 141  # 128 + SIGPIPE, as a shell has it


def test_a_service_that_hangs_up_is_one(monkeypatch, capfd):
  def run(args):
    raise BrokenPipeError(32, "Broken pipe")

  found = dataclasses.replace(commands.COMMANDS["report"], run=run)
  monkeypatch.setitem(commands.COMMANDS, "report", found)
  assert main.main(["report", "somewhere"]) == main.FAILED
  assert capfd.readouterr().err == "mlit report: [Errno 32] Broken pipe\n"
