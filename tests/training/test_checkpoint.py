"""Checkpoints: when they are saved, what comes back, what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.training.checkpoint import CheckpointError, Checkpoints


def state(value):
  return {"w": jnp.arange(6.0).reshape(2, 3) + value, "n": jnp.asarray(value)}


@pytest.fixture
def open_checkpoints(tmp_path):
  opened = []

  def make(**options):
    opened.append(Checkpoints(tmp_path / "checkpoints", **options))
    return opened[-1]

  yield make
  for checkpoints in opened:
    checkpoints.close()


def steps(path):
  return sorted(int(p.name) for p in path.iterdir() if p.name.isdigit())


def test_saves_in_turn_and_keeps_the_newest(open_checkpoints, tmp_path):
  checkpoints = open_checkpoints(every=3, keep=2)
  saved = [s for s in range(1, 14) if checkpoints.save(s, state(s), {"at": s})]
  checkpoints.close()
  assert saved == [3, 6, 9, 12]
  assert steps(tmp_path / "checkpoints") == [9, 12]


def test_saves_out_of_turn_when_told_and_nothing_twice(open_checkpoints):
  checkpoints = open_checkpoints(every=3)
  assert checkpoints.save(3, state(3), {})
  assert not checkpoints.save(3, state(3), {}, now=True)
  assert checkpoints.save(4, state(4), {}, now=True)
  checkpoints.close()
  step, found, _ = open_checkpoints(every=3).restore(state(0))
  assert step == 4 and found["n"] == 4


def test_restores_the_newest(open_checkpoints):
  checkpoints = open_checkpoints(every=2)
  assert checkpoints.restore(state(0)) is None
  for step in (2, 4):
    checkpoints.save(step, state(step), {"at": step, "deep": {"x": [1, "y"]}})
  checkpoints.close()
  step, found, data = open_checkpoints(every=2).restore(state(0))
  assert step == 4 and data == {"at": 4, "deep": {"x": [1, "y"]}}
  np.testing.assert_array_equal(found["w"], np.arange(6.0).reshape(2, 3) + 4)
  assert found["n"] == 4


def test_another_model_s_checkpoint_is_refused(open_checkpoints, tmp_path):
  checkpoints = open_checkpoints(every=2)
  checkpoints.save(2, {"a": {"w": jnp.zeros((2, 3))}}, {})
  checkpoints.close()
  for like, difference in (
      ({"v": jnp.zeros((2, 3))}, "a/w: [[2, 3], 'float32'] there, None here"),
      ({"a": {"w": jnp.zeros((3, 2))}},
       "a/w: [[2, 3], 'float32'] there, [[3, 2], 'float32'] here"),
      ({"a": {"w": jnp.zeros((2, 3), "bfloat16")}},
       "a/w: [[2, 3], 'float32'] there, [[2, 3], 'bfloat16'] here"),
  ):
    with pytest.raises(CheckpointError) as error:
      open_checkpoints(every=2).restore(like)
    assert str(error.value) == (
        f"{tmp_path / 'checkpoints' / '2'}: is of another model or optimiser"
        f" ({difference}); give the run another directory"
    )
  assert steps(tmp_path / "checkpoints") == [2]  # it is whole, and stays
