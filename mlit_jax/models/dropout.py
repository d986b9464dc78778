"""Dropout whose mask is a row's own: its neighbours in the batch do not matter.

Neither do, therefore, the parts in which a batch is computed, the mesh and the
number of hosts. Axes: B rows of a batch, N numbers that tell draws apart.
"""

from collections.abc import Container

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

STREAM = "dropout"  # the random stream


def drop_out(
    x: Float[Array, "B ..."],
    rate: float | Float[Array, ""],
    key: Array,
    draws: Int[Array, "B N"] | None = None,
    shared: Container[int] = (),
) -> Float[Array, "B ..."]:
  """Zeros for a share of the elements, the others scaled to the same mean.

  Args:
    x: what is dropped out.
    rate: the share, below 1.
    key: of this place in the model.
    draws: what tells a row's mask from those of other rows and other steps;
      None: the row's place in the batch.
    shared: axes of a row (the first is 0) along which the mask is the same.
  """
  if draws is None:
    draws = jnp.arange(len(x))[:, None]
  keep = 1 - rate
  shape = [1 if i in shared else n for i, n in enumerate(x.shape[1:])]

  def one(draw):
    own = key
    for i in range(draws.shape[1]):
      own = jax.random.fold_in(own, draw[i])
    return jax.random.bernoulli(own, keep, shape)

  return jnp.where(jax.vmap(one)(draws), x / jnp.asarray(keep, x.dtype), 0)
