"""The mesh axis that cuts rows: training is what it is on one device."""

import os
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest
import sequence_on_eight_devices as script

from mlit_jax import partitioning
from mlit_jax.training import setup
from mlit_jax.training.config import DataConfig, MeshConfig, Run, TrainConfig


def run(tmp_path, meshes, *names):
  out = tmp_path / "out.pickle"
  flags = "--xla_force_host_platform_device_count=8"
  flags += " --xla_backend_optimization_level=0"
  flags += " --xla_llvm_disable_expensive_passes=true"
  done = subprocess.run(
      [sys.executable, script.__file__, out, str(meshes), *names],
      env=os.environ | {
          "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags,
          "JAX_ENABLE_X64": str(int("splash" not in names)),
      },
      capture_output=True, text=True, timeout=900,
  )
  assert done.returncode == 0, done.stderr
  # A whole batch on every device, for want of a better exchange.
  assert "Involuntary full rematerialization" not in done.stderr
  return pickle.loads(out.read_bytes())


def assert_equal(found):
  alone, *cut = found
  assert np.diff([loss for loss, _ in alone["said"]]) != 0
  for one in cut:
    np.testing.assert_allclose(one["said"], alone["said"], rtol=0, atol=1e-9)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9),
        one["params"], alone["params"],
    )


@pytest.mark.long
def test_training_equals_one_device(tmp_path):
  found = run(tmp_path, 1, "full")["full"]
  assert_equal(found)
  for one, sizes in zip(found[1:], script.MESHES):
    rows = script.ROWS // sizes.get("data", 1) // sizes.get("fsdp", 1)
    cut = sizes["sequence"]
    assert one["batch"]["inputs"] == (rows, script.LENGTH // cut)
    assert one["batch"]["targets"] == (rows, script.PLACES // cut)
    assert one["activation"] == (rows, script.LENGTH // cut, 16)
    assert one["held"]["['head']"] == (
        40 // sizes.get("tensor", 1), 16 // sizes.get("fsdp", 1) // cut
    )


@pytest.mark.slow
def test_training_of_every_kind_equals_one_device(tmp_path):
  found = run(tmp_path, len(script.MESHES), *script.CASES)
  for name in script.CASES:
    assert len(found[name]) == 1 + len(script.MESHES)
    assert_equal(found[name])


@pytest.mark.slow
def test_splash_on_rows_that_are_cut(tmp_path):
  ours, plain = run(tmp_path, 0, "splash")["splash"]
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5),
      ours, plain,
  )


@pytest.mark.parametrize("data, message", [
    (DataConfig(row_length=100),
     "data.row_length: 100 places of a row do not divide over sequence = 8"
     " devices; choose a multiple of 8"),
    (DataConfig(row_length=96, loss_length=20),
     "data.loss_length: 20 places of a row do not divide"),
])
def test_a_length_that_does_not_divide_is_named(data, message):
  config = Run(
      name="odd", model=script._DECODER, data=data,
      train=TrainConfig(learning_rate=1e-3, batch_size=8),
      mesh=MeshConfig(sequence=8),
  )
  with pytest.raises(partitioning.PartitionError) as error:
    setup.mesh(config, script._DECODER, [f"device {i}" for i in range(8)])
  assert str(error.value).startswith(message)


def test_a_batch_that_does_not_divide_is_refused_as_it_is_placed():
  mesh = jax.sharding.AbstractMesh((1, 1, 1, 1, 3, 1), partitioning.MESH_AXES)
  lengths = {"inputs": 12, "targets": 4}
  with pytest.raises(partitioning.PartitionError, match="^targets: 4 places"):
    partitioning.check_lengths(lengths, mesh)
  partitioning.check_lengths({"inputs": 12, "targets": 0}, mesh)
