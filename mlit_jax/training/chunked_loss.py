"""Cross-entropy over a large vocabulary without logits in memory.

Axes: B batch, T places with a loss, D embed, V vocab; P parts into which the
mesh cuts the vocabulary, W = V/P, C columns of a chunk.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mlit_jax import partitioning
from mlit_jax.models import precision
from mlit_jax.models.linear_map import product_in_order
from mlit_jax.training.loss import TokenLoss, weigh

CHUNK = 2048
_NOTHING = -1e30  # logit of a column that an earlier chunk had


def chunked_cross_entropy(
    hidden: Float[Array, "B T D"],
    head: Float[Array, "V D"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    *,
    softcap: float | None = None,
    z_loss: float = 0.0,
    chunk: int = CHUNK,
) -> TokenLoss:
  """`loss.cross_entropy` of logits hidden . head, `chunk` columns at a time.

  Logits are computed in float32, chunk by chunk, and once more in the backward
  pass; the largest array is [B, T, chunk]. Chunks cut the vocabulary rather
  than the tokens: each element of the head is then read once a pass, and its
  gradient written once, where chunks of tokens would add a [V, D] array up.

  Args:
    hidden: final hidden states, after the last norm.
    head: output head; a normalised one comes normalised.
    targets: the next token.
    weights: 1 where it is learnt, 0 elsewhere.
    softcap: c; a logit x becomes c * tanh(x / c) (Gemma 2). None: it stays.
    z_loss: weight of log(Z)^2, added to the total (T5X's regulariser).
    chunk: C, columns of a chunk over all parts of the vocabulary.

  Returns:
    Sums as of `cross_entropy`.
  """
  vocab, width = head.shape
  parts = partitioning.parts("vocab")
  columns = min(max(chunk // parts, 1), vocab // parts)
  log_z, chosen, highest = _statistics(
      softcap, columns, hidden, head.reshape(parts, -1, width), targets
  )
  return weigh(log_z, chosen, chosen >= highest, weights, z_loss)


def _chunk(softcap, columns, hidden, head, targets, i):
  """Logits [B T P C] of the i-th chunk, and what its columns are.

  Returns:
    Logits, the head's rows [P C D], where they begin in a part, whether a
    column is a target [B T P C], and whether it is new [C]: the last chunk
    reaches back where chunks do not divide the part.
  """
  parts, size, _ = head.shape
  start = jnp.minimum(i * columns, size - columns)
  piece = jax.lax.dynamic_slice_in_dim(head, start, columns, axis=1)
  piece = piece.astype(hidden.dtype)
  logits = jnp.einsum(
      "BTD,PCD->BTPC", hidden, piece,
      preferred_element_type=precision.wide(hidden.dtype),
  )
  if softcap is not None:
    logits = softcap * jnp.tanh(logits / softcap)
  place = start + jnp.arange(columns)
  new = place >= i * columns
  tokens = size * jnp.arange(parts)[:, None] + place
  is_target = (tokens == targets[..., None, None]) & new
  return jnp.where(new, logits, _NOTHING), piece, start, is_target, new


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _statistics(softcap, columns, hidden, head, targets):
  """log Z, the target's logit and the highest one, each [B T]."""
  return _forward(softcap, columns, hidden, head, targets)[0]


def _forward(softcap, columns, hidden, head, targets):
  parts, size, _ = head.shape

  def add(i, carry):
    highest, total, chosen = carry
    logits, _, _, is_target, _ = _chunk(
        softcap, columns, hidden, head, targets, i
    )
    new = jnp.maximum(highest, jnp.max(logits, axis=-1))
    total = total * jnp.exp(highest - new) + jnp.sum(
        jnp.exp(logits - new[..., None]), axis=-1
    )
    chosen += jnp.sum(jnp.where(is_target, logits, 0), axis=-1)
    return new, total, chosen

  wide = precision.wide(hidden.dtype)
  zeros = jnp.zeros((*hidden.shape[:2], parts), wide)
  # Parts are put together after the loop: one exchange between devices.
  highest, total, chosen = jax.lax.fori_loop(
      0, -(-size // columns), add, (zeros + _NOTHING, zeros, zeros)
  )
  log_z = jax.nn.logsumexp(highest, b=total, axis=-1)
  found = log_z, jnp.sum(chosen, axis=-1), jnp.max(highest, axis=-1)
  return found, (hidden, head, targets, log_z)


def _backward(softcap, columns, residuals, cotangents):
  hidden, head, targets, log_z = residuals
  wide = precision.wide(hidden.dtype)
  d_log_z, d_chosen, _ = (x[..., None, None] for x in cotangents)

  def add(i, carry):
    d_hidden, d_head = carry
    logits, piece, start, is_target, new = _chunk(
        softcap, columns, hidden, head, targets, i
    )
    d_logits = d_log_z * jnp.exp(logits - log_z[..., None, None])
    d_logits += jnp.where(is_target, d_chosen, 0)
    if softcap is not None:
      d_logits *= jnp.where(new, 1 - jnp.square(logits / softcap), 0)
    d_logits = d_logits.astype(hidden.dtype)
    d_hidden += jnp.einsum(
        "BTPC,PCD->BTD", d_logits, piece, preferred_element_type=wide
    )
    d_piece = product_in_order(
        "BTD,BTPC->PCD", hidden, d_logits, preferred_element_type=wide
    ).astype(head.dtype)
    d_piece += jax.lax.dynamic_slice_in_dim(d_head, start, columns, axis=1)
    return d_hidden, jax.lax.dynamic_update_slice_in_dim(
        d_head, d_piece, start, axis=1
    )

  # The largest array: a whole one on each device is not to be thought of.
  d_head = partitioning.lay_as_param(
      jnp.zeros_like(head), "vocab", None, "embed"
  )
  d_hidden, d_head = jax.lax.fori_loop(
      0, -(-head.shape[1] // columns), add,
      (jnp.zeros(hidden.shape, wide), d_head),
  )
  return d_hidden.astype(hidden.dtype), d_head, None


_statistics.defvjp(_forward, _backward)
