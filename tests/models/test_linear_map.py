"""A linear map's own gradient against the one that JAX derives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.models.linear_map import linear_map

SIZES = {"B": 3, "T": 5, "D": 4, "F": 7, "N": 2, "H": 6, "V": 9, "K": 3}


def arrays(einsum, dtype="float32"):
  rng = np.random.default_rng(0)
  return [
      jnp.asarray(rng.standard_normal([SIZES[a] for a in letters]), dtype)
      for letters in einsum.replace("->", ",").split(",")
  ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "einsum",
    ["BTD,DF->BTF", "BTF,FD->BTD", "BTD,DNH->BTNH", "BTNH,NHD->BTD",
     "BTD,VD->BTV", "BTD,BDF->BTF"],
)
def test_values_and_gradients_are_the_einsum_s(einsum, dtype):
  x, kernel, d_y = arrays(einsum, dtype)
  found, own = jax.vjp(lambda *a: linear_map(einsum, *a), x, kernel)
  assert (found == jnp.einsum(einsum, x, kernel)).all()
  # In float32: JAX 0.12 rounds a bfloat16 einsum's gradient more than once.
  _, pull = jax.vjp(
      lambda *a: jnp.einsum(einsum, *a), *map(jnp.float32, (x, kernel))
  )
  rounding = 1e-5 if dtype == "float32" else 2**-8
  for ours, exact in zip(own(d_y), pull(jnp.float32(d_y)), strict=True):
    assert ours.dtype == dtype
    np.testing.assert_allclose(
        np.float32(ours), exact, rtol=rounding, atol=1e-5
    )


@pytest.mark.parametrize("trained", [0, 1])
def test_only_what_the_wanted_gradient_needs_is_kept(trained):
  operands = arrays("BTD,DF->BTF")[:2]

  def call(one):
    return linear_map(
        "BTD,DF->BTF", *operands[:trained], one, *operands[trained + 1 :]
    )

  _, pull = jax.vjp(call, operands[trained])
  kept = [x.shape for x in jax.tree.leaves(pull)]
  assert kept == [operands[1 - trained].shape]


def test_the_smaller_of_two_is_what_is_transposed():
  """A [D, F] gradient of x [B T D] and of a wider d_y."""
  narrow, kernel, wide = arrays("BTD,DF->BTF")
  for einsum, x, weights, d_y in (
      ("BTD,DF->BTF", narrow, kernel, wide),
      ("BTF,FD->BTD", wide, kernel.T, narrow),
  ):
    pull = jax.vjp(lambda k, e=einsum, x=x: linear_map(e, x, k), weights)[1]
    (dot,) = [
        eqn for eqn in jax.make_jaxpr(pull)(d_y).jaxpr.eqns
        if eqn.primitive.name == "dot_general"
    ]
    assert dot.invars[0].aval.shape == narrow.shape


@pytest.mark.parametrize("einsum", ["BTF,FD->BTD", "BTD,VD->BTV"])
def test_the_compiler_transposes_no_larger_one_either(einsum):
  """Left to it, it would make the transposed product with the two swapped."""
  sizes = {"B": 4, "T": 128, "D": 128, "F": 256, "V": 1000}
  letters, out = einsum.split("->")
  x, kernel, d_y = (
      jnp.zeros([sizes[c] for c in part]) for part in (*letters.split(","), out)
  )

  def gradient(x, kernel, d_y):
    return jax.vjp(lambda k: linear_map(einsum, x, k), kernel)[1](d_y)[0]

  text = jax.jit(gradient).lower(x, kernel, d_y).compile().as_text()
  products = re.findall(r"= f32\[(\d+),(\d+)\]\S* dot\(", text)
  first, second = sorted(kernel.shape)
  assert products == [(str(first), str(second))]
