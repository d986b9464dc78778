"""How a model reads prompts and goes on from them, token by token.

Axes: R prompts read together, B slots, T prompt length, V vocab.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mlit_jax.models import (
    cached_attention,
    decoder,
    encoder_decoder,
    kv_cache,
)
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

# T5's decoder begins with the padding token.
START_ID = 0


class Lengths(NamedTuple):
  """How long a cache is: for the model's own tokens, and for its encoder's."""

  own: int
  encoder: int


class Causal:
  """A decoder: what it writes follows the prompt in the same row."""

  module = decoder
  batch_axis = 0  # of the cache
  stacks = ("blocks",)  # what `prepare` takes apart
  stacked = False  # whether layers still are, once prepared

  def __init__(
      self,
      config: DecoderConfig,
      dtype: jax.typing.DTypeLike,
      cache_dtype: jax.typing.DTypeLike,
  ):
    self.config, self.max_length = config, config.max_length
    self._dtype = cache_dtype
    self._apply = decoder.Decoder(config, dtype, stacked=False).apply

  def prepare(self, tree: Mapping[str, Any]) -> dict:
    """Parameters, or adapters, as `read` and `step` want them."""
    return decoder.unstack(self.config, tree)

  def restore(self, tree: Mapping[str, Any]) -> dict:
    """What `prepare` was given, of what it gave."""
    return decoder.stack(self.config, tree)

  def lengths(self, prompt: int, written: int) -> Lengths:
    """What a prompt and so many tokens written need."""
    return Lengths(prompt + written, 0)

  def empty(self, slots: int, lengths: Lengths) -> Any:
    """A cache."""
    return decoder.init_caches(self.config, slots, lengths.own, self._dtype)

  def before_answers(
      self, tokens: Int[Array, "R T"], lengths: Int[Array, "R"]
  ) -> tuple[Int[Array, "R T"], Int[Array, "R"]]:
    """What answers go on from, and its lengths: the prompts themselves."""
    return tokens, lengths

  def read(
      self,
      variables: Mapping[str, Any],
      tokens: Int[Array, "R T"],
      lengths: Int[Array, "R"],
  ) -> tuple[Float[Array, "R V"], Any, Int[Array, "R"]]:
    """Logits of the first token, the cache, and where that token will stand.

    Args:
      variables: parameters and adapters, of `prepare`.
      tokens: prompts, padded at their end.
      lengths: of the prompts.
    """
    rows, length = tokens.shape
    cache = self.empty(rows, Lengths(length, 0))
    positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
    logits, cache = self._apply(
        variables, tokens, positions,
        (positions < lengths[:, None]).astype(jnp.int32),  # 0: padding
        cache=cache, logit_positions=lengths[:, None] - 1,
    )
    return logits[:, 0], cache, lengths

  def step(
      self,
      variables: Mapping[str, Any],
      token: Int[Array, "B"],
      position: Int[Array, "B"],
      cache: Any,
  ) -> tuple[Float[Array, "B V"], Any]:
    """Logits of the token behind one that stands at a position; the cache."""
    logits, cache = self._apply(
        variables, token[:, None], position[:, None], cache=cache
    )
    return logits[:, 0], cache

  def resize(self, cache: Any, lengths: Lengths) -> Any:
    """The cache, longer or shorter."""
    return jax.tree.map(lambda x: _fit(x, -2, lengths.own), cache)


class EncoderDecoder:
  """An encoder-decoder: the prompt is encoded, the answer is a row of its own.
  """

  module = encoder_decoder
  batch_axis = 1
  stacks = ()
  stacked = True
  max_length = 1 << 30  # positions are relative: there is no end to them

  def __init__(
      self,
      config: EncoderDecoderConfig,
      dtype: jax.typing.DTypeLike,
      cache_dtype: jax.typing.DTypeLike,
  ):
    self.config, self._dtype = config, cache_dtype
    model = encoder_decoder.EncoderDecoder(config, dtype)
    self._start = functools.partial(model.apply, method="start")
    self._step = functools.partial(model.apply, method="step")

  def prepare(self, tree):
    """As of Causal."""
    return dict(tree)

  restore = prepare

  def lengths(self, prompt, written):
    """As of Causal; the start token stands before what is written."""
    return Lengths(1 + written, prompt)

  def empty(self, slots, lengths):
    """As of Causal."""
    c = self.config

    def stack(length):
      shape = (c.num_decoder_layers, slots, c.num_heads, length, c.head_dim)
      return kv_cache.empty(shape, self._dtype)

    return encoder_decoder.Cache(
        stack(lengths.own), stack(lengths.encoder),
        jnp.zeros((1, slots), jnp.int32),
    )

  def before_answers(self, tokens, lengths):
    """As of Causal: the start token; the prompt is another row."""
    return jnp.full_like(tokens[:, :1], START_ID), jnp.ones_like(lengths)

  def read(self, variables, tokens, lengths):
    """As of Causal."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    seen = (positions < lengths[:, None]).astype(jnp.int32)
    cache = self._start(
        variables, tokens, positions, seen, 2 * cached_attention.BLOCK,
        self._dtype,
    )
    cache = cache._replace(encoder_lengths=cache.encoder_lengths[None])
    first = jnp.zeros_like(lengths)
    logits, cache = self.step(
        variables, jnp.full_like(lengths, START_ID), first, cache
    )
    return logits, cache, first + 1

  def step(self, variables, token, position, cache):
    """As of Causal."""
    lengths = cache.encoder_lengths
    logits, cache = self._step(
        variables, token[:, None], position[:, None],
        cache._replace(encoder_lengths=lengths[0]),
    )
    return logits[:, 0], cache._replace(encoder_lengths=lengths)

  def resize(self, cache, lengths):
    """As of Causal."""
    fit = jax.tree.map
    return cache._replace(
        own=fit(lambda x: _fit(x, -2, lengths.own), cache.own),
        cross=fit(lambda x: _fit(x, -2, lengths.encoder), cache.cross),
    )


def _fit(x, axis: int, size: int):
  """Cut, or filled up with zeros."""
  if x.shape[axis] >= size:
    return jax.lax.slice_in_dim(x, 0, size, axis=axis)
  widths = [(0, 0)] * x.ndim
  widths[axis] = 0, size - x.shape[axis]
  return jnp.pad(x, widths)


def of(
    config: DecoderConfig | EncoderDecoderConfig,
    dtype: jax.typing.DTypeLike = jnp.float32,
    cache_dtype: jax.typing.DTypeLike | None = None,
) -> Causal | EncoderDecoder:
  """What reads with a model of this shape.

  Args:
    config: the shape.
    dtype: of activations.
    cache_dtype: of the cache; None: the same.
  """
  kind = EncoderDecoder if isinstance(config, EncoderDecoderConfig) else Causal
  return kind(config, dtype, dtype if cache_dtype is None else cache_dtype)
