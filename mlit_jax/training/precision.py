"""In which types a run stores, computes and rounds."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Precision:
  """Types of a run.

  Attributes:
    trained: of what is trained.
    frozen: of a base that is not.
    compute: of activations; sums, norms and losses are float32 at least.
    stochastic: whether an update is rounded up or down by chance, so that on
      average nothing is lost.
  """

  trained: jax.typing.DTypeLike
  frozen: jax.typing.DTypeLike
  compute: jax.typing.DTypeLike
  stochastic: bool = False


PRECISIONS = {
    "float32": Precision(jnp.float32, jnp.float32, jnp.float32),
    # Computes in bfloat16; the weights it trains are float32.
    "bfloat16": Precision(jnp.float32, jnp.bfloat16, jnp.bfloat16),
    # The weights are bfloat16, too.
    "bfloat16_params": Precision(
        jnp.bfloat16, jnp.bfloat16, jnp.bfloat16, True
    ),
    # For checks, with jax_enable_x64.
    "float64": Precision(jnp.float64, jnp.float64, jnp.float64),
}


def cast(tree, dtype: jax.typing.DTypeLike):
  """Every floating-point leaf in a type."""
  def one(x):
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return x.astype(dtype) if floating and x.dtype != dtype else x

  return jax.tree.map(one, tree)


def round_stochastically(
    x: Float[Array, "..."], key: jax.Array
) -> Float[Array, "..."]:
  """float32 as bfloat16, up or down by chance: its mean is x.

  A step of training changes a weight by less than half of bfloat16's spacing
  most of the time; rounded to nearest, such changes would be lost.
  """
  bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
  noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
  # The noise carries over into the upper half as often as the lower half says.
  upper = (bits + noise) & jnp.uint32(0xFFFF0000)
  rounded = jax.lax.bitcast_convert_type(upper, jnp.float32)
  return jnp.where(jnp.isfinite(x), rounded, x).astype(jnp.bfloat16)
