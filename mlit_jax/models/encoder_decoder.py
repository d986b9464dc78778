"""The encoder-decoder: T5 1.0, T5 1.1, mT5, umT5.

Axes: B batch, S length of the input, T length of the output, P places with
logits, C length of the cache, L layers, D embed, V vocab, N numbers that tell
draws apart.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from mlit_jax import partitioning
from mlit_jax.models import kv_cache, precision
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.encoder_decoder_layers import Row, Stack
from mlit_jax.models.kv_cache import KVCache
from mlit_jax.models.linear_map import linear_map


class Cache(NamedTuple):
  """What decoding keeps.

  Attributes:
    own: keys and values of the tokens so far; slot c holds position c.
    cross: those of the input, made once.
    encoder_lengths: of the inputs; what is behind them is not seen.
  """

  own: KVCache
  cross: KVCache
  encoder_lengths: Int[Array, "B"]


class EncoderDecoder(nn.Module):
  """A sequence-to-sequence model (Raffel et al. 2020).

  Attributes:
    config: its shape.
    dtype: of activations; parameters are float32.
    remat: what blocks keep for the backward pass, by name (models/remat.py).
    dropout: share of what is dropped out where there is a random stream for it
      (encoder_decoder_layers.py).
  """

  config: EncoderDecoderConfig
  dtype: jax.typing.DTypeLike = jnp.float32
  remat: str = "none"
  dropout: float = 0.0

  def setup(self):
    c = self.config

    def table(name, stddev):
      init = nn.with_logical_partitioning(
          nn.initializers.normal(stddev), ("vocab", "embed")
      )
      return self.param(name, init, (c.vocab_size, c.embed_dim), jnp.float32)

    self.embedding = table("embedding", 1.0)
    if not c.tie_embeddings:
      self._head = table("head", c.embed_dim**-0.5)
    self.encoder = Stack(c, False, self.remat, self.dropout)
    self.decoder = Stack(c, True, self.remat, self.dropout)

  def __call__(
      self,
      inputs: Int[Array, "B S"],
      input_positions: Int[Array, "B S"],
      tokens: Int[Array, "B T"],
      positions: Int[Array, "B T"],
      input_segments: Int[Array, "B S"] | None = None,
      segments: Int[Array, "B T"] | None = None,
      logit_positions: Int[Array, "B P"] | None = None,
  ) -> Float[Array, "B P V"]:
    """Logits of the next token, at every position or at some.

    Args:
      inputs: what the encoder reads.
      input_positions: position in the token's own input, from 0.
      tokens: what the decoder reads: the output so far, after a start token.
      positions: position in the token's own output, from 0.
      input_segments: which example of a packed row a token belongs to, 0 for
        padding. Tokens see their own example only.
      segments: the same of `tokens`. None, for either: a row is one example.
      logit_positions: places in the row whose logits are wanted; None: all T.

    Returns:
      Logits in float32.
    """
    x = self.hidden(
        inputs, input_positions, tokens, positions, input_segments, segments
    )
    if logit_positions is not None:
      x = jnp.take_along_axis(x, logit_positions[..., None], axis=1)
    return self.head(x)

  def hidden(
      self,
      inputs: Int[Array, "B S"],
      input_positions: Int[Array, "B S"],
      tokens: Int[Array, "B T"],
      positions: Int[Array, "B T"],
      input_segments: Int[Array, "B S"] | None = None,
      segments: Int[Array, "B T"] | None = None,
      draws: Int[Array, "B N"] | None = None,
  ) -> Float[Array, "B T D"]:
    """What the head reads, after the decoder's final norm.

    Arguments as of a call; `draws` as of dropout.drop_out.
    """
    if input_segments is None and segments is not None:
      input_segments = jnp.ones_like(inputs)
    if segments is None and input_segments is not None:
      segments = jnp.ones_like(tokens)
    input_row = Row(input_positions, input_segments)
    encoded = self._encode(inputs, input_row, draws)
    row = Row(positions, segments)
    x, _ = self.decoder(
        self._embed(tokens), row, encoded, input_row, draws=draws
    )
    return self._for_head(x)

  def head(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
    """Logits in float32, from what `hidden` returned."""
    kernel = self.head_kernel().astype(self.dtype)
    logits = linear_map("BTD,VD->BTV", x, kernel)
    logits = nn.with_logical_constraint(logits, ("batch", "length", "vocab"))
    return logits.astype(precision.wide(logits.dtype))

  def head_kernel(self) -> Float[Array, "V D"]:
    """The head as it is applied: the embedding if tied."""
    return self.embedding if self.config.tie_embeddings else self._head

  def start(
      self,
      inputs: Int[Array, "B S"],
      input_positions: Int[Array, "B S"],
      input_segments: Int[Array, "B S"],
      length: int,
      dtype: jax.typing.DTypeLike | None = None,
  ) -> Cache:
    """Reads inputs and makes the cache for outputs of up to `length` tokens.

    Args:
      inputs: what the encoder reads, one example a row.
      input_positions: position in the row's own input, from 0.
      input_segments: 1, or 0 for padding, which is at the end.
      length: C; the start token counts.
      dtype: of the cache; None: that of activations.
    """
    c = self.config
    dtype = self.dtype if dtype is None else dtype
    row = Row(input_positions, input_segments)
    cross = self.decoder.cross_cache(self._encode(inputs, row))
    shape = (
        c.num_decoder_layers, len(inputs), c.num_heads, length, c.head_dim
    )
    own = kv_cache.empty(shape, dtype)
    cross = kv_cache.stored(cross, dtype)
    return Cache(own, cross, jnp.sum(input_segments, axis=1))

  def step(
      self,
      tokens: Int[Array, "B T"],
      positions: Int[Array, "B T"],
      cache: Cache,
  ) -> tuple[Float[Array, "B T V"], Cache]:
    """Logits of the next token, and the cache with these tokens in it.

    Args:
      tokens: one or more a row.
      positions: where they stand in the output. A token sees the cache up to
        there; what is in a later slot does not matter.
      cache: from `start` or from the last step.
    """
    x, own = self.decoder(
        self._embed(tokens), Row(positions), cache=cache.own,
        crossed=cache.cross, encoder_lengths=cache.encoder_lengths,
    )
    return self.head(self._for_head(x)), cache._replace(own=own)

  def _embed(self, tokens):
    return partitioning.look_up(self.embedding, tokens, self.dtype)

  def _for_head(self, x):
    return x * self.config.embed_dim**-0.5 if self.config.scale_logits else x

  def _encode(self, inputs, row, draws=None):
    return self.encoder(self._embed(inputs), row, draws=draws)[0]


def init_params(
    config: EncoderDecoderConfig, seed: int | Integer[Array, ""]
) -> dict:
  """Random parameters, boxed with their logical axes."""
  tokens = jnp.zeros((1, 1), jnp.int32)
  model = EncoderDecoder(config)
  return model.init(jax.random.key(seed), *(tokens,) * 4)["params"]
