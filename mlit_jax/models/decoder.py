"""The decoder: embedding, a scan over blocks, output head.

Axes: B batch, T length, P places with logits, S cache length, L layers, D
embed, V vocab.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from mlit_jax import partitioning
from mlit_jax.models import dropout, kv_cache, low_rank, precision
from mlit_jax.models import positions as positions_lib
from mlit_jax.models import remat as remat_lib
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.kv_cache import KVCache
from mlit_jax.models.layers import MLP, Attention, Rows, norm
from mlit_jax.models.linear_map import linear_map
from mlit_jax.models.moe import MixtureOfExperts

_UNROLLED_LAYERS = 4
# Of all layers, or of each.
Cache = KVCache | tuple[KVCache, ...]
# Collection of what enters the first block ("embedded") and leaves each
# ("blocks/block", [L, B, T, D]); kept where a call makes it mutable.
STATES = "states"


class Block(nn.Module):
  """Attention and MLP around the residual stream; one turn of the scan."""

  config: DecoderConfig

  @nn.compact
  def __call__(self, carry, layer, rows):
    c, (x, cache) = self.config, carry
    index, windowed = layer
    mlp = (MixtureOfExperts if c.num_experts else MLP)(c, name="mlp")
    attended, cache = Attention(c, name="attention")(
        norm(c, "attention_norm")(x), rows,
        c.window is not None if windowed is None else windowed, cache, index,
    )
    if c.post_norms:
      attended = norm(c, "attention_post_norm")(attended)
    residual, x = x, x + attended
    mapped = mlp(norm(c, "mlp_norm")(residual if c.parallel_residual else x))
    if c.post_norms:
      mapped = norm(c, "mlp_post_norm")(mapped)
    x = x + mapped
    x = nn.with_logical_constraint(x, ("batch", "length", "embed"))
    self.sow(STATES, "block", x)
    return (x, cache), None


class Decoder(nn.Module):
  """A causal language model.

  Attributes:
    config: its shape.
    dtype: of activations; parameters are float32.
    remat: what blocks keep for the backward pass, by name (models/remat.py).
    stacked: whether blocks' parameters are stacked, for a scan over them. If
      not, they are block_0, block_1 and so on (`unstack`), and so is the cache
      (`init_caches`): a token's step then copies no layer's weights or cache
      out of a stack. Remat needs a scan.
  """

  config: DecoderConfig
  dtype: jax.typing.DTypeLike = jnp.float32
  remat: str = "none"
  stacked: bool = True

  def setup(self):
    c = self.config
    init = nn.with_logical_partitioning(
        nn.initializers.normal(stddev=c.embed_dim**-0.5), ("vocab", "embed")
    )
    shape = (c.vocab_size, c.embed_dim)
    self._embedding = self.param("embedding", init, shape, jnp.float32)
    if not c.tie_embeddings:
      self._head = self.param("head", init, shape, jnp.float32)
    if c.embedding_norm:
      self._embedding_norm = norm(c, "embedding_norm")
    self._final_norm = norm(c, "final_norm")
    if not self.stacked:
      self._blocks = [Block(c, name=_block(i)) for i in range(c.num_layers)]
      return
    unrolled = self.remat == "none" and c.num_layers <= _UNROLLED_LAYERS
    blocks = nn.scan(
        remat_lib.remat(Block, self.remat),
        variable_axes={"params": 0, low_rank.COLLECTION: 0, STATES: 0},
        split_rngs={"params": True, dropout.STREAM: True},
        in_axes=(0, nn.broadcast),
        length=c.num_layers,
        # Few layers: the loop would cost more than it saves in compiling.
        unroll=c.num_layers if unrolled else 1,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
    self._blocks = blocks(c, name="blocks")

  def __call__(
      self,
      tokens: Int[Array, "B T"],
      positions: Int[Array, "B T"],
      segment_ids: Int[Array, "B T"] | None = None,
      cache: Cache | None = None,
      logit_positions: Int[Array, "B P"] | None = None,
  ) -> tuple[Float[Array, "B P V"], Cache | None]:
    """Logits of the next token, at every position or at some.

    Args:
      tokens: token ids.
      positions: position in the token's own sequence, from 0.
      segment_ids: which example of a packed row a token belongs to, from 1,
        and 0 for padding; tokens see their own example only. With a cache a
        row is one sequence, and they tell its tokens (1) from padding (0).
        None: the row is one sequence without padding before its end.
      cache: keys and values of earlier calls. A token is stored at its
        position and sees the cache up to there; a slot beyond it may hold
        anything.
      logit_positions: places in the row (not in the sequence) whose logits are
        wanted; None: all T. The head is the dearest part of a small model.

    Returns:
      Logits in float32, and the cache with these tokens in it (or None).
    """
    x, cache = self.hidden(tokens, positions, segment_ids, cache)
    if logit_positions is not None:
      x = jnp.take_along_axis(x, logit_positions[..., None], axis=1)
    return self.head(x), cache

  def hidden(
      self,
      tokens: Int[Array, "B T"],
      positions: Int[Array, "B T"],
      segment_ids: Int[Array, "B T"] | None = None,
      cache: Cache | None = None,
  ) -> tuple[Float[Array, "B T D"], Cache | None]:
    """What the head reads, after the final norm; arguments as of a call."""
    c = self.config
    x = partitioning.look_up(self._embedding, tokens, self.dtype)
    if c.embedding_scale:
      x = x * jnp.asarray(c.embed_dim**0.5, self.dtype)
    if c.embedding_norm:
      x = self._embedding_norm(x)
    self.sow(STATES, "embedded", x)

    lengths = None
    if c.rope_scaling is not None and c.rope_scaling.kind == "dynamic":
      lengths = positions_lib.sequence_lengths(positions, segment_ids)
    rows = Rows(positions, segment_ids, lengths)
    windowed = c.windowed_layers
    if not self.stacked:
      caches = [None] * c.num_layers if cache is None else list(cache)
      for i, block in enumerate(self._blocks):
        layer = None, None if windowed is None else windowed[i]
        (x, caches[i]), _ = block((x, caches[i]), layer, rows)
      return self._final_norm(x), None if cache is None else tuple(caches)
    if windowed is not None:
      windowed = jnp.asarray(np.asarray(windowed))
    layers = jnp.arange(c.num_layers), windowed
    (x, cache), _ = self._blocks((x, cache), layers, rows)
    return self._final_norm(x), cache

  def head(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
    """Logits of the next token in float32, from what `hidden` returned."""
    c = self.config
    kernel = self.head_kernel().astype(hidden.dtype)
    logits = linear_map("BTD,VD->BTV", hidden, kernel)
    logits = nn.with_logical_constraint(logits, ("batch", "length", "vocab"))
    logits = logits.astype(precision.wide(logits.dtype))
    if c.logit_softcap is not None:
      logits = c.logit_softcap * jnp.tanh(logits / c.logit_softcap)
    return logits

  def head_kernel(self) -> Float[Array, "V D"]:
    """The head as it is applied: the embedding if tied, normalised if so."""
    c = self.config
    kernel = self._embedding if c.tie_embeddings else self._head
    if c.normalize_head:
      square = jnp.sum(jnp.square(kernel), axis=-1, keepdims=True)
      kernel = kernel * jax.lax.rsqrt(jnp.maximum(square, 1e-24))
    return kernel


def init_params(
    config: DecoderConfig, seed: int | Integer[Array, ""]
) -> dict:
  """Random parameters, boxed with their logical axes."""
  tokens = jnp.zeros((1, 1), jnp.int32)
  return Decoder(config).init(jax.random.key(seed), tokens, tokens)["params"]


def init_cache(
    config: DecoderConfig,
    batch: int,
    length: int,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> KVCache:
  """An empty cache for `batch` sequences of up to `length` tokens."""
  c = config
  shape = (c.num_layers, batch, c.num_kv_heads, length, c.head_dim)
  return kv_cache.empty(shape, dtype)


def init_caches(
    config: DecoderConfig,
    batch: int,
    length: int,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> tuple[KVCache, ...]:
  """The same for a decoder whose blocks are not stacked, one for each."""
  c = config
  shape = (batch, c.num_kv_heads, length, c.head_dim)
  return tuple(kv_cache.empty(shape, dtype) for _ in range(c.num_layers))


def unstack(config: DecoderConfig, tree: Mapping[str, Any]) -> dict:
  """Parameters, or adapters, for a decoder whose blocks are not stacked.

  Args:
    config: of the decoder.
    tree: whatever has "blocks" that are stacked, and other things beside them.
  """
  rest = {name: value for name, value in tree.items() if name != "blocks"}
  for i in range(config.num_layers):
    rest[_block(i)] = jax.tree.map(lambda x, i=i: x[i], tree["blocks"])
  return rest


def stack(config: DecoderConfig, tree: Mapping[str, Any]) -> dict:
  """What `unstack` was given, of what it gave."""
  names = [_block(i) for i in range(config.num_layers)]
  rest = {name: value for name, value in tree.items() if name not in names}
  blocks = [tree[name] for name in names]
  return rest | {"blocks": jax.tree.map(lambda *x: jnp.stack(x), *blocks)}


def _block(layer: int) -> str:
  return f"block_{layer}"
