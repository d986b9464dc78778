"""Arrays of an Orbax checkpoint, one in memory at a time."""

import functools
import json
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from mlit_jax.models.interchange.stored import CheckpointError, unreadable

METADATA, _MANIFEST = "_METADATA", "manifest.ocdbt"


class Leaf:
  """An array that is read when it is indexed, whole, and kept a while.

  Attributes:
    shape, dtype: as NumPy's.
  """

  def __init__(self, store: Any, read: Callable[[], np.ndarray]):
    self.shape: tuple[int, ...] = tuple(store.shape)
    self.dtype: np.dtype = store.dtype.numpy_dtype
    self._read = read

  def __getitem__(self, index: tuple[int, ...]) -> np.ndarray:
    return self._read()[index]

  @property
  def size(self) -> int:
    return math.prod(self.shape)


def arrays(directory: str | os.PathLike, root: str) -> dict:
  """Opens the arrays under one key of a saved tree.

  Args:
    directory: of the saved item, e.g. <step>/state; it holds _METADATA.
    root: the tree's first key, e.g. `params`.

  Returns:
    Nested dicts with a `Leaf` per array.

  Raises:
    CheckpointError: it is damaged, or has nothing under that key.
  """
  import tensorstore

  directory = pathlib.Path(directory).absolute()
  path = directory / METADATA
  try:
    about = json.loads(path.read_text(encoding="utf-8"))
    # The first files of this kind said neither.
    driver = "zarr3" if about.get("use_zarr3") else "zarr"
    if not about.get("use_ocdbt", (directory / _MANIFEST).exists()):
      raise ValueError("it is not in the OCDBT format")
    keys = [
        tuple(str(part["key"]) for part in entry["key_metadata"])
        for entry in about["tree_metadata"].values()
        if not entry["value_metadata"].get("skip_deserialize")
    ]
  except OSError as e:
    raise unreadable(path, e) from None
  except (ValueError, LookupError, AttributeError, TypeError) as e:
    raise CheckpointError(f"{path}: damaged ({e})") from None

  def call(name, function):
    try:
      return function().result()
    except ValueError as e:  # TensorStore's only kind, with a long message
      reason = " ".join(str(e).split())[:200]
      raise CheckpointError(
          f"{directory}: array {name!r} cannot be read ({reason})"
      ) from None

  def open_(name):
    base = {"driver": "file", "path": f"{directory}/"}
    store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    # A chunk that was not copied would be read as zeros.
    spec = {
        "driver": driver, "kvstore": store, "fill_missing_data_reads": False,
    }
    return call(name, lambda: tensorstore.open(spec, open=True, read=True))

  def read(name):
    if name not in kept:
      # As many as take no more room than the largest alone: of fused
      # projections several make one tensor.
      limit = max(map(_size, stores.values())) - _size(stores[name])
      while kept and sum(array.nbytes for array in kept.values()) > limit:
        del kept[next(iter(kept))]
      kept[name] = call(name, stores[name].read)
    return kept[name]

  stores: dict[str, Any] = {}
  kept: dict[str, np.ndarray] = {}
  tree: dict = {}
  for first, *parents, last in (k for k in keys if len(k) > 1):
    if first != root:
      continue
    name = ".".join((first, *parents, last))
    stores[name] = open_(name)
    place = tree
    for key in parents:
      place = place.setdefault(key, {})
    place[last] = Leaf(stores[name], functools.partial(read, name))
  if not tree:
    raise CheckpointError(f"{directory}: no arrays under {root!r}")
  return tree


def _size(store: Any) -> int:
  return math.prod(store.shape) * store.dtype.numpy_dtype.itemsize
