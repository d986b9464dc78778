"""Scaled dot-product attention: one function, several paths to its value.

Axes: B batch, T query length, S key length, N query heads, K key/value heads,
G = N/K, H head dim.
"""

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from mlit_jax import partitioning
from mlit_jax.models import (
  attention_kernels,
  attention_paths,
  attention_rows,
  attention_xla,
)
from mlit_jax.models.attention_xla import Bias, Rule, Tokens
from mlit_jax.models.device import current_device

_XLA = {
    "plain": attention_xla.plain,
    "blockwise": attention_xla.blockwise,
    "rows": attention_rows.row_by_row,
}
PATHS = (*_XLA, *attention_paths.KERNELS.values())


def attend(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    *,
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    query_segments: Int[Array, "B T"] | None = None,
    key_segments: Int[Array, "B S"] | None = None,
    causal: bool = True,
    window: int | Int[Array, ""] | None = None,
    window_values: tuple[int, ...] | None = None,
    softcap: float | None = None,
    bias: Bias | None = None,
    scale: float,
    path: str = "auto",
) -> Float[Array, "B T N H"]:
  """Softmax attention of every query over the keys it sees.

  A score is cap(scale * query . key) + bias; the softmax runs in float32. A
  query that sees no key gets zeros.

  Args:
    query: N heads; heads n * G to n * G + G - 1 share key head n (Ainslie et
      al. 2023).
    key: K heads; K divides N.
    value: as many.
    query_positions: place of a query's token in its own sequence.
    key_positions: the same of keys; with a cache, the slots.
    query_segments: which sequence of a packed row a token belongs to (0:
      padding); a query sees keys of its own segment only. None: all.
    key_segments: the same of keys; both or none.
    causal: a query sees no key at a later position.
    window: a query sees the `window` latest positions only, its own included;
      wants `causal`. May be traced: layers of one scan may differ.
    window_values: all that a traced window may be, which lets splash have it;
      one not shorter than the row is none.
    softcap: c of c * tanh(x / c) (Gemma 2), or None.
    bias: from positions of a block's queries and keys to what is added to
      their scores (ALiBi, T5's buckets). Arrays that it needs, and gradients
      shall reach, are arguments of a `jax.tree_util.Partial`.
    scale: of the scores.
    path: one of PATHS, or "auto": what `attention_paths.choose` says
      (docs/attention.md).

  Raises:
    ValueError: contradictory arguments, an unknown path, or one that cannot
      compute this.
  """
  if (query_segments is None) != (key_segments is None):
    raise ValueError("give query_segments and key_segments both, or none")
  if window is not None and not causal:
    raise ValueError("a window looks back: it wants causal=True")
  case = attention_paths.Case(
      query.shape[1], key.shape[1], query.shape[3], query.dtype.name, causal,
      query_segments is not None, _kind(window, window_values),
      softcap is not None, bias is not None, partitioning.parts("length"),
      partitioning.parts("batch"),
  )
  device = current_device()
  if path == "auto":
    path, _ = attention_paths.choose(case, device)
  elif path not in PATHS:
    raise ValueError(f"no attention path {path!r}; there are {PATHS}")
  elif path not in _XLA and (
      reason := attention_paths.refusal(path, case, device)
  ):
    raise ValueError(f"attention path {path!r} cannot do this: {reason}")
  queries = Tokens(query_positions, query_segments)
  keys = Tokens(key_positions, key_segments)
  if path == "cudnn":
    return attention_kernels.cudnn(
        query, key, value, queries, keys, causal=causal, window=window,
        scale=scale,
    )
  if path == "splash":
    return attention_kernels.splash(
        query, key, value, queries, keys, causal=causal, window=window,
        window_values=window_values, softcap=softcap, scale=scale,
    )
  batch, length, heads, head_dim = query.shape
  groups = heads // key.shape[2]
  grouped = query.reshape(batch, length, -1, groups, head_dim) * scale
  run = _XLA[path]
  arrays = grouped, key, value, queries, keys, window
  if case.parts > 1:
    mixed = _on_each_part(run, arrays, bias, causal, softcap)
  else:
    mixed = run(*arrays, Rule(causal, softcap, bias))
  return mixed.reshape(query.shape)


def _on_each_part(run, arrays, bias, causal, softcap):
  """Where a mesh cuts rows, each device's own queries over all keys.

  Left to the compiler, every device would do every block of queries.
  """
  axis, = nn.logical_to_mesh_axes(("length",))
  cut, whole = PartitionSpec(None, axis), PartitionSpec()
  if not isinstance(bias, jax.tree_util.Partial) and bias is not None:
    bias = jax.tree_util.Partial(bias)

  def one(bias, *arrays):
    return run(*arrays, Rule(causal, softcap, bias))

  return jax.shard_map(
      one, in_specs=(whole, cut, whole, whole, cut, whole, whole),
      out_specs=cut, axis_names={axis}, check_vma=False,
  )(bias, *arrays)


def _kind(window, values):
  """What attention_paths.Case calls a window."""
  if window is None:
    return "none"
  if isinstance(window, int):
    return "fixed"
  return "traced" if values is None else "one of"


if __name__ == "__main__":
  print(attention_paths.page(), end="")
