"""Many adapters over one base, so that each row can ask for its own.

Axes: K adapters, R rows.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Int

from mlit_jax.models import lora as lora_lib

# (the tree of models/lora.py with K = 1, how it was made)
Adapter = tuple[Mapping[str, Any], lora_lib.LoraConfig]


def join(
    config: lora_lib.ModelConfig, adapters: Mapping[str, Adapter]
) -> tuple[dict[str | None, int], dict]:
  """Adapters of any ranks, scales and maps as one tree.

  Smaller ranks, and maps that an adapter leaves alone, are filled up with
  zeros; b takes up the scale. Number 0 is none at all.

  Args:
    config: of the base.
    adapters: by name.

  Returns:
    The number of each name, None being the base alone; and the tree.
  """
  numbers = {None: 0} | {name: i + 1 for i, name in enumerate(adapters)}
  found = [
      (traverse_util.flatten_dict(dict(tree)), lora.scale)
      for tree, lora in adapters.values()
  ]
  down, up = "a", "b"
  joined = {}
  for m in lora_lib.maps(config):
    pairs = {
        k: (flat[*m.path, down], scale * np.asarray(flat[*m.path, up]))
        for k, (flat, scale) in enumerate(found, start=1)
        if (*m.path, down) in flat
    }
    if not pairs:
      continue
    (layers, _), *experts = m.stacked
    around = [layers, len(numbers), *(size for size, _ in experts)]
    inward, outward = ([n for n, _ in axes] for axes in (m.inward, m.outward))
    rank = max(a.shape[-1] for a, _ in pairs.values())
    into = np.zeros((*around, *inward, rank), np.float32)
    out = np.zeros((*around, rank, *outward), np.float32)
    for k, (a, b) in pairs.items():
      own = slice(a.shape[-1])
      into[:, k][..., own] = a[:, 0]
      out[:, k][(slice(None),) * (1 + len(experts)) + (own,)] = b[:, 0]
    joined[*m.path, down], joined[*m.path, up] = into, out
  return numbers, traverse_util.unflatten_dict(joined)


def of_rows(
    tree: Mapping[str, Any], ids: Int[Array, "R"], stacked: bool
) -> dict:
  """What a model takes as its collection "lora", an adapter for each row.

  Args:
    tree: of `join`.
    ids: the number of each row's adapter.
    stacked: whether a and b are of all layers, [L K …], or of one, [K …].
  """
  axis = 1 if stacked else 0

  def one(adapter):
    a, b = (jnp.take(adapter[part], ids, axis=axis) for part in "ab")
    return {"a": a, "b": b, "scale": jnp.ones(a.shape[:axis], a.dtype)}

  return jax.tree.map(one, dict(tree), is_leaf=_is_adapter)


def _is_adapter(value) -> bool:
  return isinstance(value, Mapping) and set(value) == {"a", "b"}
