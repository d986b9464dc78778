"""Keys and values of earlier tokens: written, and attended to.

Axes: B batch, T queries, N query heads, K key/value heads, H head dim, S slots
of the cache, L layers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mlit_jax.models import attention, cached_attention
from mlit_jax.models.attention_paths import FEW
from mlit_jax.models.cached_attention import KVCache


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
  return jax.tree.map(
      lambda old, new: old.at[place].set(new, mode="drop"),
      cache, stored(KVCache(key, value), cache.keys.dtype),
  )


def stored(cache: KVCache, dtype: jax.typing.DTypeLike) -> KVCache:
  """The same keys and values as a cache of another type holds them."""
  kept = cache.keys, cache.values
  if jnp.dtype(dtype) == jnp.int8:
    kept, scales = zip(*map(_quantized, kept), strict=True)
    return KVCache(*(x.astype(dtype) for x in kept), *scales)
  return KVCache(*(x.astype(dtype) for x in kept))


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
  if query.shape[1] <= FEW:
    visible = positions + 1
    if lengths is not None:
      visible = jnp.broadcast_to(lengths[:, None], positions.shape)
    return cached_attention.attend(
        query, cache, positions=positions, visible=visible, **how
    )
  keys, values = cache.numbers(query.dtype)
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
