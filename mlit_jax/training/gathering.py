"""Arrays that lie on several hosts, read piece by piece by the first of them.

The first host asks for a piece, and all put it together; the others keep none.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from mlit_jax import partitioning

CHUNK = 64 << 20  # bytes that every device holds beside its own, at once
_DONE = -1
_MOST = 4  # numbers of a place: layer, expert and the like


def read_on_first(tree: PyTree, use: Callable[[PyTree], Any]) -> None:
  """Calls `use` on the first host, while the others help it to read.

  All hosts call it, and return together. No host ever holds more of others'
  parts than the piece that is read.

  Args:
    tree: nested dicts of arrays on a mesh over all hosts.
    use: given the tree, on several hosts with leaves that have a shape and a
      dtype and are read, as NumPy arrays, when they are indexed by a tuple of
      whole numbers, for their first axes, or given to `np.asarray`.
  """
  if jax.process_count() == 1:
    use(tree)
    return
  leaves, structure = jax.tree.flatten(tree)
  if jax.process_index() == 0:
    try:
      use(structure.unflatten(
          [_Leaf(number, leaf) for number, leaf in enumerate(leaves)]
      ))
    finally:
      _tell((_DONE,))
    return
  while (request := _tell(()))[0] != _DONE:
    number, start, rows, places, *place = request
    _piece(leaves[number], tuple(place[:places]), start, rows)


class _Leaf:
  """An array of which no host has all."""

  def __init__(self, number: int, array: jax.Array):
    self._number, self._array = number, array
    self.shape, self.dtype = array.shape, array.dtype
    self.ndim, self.size = array.ndim, array.size

  def __getitem__(self, place: tuple[int, ...]) -> np.ndarray:
    shape = self.shape[len(place) :]
    found = np.empty(shape, self.dtype)
    row = math.prod(shape[1:]) * found.itemsize
    rows = min(shape[0], max(1, CHUNK // row))
    for start in range(0, shape[0], rows):
      start = min(start, shape[0] - rows)
      _tell((self._number, start, rows, len(place), *place))
      found[start : start + rows] = _piece(self._array, place, start, rows)
    return found

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    del copy  # it always is one
    return np.asarray(self[()], dtype)


def _tell(request: tuple[int, ...]) -> list[int]:
  """What the first host says, on every host."""
  from jax.experimental import multihost_utils

  said = np.zeros(4 + _MOST, np.int32)
  said[: len(request)] = request
  return multihost_utils.broadcast_one_to_all(said).tolist()


def _piece(array: jax.Array, place, start: int, rows: int) -> np.ndarray:
  everywhere = partitioning.replicated(array.sharding.mesh)
  found = _cut(everywhere)(array, np.asarray(place, np.int32), start, rows)
  return np.asarray(found.addressable_data(0))


@functools.cache
def _cut(everywhere):
  """One program for all layers of an array."""

  def cut(array, place, start, rows):
    for i in range(place.size):
      array = jax.lax.dynamic_index_in_dim(array, place[i], 0, keepdims=False)
    return jax.lax.dynamic_slice_in_dim(array, start, rows, 0)

  return jax.jit(cut, static_argnums=3, out_shardings=everywhere)
