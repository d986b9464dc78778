"""Arrays of Orbax checkpoints: read when asked for, a bounded number kept."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mlit_jax.models.interchange import orbax_file
from mlit_jax.models.interchange.storage import CheckpointError

TREE = {
    "params": {
        "blocks": {
            "a": jnp.arange(24.0).reshape(2, 3, 4),
            "half": jnp.arange(5).astype(jnp.bfloat16) / 3,
        },
        "scalar": jnp.float32(7),
    },
    "other": [jnp.zeros(3), None],
}


@pytest.fixture
def saved(tmp_path):
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / "state", TREE)
  return tmp_path / "state"


def test_arrays_are_read_when_indexed(saved):
  tree = orbax_file.arrays(saved, "params")
  assert jax.tree.structure(tree) == jax.tree.structure(TREE["params"])
  for leaf, wanted in zip(
      jax.tree.leaves(tree), jax.tree.leaves(TREE["params"]), strict=True
  ):
    assert (leaf.shape, leaf.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_array_equal(leaf[()], wanted)
  assert tree["blocks"]["a"][1].tolist() == TREE["params"]["blocks"]["a"][
      1
  ].tolist()


def test_no_more_is_kept_than_the_largest_takes(tmp_path):
  tree = {"p": {name: jnp.full((8,), i) for i, name in enumerate("abc")}}
  tree["p"]["large"] = jnp.zeros((16,))
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / "state", tree)
  found = orbax_file.arrays(tmp_path / "state", "p")

  def kept(*names):
    """Whether an array is the same object when it is read again."""
    once = {name: found[name][()].base for name in names}
    return [found[name][()].base is once[name] for name in names]

  assert kept("a", "b") == [True, True]
  # To make room for c, a went; a then takes the place of b.
  assert kept("a", "b", "c") == [False, False, False]
  assert kept("large") == [True]
  assert kept("a", "large") == [False, False]


def test_what_is_not_there_is_named(saved, tmp_path):
  for directory, root, words in (
      (saved, "target", "state: no arrays under 'target'"),
      (tmp_path, "params", "_METADATA: cannot be read: No such file"),
  ):
    with pytest.raises(CheckpointError, match=words):
      orbax_file.arrays(directory, root)
