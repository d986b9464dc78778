"""A linear map whose gradient XLA computes fast.

Differentiated by JAX, a map's weight gradient is (gradient of y) . x. XLA's CPU
compiler makes a transposed copy of whatever stands first, and computes it once
more while it does: behind an activation that costs as much as the product
(benchmarks/train.py). Here the smaller of the two stands first.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mlit_jax.models.device import current_device


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def linear_map(
    einsum: str, x: Float[Array, "..."], kernel: Float[Array, "..."]
) -> Float[Array, "..."]:
  """`jnp.einsum` of two operands, each letter in at least two of three places.

  Args:
    einsum: e.g. "BTD,DF->BTF".
    x: what to map.
    kernel: of the same type.
  """
  return jnp.einsum(einsum, x, kernel)


def _forward(einsum, x, kernel):
  # Of a frozen kernel no gradient is wanted, nor what it would be made of.
  saved = (
      x.value if kernel.perturbed else None,
      kernel.value if x.perturbed else None,
  )
  return linear_map(einsum, x.value, kernel.value), saved


def _backward(einsum, saved, d_y):
  x, kernel = saved
  letters, out = einsum.split("->")
  into, of_kernel = letters.split(",")
  d_x = d_kernel = None
  if kernel is not None:
    d_x = jnp.einsum(f"{out},{of_kernel}->{into}", d_y, kernel)
  if x is not None:
    pair = [(into, x), (out, d_y)]
    (first, a), (second, b) = sorted(pair, key=lambda each: each[1].size)
    d_kernel = product_in_order(f"{first},{second}->{of_kernel}", a, b)
  return d_x, d_kernel


linear_map.defvjp(_forward, _backward, symbolic_zeros=True)


def product_in_order(
    einsum: str,
    first: jax.typing.ArrayLike,
    second: jax.typing.ArrayLike,
    **options,
) -> Float[Array, "..."]:
  """`jnp.einsum` of two operands; on a CPU the first is what is transposed.

  What a product gives in another order than is wanted is transposed after it.
  XLA's CPU compiler would merge that into the product, with the two swapped.

  Args:
    einsum: e.g. "BTD,BTF->FD".
    first: the smaller.
    second: the larger.
    **options: of `jnp.einsum`.
  """
  operands, wanted = einsum.split("->")
  a, b = operands.split(",")
  given = "".join(sorted(wanted, key=lambda c: (c not in a, c not in b)))
  product = jnp.einsum(f"{operands}->{given}", first, second, **options)
  if given == wanted:
    return product
  if current_device().platform == "cpu":
    product = jax.lax.optimization_barrier(product)
  return jnp.einsum(f"{given}->{wanted}", product)
