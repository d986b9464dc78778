"""Mixture of experts.

Axes: B batch, T length, D embed, F mlp, E experts, C experts of a token.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from mlit_jax import partitioning
from mlit_jax.models import precision
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.layers import ACTIVATIONS, activated, kernel, linear
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
    scores = scores.astype(precision.wide(scores.dtype))
    shares = jax.nn.softmax(scores, axis=-1)
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
    hidden = activated(activation, into("gate"), into("up"))
    hidden = hidden * weights[..., None].astype(x.dtype)
    return linear(self, "down", _OUT, hidden, sizes, axes, stacked="E")


def _over_the_mesh(x, chosen, best, kernels, activation):
  """`grouped` on each device: its experts, or its part of their mlp axis.

  A device works on its places of a row. Rows that the expert axis cuts are put
  together for the experts, and what they add up to is shared out again.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return _rows(x, chosen, best, *kernels, activation=activation)
  rows, length, mlp = nn.logical_to_mesh_axes(("batch", "length", "mlp"))
  expert, = nn.logical_to_mesh_axes(("expert",))  # rows may have it, too
  if x.shape[0] % partitioning.parts("batch"):
    rows = None
  shared = expert is not None and rows is not None and expert in rows
  here, into = PartitionSpec(rows, length), PartitionSpec(expert, None, mlp)

  def run(x, chosen, best, *kernels):
    first = 0
    if expert is not None:
      first = jax.lax.axis_index(expert) * len(kernels[0])
    if shared:
      x, chosen, best = (
          jax.lax.all_gather(a, expert, tiled=True) for a in (x, chosen, best)
      )
    y = _rows(x, chosen, best, *kernels, activation=activation, first=first)
    if shared:
      y = jax.lax.psum_scatter(y, expert, tiled=True)
    elif expert is not None:
      y = jax.lax.psum(y, expert)
    return y if mlp is None else jax.lax.psum(y, mlp)

  return jax.shard_map(
      run,
      in_specs=(here,) * 3 + (into, into, PartitionSpec(expert, mlp)),
      out_specs=here, check_vma=False,
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

  Choices are sorted by expert into blocks of one expert each, the last of an
  expert filled up; a loop works on as many blocks as there are. (The same as
  `jax.lax.ragged_dot`, which on CPU and GPU lets every expert work on every
  row.) Only tokens and their sum lie in memory, not what each choice reads
  and gives.

  Args:
    x: tokens.
    chosen: the experts of each, different ones; may be others than these.
    best: what each expert counts for.
    gate, up, down: kernels of the experts `first`, `first` + 1 and so on.
    activation: of the gate.
    first: number of the first expert here.
  """
  experts, count = len(gate), chosen.size
  wanted = count // (2 * experts)
  size = min(_LARGEST, max(_SMALLEST, 1 << max(wanted, 1).bit_length() - 1))
  num_blocks = count // size + min(experts, count)
  expert = chosen.reshape(-1) - first
  expert = jnp.where((expert >= 0) & (expert < experts), expert, experts)
  order = jnp.argsort(expert, stable=True)
  ordered = expert[order]
  amounts = jnp.bincount(expert, length=experts)
  filled = -(-amounts // size)
  ends = jnp.cumsum(filled)
  # Where a choice stands among the blocks' rows; past the end for others' ones.
  shift = (ends - filled) * size - (jnp.cumsum(amounts) - amounts)
  shift = jnp.append(shift, num_blocks * size)
  source = jnp.full(num_blocks * size, count).at[
      jnp.arange(count) + shift[ordered]
  ].set(order.astype(jnp.int32), mode="drop", unique_indices=True)
  owner = jnp.searchsorted(ends, jnp.arange(num_blocks), side="right")
  blocks = _Blocks(source.reshape(-1, size), owner, ends[-1])
  return _add_up(activation, x, best.astype(x.dtype), (gate, up, down), blocks)


class _Blocks(NamedTuple):
  """Choices by expert: numbers T * C of choices, or past the end."""

  choices: Int[Array, "J S"]
  owners: Int[Array, "J"]
  used: Int[Array, ""]


def _taken(i, x, best, kernels, blocks):
  """A block's tokens, their shares, and its expert's kernels."""
  choices, e = blocks.choices[i], blocks.owners[i]
  rows = x.at[choices // best.shape[1]].get(mode="fill", fill_value=0)
  shares = best.reshape(-1).at[choices].get(mode="fill", fill_value=0)
  return rows, shares, tuple(kernel[e] for kernel in kernels)


def _block(activation, rows, shares, kernels):
  gate, up, down = kernels
  hidden = activation(rows @ gate) * (rows @ up)
  return (hidden @ down) * shares[:, None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _add_up(activation, x, best, kernels, blocks):
  def add(i, y):
    out = _block(activation, *_taken(i, x, best, kernels, blocks))
    place = blocks.choices[i] // best.shape[1]
    return y.at[place].add(out, mode="drop")

  return jax.lax.fori_loop(0, blocks.used, add, jnp.zeros_like(x))


def _add_up_forward(activation, x, best, kernels, blocks):
  y = _add_up(activation, x, best, kernels, blocks)
  return y, (x, best, kernels, blocks)


def _add_up_backward(activation, residuals, d_y):
  """Each block's forward pass is done once more."""
  x, best, kernels, blocks = residuals

  def add(i, carry):
    d_x, d_best, d_kernels = carry
    choices, e = blocks.choices[i], blocks.owners[i]
    place = choices // best.shape[1]
    _, pull = jax.vjp(
        functools.partial(_block, activation),
        *_taken(i, x, best, kernels, blocks),
    )
    d_rows, d_shares, d_mine = pull(
        d_y.at[place].get(mode="fill", fill_value=0)
    )
    return (
        d_x.at[place].add(d_rows, mode="drop"),
        d_best.at[choices].set(d_shares, mode="drop"),
        tuple(
            d.at[e].add(mine) for d, mine in zip(d_kernels, d_mine, strict=True)
        ),
    )

  zeros = jax.tree.map(jnp.zeros_like, (x, best.reshape(-1), kernels))
  d_x, d_best, d_kernels = jax.lax.fori_loop(0, blocks.used, add, zeros)
  return d_x, d_best.reshape(best.shape), d_kernels, None


_add_up.defvjp(_add_up_forward, _add_up_backward)
