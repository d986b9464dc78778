"""Saves one checkpoint, then one for which there is no room; a script.

    python failing_writes.py DIRECTORY

test_checkpoint_damage.py starts it. Prints the error.
"""

import resource
import sys

import jax.numpy as jnp

from mlit_jax.training.checkpoint import CheckpointError, Checkpoints


def state(value):
  # Not to be compressed away.
  numbers = jnp.arange(100_000, dtype=jnp.uint32) * jnp.uint32(2654435761)
  return {"w": numbers + jnp.uint32(value)}


if __name__ == "__main__":
  checkpoints = Checkpoints(sys.argv[1], every=1, keep=1)
  checkpoints.save(1, state(1), {"at": 1})
  checkpoints.wait()
  # From now on no file may be longer than this.
  resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
  try:
    checkpoints.save(2, state(2), {"at": 2})
    checkpoints.close()
  except CheckpointError as e:
    print(e)
