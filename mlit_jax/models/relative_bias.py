"""T5's position bias: a learnt number per head and bucket of distances.

Axes: B batch, T queries, S keys, N heads, R buckets.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def edges(num_near: int, num_far: int, max_distance: int) -> list[int]:
  """Where the far buckets begin, but for the first, which begins at num_near.

  They divide num_near..max_distance evenly on a logarithmic scale. Reckoned in
  whole numbers: some edges (16, 32 and 64 with T5's sizes) are hit exactly, and
  a float32 logarithm puts them now into one bucket, now into the other.

  Args:
    num_near: distances below this one have a bucket each.
    num_far: number of logarithmic buckets.
    max_distance: where the last one would end, but it has no end.
  """
  found, distance = [], num_near
  for k in range(1, num_far):
    # distance >= num_near * (max_distance / num_near) ** (k / num_far)
    edge = max_distance**k * num_near ** (num_far - k)
    while distance**num_far < edge:
      distance += 1
    found.append(distance)
  return found


def buckets(
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    num_buckets: int,
    max_distance: int,
    bidirectional: bool,
) -> Int[Array, "B T S"]:
  """The bucket of every pair (Raffel et al. 2020, section 2.1).

  Args:
    query_positions, key_positions: positions in the token's own sequence.
    num_buckets: R.
    max_distance: see `edges`.
    bidirectional: half of the buckets are for keys behind the query; else they
      are all for keys before it, and later keys are in bucket 0.
  """
  ahead = key_positions[:, None, :] - query_positions[:, :, None]
  first = 0
  if bidirectional:
    num_buckets //= 2
    first = num_buckets * (ahead > 0)
    distance = jnp.abs(ahead)
  else:
    distance = jnp.maximum(-ahead, 0)
  near = num_buckets // 2
  far_edges = jnp.asarray(edges(near, num_buckets - near, max_distance))
  far = near + jnp.sum(distance[..., None] >= far_edges, axis=-1)
  return first + jnp.where(distance < near, distance, far)


def relative_bias(
    table: Float[Array, "R N"],
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    max_distance: int,
    bidirectional: bool,
) -> Float[Array, "B N T S"]:
  """What is added to the attention logits; arguments as of `buckets`."""
  bucket = buckets(
      query_positions, key_positions, table.shape[0], max_distance,
      bidirectional,
  )
  return jnp.moveaxis(table[bucket], -1, 1)
