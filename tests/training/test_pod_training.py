"""Training on several hosts equals training on one; it goes on after a loss."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pod_run
import pytest

POD = pathlib.Path(__file__).parents[2] / "launch" / "local_pod.sh"
pytestmark = pytest.mark.multiprocess


def pod(number, workdir, *options, devices=1):
  """(exit status, what was said) of a run on so many hosts."""
  workdir.mkdir(exist_ok=True)
  done = subprocess.run(
      [POD, str(number), f"--devices={devices}", "--", sys.executable,
       pod_run.__file__, workdir, *options],
      capture_output=True, text=True, timeout=600,
      env=os.environ | {"OMP_NUM_THREADS": "1"},
  )
  return done.returncode, done.stdout + done.stderr


def losses(workdir):
  """{step: losses and gradient norms}; the last word counts."""
  lines = (workdir / "losses.jsonl").read_text().splitlines()
  return {step: found for step, *found in map(json.loads, lines)}


def assert_agree(one, other, tolerance):
  assert sorted(one) == sorted(other) == [*range(1, pod_run.NUM_STEPS + 1)]
  for step in one:
    np.testing.assert_allclose(
        one[step], other[step], rtol=tolerance, atol=tolerance,
        err_msg=f"step {step}",
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """Losses of a run on one host with one device."""
  found = {}

  def make(precision, kind="full"):
    if (precision, kind) not in found:
      workdir = tmp_path_factory.mktemp("alone") / "run"
      status, said = pod(1, workdir, precision, kind)
      assert status == 0, said
      found[precision, kind] = losses(workdir)
    return found[precision, kind]

  return make


@pytest.mark.slow
def test_two_hosts_agree_with_one(alone, tmp_path):
  """At learning rate 1e-3, with parameters cut over the hosts."""
  status, said = pod(2, tmp_path, "float32")
  assert status == 0, said
  assert_agree(losses(tmp_path), alone("float32"), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number, devices, kind", [
    (2, 2, "full"), (4, 1, "full"), (2, 1, "adapters"), (2, 1, "tensor"),
    (2, 1, "sequence"),
])
def test_hosts_agree_with_one_in_float64(
    alone, tmp_path, number, devices, kind
):
  status, said = pod(number, tmp_path, "float64", kind, devices=devices)
  assert status == 0, said
  assert_agree(losses(tmp_path), alone("float64", kind), 1e-9)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_hosts(alone, tmp_path):
  """Also from the checkpoint before, where the newest is damaged."""
  status, said = pod(2, tmp_path, "float64", "full", "1:32")
  assert status == 1
  assert "[1] mlit: ended by signal 9\n" in said
  assert said.count("lost another one, and stops; start all of them again") == 1
  assert time.time() - (tmp_path / "death").stat().st_mtime < 60
  checkpoints = tmp_path / "checkpoints"
  kept = sorted(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit())
  newest = checkpoints / str(kept[-1])
  for path in newest.rglob("d/*"):
    path.write_bytes(path.read_bytes()[:-1])
  status, said = pod(4, tmp_path, "float64", "full", "0:44")
  assert status == 1
  assert time.time() - (tmp_path / "death").stat().st_mtime < 60
  assert said.count(f"{newest}: damaged (") == 1  # said once, by the first
  assert f"set aside, going on from step {kept[-2]}\n" in said
  assert f"[0] step {kept[-2] + 1}\n" in said
  assert f"[0] step {kept[-2]}\n" not in said
  status, said = pod(1, tmp_path, "float64")
  assert status == 0, said
  assert "[0] step 24\n" not in said and "[0] step 40\n" in said
  assert_agree(losses(tmp_path), alone("float64"), 1e-9)


@pytest.mark.slow
def test_a_preempted_run_saves_and_goes_on(alone, tmp_path):
  running = subprocess.Popen(
      [POD, "2", "--", sys.executable, pod_run.__file__, tmp_path, "float64",
       "full", "slow:4"],
      stdout=subprocess.PIPE, text=True,
  )
  while "step 4" not in running.stdout.readline():
    assert running.poll() is None
  running.terminate()
  said, _ = running.communicate(timeout=120)
  assert running.returncode == 75, said
  saved = [line for line in said.splitlines() if "saved step" in line]
  assert len(saved) == 2 and len({line[4:] for line in saved}) == 1
  status, said = pod(1, tmp_path, "float64")
  assert status == 0, said
  assert_agree(losses(tmp_path), alone("float64"), 1e-9)
