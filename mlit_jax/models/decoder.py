"""The decoder: embedding, a scan over blocks, output head.

Axes: B batch, T length, P places with logits, S cache length, L layers, D
embed, V vocab.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from mlit_jax.models import low_rank
from mlit_jax.models import positions as positions_lib
from mlit_jax.models import remat as remat_lib
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.layers import MLP, Attention, KVCache, Rows, norm
from mlit_jax.models.moe import MixtureOfExperts

_UNROLLED_LAYERS = 4


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
    return (x, cache), None


class Decoder(nn.Module):
  """A causal language model.

  Attributes:
    config: its shape.
    dtype: of activations; parameters are float32.
    remat: what blocks keep for the backward pass, by name (models/remat.py).
  """

  config: DecoderConfig
  dtype: jax.typing.DTypeLike = jnp.float32
  remat: str = "none"

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
    unrolled = self.remat == "none" and c.num_layers <= _UNROLLED_LAYERS
    blocks = nn.scan(
        remat_lib.remat(Block, self.remat),
        variable_axes={"params": 0, low_rank.COLLECTION: 0},
        split_rngs={"params": True, low_rank.DROPOUT: True},
        in_axes=(0, nn.broadcast),
        length=c.num_layers,
        # Few layers: the loop would cost more than it saves in compiling.
        unroll=c.num_layers if unrolled else 1,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
    self._blocks = blocks(c, name="blocks")
    self._final_norm = norm(c, "final_norm")

  def __call__(
      self,
      tokens: Int[Array, "B T"],
      positions: Int[Array, "B T"],
      segment_ids: Int[Array, "B T"] | None = None,
      cache: KVCache | None = None,
      logit_positions: Int[Array, "B P"] | None = None,
  ) -> tuple[Float[Array, "B P V"], KVCache | None]:
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
      cache: KVCache | None = None,
  ) -> tuple[Float[Array, "B T D"], KVCache | None]:
    """What the head reads, after the final norm; arguments as of a call."""
    c = self.config
    x = jnp.take(self._embedding, tokens, axis=0).astype(self.dtype)
    if c.embedding_scale:
      x = x * jnp.asarray(c.embed_dim**0.5, self.dtype)
    x = nn.with_logical_constraint(x, ("batch", "length", "embed"))
    if c.embedding_norm:
      x = self._embedding_norm(x)

    lengths = None
    if c.rope_scaling is not None and c.rope_scaling.kind == "dynamic":
      lengths = positions_lib.sequence_lengths(positions, segment_ids)
    rows = Rows(positions, segment_ids, lengths)
    windowed = c.windowed_layers
    if windowed is not None:
      windowed = jnp.asarray(np.asarray(windowed))
    layers = jnp.arange(c.num_layers), windowed
    (x, cache), _ = self._blocks((x, cache), layers, rows)
    return self._final_norm(x), cache

  def head(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
    """Logits of the next token in float32, from what `hidden` returned."""
    c = self.config
    kernel = self.head_kernel().astype(hidden.dtype)
    logits = jnp.einsum("BTD,VD->BTV", hidden, kernel)
    logits = nn.with_logical_constraint(logits, ("batch", "length", "vocab"))
    logits = logits.astype(jnp.float32)
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
  shape = (c.num_layers, batch, length, c.num_kv_heads, c.head_dim)
  return KVCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
