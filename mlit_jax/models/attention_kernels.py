"""Attention by the devices' own kernels: cuDNN on NVIDIA, splash on TPU.

Both know a token's place in its row only, not its position: causal
self-attention wants rows whose sequences lie in order, as training rows,
padded prompts and packed rows do. Axes: B batch, T query length, S key length,
N query heads, K key/value heads, H head dim.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from mlit_jax import partitioning
from mlit_jax.models.attention_xla import CONTEXT, Tokens, visible

LANES = 128  # splash cuts rows into multiples of this
_SPLASH_BLOCKS = (512, 256, LANES)


def cudnn(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    queries: Tokens,
    keys: Tokens,
    *,
    causal: bool,
    window: int | Int[Array, ""] | None,
    scale: float,
) -> Float[Array, "B T N H"]:
  """cuDNN's fused kernel.

  Segments and a traced window go in as a mask [B 1 T S]: the public function
  has no other way for them.
  """
  mask = None
  fixed = isinstance(window, int)
  if queries.segments is not None or not (window is None or fixed):
    mask = visible(queries, keys, causal, window)
  mixed = jax.nn.dot_product_attention(
      query, key, value,
      mask=None if mask is None else mask[:, None],
      scale=scale, is_causal=causal,
      local_window_size=(window - 1, 0) if mask is None and fixed else None,
      implementation="cudnn",
  )
  if mask is not None:
    mixed = jnp.where(jnp.any(mask, axis=-1)[..., None, None], mixed, 0)
  return jax.ad_checkpoint.checkpoint_name(mixed, CONTEXT)


def splash(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    queries: Tokens,
    keys: Tokens,
    *,
    causal: bool,
    window: int | Int[Array, ""] | None,
    window_values: tuple[int, ...] | None,
    softcap: float | None,
    scale: float,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
  """TPU's splash attention, on every device's own rows and heads.

  Args:
    query: the queries; other arguments as in `attention.attend`.
    key: the keys.
    value: the values.
    queries: their segments.
    keys: the same of keys.
    causal: whether a query sees no later key.
    window: how many places a query sees.
    window_values: what a traced `window` may be: its masks are made at
      compile time, one kernel each.
    softcap: c of c * tanh(x / c).
    scale: of the scores.
    interpret: run the kernel's operations one by one, on any device (tests).
  """
  length, key_length = query.shape[1], key.shape[1]
  segments = queries.segments, keys.segments
  padded = length % LANES or key_length % LANES
  if segments[0] is None and not causal and padded:
    segments = tuple(jnp.zeros(x.shape[:2], jnp.int32) for x in (query, key))
  if segments[0] is not None:
    sees_any = jnp.any(
        segments[0][:, :, None] == segments[1][:, None, :], axis=-1
    )
    segments = (
        _padded(segments[0], 1, constant_values=-1),
        _padded(segments[1], 1, constant_values=-1),
    )
  arrays = [
      jnp.swapaxes(_padded(x, 1), 1, 2) for x in (query * scale, key, value)
  ]
  traced = not (window is None or isinstance(window, int))
  values = window_values if traced else (window,)
  which = 0
  if traced:
    which = jnp.argmax(jnp.asarray(values) == window)
  make = functools.partial(
      _splash, causal=causal, windows=values, softcap=softcap,
      interpret=interpret,
  )
  mixed = _over_mesh(make, arrays, segments, jnp.asarray(which))
  mixed = jnp.swapaxes(mixed, 1, 2)[:, :length]
  if segments[0] is not None:
    mixed = jnp.where(sees_any[..., None, None], mixed, 0)
  return mixed


def _padded(x, axis, **how):
  fill = [(0, 0)] * x.ndim
  fill[axis] = (0, -x.shape[axis] % LANES)
  return jnp.pad(x, fill, **how)


def _splash(
    length, key_length, heads, parts, *, causal, windows, softcap, interpret
):
  """A kernel for every window.

  Args:
    length, key_length: of the whole rows.
    heads: of one device.
    parts: devices that share out the queries of a row.
    causal, windows, softcap, interpret: as of `splash`.
  """
  # Here, because it takes a second to import.
  from jax.experimental.pallas.ops.tpu import splash_attention as lib

  q = next(n for n in _SPLASH_BLOCKS if not length // parts % n)
  kv = next(n for n in _SPLASH_BLOCKS if not key_length % n)
  sizes = lib.BlockSizes(
      block_q=q, block_kv=kv, block_kv_compute=kv,
      block_q_dkv=q, block_kv_dkv=kv, block_kv_dkv_compute=kv,
      block_q_dq=q, block_kv_dq=kv,
  )

  def kernel(window):
    shape = length, key_length
    if not causal:
      mask = lib.FullMask(shape)
    elif window is None or window >= length:
      mask = lib.CausalMask(shape)
    else:
      mask = lib.LocalMask(shape, (window - 1, 0), 0)
    return lib.make_splash_mha(
        mask=lib.MultiHeadMask([mask] * heads), block_sizes=sizes,
        head_shards=1, q_seq_shards=parts, attn_logits_soft_cap=softcap,
        residual_checkpoint_name=CONTEXT, interpret=interpret,
    )

  return [kernel(window) for window in windows]


def _splash_shard(kernels, query, key, value, queries, keys, which):
  """Splash over the rows, heads and queries [B N T H] of one device."""
  # Here, because it takes a second to import.
  from jax.experimental.pallas.ops.tpu import splash_attention as lib

  segments = None if queries is None else lib.SegmentIds(queries, keys)
  return jax.lax.switch(
      which, [jax.vmap(kernel) for kernel in kernels], query, key, value,
      segments,
  )


def _over_mesh(make, arrays, segments, which):
  """Runs on each device's part; the compiler cannot cut a kernel by itself.

  A device has rows, heads and queries of its own, and of these rows and heads
  all keys: they are put together where the mesh cuts rows.
  """
  query, key, _ = arrays
  lengths = query.shape[2], key.shape[2]
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    kernels = make(*lengths, query.shape[1], 1)
    return _splash_shard(kernels, *arrays, *segments, which)
  rows, heads, length = nn.logical_to_mesh_axes(("batch", "heads", "length"))
  kv_heads, = nn.logical_to_mesh_axes(("kv_heads",))
  if query.shape[0] % partitioning.parts("batch"):
    rows = None
  if heads != kv_heads or key.shape[1] % partitioning.parts("kv_heads"):
    heads = None
  ways = 1 if heads is None else partitioning.parts("heads")
  kernels = make(
      *lengths, query.shape[1] // ways, partitioning.parts("length")
  )
  # A device's masks: those of its queries, alike for its heads.
  masks = NamedSharding(mesh, PartitionSpec(None, length))
  cut = PartitionSpec(rows, heads, length)
  whole = PartitionSpec(rows, heads)
  return jax.shard_map(
      _splash_shard,
      in_specs=(
          [kernel.manual_sharding_spec(masks) for kernel in kernels],
          cut, whole, whole, PartitionSpec(rows, length), PartitionSpec(rows),
          PartitionSpec(),
      ),
      out_specs=cut, check_vma=False,
  )(kernels, *arrays, *segments, which)
