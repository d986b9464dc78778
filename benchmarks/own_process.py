"""A benchmark's contenders, each in a process of its own.

JAX takes a GPU's memory for itself, so that nobody else fits beside it.
"""

import json
import os
import subprocess
import sys


def run(script: str, *words) -> dict | str:
  """What a contender printed last; or why it has nothing, in a line.

  Args:
    script: the benchmark, which is run with --child and
    *words: who it is, and what it needs to know.
  """
  done = subprocess.run(
      [sys.executable, script, "--child", *map(str, words)],
      capture_output=True, text=True,
      # For a model that all but fills the GPU.
      env=os.environ | {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92"},
  )
  if done.returncode:
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
  return json.loads(done.stdout.splitlines()[-1])
