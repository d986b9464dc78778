"""Layers of the encoder-decoder.

Dropout is T5X's: of embeddings, of what attention and MLP add to the residual
stream, within the MLP, of attention weights and of final hidden states, and but
for the encoder's last one with one mask for all places of a row. A weight's
mask is thus one of its key, for all queries, and the same as a mask of values.

Axes: B batch, T query length, S key length, N heads, H head dim, D embed, F
mlp, R buckets of relative positions, M numbers that tell draws apart.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mlit_jax.models import dropout as dropout_lib
from mlit_jax.models import kv_cache
from mlit_jax.models import remat as remat_lib
from mlit_jax.models.attention import attend
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.kv_cache import KVCache
from mlit_jax.models.layers import (
  ACTIVATIONS,
  RMSNorm,
  activated,
  kernel_init,
)
from mlit_jax.models.low_rank import COLLECTION, adapted
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


def drop_out(module: nn.Module, x, draws, shared=(0,)):
  """Dropout of a module's rate; arguments as of dropout.drop_out."""
  if not module.dropout or not module.has_rng(dropout_lib.STREAM):
    return x
  key = module.make_rng(dropout_lib.STREAM)
  return dropout_lib.drop_out(x, module.dropout, key, draws, shared)


class Attention(nn.Module):
  """Multi-head attention without a scale (Raffel et al. 2020, section 2.1).

  The scale is in the initial queries instead.
  """

  config: EncoderDecoderConfig
  dropout: float = 0.0

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

  def keys_and_values(
      self, x: Float[Array, "B S D"]
  ) -> tuple[Float[Array, "B S N H"], Float[Array, "B S N H"]]:
    """What is attended to."""
    einsum = "BSD,DNH->BSNH"
    key = adapted(self, "key", einsum, x, self.key)
    return key, adapted(self, "value", einsum, x, self.value)

  def __call__(
      self,
      x: Float[Array, "B T D"],
      attended: tuple[Float[Array, "B S N H"], Float[Array, "B S N H"]],
      queries: Row,
      keys: Row,
      causal: bool,
      bias=None,
      draws: Int[Array, "B M"] | None = None,
  ) -> Float[Array, "B T D"]:
    """Attends from x to keys and values."""
    key, value = attended
    mixed = attend(
        self._queries(x), key, drop_out(self, value, draws, shared=(2,)),
        query_positions=queries.positions,
        key_positions=keys.positions,
        query_segments=queries.segments,
        key_segments=keys.segments,
        causal=causal,
        bias=bias,
        scale=1.0,
    )
    return self._put_out(mixed)

  def to_cache(
      self,
      x: Float[Array, "B T D"],
      cache: KVCache,
      positions: Int[Array, "B T"],
      lengths: Int[Array, "B"] | None = None,
      bias=None,
  ) -> Float[Array, "B T D"]:
    """Attends from x to a layer's cache; arguments as of kv_cache.attend."""
    mixed = kv_cache.attend(
        self._queries(x), cache, positions, lengths, bias=bias, scale=1.0
    )
    return self._put_out(mixed)

  def _queries(self, x):
    return adapted(self, "query", "BTD,DNH->BTNH", x, self.query)

  def _put_out(self, mixed):
    return adapted(self, "out", "BTNH,NHD->BTD", mixed, self.out)


class MLP(nn.Module):
  """GELU-gated (Shazeer 2020), its GELU by tanh; or a plain ReLU."""

  config: EncoderDecoderConfig
  dropout: float = 0.0

  @nn.compact
  def __call__(
      self,
      x: Float[Array, "B T D"],
      draws: Int[Array, "B M"] | None = None,
  ) -> Float[Array, "B T D"]:
    c = self.config

    def linear(x, name, shape, axes):
      kernel = self.param(name, kernel_init(0, 1, axes), shape, jnp.float32)
      return adapted(self, name, "BTI,IO->BTO", x, kernel)

    inward = (c.embed_dim, c.mlp_dim), ("embed", "mlp")
    hidden = linear(x, "up", *inward)
    if c.gated_mlp:
      gate = linear(x, "gate", *inward)
      hidden = activated(ACTIVATIONS["gelu_tanh"], gate, hidden)
    else:
      hidden = nn.relu(hidden)
    hidden = drop_out(self, hidden, draws)
    return linear(hidden, "down", (c.mlp_dim, c.embed_dim), ("mlp", "embed"))


class Given(NamedTuple):
  """What every layer of a stack is given.

  Attributes:
    row: of the tokens themselves.
    bias_table: the stack's, where layers have none of their own.
    encoded, encoder_row: what the decoder looks at, and its row; None where a
      cache holds its keys and values.
    encoder_lengths: of a cache: how many of its slots are seen.
    draws: of dropout.
  """

  row: Row
  bias_table: Float[Array, "R N"] | None
  encoded: Float[Array, "B S D"] | None = None
  encoder_row: Row | None = None
  encoder_lengths: Int[Array, "B"] | None = None
  draws: Int[Array, "B M"] | None = None


class Block(nn.Module):
  """One layer of the encoder, or of the decoder, which attends to both."""

  config: EncoderDecoderConfig
  is_decoder: bool
  dropout: float = 0.0

  def setup(self):
    c = self.config
    self.attention_norm = RMSNorm(c.norm_eps)
    self.attention = Attention(c, self.dropout)
    if c.bias_per_layer:
      self.relative_bias = bias_table(self, c)
    if self.is_decoder:
      self.cross_norm = RMSNorm(c.norm_eps)
      self.cross_attention = Attention(c, self.dropout)
    self.mlp_norm = RMSNorm(c.norm_eps)
    self.mlp = MLP(c, self.dropout)

  def __call__(self, carry, scanned, given: Given):
    """Carries (x, cache) on; scanned: layer, its cache of the encoder."""
    x, cache = carry
    layer, crossed = scanned
    c, row = self.config, given.row
    bias = jax.tree_util.Partial(
        functools.partial(
            relative_bias, max_distance=c.max_distance,
            bidirectional=not self.is_decoder,
        ),
        self.relative_bias if c.bias_per_layer else given.bias_table,
    )
    normed = self.attention_norm(x)
    own = self.attention.keys_and_values(normed)
    if cache is None:
      x += self._drop_out(given, self.attention(
          normed, own, row, row, self.is_decoder, bias, given.draws
      ))
    else:
      cache = kv_cache.write(cache, layer, row.positions, *own)
      x += self.attention.to_cache(
          normed, kv_cache.of_layer(cache, layer), row.positions, bias=bias
      )
    if crossed is not None:
      x += self.cross_attention.to_cache(
          self.cross_norm(x), crossed, row.positions, given.encoder_lengths
      )
    elif self.is_decoder:
      x += self._drop_out(given, self.cross_attention(
          self.cross_norm(x),
          self.cross_attention.keys_and_values(given.encoded), row,
          given.encoder_row, False, draws=given.draws,
      ))
    x += self._drop_out(given, self.mlp(self.mlp_norm(x), given.draws))
    x = nn.with_logical_constraint(x, ("batch", "length", "embed"))
    return (x, cache), None

  def _drop_out(self, given, x):
    return drop_out(self, x, given.draws)

  def cross_cache(self, encoded, scanned, given):
    """What the decoder's layer sees of the encoder, laid out as a cache."""
    del scanned, given
    seen = self.cross_attention.keys_and_values(encoded)
    return encoded, KVCache(*(jnp.swapaxes(x, 1, 2) for x in seen))


class Stack(nn.Module):
  """The encoder or the decoder: a scan over blocks, and a norm."""

  config: EncoderDecoderConfig
  is_decoder: bool
  remat: str = "none"
  dropout: float = 0.0

  def setup(self):
    c = self.config
    layers = c.num_decoder_layers if self.is_decoder else c.num_encoder_layers
    if not c.bias_per_layer:
      self.relative_bias = bias_table(self, c)
    self.blocks = nn.scan(
        remat_lib.remat(Block, self.remat),
        variable_axes={"params": 0, COLLECTION: 0},
        split_rngs={"params": True, dropout_lib.STREAM: True},
        in_axes=(0, nn.broadcast),
        length=layers,
        metadata_params={nn.PARTITION_NAME: "layers"},
        methods=["__call__", "cross_cache"],
    )(c, self.is_decoder, self.dropout)
    self.layers = jnp.arange(layers)
    self.final_norm = RMSNorm(c.norm_eps)

  def __call__(
      self, x, row: Row, encoded=None, encoder_row=None, cache=None,
      crossed=None, encoder_lengths=None, draws=None,
  ):
    """Final hidden states and the cache (or None)."""
    table = None if self.config.bias_per_layer else self.relative_bias
    given = Given(row, table, encoded, encoder_row, encoder_lengths, draws)
    x = drop_out(self, x, draws)
    (x, cache), _ = self.blocks((x, cache), (self.layers, crossed), given)
    shared = (0,) if self.is_decoder else ()
    return drop_out(self, self.final_norm(x), draws, shared), cache

  def cross_cache(self, encoded) -> KVCache:
    """Of all layers, stacked."""
    return self.blocks.cross_cache(encoded, (self.layers, None), None)[1]
