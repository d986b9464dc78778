"""On meshes of several devices, too, an answer depends on no neighbour."""

import os
import pathlib
import pickle
import subprocess
import sys

import decoding_on_eight_devices as script
import pytest

# Rows over all devices; or over four pairs, each of which shares the heads.
MESHES = "8x1x1", "4x1x2"
CASES = [
    (mesh, case) for mesh in MESHES
    for case in script.FEWER.get(mesh, script.CASES)
]


@pytest.fixture(scope="module")
def decoded(made_once):
  flags = (
      "--xla_force_host_platform_device_count=8"
      " --xla_backend_optimization_level=0"
      " --xla_llvm_disable_expensive_passes=true"
  )

  def fill(folder):
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, script.__file__, folder / "found", *MESHES, "1x1x1"],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        cwd=pathlib.Path(__file__).parent, capture_output=True, text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr

  folder = made_once("decoded-on-meshes", fill)
  return pickle.loads((folder / "found").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(("mesh", "case"), CASES)
def test_neighbours_change_no_bit(decoded, mesh, case):
  """Not of greedy answers, of samples by seed, or of beam search."""
  alone, together = decoded[mesh][case]
  assert not any(r["failure"] for r in alone)
  # Log-probabilities, and scores of beam search: any bit would show.
  assert together == alone
  assert len({r["tokens"] for r in alone}) > 3


@pytest.mark.slow
@pytest.mark.parametrize(("mesh", "case"), CASES)
def test_a_mesh_changes_rounding_only(decoded, mesh, case):
  found, one = decoded[mesh][case][0], decoded["1x1x1"][case][0]
  assert [r["tokens"] for r in found] == [r["tokens"] for r in one]
  for ours, theirs in zip(found, one, strict=True):
    assert ours["logprobs"] == pytest.approx(theirs["logprobs"], abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["adapters", "t5"])
def test_a_cache_in_int8_is_close(decoded, case):
  """Also one of an encoder's keys and values."""
  exact, found = (decoded["1x1x1"][c][0] for c in (case, f"{case}, int8"))
  assert found != exact
  for ours, theirs in zip(found, exact, strict=True):
    assert ours["logprobs"][0] == pytest.approx(theirs["logprobs"][0], abs=0.2)
