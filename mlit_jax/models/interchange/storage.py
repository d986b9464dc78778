"""The weights of a Hugging Face directory, read and written tensor by tensor.

One safetensors file, or several with an index; or PyTorch's older
`pytorch_model.bin` in the same two ways. Nothing in them is executed.
"""

import hashlib
import json
import os
import pathlib
from typing import Protocol

import numpy as np

from mlit_jax import records
from mlit_jax.models.interchange import safetensors_file, torch_file
from mlit_jax.models.interchange.stored import (
    CheckpointError,
    Stored,
    unique,
    unreadable,
)

__all__ = [
    "Checkpoint", "CheckpointError", "TensorFiles", "Tensors", "cast", "save",
]

WEIGHTS = "model.safetensors"
_PARTS, _PART = 64, 1 << 16
_INDEX = ".index.json"
_READERS = {
    WEIGHTS: safetensors_file.tensors,
    "pytorch_model.bin": torch_file.tensors,
}
FLOATS = tuple(
    np.dtype(name) for name in ("float64", "float32", "float16", "bfloat16")
)


class Tensors(Protocol):
  """Tensors by name, one read at a time."""

  def names(self) -> list[str]:
    """All names."""

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of one tensor."""

  def dtype(self, name: str) -> np.dtype:
    """The type of its numbers."""

  def read(self, name: str) -> np.ndarray:
    """The tensor itself."""


class Checkpoint(Tensors, Protocol):
  """Tensors of a checkpoint, which its errors can name.

  Attributes:
    path: its directory, or the file that says what is in it.
  """

  path: pathlib.Path

  def file(self, name: str) -> pathlib.Path:
    """Where a tensor lies."""

  def equal(self, name: str, other: str) -> bool:
    """Whether two tensors are the same, bit for bit."""


def has_weights(directory: str | os.PathLike) -> bool:
  """Whether there are files to read tensors from, or an index of them."""
  places = (name + kind for name in _READERS for kind in ("", _INDEX))
  return any((pathlib.Path(directory) / name).exists() for name in places)


def fingerprint(directory: str | os.PathLike) -> str:
  """SHA-256 over a model directory's weights: names, sizes, parts of contents.

  Of each file at most 64 parts of 64 KiB, evenly spread from its first byte to
  its last: a tuned model differs from its base in them, and 100 GB take a
  moment.
  """
  whole = hashlib.sha256()
  for path in sorted(pathlib.Path(directory).iterdir()):
    if path.suffix not in {pathlib.Path(name).suffix for name in _READERS}:
      continue
    size = path.stat().st_size
    whole.update(f"{path.name} {size}\n".encode())
    with open(path, "rb") as file:
      for k in range(_PARTS):
        file.seek(max(0, size - _PART) * k // (_PARTS - 1))
        whole.update(file.read(_PART))
  return whole.hexdigest()


class TensorFiles:
  """The tensors of a directory; only headers are read when it is opened.

  Attributes:
    directory: as given.
    path: the single file, or the index.
  """

  def __init__(self, directory: str | os.PathLike):
    """Finds the files and reads their headers.

    Of several kinds, model.safetensors is taken first, then
    model.safetensors.index.json, pytorch_model.bin and its index: the order in
    which transformers looks.

    Raises:
      CheckpointError: there are none; a file is missing, damaged or cut off;
        the index names a file outside the directory or disagrees with a file.
    """
    self.directory = pathlib.Path(directory)
    for name, read in _READERS.items():
      single, index = self.directory / name, self.directory / (name + _INDEX)
      if single.exists():
        self.path, self._tensors = single, read(single)
        return
      if index.exists():
        self.path, self._tensors = index, _read_shards(index, read)
        return
    known = ", ".join(f"{name}, {name}{_INDEX}" for name in _READERS)
    raise CheckpointError(f"{self.directory}: no weights; expected {known}")

  def names(self) -> list[str]:
    """All names, file after file."""
    return list(self._tensors)

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of one tensor."""
    return self._stored(name).shape

  def dtype(self, name: str) -> np.dtype:
    """The type of its numbers in the file."""
    return self._stored(name).dtype

  def file(self, name: str) -> pathlib.Path:
    """The file in which it lies."""
    return self._stored(name).path

  def read(self, name: str) -> np.ndarray:
    """Reads one tensor into memory of its own.

    Raises:
      CheckpointError: there is none of that name, or its file is cut off.
    """
    return self._stored(name).read(name)

  def equal(self, name: str, other: str) -> bool:
    """Whether two tensors are the same, bit for bit."""
    one, two = self._stored(name), self._stored(other)
    if one == two:  # PyTorch stores tied tensors once
      return True
    if (one.shape, one.dtype) != (two.shape, two.dtype):
      return False
    pair = (self.read(n).reshape(-1).view(np.uint8) for n in (name, other))
    return np.array_equal(*pair)

  def _stored(self, name: str) -> Stored:
    if name not in self._tensors:
      raise CheckpointError(f"{self.path}: no tensor {name!r}")
    return self._tensors[name]


def _read_shards(index: pathlib.Path, read) -> dict[str, Stored]:
  places = _read_index(index)
  found = {}
  for file in sorted(set(places.values())):
    path = index.parent / file
    for name, stored in read(path).items():
      if name in found:
        raise CheckpointError(
            f"{path}: tensor {name!r} is in {found[name].path.name} too"
        )
      if places.get(name) != file:
        said = f"is in {places[name]}" if name in places else "is nowhere"
        raise CheckpointError(
            f"{path}: has tensor {name!r}, which {said} by {index.name}"
        )
      found[name] = stored
  for name, file in places.items():
    if name not in found:
      raise CheckpointError(
          f"{index}: says that tensor {name!r} is in {file}, which has none"
      )
  return found


def _read_index(path: pathlib.Path) -> dict[str, str]:
  """{tensor: file}; every file is one beside the index."""
  try:
    index = json.loads(
        path.read_text(encoding="utf-8"), object_pairs_hook=unique
    )
  except OSError as e:
    raise unreadable(path, e) from None
  except (ValueError, RecursionError) as e:
    raise CheckpointError(f"{path}: damaged ({e})") from None
  places = index.get("weight_map") if isinstance(index, dict) else None
  if not isinstance(places, dict) or not places:
    raise CheckpointError(f"{path}: no 'weight_map' of tensors to files")
  for name, file in places.items():
    if not isinstance(file, str) or file in ("", ".", "..") or (
        set(file) & {"/", "\\", "\0"}
    ):
      raise CheckpointError(
          f"{path}: puts tensor {name!r} into {file!r}, which is no file name:"
          " only files beside the index are read"
      )
  return places


def cast(value: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
  """The same numbers as another type; the array itself if it has it already.

  Args:
    value: whole numbers and truth values stay what they are.
    dtype: a floating-point type.
    name: the tensor's, for the error.

  Raises:
    CheckpointError: a number is beyond the type's range.
  """
  if value.dtype == dtype or value.dtype not in FLOATS:
    return value
  with np.errstate(over="ignore"):
    changed = value.astype(dtype)
  # bfloat16 reaches as far as float32; only float16 is too short in practice.
  if dtype == np.float16 and (
      np.isinf(changed).sum() > np.isinf(value).sum()
  ):
    raise CheckpointError(
        f"tensor {name!r} has numbers beyond the range of {dtype}; take"
        " bfloat16 or float32"
    )
  return changed


def save(
    directory: pathlib.Path,
    tensors: Tensors,
    dtype: np.dtype | None,
    max_shard_bytes: int,
) -> None:
  """Writes safetensors, one tensor in memory at a time.

  Args:
    directory: exists; a half-written one is for the caller to discard
      (exchange.py).
    tensors: what to write.
    dtype: of the floating-point numbers; None: as they are.
    max_shard_bytes: beyond it the tensors go into several files with an index.
      A larger tensor has a file for itself.
  """
  shapes = {
      name: (_target(tensors.dtype(name), dtype), tensors.shape(name))
      for name in tensors.names()
  }
  sizes = {n: int(d.itemsize * np.prod(s)) for n, (d, s) in shapes.items()}
  shards, room = [[]], max_shard_bytes
  for name, size in sizes.items():
    if size > room and shards[-1]:
      shards.append([])
      room = max_shard_bytes
    shards[-1].append(name)
    room -= size

  def read(name):
    return cast(tensors.read(name), shapes[name][0], name)

  stem, suffix = os.path.splitext(WEIGHTS)
  places = {}
  for number, names in enumerate(shards, start=1):
    file = f"{stem}-{number:05d}-of-{len(shards):05d}{suffix}"
    if len(shards) == 1:
      file = WEIGHTS
    places |= dict.fromkeys(names, file)
    safetensors_file.write(
        directory / file, {name: shapes[name] for name in names}, read
    )
  if len(shards) > 1:
    records.write_json(
        directory / (WEIGHTS + _INDEX),
        {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": places,
        },
    )


def _target(dtype: np.dtype, wanted: np.dtype | None) -> np.dtype:
  return dtype if wanted is None or dtype not in FLOATS else np.dtype(wanted)
