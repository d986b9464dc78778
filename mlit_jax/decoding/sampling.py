"""How the next token is chosen.

Axes: B rows, V vocab.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_NEVER = -jnp.inf
_BLOCK = 128


class Choice(NamedTuple):
  """How each row chooses; the defaults of a request are in `requests`.

  Attributes:
    temperature: divides the logits; 0: the likeliest token.
    top_k: so many of the likeliest tokens may be drawn; 0: all.
    top_p: the likeliest tokens that have this much probability together.
    min_p: tokens at least so likely, relative to the likeliest.
    repetition_penalty: logits of tokens seen are divided by it where they are
      positive, and multiplied where they are not (Keskar et al. 2019).
    seeds: of the samples.
  """

  temperature: Float[Array, "B"]
  top_k: Int[Array, "B"]
  top_p: Float[Array, "B"]
  min_p: Float[Array, "B"]
  repetition_penalty: Float[Array, "B"]
  seeds: Int[Array, "B"]


def next_token(
    logits: Float[Array, "B V"],
    how: Choice,
    seen: Bool[Array, "B V"],
    index: Int[Array, "B"],
) -> Int[Array, "B"]:
  """The likeliest token where the temperature is 0, else a sample.

  A row's randomness comes from its own seed and index alone: it does not depend
  on the other rows.

  Args:
    logits: of the next token.
    how: rows choose.
    seen: tokens of the prompt and of the answer so far.
    index: the token will be the answer's index-th.
  """
  logits = jax.lax.cond(
      jnp.any(how.repetition_penalty != 1), penalized,
      lambda logits, *_: logits, logits, seen, how.repetition_penalty,
  )
  greedy = likeliest(logits)
  # What sampling costs is more than a small model's whole step.
  return jax.lax.cond(
      jnp.any(how.temperature > 0),
      lambda: jnp.where(
          how.temperature == 0, greedy,
          _sample(allowed(logits, how), how.seeds, index),
      ),
      lambda: greedy,
  )


def penalized(
    logits: Float[Array, "B V"],
    seen: Bool[Array, "B V"],
    penalty: Float[Array, "B"],
) -> Float[Array, "B V"]:
  """Logits with the repetition penalty."""
  penalty = penalty[:, None]
  lower = jnp.where(logits > 0, logits / penalty, logits * penalty)
  return jnp.where(seen, lower, logits)


def allowed(
    logits: Float[Array, "B V"], how: Choice
) -> Float[Array, "B V"]:
  """Logits by temperature; -inf for what top-k, top-p and min-p leave out.

  In the order of transformers: top-p of what top-k leaves, then min-p.
  """
  heat = jnp.where(how.temperature > 0, how.temperature, 1)
  logits = logits / heat[:, None]
  logits = jax.lax.cond(
      jnp.any((how.top_k > 0) | (how.top_p < 1)), _top, lambda logits, *_:
      logits, logits, how.top_k, how.top_p,
  )
  lowest = jnp.max(logits, axis=-1) + jnp.log(how.min_p)
  return jnp.where(logits >= lowest[:, None], logits, _NEVER)


def likeliest(logits: Float[Array, "B V"]) -> Int[Array, "B"]:
  """The first of the highest logits.

  As argmax, which takes nearly ten times as long in XLA on a CPU: a maximum
  alone is fast, and only the block that it lies in is searched. A NaN is the
  highest of all; XLA's maximum on a CPU passes over it.
  """
  logits = jnp.where(jnp.isnan(logits), jnp.inf, logits)
  logits = jnp.pad(
      logits, ((0, 0), (0, -logits.shape[-1] % _BLOCK)),
      constant_values=_NEVER,
  )
  blocks = logits.reshape(len(logits), -1, _BLOCK)
  first = jnp.argmax(jnp.max(blocks, axis=-1), axis=-1)
  block = jnp.take_along_axis(blocks, first[:, None, None], axis=1)[:, 0]
  return first * _BLOCK + jnp.argmax(block, axis=-1)


def _top(logits, top_k, top_p):
  """-inf for what top-k leaves out, and then top-p."""
  count = jnp.where(top_k > 0, top_k, logits.shape[-1]).astype(jnp.float32)
  logits = _fewer_above(logits, jnp.ones_like(logits), count)
  shares = jax.nn.softmax(logits, axis=-1)
  # A share of 1 leaves nothing out, whatever the shares add up to.
  return _fewer_above(logits, shares, jnp.where(top_p < 1, top_p, 2))


def _fewer_above(logits, weights, limit):
  """-inf for a logit above which others weigh `limit` or more together.

  The lowest that stays is found by halving the range of float32's bit patterns,
  which takes 32 sums: much less than to sort a vocabulary.
  """
  keys = _ordered(jax.lax.bitcast_convert_type(logits, jnp.int32))

  def halve(_, bounds):
    low, high = bounds
    middle = (low & high) + ((low ^ high) >> 1)
    above = jnp.where(keys > middle[:, None], weights, 0)
    stays = jnp.sum(above, axis=-1) < limit
    return jnp.where(stays, low, middle + 1), jnp.where(stays, middle, high)

  # Nothing is above the highest.
  start = jnp.min(keys, axis=-1), jnp.max(keys, axis=-1)
  _, lowest = jax.lax.fori_loop(0, 32, halve, start)
  return jnp.where(keys >= lowest[:, None], logits, _NEVER)


def _ordered(bits):
  """Bit patterns of floats as whole numbers in the floats' order."""
  return jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def _sample(logits, seeds, index):
  """One uniform number a row, looked up in the cumulated probabilities."""

  def uniform(seed, index):
    return jax.random.uniform(jax.random.fold_in(jax.random.key(seed), index))

  weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
  total = jnp.cumsum(weights, axis=-1)
  drawn = jax.vmap(uniform)(seeds, index) * total[:, -1]
  token = jnp.sum(total <= drawn[:, None], axis=-1)
  return jnp.minimum(token, logits.shape[-1] - 1)


def logprobs(
    logits: Float[Array, "B V"], tokens: Int[Array, "B"]
) -> Float[Array, "B"]:
  """Log-probabilities of tokens, whatever way they were chosen."""
  chosen = jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
  return chosen - jax.nn.logsumexp(logits, axis=-1)
