"""The first of several hosts reads arrays piece by piece."""

import os
import pathlib
import subprocess
import sys

import gather_work
import numpy as np
import pytest

from mlit_jax.training import gathering

POD = pathlib.Path(__file__).parents[2] / "launch" / "local_pod.sh"


def pod(number, how):
  done = subprocess.run(
      [POD, str(number), "--", sys.executable, gather_work.__file__, how],
      capture_output=True, text=True, timeout=300,
      env=os.environ | {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": ""},
  )
  return done.returncode, done.stdout + done.stderr


def test_alone_arrays_are_given_as_they_are():
  tree, seen = {"a": np.arange(3)}, []
  gathering.read_on_first(tree, seen.append)
  assert seen == [tree]


@pytest.mark.slow
@pytest.mark.multiprocess
def test_no_host_holds_everything():
  status, said = pod(2, "read")
  assert status == 0, said
  grown = {
      line[1]: float(line.split("grew ")[1])
      for line in said.splitlines() if " grew " in line
  }
  assert sorted(grown) == ["0", "1"], said
  # Of the arrays (0.27 GB) the first holds the largest that is read at once
  # (a quarter) and, as the other does, pieces of 8 MiB.
  assert grown["0"] < 0.8 and grown["1"] < 0.5, said


@pytest.mark.slow
@pytest.mark.multiprocess
def test_an_error_on_the_first_ends_the_others():
  status, said = pod(2, "fail")
  assert status == 1, said
  assert "[0] failed: no space left" in said and "[1] grew" in said
