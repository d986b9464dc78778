"""Attention in XLA's own operations: all scores at once, or block by block.

Axes: B batch, T query length, S key length, N query heads, K key/value heads,
G = N/K, H head dim; I query blocks of t queries, J key blocks of s keys.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from mlit_jax.models import precision

BLOCK = 256  # queries and keys of a block
CONTEXT = "attention_context"  # what remat policies may save: models/remat.py
HIDDEN = -1e30  # score of a key that is not visible
_NO_PLACE = -(1 << 30)  # before all positions; its negative is behind them
LOWEST = -1e29  # least maximum of a row: exp(HIDDEN - LOWEST) is 0

Bias = Callable[
    [Int[Array, "B T"], Int[Array, "B S"]], Float[Array, "#B N T S"]
]


class Tokens(NamedTuple):
  """What decides which query sees which key.

  Attributes:
    positions: place of a token in its own sequence.
    segments: which sequence of a packed row a token belongs to, or None.
  """

  positions: Int[Array, "*I B T"]
  segments: Int[Array, "*I B T"] | None


class Rule(NamedTuple):
  """How scores come about, apart from the arrays.

  Attributes:
    causal: keys at later positions are not visible.
    softcap: c: a score x becomes c * tanh(x / c); None: it stays.
    bias: added to the (capped) scores.
  """

  causal: bool
  softcap: float | None
  bias: Bias | None


def visible(
    queries: Tokens,
    keys: Tokens,
    causal: bool,
    window: int | Int[Array, ""] | None,
) -> Bool[Array, "B T S"] | None:
  """Whether a query sees a key; None: every one sees all."""
  masks = []
  if causal:
    distance = queries.positions[:, :, None] - keys.positions[:, None, :]
    masks.append(distance >= 0)
    if window is not None:
      masks.append(distance < window)
  if queries.segments is not None:
    masks.append(queries.segments[:, :, None] == keys.segments[:, None, :])
  return functools.reduce(jnp.logical_and, masks) if masks else None


def _products(query, key):
  """[B K G t s] in float32 at least, of scaled queries [B t K G H]."""
  return jnp.einsum(
      "BTKGH,BSKH->BKGTS", query, key,
      preferred_element_type=precision.wide(query.dtype),
  )


def _scores(rule, products, queries, keys, window):
  """Capped, with bias, and low where a key is not visible [B K G t s]."""
  scores = products
  if rule.softcap is not None:
    scores = rule.softcap * jnp.tanh(scores / rule.softcap)
  if rule.bias is not None:
    bias = rule.bias(queries.positions, keys.positions)
    heads = scores.shape[1:3]
    scores += bias.reshape(bias.shape[0], *heads, *bias.shape[2:])
  seen = visible(queries, keys, rule.causal, window)
  if seen is None:
    return scores
  return jnp.where(seen[:, None, None], scores, HIDDEN)


def plain(
    query: Float[Array, "B T K G H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    queries: Tokens,
    keys: Tokens,
    window: int | Int[Array, ""] | None,
    rule: Rule,
) -> Float[Array, "B T K G H"]:
  """All scores [B N T S] at once; queries come scaled."""
  scores = _scores(rule, _products(query, key), queries, keys, window)
  highest = jnp.maximum(jnp.max(scores, axis=-1, keepdims=True), LOWEST)
  weights = jnp.exp(scores - jax.lax.stop_gradient(highest))
  total = jnp.moveaxis(jnp.sum(weights, axis=-1), 3, 1)  # [B T K G]
  mixed = jnp.einsum("BKGTS,BSKH->BTKGH", weights.astype(value.dtype), value)
  # 0: sees no key. Dividing after the product instead of before, the gradient
  # wants no sum over scores (Dao et al. 2022, appendix B).
  mixed = mixed / jnp.where(total > 0, total, 1)[..., None]
  mixed = mixed.astype(value.dtype)
  return checkpoint_name(mixed, CONTEXT)


def blockwise(
    query: Float[Array, "B T K G H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    queries: Tokens,
    keys: Tokens,
    window: int | Int[Array, ""] | None,
    rule: Rule,
) -> Float[Array, "B T K G H"]:
  """The same from scores [B N BLOCK BLOCK] at a time, gradients too.

  The softmax is made exact by rescaling as blocks come in (Rabe and Staats
  2021); backwards, each block's scores are computed once more (Dao et al.
  2022). Blocks that no row of the batch sees are skipped.
  """
  # flax's scan over layers computes what depends on no layer once, before it:
  # here the masks of all blocks, in memory. So they depend on the query.
  query, queries = jax.lax.optimization_barrier((query, queries))
  batch, length = query.shape[:2]
  t, s = min(BLOCK, length), min(BLOCK, key.shape[1])
  queries, keys = told_from_padding(
      queries, keys, length % t or key.shape[1] % s
  )
  queries, keys = blocked(queries, t, -1), blocked(keys, s, -2)
  bias, trained, fixed = hoisted(
      rule.bias, queries.positions[0], keys.positions[0]
  )
  mixed = _attend_blocks(
      (rule.causal, rule.softcap, bias),
      blocks(query, t), blocks(key, s), blocks(value, s), trained,
      (queries, keys, window, fixed,
       any_visible(queries, keys, rule.causal, window)),
  )
  return jnp.moveaxis(mixed, 0, 1).reshape(batch, -1, *query.shape[2:])[
      :, :length
  ]


def told_from_padding(
    queries: Tokens, keys: Tokens, padded: bool | int
) -> tuple[Tokens, Tokens]:
  """With segments, if blocks will be padded: a row's own tokens have 0."""
  if not padded or queries.segments is not None:
    return queries, keys
  return tuple(
      tokens._replace(segments=jnp.zeros_like(tokens.positions))
      for tokens in (queries, keys)
  )


def blocks(x, size, **pad):
  """[B T ...] -> [I B size ...], the last block padded."""
  fill = [(0, 0)] * x.ndim
  fill[1] = (0, -x.shape[1] % size)
  x = jnp.pad(x, fill, **pad)
  x = x.reshape(x.shape[0], -1, size, *x.shape[2:])
  return jnp.moveaxis(x, 1, 0)


def blocked(tokens: Tokens, size: int, padding_segment: int) -> Tokens:
  """Blocks of tokens [I B size], the last one padded."""
  segments = tokens.segments
  if segments is not None:
    segments = blocks(segments, size, constant_values=padding_segment)
  # Positions go on as they end, to leave a block's range as it is.
  return Tokens(blocks(tokens.positions, size, mode="edge"), segments)


def hoisted(bias: Bias | None, query_positions, key_positions):
  """A bias function with the arrays it closes over made arguments.

  Args:
    bias: the function.
    query_positions, key_positions: of the shapes that it will get, [B T] and
      [B S].

  Returns:
    A function (trained, fixed, query positions, key positions), the arrays of
    floating type that `bias` closes over, and its other arrays.
  """
  if bias is None:
    return None, [], []
  jaxpr = jax.make_jaxpr(bias)(query_positions, key_positions)
  is_trained = [jnp.issubdtype(c.dtype, jnp.inexact) for c in jaxpr.consts]
  pairs = list(zip(jaxpr.consts, is_trained, strict=True))
  trained = [const for const, is_ in pairs if is_]
  fixed = [const for const, is_ in pairs if not is_]

  def evaluate(trained, fixed, query_positions, key_positions):
    parts = {True: iter(trained), False: iter(fixed)}
    consts = [next(parts[is_]) for is_ in is_trained]
    return jax.core.eval_jaxpr(
        jaxpr.jaxpr, consts, query_positions, key_positions
    )[0]

  return evaluate, trained, fixed


def any_visible(queries, keys, causal, window):
  """Which blocks must be visited [I J], judged by ranges alone."""

  def ranges(x, axis):
    low, high = jnp.min(x, axis=-1), jnp.max(x, axis=-1)
    return jnp.expand_dims(low, axis), jnp.expand_dims(high, axis)

  first, last = ranges(queries.positions, 1)  # [I 1 B]
  key_first, key_last = ranges(keys.positions, 0)  # [1 J B]
  seen = jnp.ones((), bool)
  if causal:
    seen &= last >= key_first
    if window is not None:
      seen &= first - key_last < window
  if queries.segments is not None:
    # Padding comes last, as it does in a row.
    of_queries, of_keys = (
        jnp.where(x.segments > 0, x.segments, -_NO_PLACE)
        for x in (queries, keys)
    )
    low, high = ranges(of_queries, 1)
    key_low, key_high = ranges(of_keys, 0)
    seen &= (high >= key_low) & (low <= key_high)
    if causal:
      # Where segments ascend, the keys after a block's last query are later
      # than all of it, though not by their positions alone.
      latest = jnp.max(
          queries.positions, axis=-1, initial=_NO_PLACE,
          where=of_queries == high[:, 0, :, None],
      )[:, None]
      earliest = jnp.min(
          keys.positions, axis=-1, initial=-_NO_PLACE,
          where=of_keys == key_low[0, ..., None],
      )[None]
      seen &= (key_low < high) | (earliest <= latest)
  shape = len(queries.positions), len(keys.positions), first.shape[-1]
  return jnp.any(jnp.broadcast_to(seen, shape), axis=-1)


def _block_scores(rule, products, trained, queries, keys, window, fixed):
  causal, softcap, bias = rule
  if bias is not None:
    bias = functools.partial(bias, trained, fixed)
  rule = Rule(causal, softcap, bias)
  return _scores(rule, products, queries, keys, window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend_blocks(rule, query, key, value, trained, rest):
  """Attention [I B t K G H] over blocks [I B t K G H], [J B s K H].

  `rest` is what has no gradient: (queries, keys, window, the bias's other
  arrays, which blocks to visit).
  """
  return _attend_forward(rule, query, key, value, trained, rest)[0]


def _attend_forward(rule, query, key, value, trained, rest):
  queries, keys, window, fixed, visits = rest
  wide = precision.wide(query.dtype)

  def query_block(_, xs):
    q, tokens, visited = xs

    def key_block(carry, xs):
      k, v, key_tokens, visit = xs

      def take_in(carry):
        highest, total, mixed = carry
        scores = _block_scores(
            rule, _products(q, k), trained, tokens, key_tokens, window, fixed
        )
        new = jnp.maximum(highest, jnp.max(scores, axis=-1))
        weights = jnp.exp(scores - new[..., None])
        shrink = jnp.exp(highest - new)
        mixed = mixed * shrink[..., None] + jnp.einsum(
            "BKGTS,BSKH->BKGTH", weights.astype(v.dtype), v,
            preferred_element_type=wide,
        )
        return new, total * shrink + jnp.sum(weights, axis=-1), mixed

      return jax.lax.cond(visit, take_in, lambda same: same, carry), None

    batch, t, k_heads, groups, head_dim = q.shape
    shape = batch, k_heads, groups, t
    start = (
        jnp.full(shape, LOWEST, wide),
        jnp.zeros(shape, wide),
        jnp.zeros((*shape, head_dim), wide),
    )
    (highest, total, mixed), _ = jax.lax.scan(
        key_block, start, (key, value, keys, visited)
    )
    total = jnp.where(total > 0, total, 1)  # 0: sees no key
    mixed = jnp.einsum("BKGTH->BTKGH", mixed / total[..., None])
    return None, (mixed.astype(value.dtype), highest + jnp.log(total))

  _, (mixed, log_total) = jax.lax.scan(
      query_block, None, (query, queries, visits)
  )
  mixed = checkpoint_name(mixed, CONTEXT)
  log_total = checkpoint_name(log_total, CONTEXT)
  residuals = query, key, value, trained, rest, mixed, log_total
  return mixed, residuals


def _attend_backward(rule, residuals, d_mixed):
  query, key, value, trained, rest, mixed, log_total = residuals
  queries, keys, window, fixed, visits = rest
  wide = precision.wide(query.dtype)

  def query_block(carry, xs):
    d_keys, d_values, d_trained = carry
    q, tokens, visited, out, log_z, d_out = xs
    # Sum over the keys of weight x its gradient (Dao et al. 2022, appendix B).
    drift = jnp.einsum(
        "BTKGH,BTKGH->BKGT", out, d_out, preferred_element_type=wide
    )

    def key_block(carry, xs):
      k, v, d_k, d_v, key_tokens, visit = xs

      def take_in(carry, d_k, d_v):
        d_q, d_trained = carry
        scores, pull = jax.vjp(
            lambda products, trained: _block_scores(
                rule, products, trained, tokens, key_tokens, window, fixed
            ),
            _products(q, k), trained,
        )
        weights = jnp.exp(scores - log_z[..., None])
        d_v += jnp.einsum(
            "BKGTS,BTKGH->BSKH", weights.astype(d_out.dtype), d_out,
            preferred_element_type=wide,
        )
        d_weights = jnp.einsum(
            "BTKGH,BSKH->BKGTS", d_out, v, preferred_element_type=wide
        )
        d_scores = weights * (d_weights - drift[..., None])
        d_products, more = pull(d_scores)
        d_products = d_products.astype(q.dtype)
        d_q += jnp.einsum(
            "BKGTS,BSKH->BTKGH", d_products, k, preferred_element_type=wide
        )
        d_k += jnp.einsum(
            "BKGTS,BTKGH->BSKH", d_products, q, preferred_element_type=wide
        )
        return (d_q, jax.tree.map(jnp.add, d_trained, more)), d_k, d_v

      def skip(*same):
        return same

      carry, d_k, d_v = jax.lax.cond(visit, take_in, skip, carry, d_k, d_v)
      return carry, (d_k, d_v)

    start = jnp.zeros(q.shape, wide), d_trained
    (d_q, d_trained), (d_keys, d_values) = jax.lax.scan(
        key_block, start, (key, value, d_keys, d_values, keys, visited)
    )
    return (d_keys, d_values, d_trained), d_q.astype(q.dtype)

  start = (
      jnp.zeros(key.shape, wide),
      jnp.zeros(value.shape, wide),
      jax.tree.map(jnp.zeros_like, trained),
  )
  (d_keys, d_values, d_trained), d_query = jax.lax.scan(
      query_block, start,
      (query, queries, visits, mixed, log_total, d_mixed),
  )
  return (
      d_query, d_keys.astype(key.dtype), d_values.astype(value.dtype),
      d_trained, None,
  )


_attend_blocks.defvjp(_attend_forward, _attend_backward)
