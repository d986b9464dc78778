"""Attention over keys that a query may see.

Axes: B batch, T query length, S key length, N query heads, K key/value heads,
G = N/K, H head dim.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_NEGATIVE = -1e30  # finite: a row without a visible key must not give NaN


def attend(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    *,
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    query_segments: Int[Array, "B T"] | None = None,
    key_segments: Int[Array, "B S"] | None = None,
    causal: bool = True,
    window: int | Int[Array, ""] | None = None,
    softcap: float | None = None,
    bias: Callable | None = None,
    scale: float,
    path: str = "auto",
) -> Float[Array, "B T N H"]:
  """Softmax attention, in float32."""
  del path
  distance = query_positions[:, :, None] - key_positions[:, None, :]
  visible = distance >= 0 if causal else jnp.ones_like(distance, bool)
  if window is not None:
    visible &= distance < window
  if query_segments is not None:
    visible &= query_segments[:, :, None] == key_segments[:, None, :]
  batch, length, n, h = query.shape
  k = key.shape[2]
  grouped = query.reshape(batch, length, k, n // k, h) * scale
  scores = jnp.einsum("BTKGH,BSKH->BKGTS", grouped, key).astype(jnp.float32)
  if softcap is not None:
    scores = softcap * jnp.tanh(scores / softcap)
  if bias is not None:
    added = bias(query_positions, key_positions)
    scores += added.reshape(added.shape[0], k, n // k, *added.shape[2:])
  scores = jnp.where(visible[:, None, None], scores, _NEGATIVE)
  weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
  mixed = jnp.einsum("BKGTS,BSKH->BTKGH", weights, value)
  return mixed.reshape(batch, length, n, h)
