"""T5X checkpoints of version 3 (and 2): flax's msgpack with zarr beside it.

checkpoint_<step>/checkpoint is {version, optimizer: {target, state}}; a leaf is
an array, or a TensorStore spec that says in which folder it lies. Of the spec
only the path is believed: the base path (and, of what was written on Google's
storage, the bucket) is where the checkpoint lies now.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from mlit_jax.models.interchange.orbax_file import Leaf
from mlit_jax.models.interchange.stored import CheckpointError, unreadable

FILE = "checkpoint"
# Version 2 wrote bfloat16 as uint16, TensorStore having no bfloat16 yet.
_VERSIONS = (2, 3)
_KVSTORES = ("file", "gfile", "gcs")


def arrays(directory: pathlib.Path) -> dict:
  """Opens the parameters of checkpoint_<step>.

  Returns:
    Nested dicts with an array or a `Leaf` each.

  Raises:
    CheckpointError: it is damaged or incomplete, of a version not known, or an
      array is said to lie outside of the directory.
  """
  from flax import serialization

  path = directory / FILE
  try:
    content = serialization.msgpack_restore(path.read_bytes())
  except OSError as e:
    raise unreadable(path, e) from None
  except Exception as e:  # msgpack and NumPy raise many kinds
    raise CheckpointError(f"{path}: damaged or cut off ({e})") from None
  version = content.get("version", 0) if isinstance(content, Mapping) else 0
  if version not in _VERSIONS:
    raise CheckpointError(
        f"{path}: version {version!r} is not known, only {_VERSIONS}; load and"
        " save it with T5X to have version 3"
    )
  optimizer = content.get("optimizer")
  target = optimizer.get("target") if isinstance(optimizer, Mapping) else None
  if not isinstance(target, Mapping):
    raise CheckpointError(f"{path}: no 'optimizer' with a 'target'")

  stores: dict[str, Any] = {}
  kept: dict[str, np.ndarray] = {}  # for the layers of one scanned array

  def read(name):
    if name not in kept:
      kept.clear()  # first, so that there are never two
      kept[name] = _bfloat16(_wait(directory, name, stores[name].read))
    return kept[name]

  def convert(value, name):
    if isinstance(value, Mapping) and {"driver", "kvstore"} <= value.keys():
      stores[name] = _open(path, name, value, version)
      leaf = Leaf(stores[name], functools.partial(read, name))
      leaf.dtype = _bfloat16(np.empty(0, leaf.dtype)).dtype
      return leaf
    if isinstance(value, Mapping):
      return {key: convert(v, f"{name}.{key}") for key, v in value.items()}
    if not isinstance(value, np.ndarray):
      raise CheckpointError(f"{path}: {name!r} is no array: {value!r:.40}")
    _check_dtype(path, name, value.dtype, version)
    return _bfloat16(value)

  return convert(target, "target")


def _open(path: pathlib.Path, name: str, spec: Mapping, version: int):
  """The TensorStore that a spec describes."""
  import tensorstore

  try:
    kvstore = spec["kvstore"]
    # TensorStore before 0.1.14 had the path outside.
    inner = str(kvstore["path"] if "path" in kvstore else spec["path"])
    driver, store = spec["driver"], kvstore["driver"]
    shape = tuple(spec["metadata"]["shape"])
  except (LookupError, TypeError) as e:
    raise CheckpointError(f"{path}: the spec of {name!r} lacks {e}") from None
  if driver != "zarr" or store not in _KVSTORES:
    raise CheckpointError(
        f"{path}: {name!r} lies in {driver!r} on {store!r}; only zarr on one of"
        f" {_KVSTORES} is read"
    )
  parts = inner.rstrip("/").split("/")
  if "\0" in inner or {"", ".", ".."} & set(parts):
    raise CheckpointError(
        f"{path}: {name!r} is said to lie in {inner!r}, outside of the"
        " checkpoint; only folders beside this file are read"
    )
  place = path.parent.joinpath(*parts).absolute()
  opened = _wait(
      path.parent,
      name,
      functools.partial(
          tensorstore.open,
          {
              "driver": "zarr",
              "kvstore": {"driver": "file", "path": f"{place}/"},
              # A chunk that was not copied would be read as zeros.
              "fill_missing_data_reads": False,
          },
          open=True,
          read=True,
      ),
  )
  if tuple(opened.shape) != shape:
    raise CheckpointError(
        f"{place}: shape {tuple(opened.shape)}, but {path} says {shape}"
    )
  _check_dtype(path, name, opened.dtype.numpy_dtype, version)
  return opened


def _check_dtype(path, name: str, dtype: np.dtype, version: int) -> None:
  if dtype == np.uint16 and version >= 3:
    raise CheckpointError(
        f"{path}: {name!r} is uint16, which version {version} does not use"
    )


def _wait(directory: pathlib.Path, name: str, call: Callable) -> Any:
  """The result of a TensorStore call."""
  try:
    return call().result()
  except ValueError as e:  # TensorStore's only kind, with a long message
    reason = " ".join(str(e).split())[:200]
    raise CheckpointError(
        f"{directory}: array {name!r} cannot be read ({reason})"
    ) from None


def _bfloat16(value: np.ndarray) -> np.ndarray:
  """The numbers whose bits are stored as uint16."""
  return value.view(ml_dtypes.bfloat16) if value.dtype == np.uint16 else value
