"""What test_gathering.py has several processes do; a script.

    python gather_work.py read|fail

read: the first reads all pieces, adds them up and looks at the memory, which
grew by much less than the arrays have. fail: its reader raises an error.
"""

import resource
import sys

import numpy as np

from mlit_jax import distributed

SHAPES = {"stacked": (2, 6, 1024, 4096), "whole": (4096, 4096), "few": (3, 2)}
SIZE = 4 * sum(int(np.prod(shape)) for shape in SHAPES.values())


def work(how):
  import jax
  import jax.numpy as jnp

  from mlit_jax import partitioning
  from mlit_jax.training import gathering

  mesh = partitioning.make_mesh({"fsdp": -1})
  specs = {
      "stacked": (None, None, "fsdp"), "whole": (None, "fsdp"), "few": (),
  }

  def make(name):
    place = jax.sharding.NamedSharding(
        mesh, jax.sharding.PartitionSpec(*specs[name])
    )
    shape = SHAPES[name]
    return jax.jit(
        lambda: jnp.arange(np.prod(shape), dtype=jnp.int32).reshape(shape),
        out_shardings=place,
    )()

  tree = {"deep": {name: make(name) for name in SHAPES}}
  jax.block_until_ready(tree)
  gathering.CHUNK = 8 << 20

  def use(tree):
    if how == "fail":
      raise OSError("no space left")
    found = tree["deep"]
    assert {name: leaf.shape for name, leaf in found.items()} == SHAPES
    for name, place, first in (
        *[("stacked", (i, j), (6 * i + j) << 22)
          for i, j in np.ndindex(2, 6)],
        ("whole", (), 0), ("few", (2,), 4),
    ):
      piece = found[name][place]
      assert piece.shape == SHAPES[name][len(place) :]
      for row in piece.reshape(-1, piece.shape[-1]):
        wanted = np.arange(first, first + row.size, dtype=np.int32)
        np.testing.assert_array_equal(row, wanted)
        first += row.size
    np.testing.assert_array_equal(
        np.asarray(found["few"]), np.arange(6).reshape(3, 2)
    )

  def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

  before = peak()
  gathering.read_on_first(tree, use)
  print("grew", (peak() - before) / SIZE, flush=True)
  return 0


if __name__ == "__main__":
  try:
    sys.exit(distributed.run(lambda: work(sys.argv[1])))
  except OSError as e:
    print(f"failed: {e}", flush=True)
    sys.exit(1)
