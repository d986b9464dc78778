"""Mixture of experts.

Axes: B batch, T length, D embed, F mlp, E experts, C experts of a token.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from mlit_jax import partitioning
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.layers import ACTIVATIONS, kernel, linear
from mlit_jax.models.low_rank import COLLECTION

_INTO, _OUT = "BTD,EDF->BTEF", "BTEF,EFD->BTD"
_LARGEST, _SMALLEST = 512, 8  # rows of a block


class MixtureOfExperts(nn.Module):
  """The best few of E gated MLPs for every token (Mixtral: Jiang et al. 2024).

  Drop-free and exact: tokens are sorted by expert, and each expert works on its
  own (`grouped`); cut along the expert axis, each device on those of its
  experts. Where an expert's map has a LoRA adapter, every expert works on every
  token and what the router did not choose counts nothing, which costs
  E / experts_per_token times the arithmetic.
  """

  config: DecoderConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    c = self.config
    sizes = {"D": c.embed_dim, "F": c.mlp_dim, "E": c.num_experts}
    axes = {"D": "embed", "F": "mlp", "E": "expert"}
    scores = linear(self, "router", "BTD,DE->BTE", x, sizes, axes)
    shares = jax.nn.softmax(scores.astype(jnp.float32), axis=-1)
    best, chosen = jax.lax.top_k(shares, c.experts_per_token)
    best = best / jnp.sum(best, axis=-1, keepdims=True)
    activation = ACTIVATIONS[c.activation]
    adapted = [
        name for name in ("gate", "up", "down")
        if self.has_variable(COLLECTION, name)
    ]
    if not adapted:
      kernels = [
          kernel(self, name, einsum, x, sizes, axes, stacked="E")
          for name, einsum in (("gate", _INTO), ("up", _INTO), ("down", _OUT))
      ]
      return _over_the_mesh(x, chosen, best, kernels, activation)

    def into(name):
      y = linear(self, name, _INTO, x, sizes, axes, stacked="E")
      return nn.with_logical_constraint(y, ("batch", "length", "expert", "mlp"))

    weights = jnp.sum(
        jax.nn.one_hot(chosen, c.num_experts) * best[..., None], axis=-2
    )
    hidden = activation(into("gate")) * into("up")
    hidden = hidden * weights[..., None].astype(x.dtype)
    return linear(self, "down", _OUT, hidden, sizes, axes, stacked="E")


def _over_the_mesh(x, chosen, best, kernels, activation):
  """`grouped` on each device: its rows of the batch, its experts."""
  if jax.sharding.get_abstract_mesh().empty:
    return _rows(x, chosen, best, *kernels, activation=activation)
  rows, expert = nn.logical_to_mesh_axes(("batch", "expert"))
  if x.shape[0] % partitioning.parts("batch"):
    rows = None
  here = PartitionSpec(rows)

  def run(*arrays):
    first = 0
    if expert is not None:
      first = jax.lax.axis_index(expert) * arrays[-1].shape[0]
    y = _rows(*arrays, activation=activation, first=first)
    return y if expert is None else jax.lax.psum(y, expert)

  return jax.shard_map(
      run, in_specs=(here,) * 3 + (PartitionSpec(expert),) * 3, out_specs=here,
      check_vma=False,
  )(x, chosen, best, *kernels)


def _rows(x, chosen, best, *kernels, activation, first=0):
  width, count = x.shape[-1], chosen.shape[-1]
  y = grouped(
      x.reshape(-1, width), chosen.reshape(-1, count),
      best.reshape(-1, count), *kernels, activation=activation, first=first,
  )
  return y.reshape(x.shape)


def grouped(
    x: Float[Array, "T D"],
    chosen: Int[Array, "T C"],
    best: Float[Array, "T C"],
    gate: Float[Array, "E D F"],
    up: Float[Array, "E D F"],
    down: Float[Array, "E F D"],
    *,
    activation: Callable,
    first: Int[Array, ""] | int = 0,
) -> Float[Array, "T D"]:
  """What these experts add up to, each working on the tokens that chose it.

  Tokens are sorted by expert into blocks of one expert each, the last of an
  expert filled up with zeros. Blocks without an expert are skipped. (The same
  as `jax.lax.ragged_dot`, which on CPU and GPU lets every expert work on every
  row.)

  Args:
    x: tokens.
    chosen: the experts of each; may be others than these.
    best: what each expert counts for.
    gate, up, down: kernels of the experts `first`, `first` + 1 and so on.
    activation: of the gate.
    first: number of the first expert here.
  """
  (tokens, width), experts = x.shape, len(gate)
  count = chosen.size
  wanted = count // (2 * experts)
  size = min(_LARGEST, max(_SMALLEST, 1 << max(wanted, 1).bit_length() - 1))
  num_blocks = count // size + min(experts, count)
  expert = chosen.reshape(-1) - first
  expert = jnp.where((expert >= 0) & (expert < experts), expert, experts)
  order = jnp.argsort(expert, stable=True)
  ordered = expert[order]
  amounts = jnp.bincount(expert, length=experts)
  blocks = -(-amounts // size)
  ends = jnp.cumsum(blocks)
  # Where a token stands among the blocks' rows; past the end for others' ones.
  shift = (ends - blocks) * size - (jnp.cumsum(amounts) - amounts)
  shift = jnp.append(shift, num_blocks * size)
  place = jnp.zeros_like(expert).at[order].set(
      jnp.arange(count) + shift[ordered], unique_indices=True
  )
  source = jnp.full(num_blocks * size, tokens).at[place].set(
      jnp.arange(count) // chosen.shape[-1], mode="drop"
  )
  rows = x.at[source].get(mode="fill", fill_value=0)
  owner = jnp.searchsorted(ends, jnp.arange(num_blocks), side="right")

  def work(block, e):
    hidden = activation(block @ gate[e]) * (block @ up[e])
    return hidden @ down[e]

  @functools.partial(jax.lax.map, xs=(rows.reshape(-1, size, width), owner))
  def out(block_and_owner):
    block, e = block_and_owner
    return jax.lax.cond(
        e < experts, work, lambda block, e: jnp.zeros_like(block), block, e
    )

  parts = out.reshape(-1, width).at[place].get(mode="fill", fill_value=0)
  parts = parts.reshape(*chosen.shape, width)
  return jnp.einsum("TCD,TC->TD", parts, best.astype(x.dtype))
