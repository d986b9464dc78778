"""Layers of the decoder.

Axes: B batch, T query length, S key length, N query heads, K key/value heads,
H head dim, D embed, F mlp, V vocab.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mlit_jax.models import kv_cache, precision
from mlit_jax.models import positions as positions_lib
from mlit_jax.models.attention import attend
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.kv_cache import KVCache
from mlit_jax.models.linear_map import linear_map
from mlit_jax.models.low_rank import low_rank

_EVERYTHING = 1 << 30  # a window wider than any sequence
ACTIVATIONS = {
    "silu": nn.silu,
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: nn.gelu(x, approximate=True),
}


class Rows(NamedTuple):
  """Where the tokens of a batch stand; the same for every layer.

  Attributes:
    positions: position in the token's own sequence.
    segment_ids: which sequence of the row it belongs to; 0: padding.
    lengths: tokens of its sequence; for dynamic rotary scaling alone.
  """

  positions: Int[Array, "B T"]
  segment_ids: Int[Array, "B T"] | None = None
  lengths: Int[Array, "B T"] | None = None


def kernel_init(
    in_axis: int | tuple[int, ...],
    out_axis: int | tuple[int, ...],
    axes: tuple[str, ...],
    batch_axis: int | tuple[int, ...] = (),
) -> Callable:
  """Scaled normal with fan-in variance, annotated with logical axes."""
  init = nn.initializers.variance_scaling(
      1.0, "fan_in", "normal", in_axis=in_axis, out_axis=out_axis,
      batch_axis=batch_axis,
  )
  return nn.with_logical_partitioning(init, axes)


def activated(
    activation: Callable,
    first: Float[Array, "..."],
    *others: Float[Array, "..."],
) -> Float[Array, "..."]:
  """The activation of the first map, times the others (Shazeer 2020).

  For the backward pass the maps are kept, from which the rest is computed once
  more: of GELU alone JAX would keep four arrays as large.
  """

  def run(first, *others):
    return functools.reduce(jnp.multiply, others, activation(first))

  return jax.checkpoint(run, prevent_cse=False)(first, *others)


def linear(
    module: nn.Module,
    name: str,
    einsum: str,
    x: Float[Array, "..."],
    sizes: dict[str, int],
    axes: dict[str, str],
    bias: bool = False,
    stacked: str = "",
) -> Float[Array, "..."]:
  """x through a kernel of the module: every linear map of a decoder.

  Args:
    module: owns the parameters `name` and, with a bias, `name`_bias.
    name: of the map.
    einsum: of x and the kernel, in letters of `sizes`.
    x: what to map.
    sizes: size of every letter of the kernel.
    axes: logical axis of every letter of the kernel.
    bias: whether to add one, over the kernel's letters that stay.
    stacked: letters that number separate kernels (experts).
  """
  weights = kernel(module, name, einsum, x, sizes, axes, stacked)
  y = linear_map(einsum, x, weights)
  if bias:
    letters, out = einsum.split(",")[1].split("->")
    kept = [a for a in letters if a in out]
    init = nn.initializers.zeros
    init = nn.with_logical_partitioning(init, tuple(axes[a] for a in kept))
    shape = tuple(sizes[a] for a in kept)
    value = module.param(f"{name}_bias", init, shape, jnp.float32)
    y = y + value.astype(x.dtype)
  if (change := low_rank(module, name, einsum, x, stacked)) is not None:
    y = y + change
  return y


def kernel(
    module: nn.Module,
    name: str,
    einsum: str,
    x: Float[Array, "..."],
    sizes: dict[str, int],
    axes: dict[str, str],
    stacked: str = "",
) -> Float[Array, "..."]:
  """A kernel of the module, of x's type; arguments as of `linear`."""
  letters, out = einsum.split(",")[1].split("->")

  def places(wanted):
    return tuple(i for i, a in enumerate(letters) if wanted(a))

  init = kernel_init(
      places(lambda a: a not in out and a not in stacked),
      places(lambda a: a in out and a not in stacked),
      tuple(axes[a] for a in letters),
      places(lambda a: a in stacked),
  )
  shape = tuple(sizes[a] for a in letters)
  value = module.param(name, init, shape, jnp.float32)
  return jnp.asarray(value, x.dtype)


class RMSNorm(nn.Module):
  """Root-mean-square norm (Zhang and Sennrich 2019), in float32.

  Attributes:
    eps: added to the mean square.
    offset: added to the scale (1 in Gemma, whose scales are around 0).
    axis: logical axis of the scale.
  """

  eps: float
  offset: float = 0.0
  axis: str = "embed"

  @nn.compact
  def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    init = nn.initializers.constant(1 - self.offset)
    init = nn.with_logical_partitioning(init, (self.axis,))
    scale = self.param("scale", init, (x.shape[-1],), jnp.float32)
    if self.offset:
      scale = scale + self.offset
    wide = x.astype(precision.wide(x.dtype))
    mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(mean_square + self.eps) * scale).astype(
        x.dtype
    )


class LayerNorm(nn.Module):
  """Layer norm with a bias (Ba et al. 2016), in float32."""

  eps: float

  @nn.compact
  def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    def vector(name, init):
      init = nn.with_logical_partitioning(init, ("embed",))
      return self.param(name, init, (x.shape[-1],), jnp.float32)

    scale = vector("scale", nn.initializers.ones)
    bias = vector("bias", nn.initializers.zeros)
    wide = x.astype(precision.wide(x.dtype))
    wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    wide = wide * jax.lax.rsqrt(variance + self.eps)
    return (wide * scale + bias).astype(x.dtype)


def norm(config: DecoderConfig, name: str, axis: str = "embed") -> nn.Module:
  """The norm that the config asks for."""
  if config.norm == "layer":
    return LayerNorm(config.norm_eps, name=name)
  return RMSNorm(config.norm_eps, float(config.norm_offset), axis, name=name)


class Attention(nn.Module):
  """Grouped-query attention (Ainslie et al. 2023)."""

  config: DecoderConfig

  @nn.compact
  def __call__(
      self,
      x: Float[Array, "B T D"],
      rows: Rows,
      windowed: Bool[Array, ""] | bool = True,
      cache: KVCache | None = None,
      layer: Int[Array, ""] | int | None = None,
  ) -> tuple[Float[Array, "B T D"], KVCache | None]:
    """Attends to the row itself (S = T), or to its layer of the cache.

    Args:
      x: the residual stream, normed.
      rows: where its tokens stand.
      windowed: whether this layer has the config's window.
      cache: of all layers, or of this one alone. Tokens that are no padding
        are written to it.
      layer: which of the cache's layers is this one's; None: it has no others.
    """
    c = self.config
    sizes = {
        "D": c.embed_dim, "N": c.num_heads, "K": c.num_kv_heads,
        "H": c.head_dim,
    }
    axes = {"D": "embed", "N": "heads", "K": "kv_heads", "H": "kv"}

    def heads(name, letter):
      einsum = f"BTD,D{letter}H->BT{letter}H"
      y = linear(self, name, einsum, x, sizes, axes, c.qkv_bias)
      return nn.with_logical_constraint(
          y, ("batch", "length", axes[letter], "kv")
      )

    query, key = heads("query", "N"), heads("key", "K")
    value = heads("value", "K")
    if c.qk_norm:
      query = norm(c, "query_norm", "kv")(query)
      key = norm(c, "key_norm", "kv")(key)
    if c.position == "rope":
      query, key = self._rotate((query, key), rows, windowed)

    bias = None
    if c.position == "alibi":
      bias = positions_lib.alibi_bias(c.num_heads)
    how = {
        "window": _select(windowed, c.window, _EVERYTHING),
        "window_values": (c.window, _EVERYTHING) if c.windowed_layers else None,
        "softcap": c.attention_softcap,
        "bias": bias,
        "scale": c.attention_scale,
    }
    if cache is None:
      mixed = attend(
          query, key, value, query_positions=rows.positions,
          key_positions=rows.positions, query_segments=rows.segment_ids,
          key_segments=rows.segment_ids, **how,
      )
    else:
      cache = kv_cache.write(
          cache, layer, rows.positions, key, value, rows.segment_ids
      )
      mixed = kv_cache.attend(
          query, kv_cache.of_layer(cache, layer), rows.positions, **how
      )
    mixed = nn.with_logical_constraint(
        mixed, ("batch", "length", "heads", "kv")
    )
    out = linear(self, "out", "BTNH,NHD->BTD", mixed, sizes, axes, c.out_bias)
    return out, cache

  def _rotate(self, pair, rows, windowed):
    c, scaling = self.config, self.config.rope_scaling
    frequency = positions_lib.frequencies(c, c.rope_base, scaling, rows.lengths)
    if c.local_rope_base is not None:
      local = positions_lib.frequencies(c, c.local_rope_base)
      frequency = _select(windowed, local, frequency)
    factor = 1.0 if scaling is None else scaling.attention_factor
    return (
        positions_lib.rotate(x, rows.positions, frequency, factor)
        for x in pair
    )


def _select(windowed, local, everywhere):
  """What a layer with the window has, or one without; None if none has it."""
  if local is None:
    return None
  if isinstance(windowed, bool):
    return local if windowed else everywhere
  return jnp.where(windowed, local, everywhere)


class MLP(nn.Module):
  """Two linear maps and an activation, or its gated form (Shazeer 2020)."""

  config: DecoderConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    c = self.config
    sizes = {"D": c.embed_dim, "F": c.mlp_dim}
    axes = {"D": "embed", "F": "mlp"}

    def into(name):
      y = linear(self, name, "BTD,DF->BTF", x, sizes, axes, c.mlp_bias)
      return nn.with_logical_constraint(y, ("batch", "length", "mlp"))

    maps = ("gate", "up") if c.gated_mlp else ("up",)
    hidden = activated(ACTIVATIONS[c.activation], *map(into, maps))
    return linear(
        self, "down", "BTF,FD->BTD", hidden, sizes, axes, c.mlp_bias
    )
