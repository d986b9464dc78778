"""In what type sums are taken."""

import jax
import jax.numpy as jnp


def wide(dtype: jax.typing.DTypeLike) -> jnp.dtype:
  """float32 for narrower types; wider ones stay (checks run in float64)."""
  return jnp.promote_types(dtype, jnp.float32)
