"""Keys and values of earlier tokens: written, and attended to.

Axes: B batch, T queries, N query heads, K key/value heads, G = N/K, H head dim,
S slots of the cache, J blocks of C slots, L layers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from mlit_jax.models import attention, precision
from mlit_jax.models.attention_paths import FEW, current_device
from mlit_jax.models.attention_xla import Bias

BLOCK = 32  # C
_HIDDEN = -1e30  # score of a slot that is not visible
_LOWEST = -1e29  # least maximum of a row: exp(_HIDDEN - _LOWEST) is 0


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


def empty(
    shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
) -> KVCache:
  """A cache of keys and values of a shape, [*L B K S H]."""
  zeros = [jnp.zeros(shape, dtype) for _ in range(2)]
  if jnp.dtype(dtype) == jnp.int8:
    zeros += [jnp.zeros((*shape[:-1], 1), jnp.float32) for _ in range(2)]
  return KVCache(*zeros)


def of_layer(cache: KVCache, layer: Int[Array, ""] | int | None) -> KVCache:
  """One layer's part of a cache of all; None: it is a layer's already."""
  if layer is None:
    return cache
  return jax.tree.map(lambda x: x[layer], cache)


def write(
    cache: KVCache,
    layer: Int[Array, ""] | int | None,
    positions: Int[Array, "B T"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segments: Int[Array, "B T"] | None = None,
) -> KVCache:
  """The cache with these keys and values at their positions.

  Written in place: a loop over layers carries the whole cache, because handing
  each layer its part would copy all of it at every token.

  Args:
    cache: of all layers, or of one.
    layer: whose keys and values these are; None: the cache has no other.
    positions: of the tokens.
    key, value: what to write.
    segments: 0 for padding, which is not written.
  """
  if segments is not None:
    positions = jnp.where(segments == 0, cache.keys.shape[-2], positions)
  place = (jnp.arange(len(positions))[:, None], slice(None), positions)
  if layer is not None:
    place = (layer, *place)
  new = KVCache(key, value)
  if cache.key_scales is not None:
    (key, key_scales), (value, value_scales) = map(_quantized, (key, value))
    new = KVCache(key, value, key_scales, value_scales)
  return jax.tree.map(
      lambda old, new: old.at[place].set(new.astype(old.dtype), mode="drop"),
      cache, new,
  )


def _quantized(x):
  """As int8, and what that is multiplied with: the largest becomes 127."""
  wide = x.astype(jnp.float32)
  scales = jnp.max(jnp.abs(wide), axis=-1, keepdims=True) / 127
  return jnp.round(wide / jnp.where(scales == 0, 1, scales)), scales


def attend(
    query: Float[Array, "B T N H"],
    cache: KVCache,
    positions: Int[Array, "B T"],
    lengths: Int[Array, "B"] | None = None,
    *,
    window_values: tuple[int, ...] | None = None,
    **how,
) -> Float[Array, "B T N H"]:
  """Attention to a layer's cache.

  Args:
    query: of tokens that are in the cache already.
    cache: of the layer.
    positions: of the queries; each sees the cache up to there.
    lengths: so many slots are seen instead, whatever the position: the cache
      is an encoder's.
    window_values: as of `attention.attend`, as are
    **how: window, softcap, bias and scale.
  """
  keys, values = (x.astype(query.dtype) for x in cache[:2])
  if cache.key_scales is not None:
    keys *= cache.key_scales.astype(query.dtype)
    values *= cache.value_scales.astype(query.dtype)
  if query.shape[1] <= FEW:
    visible = positions + 1
    if lengths is not None:
      visible = jnp.broadcast_to(lengths[:, None], positions.shape)
    return attend_by_blocks(
        query, keys, values, positions=positions, visible=visible, **how
    )
  slots = jnp.broadcast_to(
      jnp.arange(keys.shape[2]), (len(keys), keys.shape[2])
  )
  seen = {}
  if lengths is not None:
    seen = {
        "causal": False,
        "query_segments": jnp.ones_like(positions),
        "key_segments": (slots < lengths[:, None]).astype(jnp.int32),
    }
  return attention.attend(
      query, jnp.swapaxes(keys, 1, 2), jnp.swapaxes(values, 1, 2),
      query_positions=positions, key_positions=slots,
      window_values=window_values, **seen, **how,
  )


def attend_by_blocks(
    query: Float[Array, "B T N H"],
    keys: Float[Array, "B K S H"],
    values: Float[Array, "B K S H"],
    *,
    positions: Int[Array, "B T"],
    visible: Int[Array, "B T"],
    window: int | Int[Array, ""] | None = None,
    softcap: float | None = None,
    bias: Bias | None = None,
    scale: float,
) -> Float[Array, "B T N H"]:
  """Attention of a few queries, the same however long the cache is.

  Sums over slots are made of sums over blocks of `BLOCK`, put together as the
  leaves of a binary tree. Slots that are not visible count exactly nothing, so
  that a longer cache gives the same bits: an answer does not depend on the
  length its neighbours need.

  Args:
    query: N heads; heads n * G to n * G + G - 1 share key head n.
    keys, values: slot s holds position s; what is in slots that are not
      visible does not matter, unless it is no finite number.
    positions: of the queries, for window and bias.
    visible: how many slots a query sees, from slot 0 on.
    window: a query sees the `window` latest positions only.
    softcap: c of c * tanh(x / c), or None.
    bias: of queries' and keys' positions, added to the scores.
    scale: of the scores.
  """
  batch, length, heads, width = query.shape
  groups, slots = heads // keys.shape[1], keys.shape[2]
  wide = precision.wide(query.dtype)
  grouped = query.reshape(batch, length, -1, groups, width) * scale
  # A block's products have one shape, however many blocks there are.
  size = BLOCK if slots % BLOCK == 0 else slots
  blocks = (*keys.shape[:2], -1, size, width)
  scores = jnp.einsum(
      "BTKGH,BKJCH->BKGTJC", grouped, keys.reshape(blocks),
      preferred_element_type=wide,
  )
  scores = scores.reshape(*scores.shape[:-2], slots)
  if softcap is not None:
    scores = softcap * jnp.tanh(scores / softcap)
  places = jnp.broadcast_to(jnp.arange(slots), (batch, slots))
  if bias is not None:
    added = bias(positions, places)
    scores += added.reshape(added.shape[0], -1, groups, *added.shape[2:])
  seen = places[:, None] < visible[..., None]
  if window is not None:
    seen &= positions[..., None] - places[:, None] < window
  scores = jnp.where(seen[:, None, None], scores, _HIDDEN)
  highest = jnp.max(scores, axis=-1, keepdims=True)
  scores -= jnp.maximum(highest, _LOWEST)
  scores = scores.reshape(*scores.shape[:-1], -1, size)
  weights, totals = _exponentials(jnp.moveaxis(scores, -2, 0))
  # J stays where the cache has it: in front, all values would be moved there.
  mixed = jnp.einsum(
      "BKJGTC,BKJCH->BKJGTH",
      jnp.moveaxis(weights.astype(values.dtype), 0, 2),
      values.reshape(blocks), preferred_element_type=wide,
  )
  mixed, totals = jnp.sum(mixed, 2), _sum(totals)
  # Without a visible slot all weights are 0.
  mixed /= jnp.where(totals == 0, 1, totals)[..., None]
  return jnp.einsum("BKGTH->BTKGH", mixed).reshape(query.shape).astype(
      query.dtype
  )


def _exponentials(
    scores: Float[Array, "J *X C"],
) -> tuple[Float[Array, "J *X C"], Float[Array, "J *X"]]:
  """exp, and its sums over blocks."""

  def one(block):
    weights = jnp.exp(block)
    return weights, jnp.sum(weights, axis=-1)

  if current_device().platform == "cpu":
    # XLA takes other code for larger arrays there, which rounds otherwise.
    return jax.lax.map(one, scores)
  return one(scores)


def _sum(parts: Float[Array, "J ..."]) -> Float[Array, "..."]:
  """Adds neighbours up until one is left: more zeros change no bit."""
  while len(parts) > 1:
    even = len(parts) // 2 * 2
    pairs = parts[:even:2] + parts[1:even:2]
    parts = jnp.concatenate([pairs, parts[even:]])
  return parts[0]
