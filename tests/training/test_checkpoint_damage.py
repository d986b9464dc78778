"""Checkpoints survive damage, full disks and other meshes."""

import os
import pathlib
import shutil
import subprocess
import sys

import checkpoints_on_eight_devices as on_eight
import failing_writes
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.training.checkpoint import CheckpointError, Checkpoints
from mlit_jax.training.checksums import checksums

# Of the arrays that Orbax was reading when the first one failed.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  """A directory with the checkpoints of steps 2 and 4, the newer one random.

  Arrays of several sizes: Orbax writes small and large ones differently.
  """
  path = tmp_path_factory.mktemp("damage") / "checkpoints"
  checkpoints = Checkpoints(path, every=2)
  for step in (2, 4):
    checkpoints.save(step, state(step), {"at": step, "loss": step / 7})
  checkpoints.close()
  return path


def state(value):
  rng = np.random.default_rng(value)
  return {
      "large": jnp.float32(rng.standard_normal((300, 40))),
      "zeros": jnp.zeros((64, 64)).at[3, 3].set(value),
      "small": jnp.asarray(value),
  }


def assert_equal(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  jax.tree.map(np.testing.assert_array_equal, one, other)


def restore(path):
  """(step, state, data, what was said)."""
  said = []
  checkpoints = Checkpoints(path, every=2, say=said.append)
  try:
    return *checkpoints.restore(state(0)), said
  finally:
    checkpoints.close()


def files(path):
  return sorted(p for p in path.rglob("*") if p.is_file())


def flip(path, share=0.5):
  content = bytearray(path.read_bytes())
  if content:
    content[int(share * (len(content) - 1))] ^= 0x10
  path.write_bytes(content)


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "cut off": truncate,
    "gone": pathlib.Path.unlink,
    "a bit flipped": flip,
    "a bit flipped near its end": lambda path: flip(path, 0.9),
    "overwritten": lambda path: path.write_bytes(os.urandom(100)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_one_file_is_found_or_does_no_harm(
    two, tmp_path, damage
):
  names = [p.relative_to(two) for p in files(two / "4")]
  found_damage = 0
  for number, name in enumerate(names):
    path = tmp_path / str(number)
    shutil.copytree(two, path)
    DAMAGES[damage](path / name)
    step, found, data, said = restore(path)
    assert_equal(found, state(step))
    assert data == {"at": step, "loss": step / 7}
    if step == 4:
      assert said == []
      continue
    found_damage += 1
    assert step == 2 and len(said) == 1
    assert said[0].startswith(f"{path / '4'}: damaged (")
    assert said[0].endswith("set aside, going on from step 2")
    assert "\n" not in said[0]
    assert (path / "4.damaged").is_dir() and not (path / "4").exists()
  # Of the files some hold data, wherever Orbax puts them.
  assert found_damage >= 3


def test_a_wrong_value_that_reads_well_is_found(two, tmp_path):
  """Damage that no file format notices: one number changed, and saved so."""
  path = tmp_path / "checkpoints"
  shutil.copytree(two, path)
  other = Checkpoints(tmp_path / "other", every=4)
  wrong = state(4)
  wrong["large"] = wrong["large"].at[17, 3].multiply(1 + 2**-23)
  other.save(4, wrong, {})
  other.close()
  shutil.rmtree(path / "4" / "state")
  shutil.copytree(tmp_path / "other" / "4" / "state", path / "4" / "state")
  step, _, _, said = restore(path)
  assert step == 2
  assert "damaged (large: checksum differs); set aside" in said[0]


def test_the_run_goes_on_after_damage(two, tmp_path):
  path = tmp_path / "checkpoints"
  shutil.copytree(two, path)
  truncate(path / "4" / "data" / "metadata")
  checkpoints = Checkpoints(path, every=2, say=lambda text: None)
  assert checkpoints.restore(state(0))[0] == 2
  assert checkpoints.save(4, state(4), {"at": 4, "loss": 4 / 7})
  checkpoints.close()
  assert restore(path)[0] == 4


def test_without_a_whole_one_nothing_starts_over_silently(two, tmp_path):
  path = tmp_path / "checkpoints"
  shutil.copytree(two, path)
  for step in ("2", "4"):
    for file in files(path / step / "state"):
      file.unlink()
  with pytest.raises(CheckpointError) as error:
    restore(path)
  message = str(error.value)
  assert f"{path / '4'}: damaged (" in message
  assert f"{path / '2'}: damaged (" in message
  assert message.endswith(
      "no whole checkpoint is left: start anew in another directory"
  )
  # Not even when it is tried again.
  with pytest.raises(CheckpointError, match="no whole checkpoint is left"):
    restore(path)


def test_what_a_killed_run_was_writing_is_no_checkpoint(two, tmp_path):
  path = tmp_path / "checkpoints"
  shutil.copytree(two, path)
  half = path / "6.orbax-checkpoint-tmp"
  shutil.copytree(path / "4", half)
  files(half / "state")[0].unlink()
  assert restore(path)[0] == 4


def test_a_failed_write_harms_nothing(tmp_path):
  """The disk is full: here, no file may become longer."""
  path = tmp_path / "checkpoints"
  done = subprocess.run(
      [sys.executable, failing_writes.__file__, path], check=True,
      capture_output=True, text=True,
  )
  assert done.stdout.startswith(f"{path}: no checkpoint could be written (")
  assert done.stdout.endswith("the one of step 1 is whole\n")
  assert "File too large" in done.stdout
  assert done.stdout.count("\n") == 1
  assert "Traceback" not in done.stderr
  checkpoints = Checkpoints(path, every=1)
  step, found, _ = checkpoints.restore(failing_writes.state(0))
  assert step == 1
  assert_equal(found, failing_writes.state(1))
  # And there is room again.
  checkpoints.save(2, failing_writes.state(2), {})
  checkpoints.close()
  assert sorted(p.name for p in path.iterdir()) == ["1", "2"]


def test_it_is_restored_onto_other_meshes_and_back(tmp_path):
  one_device = on_eight.state(0.5)
  checkpoints = Checkpoints(tmp_path / "from-1", every=1)
  checkpoints.save(7, one_device, {"at": 7})
  checkpoints.close()
  done = subprocess.run(
      [sys.executable, on_eight.__file__, tmp_path], check=True,
      capture_output=True, text=True,
      env=os.environ | {
          "XLA_FLAGS": "--xla_force_host_platform_device_count=8"
      },
  )
  assert done.stdout.split() == ["4", "2", "1"]
  for name in on_eight.MESHES:
    checkpoints = Checkpoints(tmp_path / f"from-{name}", every=1)
    step, found, data = checkpoints.restore(on_eight.state())
    assert (step, data) == (7, {"at": 7})
    assert_equal(found, one_device)
    checkpoints.close()


@pytest.mark.parametrize("dtype", [
    "float32", "bfloat16", "float16", "int32", "int8", "uint8",
])
def test_a_checksum_sees_every_bit_and_every_place(dtype):
  x = np.asarray(jnp.arange(24).reshape(2, 3, 4), dtype)
  changed = [x, *(np.flip(x, axis) for axis in range(3))]
  for bit in range(8 * x.nbytes):
    raw = bytearray(x.tobytes())
    raw[bit // 8] ^= 1 << bit % 8
    changed.append(np.frombuffer(raw, x.dtype).reshape(x.shape))
  found = {checksums({"x": value})["x"] for value in changed}
  assert len(found) == len(changed)


def test_checksums_of_truth_values_and_of_nothing():
  values = [[True, False], [False, True], [True, True], [False, False]]
  found = [checksums({"x": jnp.asarray(v)})["x"] for v in values]
  assert len(set(found)) == 4
  assert checksums({"x": jnp.zeros((0, 3)), "y": jnp.asarray(0.0)})
