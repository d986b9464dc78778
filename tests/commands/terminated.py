"""A command in a process of its own that is told to save and end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

# The smallest study that trains; with what it is given it goes on for long.
SMALL = (
    "--study.languages=en,es", "--study.num_examples=60",
    "--study.pretrain.documents=60", "--study.pretrain.epochs=1",
    "--study.tune.epochs=1", "--study.experiments=", "--study.controls=false",
)


def run(argv: Sequence, reached: Callable[[], bool], seconds: int) -> str:
  """Runs `mlit`, sends SIGTERM once it has got there; its messages.

  It gets SIGTERM after so many seconds in any case.
  """
  with subprocess.Popen(
      [sys.executable, "-c", "from mlit_jax import main; main.run()", *argv],
      stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
  ) as process:
    for _ in range(20 * seconds):
      if reached():
        break
      assert process.poll() is None, process.stderr.read()
      time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=120)
  assert process.returncode == 75, err
  assert "start it again with the same command" in err
  return err
