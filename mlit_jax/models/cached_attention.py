"""Attention of a few queries to a cache, the same however long the cache is.

Two paths, by device. Of both, slots that are not visible count exactly nothing,
so that a longer cache gives the same bits: an answer does not depend on the
length that its neighbours need.

Axes: B batch, T queries, N query heads, K key/value heads, G = N/K, H head dim,
S slots of the cache, J blocks of C slots, L layers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from mlit_jax import partitioning
from mlit_jax.models import precision
from mlit_jax.models.attention_xla import Bias
from mlit_jax.models.device import current_device

BLOCK = 32  # C
_HIDDEN = -1e30  # score of a slot that is not visible
_LOWEST = -1e29  # least maximum of a row: exp(_HIDDEN - _LOWEST) is 0
_ROWS = 4  # that are read together on a CPU


class KVCache(NamedTuple):
  """Keys and values of every position so far; slot s holds position s.

  Attributes:
    keys, values: in any type of numbers.
    key_scales, value_scales: what int8 numbers are multiplied with, one for
      each head of a slot; None for other types.
  """

  keys: Shaped[Array, "*L B K S H"]
  values: Shaped[Array, "*L B K S H"]
  key_scales: Float[Array, "*L B K S 1"] | None = None
  value_scales: Float[Array, "*L B K S 1"] | None = None

  def numbers(self, dtype: jax.typing.DTypeLike) -> tuple[Array, Array]:
    """Keys and values in a type to compute in."""
    keys, values = (x.astype(dtype) for x in self[:2])
    if self.key_scales is not None:
      keys *= self.key_scales.astype(dtype)
      values *= self.value_scales.astype(dtype)
    return keys, values


class _Scores(NamedTuple):
  """What makes scores of products, for any slots; fields as of `attend`."""

  positions: Int[Array, "B T"]
  visible: Int[Array, "B T"]
  window: int | Int[Array, ""] | None
  softcap: float | None
  bias: Bias | None

  def of(
      self, products: Float[Array, "B K G T S"], places: Int[Array, "S"]
  ) -> Float[Array, "B K G T S"]:
    """Capped, with bias, and low where a slot is not visible."""
    scores = products
    if self.softcap is not None:
      scores = self.softcap * jnp.tanh(scores / self.softcap)
    places = jnp.broadcast_to(places, (len(self.positions), len(places)))
    if self.bias is not None:
      added = self.bias(self.positions, places)
      scores += added.reshape(
          added.shape[0], -1, scores.shape[2], *added.shape[2:]
      )
    seen = places[:, None] < self.visible[..., None]
    if self.window is not None:
      seen &= self.positions[..., None] - places[:, None] < self.window
    return jnp.where(seen[:, None, None], scores, _HIDDEN)


def attend(
    query: Float[Array, "B T N H"],
    cache: KVCache,
    *,
    positions: Int[Array, "B T"],
    visible: Int[Array, "B T"],
    window: int | Int[Array, ""] | None = None,
    softcap: float | None = None,
    bias: Bias | None = None,
    scale: float,
) -> Float[Array, "B T N H"]:
  """Attention of a few queries to a layer's cache.

  Args:
    query: N heads; heads n * G to n * G + G - 1 share key head n.
    cache: slot s holds position s; what is in slots that are not visible does
      not matter, unless it is no finite number.
    positions: of the queries, for window and bias.
    visible: how many slots a query sees, from slot 0 on.
    window: a query sees the `window` latest positions only.
    softcap: c of c * tanh(x / c), or None.
    bias: of queries' and keys' positions, added to the scores.
    scale: of the scores.
  """
  batch, length, _, width = query.shape
  heads = cache.keys.shape[1]
  grouped = query.reshape(batch, length, heads, -1, width) * scale
  rule = _Scores(positions, visible, window, softcap, bias)
  on_cpu = current_device().platform == "cpu"
  mixed = (_by_need if on_cpu else _at_once)(grouped, cache, rule)
  return jnp.einsum("BKGTH->BTKGH", mixed).reshape(query.shape).astype(
      query.dtype
  )


def _by_need(
    query: Float[Array, "B T K G H"], cache: KVCache, rule: _Scores
) -> Float[Array, "B K G T H"]:
  """A few rows at a time, and of these one block of slots after another.

  So many blocks as one of the rows sees: whoever fills the slots puts rows of
  like length beside each other. The softmax is rescaled as blocks come in, as
  in training (attention_xla.py).
  """
  batch, length, heads, groups, width = query.shape
  slots = cache.keys.shape[2]
  wide = precision.wide(query.dtype)
  size = BLOCK if slots % BLOCK == 0 else slots
  rows = _rows_together(batch)

  def some(start):
    def taken(x):
      return jax.lax.dynamic_slice_in_dim(x, start, rows)

    own = rule._replace(
        positions=taken(rule.positions), visible=taken(rule.visible)
    )
    asked = taken(query)

    def block(index, carry):
      highest, total, mixed = carry
      first = index * size
      part = jax.tree.map(
          lambda x: jax.lax.dynamic_slice(
              x, (start, 0, first, 0), (rows, heads, size, x.shape[-1]),
              allow_negative_indices=False,
          ),
          cache,
      )
      keys, values = part.numbers(query.dtype)
      products = jnp.einsum(
          "BTKGH,BKCH->BKGTC", asked, keys, preferred_element_type=wide
      )
      scores = own.of(products, first + jnp.arange(size))
      new = jnp.maximum(highest, jnp.max(scores, axis=-1))
      weights = jnp.exp(scores - new[..., None])
      shrink = jnp.exp(highest - new)
      mixed = mixed * shrink[..., None] + jnp.einsum(
          "BKGTC,BKCH->BKGTH", weights.astype(query.dtype), values,
          preferred_element_type=wide,
      )
      return new, total * shrink + jnp.sum(weights, axis=-1), mixed

    shape = rows, heads, groups, length
    nothing = (
        jnp.full(shape, _LOWEST, wide), jnp.zeros(shape, wide),
        jnp.zeros((*shape, width), wide),
    )
    seen = jnp.minimum(jnp.max(own.visible), slots)
    _, total, mixed = jax.lax.fori_loop(0, -(-seen // size), block, nothing)
    # Without a visible slot all weights are 0.
    return mixed / jnp.where(total == 0, 1, total)[..., None]

  mixed = jax.lax.map(some, jnp.arange(0, batch, rows))
  return mixed.reshape(batch, heads, groups, length, width)


def _rows_together(batch: int) -> int:
  """A divisor of the batch, at most _ROWS if there is one; all on a mesh."""
  if partitioning.parts("batch") > 1:
    return batch
  return max(
      (n for n in range(_ROWS // 2, _ROWS + 1) if batch % n == 0),
      default=batch,
  )


def _at_once(
    query: Float[Array, "B T K G H"], cache: KVCache, rule: _Scores
) -> Float[Array, "B K G T H"]:
  """All scores; sums over slots are made of sums over blocks.

  These are put together as the leaves of a binary tree. Not for CPUs, where XLA
  rounds the exponentials of larger arrays otherwise, so that bits would change
  with the cache's length (LOG.md).
  """
  keys, values = cache.numbers(query.dtype)
  slots, width = keys.shape[2:]
  wide = precision.wide(query.dtype)
  # A block's products have one shape, however many blocks there are.
  size = BLOCK if slots % BLOCK == 0 else slots
  blocks = (*keys.shape[:2], -1, size, width)
  scores = jnp.einsum(
      "BTKGH,BKJCH->BKGTJC", query, keys.reshape(blocks),
      preferred_element_type=wide,
  )
  scores = rule.of(
      scores.reshape(*scores.shape[:-2], slots), jnp.arange(slots)
  )
  highest = jnp.max(scores, axis=-1, keepdims=True)
  weights = jnp.exp(scores - jnp.maximum(highest, _LOWEST))
  weights = weights.reshape(*weights.shape[:-1], -1, size)
  # J stays where the cache has it: in front, all values would be moved there.
  mixed = jnp.einsum(
      "BKGTJC,BKJCH->BKJGTH", weights.astype(values.dtype),
      values.reshape(blocks), preferred_element_type=wide,
  )
  total = _sum(jnp.sum(weights, axis=-1), 4)[..., None]
  # Without a visible slot all weights are 0.
  return _sum(mixed, 2) / jnp.where(total == 0, 1, total)


def _sum(parts: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
  """Adds neighbours up until one is left: more zeros change no bit.

  A compiler's own sum would group the parts by their number.
  """
  while (count := parts.shape[axis]) > 1:
    even = count // 2 * 2
    first, second, rest = (
        jax.lax.slice_in_dim(parts, *place, axis=axis)
        for place in ((0, even, 2), (1, even, 2), (even, count))
    )
    parts = jnp.concatenate([first + second, rest], axis)
  return jnp.squeeze(parts, axis)
