"""The chunked loss on a mesh of eight virtual devices; run as a script.

    python chunked_loss_on_eight_devices.py OUT.npz 2x2x2

test_chunked_loss.py starts it: the devices of a process are fixed when JAX
starts. OUT holds the loss, its gradients, the devices' largest shard of the
head's gradient and the program's temporary bytes on one device.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mlit_jax import partitioning
from mlit_jax.training import chunked_loss

BATCH, PLACES, WIDTH, VOCAB, CHUNK = 8, 32, 16, 4008, 256
SETTINGS = {"softcap": 3.0, "z_loss": 1e-2, "chunk": CHUNK}


def arrays():
  """Hidden states, head, targets, weights; rows of different weight."""
  rng = np.random.default_rng(0)
  return (
      rng.standard_normal((BATCH, PLACES, WIDTH)).astype("float32"),
      rng.standard_normal((VOCAB, WIDTH)).astype("float32"),
      rng.integers(0, VOCAB, (BATCH, PLACES)).astype("int32"),
      np.float32(np.arange(PLACES) <= 4 * np.arange(BATCH)[:, None]),
  )


def main(out, mesh):
  mesh = partitioning.make_mesh(tuple(int(n) for n in mesh.split("x")))
  rows = partitioning.batch_sharding(mesh)
  head = NamedSharding(mesh, PartitionSpec("tensor", "fsdp"))
  shardings = (rows, head, rows, rows)
  with partitioning.activation_rules(mesh):

    @jax.jit
    def step(hidden, head, targets, weights):
      return jax.value_and_grad(
          lambda *xs: chunked_loss.chunked_cross_entropy(
              *xs, targets, weights, **SETTINGS
          ).mean,
          argnums=(0, 1),
      )(hidden, head)

    placed = jax.device_put(arrays(), shardings)
    compiled = step.lower(*placed).compile()
    value, (d_hidden, d_head) = compiled(*placed)
  np.savez(
      out, value=value, d_hidden=d_hidden, d_head=d_head,
      shard=d_head.addressable_shards[0].data.shape,
      temporary=compiled.memory_analysis().temp_size_in_bytes,
  )


if __name__ == "__main__":
  assert jax.device_count() == 8 and jnp.zeros(1).dtype == jnp.float32
  main(*sys.argv[1:])
