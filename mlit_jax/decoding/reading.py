"""How a model reads a prompt and goes on from it, token by token.

Axes: B batch, T prompt length, V vocab.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mlit_jax.models import decoder, encoder_decoder
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

# T5's decoder begins with the padding token.
START_ID = 0


class Causal:
  """A decoder: what it writes follows the prompt in the same row."""

  module = decoder

  def __init__(self, config: DecoderConfig):
    self.config, self.max_length = config, config.max_length
    self._model = decoder.Decoder(config)

  def begin(
      self,
      params: dict,
      tokens: Int[Array, "B T"],
      lengths: Int[Array, "B"],
      room: int,
  ) -> tuple[Float[Array, "B V"], Any]:
    """Logits of the first token, and what going on needs.

    Args:
      params: of the model.
      tokens: prompts, padded at their end.
      lengths: of the prompts.
      room: tokens to be written at most.
    """
    batch, length = tokens.shape
    cache = decoder.init_cache(self.config, batch, length + room)
    positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
    logits, cache = self._model.apply(
        {"params": params}, tokens, positions,
        (positions < lengths[:, None]).astype(jnp.int32),  # 0: padding
        cache=cache, logit_positions=lengths[:, None] - 1,
    )
    return logits[:, 0], cache

  def go_on(
      self,
      params: dict,
      token: Int[Array, "B"],
      lengths: Int[Array, "B"],
      index: Int[Array, ""],
      state: Any,
  ) -> tuple[Float[Array, "B V"], Any]:
    """Logits of the token behind the index-th one written, and the state."""
    logits, state = self._model.apply(
        {"params": params}, token[:, None], (lengths + index)[:, None],
        cache=state,
    )
    return logits[:, 0], state


class EncoderDecoder:
  """An encoder-decoder: the prompt is encoded, the answer is a row of its own.
  """

  module = encoder_decoder
  max_length = 1 << 30  # positions are relative: there is no end to them

  def __init__(self, config: EncoderDecoderConfig):
    self.config = config
    model = encoder_decoder.EncoderDecoder(config)
    self._start = functools.partial(model.apply, method="start")
    self._step = functools.partial(model.apply, method="step")

  def begin(self, params, tokens, lengths, room):
    """As of Causal."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    seen = (positions < lengths[:, None]).astype(jnp.int32)
    cache = self._start({"params": params}, tokens, positions, seen, room + 1)
    first = jnp.full(tokens.shape[0], START_ID)
    return self.go_on(params, first, lengths, jnp.int32(-1), cache)

  def go_on(self, params, token, lengths, index, state):
    """As of Causal; the start token stands before the first one written."""
    place = jnp.full((token.shape[0], 1), index + 1)
    logits, state = self._step(
        {"params": params}, token[:, None], place, state
    )
    return logits[:, 0], state


def of(config: DecoderConfig | EncoderDecoderConfig) -> Causal | EncoderDecoder:
  """What reads with a model of this shape."""
  if isinstance(config, EncoderDecoderConfig):
    return EncoderDecoder(config)
  return Causal(config)
