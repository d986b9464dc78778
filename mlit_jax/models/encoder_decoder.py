"""The encoder-decoder: T5 1.0, T5 1.1, mT5, umT5.

Axes: B batch, S length of the input, T length of the output, P places with
logits, C length of the cache, L layers, D embed, V vocab.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.encoder_decoder_layers import Row, Stack
from mlit_jax.models.layers import KVCache


class Cache(NamedTuple):
  """What decoding keeps.

  Attributes:
    own: keys and values of the tokens so far; slot c holds position c.
    cross: those of the input, made once.
    encoder_segments: which places of the input are seen: 1, or 0 for padding.
  """

  own: KVCache
  cross: KVCache
  encoder_segments: Int[Array, "B S"]


class EncoderDecoder(nn.Module):
  """A sequence-to-sequence model (Raffel et al. 2020).

  Attributes:
    config: its shape.
    dtype: of activations; parameters are float32.
  """

  config: EncoderDecoderConfig
  dtype: jax.typing.DTypeLike = jnp.float32

  def setup(self):
    c = self.config

    def table(name, stddev):
      init = nn.with_logical_partitioning(
          nn.initializers.normal(stddev), ("vocab", "embed")
      )
      return self.param(name, init, (c.vocab_size, c.embed_dim), jnp.float32)

    self.embedding = table("embedding", 1.0)
    if not c.tie_embeddings:
      self.head_kernel = table("head", c.embed_dim**-0.5)
    self.encoder = Stack(c, is_decoder=False)
    self.decoder = Stack(c, is_decoder=True)

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
  ) -> Float[Array, "B T D"]:
    """The decoder's hidden states after its final norm, as `head` wants."""
    if input_segments is None and segments is not None:
      input_segments = jnp.ones_like(inputs)
    if segments is None and input_segments is not None:
      segments = jnp.ones_like(tokens)
    input_row = Row(input_positions, input_segments)
    encoded = self._encode(inputs, input_row)
    row = Row(positions, segments)
    x, _ = self.decoder(self._embed(tokens), row, encoded, input_row)
    return x

  def head(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
    """Logits in float32 of hidden states."""
    c = self.config
    if c.scale_logits:
      x = x * c.embed_dim**-0.5
    kernel = self.embedding if c.tie_embeddings else self.head_kernel
    logits = jnp.einsum("BTD,VD->BTV", x, kernel.astype(self.dtype))
    logits = nn.with_logical_constraint(logits, ("batch", "length", "vocab"))
    return logits.astype(jnp.float32)

  def start(
      self,
      inputs: Int[Array, "B S"],
      input_positions: Int[Array, "B S"],
      input_segments: Int[Array, "B S"],
      length: int,
  ) -> Cache:
    """Reads inputs and makes the cache for outputs of up to `length` tokens.

    Args:
      inputs: what the encoder reads, one example a row.
      input_positions: position in the row's own input, from 0.
      input_segments: 1, or 0 for padding.
      length: C; the start token counts.
    """
    c = self.config
    row = Row(input_positions, input_segments)
    cross = self.decoder.keys_and_values(self._encode(inputs, row))
    shape = (
        c.num_decoder_layers, inputs.shape[0], length, c.num_heads, c.head_dim
    )
    own = KVCache(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
    return Cache(own, cross, input_segments)

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
    seen = cache.encoder_segments
    encoder_row = Row(jnp.zeros_like(seen), seen)
    x, own = self.decoder(
        self._embed(tokens), Row(positions, jnp.ones_like(tokens)),
        encoder_row=encoder_row, cache=cache.own, crossed=cache.cross,
    )
    return self.head(x), cache._replace(own=own)

  def _embed(self, tokens):
    x = jnp.take(self.embedding, tokens, axis=0).astype(self.dtype)
    return nn.with_logical_constraint(x, ("batch", "length", "embed"))

  def _encode(self, inputs, row):
    return self.encoder(self._embed(inputs), row)[0]


def init_params(
    config: EncoderDecoderConfig, seed: int | Integer[Array, ""]
) -> dict:
  """Random parameters, boxed with their logical axes."""
  tokens = jnp.zeros((1, 1), jnp.int32)
  model = EncoderDecoder(config)
  return model.init(jax.random.key(seed), *(tokens,) * 4)["params"]
