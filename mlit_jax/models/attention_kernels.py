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
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

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
  run = functools.partial(
      _splash_shard, causal=causal, windows=values, softcap=softcap,
      interpret=interpret,
  )
  mixed = _over_mesh(run, arrays, segments, jnp.asarray(which))
  mixed = jnp.swapaxes(mixed, 1, 2)[:, :length]
  if segments[0] is not None:
    mixed = jnp.where(sees_any[..., None, None], mixed, 0)
  return mixed


def _padded(x, axis, **how):
  fill = [(0, 0)] * x.ndim
  fill[axis] = (0, -x.shape[axis] % LANES)
  return jnp.pad(x, fill, **how)


def _splash_shard(
    query, key, value, query_segments, key_segments, which, *, causal, windows,
    softcap, interpret
):
  """Splash over the rows and heads [B N T H] of one device."""
  # Here, because it takes a second to import.
  from jax.experimental.pallas.ops.tpu import splash_attention as lib

  heads, length = query.shape[1:3]
  q = next(n for n in _SPLASH_BLOCKS if not length % n)
  kv = next(n for n in _SPLASH_BLOCKS if not key.shape[2] % n)
  sizes = lib.BlockSizes(
      block_q=q, block_kv=kv, block_kv_compute=kv,
      block_q_dkv=q, block_kv_dkv=kv, block_kv_dkv_compute=kv,
      block_q_dq=q, block_kv_dq=kv,
  )
  segments = None
  if query_segments is not None:
    segments = lib.SegmentIds(query_segments, key_segments)

  def branch(window):
    shape = length, key.shape[2]
    if not causal:
      mask = lib.FullMask(shape)
    elif window is None or window >= length:
      mask = lib.CausalMask(shape)
    else:
      mask = lib.LocalMask(shape, (window - 1, 0), 0)
    kernel = lib.make_splash_mha(
        mask=lib.MultiHeadMask([mask] * heads), block_sizes=sizes,
        head_shards=1, q_seq_shards=1, attn_logits_soft_cap=softcap,
        residual_checkpoint_name=CONTEXT, interpret=interpret,
    )
    return jax.vmap(kernel)

  branches = [branch(window) for window in windows]
  return jax.lax.switch(which, branches, query, key, value, segments)


def _over_mesh(run, arrays, segments, which):
  """Runs on each device's part; the compiler cannot cut a kernel by itself."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return run(*arrays, *segments, which)
  query, key, _ = arrays
  rows, heads = nn.logical_to_mesh_axes(("batch", "heads"))
  kv_heads, = nn.logical_to_mesh_axes(("kv_heads",))

  def ways(axes):
    axes = (axes,) if isinstance(axes, str) else axes or ()
    count = 1
    for axis in axes:
      count *= mesh.shape[axis]
    return count

  if query.shape[0] % ways(rows):
    rows = None
  if heads != kv_heads or key.shape[1] % ways(kv_heads):
    heads = None
  spec, row = PartitionSpec(rows, heads), PartitionSpec(rows)
  return jax.shard_map(
      run, in_specs=(spec, spec, spec, row, row, PartitionSpec()),
      out_specs=spec, check_vma=False,
  )(*arrays, *segments, which)
