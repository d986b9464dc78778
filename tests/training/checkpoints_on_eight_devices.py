"""Takes a checkpoint through meshes of eight virtual devices; a script.

    python checkpoints_on_eight_devices.py DIRECTORY

restores DIRECTORY/from-1 onto 8, 2 and 1 devices and saves each as
DIRECTORY/from-8, from-2 ...; test_checkpoint_damage.py starts it. Prints the
number of shards of an array on each.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from mlit_jax import partitioning
from mlit_jax.training.checkpoint import Checkpoints

MESHES = {"8": (2, 2, 2), "2": (1, 2, 1), "1again": (1, 1, 1)}


def state(value=0.0):
  """What a run saves, with all the types that occur."""
  rng = np.random.default_rng(0)
  params = {
      "kernel": jnp.float32(rng.standard_normal((16, 24)) + value),
      "narrow": jnp.bfloat16(rng.standard_normal((8, 2, 4)) + value),
  }
  return {
      "params": params,
      "opt_state": optax.adam(0.1).init(params),
      "key": jax.random.key_data(jax.random.key(3)),
      "ok": jnp.asarray([True, False]),
  }


def like(mesh):
  """The same, cut over the mesh wherever it divides."""

  def one(x):
    axes = [None] * x.ndim
    if x.ndim >= 2:
      axes[:2] = "fsdp", "tensor"
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  return jax.tree.map(one, state())


def main(directory):
  for name, shape in MESHES.items():
    devices = jax.devices()[: int(np.prod(shape))]
    wanted = like(partitioning.make_mesh(shape, devices))
    source = Checkpoints(directory / "from-1", every=1)
    step, found, data = source.restore(wanted)
    source.close()
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
      assert x.sharding == y.sharding
    print(len({str(s.index) for s in
               found["params"]["kernel"].addressable_shards}))
    target = Checkpoints(directory / f"from-{name}", every=1)
    target.save(step, found, data)
    target.close()


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
