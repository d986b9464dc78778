"""Scaled dot-product attention: one function, several paths to its value.

Axes: B batch, T query length, S key length, N query heads, K key/value heads,
G = N/K, H head dim.
"""

from jaxtyping import Array, Float, Int

from mlit_jax.models import attention_xla
from mlit_jax.models.attention_xla import Bias, Rule, Tokens


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
    softcap: c of c * tanh(x / c) (Gemma 2), or None.
    bias: from positions of a block's queries and keys to what is added to
      their scores (ALiBi, T5's buckets). It may close over arrays, and
      gradients reach them, but must not call a flax module.
    scale: of the scores.
    path: "plain" (holds all T x S scores), "blockwise", or "auto", which takes
      the first where the scores are no more than one block of the second.

  Raises:
    ValueError: contradictory arguments, or an unknown path.
  """
  if (query_segments is None) != (key_segments is None):
    raise ValueError("give query_segments and key_segments both, or none")
  if window is not None and not causal:
    raise ValueError("a window looks back: it wants causal=True")
  if path == "auto":
    scores = query.shape[1] * key.shape[1]
    path = "plain" if scores <= attention_xla.BLOCK**2 else "blockwise"
  paths = {
      "plain": attention_xla.plain, "blockwise": attention_xla.blockwise,
  }
  if path not in paths:
    raise ValueError(f"no attention path {path!r}; there are {sorted(paths)}")
  batch, length, heads, head_dim = query.shape
  kv_heads = key.shape[2]
  grouped = query.reshape(batch, length, kv_heads, heads // kv_heads, head_dim)
  mixed = paths[path](
      grouped * scale, key, value,
      Tokens(query_positions, query_segments),
      Tokens(key_positions, key_segments),
      window, Rule(causal, softcap, bias),
  )
  return mixed.reshape(query.shape)
