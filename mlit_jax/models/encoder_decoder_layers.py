"""Layers of the encoder-decoder.

Axes: B batch, T query length, S key length, N heads, H head dim, D embed, F
mlp, R buckets of relative positions.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mlit_jax.models.attention import attend
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.layers import KVCache, RMSNorm, kernel_init
from mlit_jax.models.relative_bias import relative_bias


class Row(NamedTuple):
  """Where the tokens of some rows stand.

  Attributes:
    positions: in the token's own sequence, from 0.
    segments: which example of a packed row a token belongs to; 0 is padding.
      None: a row is one example.
  """

  positions: Int[Array, "B T"]
  segments: Int[Array, "B T"] | None = None


def bias_table(module: nn.Module, config: EncoderDecoderConfig):
  """Declares the table of position biases in a module, [R, N]."""
  init = nn.with_logical_partitioning(
      nn.initializers.normal(config.embed_dim**-0.5), (None, "heads")
  )
  shape = config.num_buckets, config.num_heads
  return module.param("relative_bias", init, shape, jnp.float32)


class Attention(nn.Module):
  """Multi-head attention without a scale (Raffel et al. 2020, section 2.1).

  The scale is in the initial queries instead.
  """

  config: EncoderDecoderConfig

  def setup(self):
    c = self.config
    d, n, h = c.embed_dim, c.num_heads, c.head_dim

    def kernel(name, init):
      return self.param(name, init, (d, n, h), jnp.float32)

    inward = "embed", "heads", "kv"
    self.query = kernel(
        "query",
        nn.with_logical_partitioning(
            nn.initializers.normal((d * h) ** -0.5), inward
        ),
    )
    self.key = kernel("key", kernel_init(0, (1, 2), inward))
    self.value = kernel("value", kernel_init(0, (1, 2), inward))
    self.out = self.param(
        "out", kernel_init((0, 1), 2, ("heads", "kv", "embed")), (n, h, d),
        jnp.float32,
    )

  def keys_and_values(self, x: Float[Array, "B S D"]) -> KVCache:
    """What is attended to."""
    return KVCache(*(
        jnp.einsum("BSD,DNH->BSNH", x, kernel.astype(x.dtype))
        for kernel in (self.key, self.value)
    ))

  def __call__(
      self,
      x: Float[Array, "B T D"],
      attended: KVCache,
      queries: Row,
      keys: Row,
      causal: bool,
      bias=None,
  ) -> Float[Array, "B T D"]:
    """Attends from x to keys and values, one layer of them."""
    keys_values = (a.astype(x.dtype) for a in attended)
    mixed = attend(
        jnp.einsum("BTD,DNH->BTNH", x, self.query.astype(x.dtype)),
        *keys_values,
        query_positions=queries.positions,
        key_positions=keys.positions,
        query_segments=queries.segments,
        key_segments=keys.segments,
        causal=causal,
        bias=bias,
        scale=1.0,
    )
    return jnp.einsum("BTNH,NHD->BTD", mixed, self.out.astype(x.dtype))


class MLP(nn.Module):
  """GELU-gated (Shazeer 2020), its GELU by tanh; or a plain ReLU."""

  config: EncoderDecoderConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    c = self.config

    def linear(x, name, shape, axes):
      kernel = self.param(name, kernel_init(0, 1, axes), shape, jnp.float32)
      return jnp.einsum("BTI,IO->BTO", x, kernel.astype(x.dtype))

    inward = (c.embed_dim, c.mlp_dim), ("embed", "mlp")
    hidden = linear(x, "up", *inward)
    if c.gated_mlp:
      gate = nn.gelu(linear(x, "gate", *inward), approximate=True)
      hidden = gate * hidden
    else:
      hidden = nn.relu(hidden)
    return linear(hidden, "down", (c.mlp_dim, c.embed_dim), ("mlp", "embed"))


class Given(NamedTuple):
  """What every layer of a stack is given.

  Attributes:
    row: of the tokens themselves.
    bias_table: the stack's, where layers have none of their own.
    encoded, encoder_row: what the decoder looks at, and its row; `encoded` is
      None where a cache holds its keys and values.
  """

  row: Row
  bias_table: Float[Array, "R N"] | None
  encoded: Float[Array, "B S D"] | None = None
  encoder_row: Row | None = None


class Block(nn.Module):
  """One layer of the encoder, or of the decoder, which attends to both."""

  config: EncoderDecoderConfig
  is_decoder: bool

  def setup(self):
    c = self.config
    self.attention_norm = RMSNorm(c.norm_eps)
    self.attention = Attention(c)
    if c.bias_per_layer:
      self.relative_bias = bias_table(self, c)
    if self.is_decoder:
      self.cross_norm = RMSNorm(c.norm_eps)
      self.cross_attention = Attention(c)
    self.mlp_norm = RMSNorm(c.norm_eps)
    self.mlp = MLP(c)

  def __call__(self, carry, scanned, given: Given):
    """Carries (x, cache) on; scanned: layer, its cross keys and values."""
    x, cache = carry
    layer, crossed = scanned
    c, row = self.config, given.row
    normed = self.attention_norm(x)
    attended, query_row, key_row = (
        self.attention.keys_and_values(normed), row, row
    )
    if cache is not None:
      cache = _write(cache, attended, layer, row.positions)
      attended = KVCache(*(a[layer] for a in cache))
      slots = jnp.arange(attended.keys.shape[1])
      query_row = Row(row.positions)
      key_row = Row(jnp.broadcast_to(slots, (x.shape[0], slots.size)))
    bias = functools.partial(
        relative_bias,
        self.relative_bias if c.bias_per_layer else given.bias_table,
        max_distance=c.max_distance,
        bidirectional=not self.is_decoder,
    )
    x += self.attention(
        normed, attended, query_row, key_row, self.is_decoder, bias
    )
    if self.is_decoder:
      if crossed is None:
        crossed = self.cross_attention.keys_and_values(given.encoded)
      x += self.cross_attention(
          self.cross_norm(x), crossed, row, given.encoder_row, False
      )
    x += self.mlp(self.mlp_norm(x))
    x = nn.with_logical_constraint(x, ("batch", "length", "embed"))
    return (x, cache), None

  def keys_and_values(self, encoded, scanned, given):
    """For a cache: what the decoder's layers see of the encoder."""
    del scanned, given
    return encoded, self.cross_attention.keys_and_values(encoded)


def _write(cache: KVCache, new: KVCache, layer, positions) -> KVCache:
  """Puts a token's keys and values at its position; see models/layers.py."""
  place = (layer, jnp.arange(positions.shape[0])[:, None], positions)
  return KVCache(*(
      old.at[place].set(value.astype(old.dtype))
      for old, value in zip(cache, new, strict=True)
  ))


class Stack(nn.Module):
  """The encoder or the decoder: a scan over blocks, and a norm."""

  config: EncoderDecoderConfig
  is_decoder: bool

  def setup(self):
    c = self.config
    layers = c.num_decoder_layers if self.is_decoder else c.num_encoder_layers
    if not c.bias_per_layer:
      self.relative_bias = bias_table(self, c)
    self.blocks = nn.scan(
        Block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=(0, nn.broadcast),
        length=layers,
        metadata_params={nn.PARTITION_NAME: "layers"},
        methods=["__call__", "keys_and_values"],
    )(c, self.is_decoder)
    self.layers = jnp.arange(layers)
    self.final_norm = RMSNorm(c.norm_eps)

  def __call__(
      self, x, row: Row, encoded=None, encoder_row=None, cache=None,
      crossed=None,
  ):
    """Final hidden states and the cache (or None)."""
    table = None if self.config.bias_per_layer else self.relative_bias
    given = Given(row, table, encoded, encoder_row)
    (x, cache), _ = self.blocks((x, cache), (self.layers, crossed), given)
    return self.final_norm(x), cache

  def keys_and_values(self, encoded) -> KVCache:
    """Of all layers, stacked."""
    return self.blocks.keys_and_values(encoded, (self.layers, None), None)[1]
