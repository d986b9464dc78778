"""Attention on CPUs: row by row, some queries of a head at a time.

The scores of a block of queries to all keys that they may see stay in a core's
cache, and softmax needs no rescaling. How many keys these are is found when the
program runs, from a few sizes that are compiled.

Axes: B batch, T query length, S key length, N query heads, K key/value heads,
G = N/K, H head dim; I blocks of t queries, J blocks of s keys, M keys that one
block of queries gets.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from mlit_jax.models import attention_xla, precision
from mlit_jax.models.attention_xla import CONTEXT, Rule, Tokens

_FEWEST = 32  # queries of a block, however many share a key
_AT_ONCE = 4  # heads whose operations a CPU's cores may share


def row_by_row(
    query: Float[Array, "B T K G H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    queries: Tokens,
    keys: Tokens,
    window: int | Int[Array, ""] | None,
    rule: Rule,
) -> Float[Array, "B T K G H"]:
  """`attention_xla.blockwise`, of each row the keys that a block may see.

  Backwards, a block's scores are computed once more (Dao et al. 2022).
  """
  # As in attention_xla.blockwise: masks must not be made for all layers.
  query, queries = jax.lax.optimization_barrier((query, queries))
  length, key_length = query.shape[1], key.shape[1]
  block = attention_xla.BLOCK
  t = min(max(block // query.shape[3], _FEWEST), length)
  s = min(block, key_length)
  queries, keys = attention_xla.told_from_padding(
      queries, keys, length % t or key_length % s
  )
  queries, keys = (
      attention_xla.blocked(queries, t, -1), attention_xla.blocked(keys, s, -2)
  )
  sizes = _sizes(len(keys.positions))
  biases, trained, fixed = _biases(rule.bias, queries, keys, sizes)
  mixed = _attend(
      (rule.causal, rule.softcap, biases, tuple(s * n for n in sizes)),
      _by_head(query, t), _by_head(key, s), _by_head(value, s), trained,
      (_rows_first(queries), _rows_first(keys), window, fixed),
  )
  # [B I K G t H] -> [B I t K G H]
  mixed = jnp.moveaxis(mixed, 4, 2)
  return mixed.reshape(query.shape[0], -1, *query.shape[2:])[:, :length]


def _sizes(blocks: int) -> list[int]:
  """Numbers of key blocks that are compiled: the next is up to 1.5 times."""
  found = [1]
  while found[-1] < blocks:
    power = 1 << (found[-1].bit_length() - 1)
    step = max(power // 2, 1)
    found.append(min(found[-1] + step, blocks))
  return found


def _by_head(x, size):
  """[B T K G H] -> [B I K G t H], or [B S K H] -> [B J K s H]."""
  x = jnp.moveaxis(attention_xla.blocks(x, size), 1, 0)
  return jnp.moveaxis(x, 2, -2)


def _rows_first(tokens):
  return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), tokens)


def _biases(bias, queries, keys, sizes: Sequence[int]):
  """Of every size: a bias function, the arrays it trains, and its others."""
  if bias is None:
    return None, [], []
  found = [
      attention_xla.hoisted(
          bias, queries.positions[0, :1],
          jnp.tile(keys.positions[0, :1], size),
      )
      for size in sizes
  ]
  evaluate, trained, fixed = zip(*found, strict=True)
  return evaluate, list(trained), list(fixed)


def _ranges(rule, queries, keys, window):
  """Of every block of a row's queries: its first key, and which size it has.

  Args:
    rule: as of `_attend`.
    queries: [I t].
    keys: [J s].
    window: or None.
  """
  causal, _, _, sizes = rule
  seen = attention_xla.any_visible(
      *(jax.tree.map(lambda x: x[:, None], each) for each in (queries, keys)),
      causal, window,
  )
  number, s = keys.positions.shape
  first = jnp.argmax(seen, axis=1)
  last = number - 1 - jnp.argmax(seen[:, ::-1], axis=1)
  wanted = jnp.where(jnp.any(seen, axis=1), (last - first + 1) * s, s)
  which = jnp.searchsorted(jnp.asarray(sizes), wanted)
  size = jnp.asarray(sizes)[which]
  return jnp.minimum(first * s, number * s - size), which


def _each_block(rule, one, carry, blocks, queries, keys, window):
  """Runs `one` over a row's blocks of queries, with the keys they may see.

  Args:
    rule: as of `_attend`.
    one: from a size's index to a function of the carry, a block, its tokens
      and where its keys begin.
    carry: between blocks.
    blocks: arrays [I ...] of the row.
    queries, keys: the row's, [I t] and [J s].
    window: or None.
  """
  branches = [one(i) for i in range(len(rule[3]))]

  def step(carry, xs):
    block, tokens, first, which = xs
    return jax.lax.switch(which, branches, carry, block, tokens, first)

  first, which = _ranges(rule, queries, keys, window)
  return jax.lax.scan(step, carry, (blocks, queries, first, which))


def _over_heads(one, xs):
  """Like lax.map, a few at once."""
  return jax.lax.scan(
      lambda _, x: (None, one(x)), None, xs, unroll=_AT_ONCE
  )[1]


def _score_parts(rule, index, tokens, keys, first, window, trained, fixed):
  """What the scores of a block of queries want beside their products.

  Returns:
    A function that cuts the block's keys out of an array, the mask
    [1 t M] (or None), and the bias of the heads [N t M] (or None) as a
    function of the arrays it trains.
  """
  causal, _, biases, sizes = rule

  def cut(x, axis=0):
    return jax.lax.dynamic_slice_in_dim(x, first, sizes[index], axis)

  mine = jax.tree.map(lambda x: cut(x.reshape(-1))[None], keys)
  tokens = jax.tree.map(lambda x: x[None], tokens)
  # Made once for all heads.
  seen = jax.lax.optimization_barrier(
      attention_xla.visible(tokens, mine, causal, window)
  )
  bias = None
  if biases is not None:

    def bias(trained):
      return biases[index](
          trained[index], fixed[index], tokens.positions, mine.positions
      )[0]

  return cut, seen, bias


def _finished(softcap, products, seen, bias):
  """Scores [G t M] of a head from products [Gt M]."""
  scores = products
  if softcap is not None:
    scores = softcap * jnp.tanh(scores / softcap)
  if bias is not None:
    scores = scores + bias.reshape(scores.shape)
  if seen is None:
    return scores
  by_group = scores.reshape(-1, *seen.shape[1:])
  return jnp.where(seen, by_group, attention_xla.HIDDEN).reshape(scores.shape)


def _product(einsum, left, right):
  """Of two matrices, in float32 at least.

  They get an axis in front: remat's policy `dots` keeps products without one,
  which are linear maps', and is not to keep scores.
  """
  pair, out = einsum.split("->")
  a, b = pair.split(",")
  return jnp.einsum(
      f"B{a},B{b}->B{out}", left[None], right[None],
      preferred_element_type=precision.wide(left.dtype),
  )[0]


def _grouped_bias(bias, heads):
  return None if bias is None else bias.reshape(heads, -1, bias.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(rule, query, key, value, trained, rest):
  """Attention [B I K G t H] of blocks [B I K G t H] to [B J K s H].

  Args:
    rule: (causal, softcap, bias functions by size or None, sizes in keys).
    query: scaled.
    key, value: blocks of keys.
    trained: what the bias functions train, by size.
    rest: what has no gradient: (queries, keys, window, the bias functions'
      other arrays).
  """
  return _forward(rule, query, key, value, trained, rest)[0]


def _keys_of_row(x):
  """[J K s H] -> [K S H]."""
  return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, x.shape[-1])


def _forward(rule, query, key, value, trained, rest):
  queries, keys, window, fixed = rest
  softcap = rule[1]

  def row(xs):
    query, key, value, queries, keys = xs
    key, value = _keys_of_row(key), _keys_of_row(value)

    def of_size(index):
      def block(carry, q, tokens, first):
        cut, seen, bias = _score_parts(
            rule, index, tokens, keys, first, window, trained, fixed
        )
        heads, groups, t, width = q.shape

        def head(xs):
          q, k, v, bias = xs
          products = _product("TH,SH->TS", q, cut(k))
          scores = _finished(softcap, products, seen, bias)
          highest = jnp.maximum(jnp.max(scores, axis=-1), attention_xla.LOWEST)
          weights = jnp.exp(scores - highest[:, None])
          total = jnp.sum(weights, axis=-1)
          total = jnp.where(total > 0, total, 1)  # 0: sees no key
          mixed = _product("TS,SH->TH", weights.astype(v.dtype), cut(v))
          mixed = (mixed / total[:, None]).astype(v.dtype)
          return mixed, highest + jnp.log(total)

        bias = None if bias is None else bias(trained)
        mixed, log_total = _over_heads(
            head,
            (q.reshape(heads, groups * t, width), key, value,
             _grouped_bias(bias, heads)),
        )
        return carry, (
            mixed.reshape(q.shape), log_total.reshape(heads, groups, t)
        )

      return block

    return _each_block(rule, of_size, None, query, queries, keys, window)[1]

  mixed, log_total = jax.lax.map(row, (query, key, value, queries, keys))
  mixed = checkpoint_name(mixed, CONTEXT)
  log_total = checkpoint_name(log_total, CONTEXT)
  return mixed, (query, key, value, trained, rest, mixed, log_total)


def _backward(rule, residuals, d_mixed):
  query, key, value, trained, rest, mixed, log_total = residuals
  queries, keys, window, fixed = rest
  softcap = rule[1]
  wide = precision.wide(query.dtype)

  def row(d_trained, xs):
    query, key, value, mixed, log_total, d_mixed, queries, keys = xs
    shape = key.shape
    key, value = _keys_of_row(key), _keys_of_row(value)

    def of_size(index):
      def block(carry, xs, tokens, first):
        d_keys, d_values, d_trained = carry
        cut, seen, bias = _score_parts(
            rule, index, tokens, keys, first, window, trained, fixed
        )
        q, *others = xs
        heads = q.shape[0]

        def head(xs):
          q, out, log_z, d_out, k, v, d_k, d_v, bias = xs
          k, v = cut(k), cut(v)
          scores, pull = jax.vjp(
              lambda products, bias: _finished(softcap, products, seen, bias),
              _product("TH,SH->TS", q, k), bias,
          )
          weights = jnp.exp(scores - log_z[:, None])
          d_weights = _product("TH,SH->TS", d_out, v)
          # Sum over the keys of weight x its gradient (Dao et al. 2022,
          # appendix B).
          drift = jnp.sum(out.astype(wide) * d_out, axis=-1, keepdims=True)
          d_products, d_bias = pull(weights * (d_weights - drift))
          d_products = d_products.astype(q.dtype)

          def add(total, left, right):
            # The smaller one first, as in linear_map; so [H S].
            more = _product("TH,TS->HS", left, right)
            return jax.lax.dynamic_update_slice_in_dim(
                total, cut(total, 1) + more, first, 1
            )

          d_v = add(d_v, d_out, weights.astype(d_out.dtype))
          d_k = add(d_k, q, d_products)
          d_q = _product("TS,SH->TH", d_products, k)
          return d_q.astype(q.dtype), d_k, d_v, d_bias

        def by_head(x):
          return x.reshape(heads, -1, *x.shape[3:])

        found = pull = None
        if bias is not None:
          found, pull = jax.vjp(bias, trained)
        d_q, d_keys, d_values, d_bias = _over_heads(
            head,
            (by_head(q), *map(by_head, others), key, value, d_keys, d_values,
             _grouped_bias(found, heads)),
        )
        if pull is not None:
          more, = pull(d_bias.reshape(found.shape))
          d_trained = jax.tree.map(jnp.add, d_trained, more)
        return (d_keys, d_values, d_trained), d_q.reshape(q.shape)

      return block

    zeros = jnp.zeros((key.shape[0], key.shape[2], key.shape[1]), wide)
    (d_keys, d_values, d_trained), d_query = _each_block(
        rule, of_size, (zeros, zeros, d_trained),
        (query, mixed, log_total, d_mixed), queries, keys, window,
    )

    def back(x):
      """[K H S] -> [J K s H]."""
      x = x.reshape(*x.shape[:2], shape[0], -1)
      return jnp.transpose(x, (2, 0, 3, 1))

    return d_trained, (
        d_query, back(d_keys).astype(key.dtype),
        back(d_values).astype(value.dtype),
    )

  d_trained, (d_query, d_key, d_value) = jax.lax.scan(
      row, jax.tree.map(jnp.zeros_like, trained),
      (query, key, value, mixed, log_total, d_mixed, queries, keys),
  )
  return d_query, d_key, d_value, d_trained, None


_attend.defvjp(_forward, _backward)
