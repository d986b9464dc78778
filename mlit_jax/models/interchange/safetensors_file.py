"""The safetensors format: a header in JSON, then the tensors row by row."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import BinaryIO

import numpy as np
import safetensors

from mlit_jax.models.interchange.stored import (
    CheckpointError,
    Stored,
    unique,
    unreadable,
)

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U8": "uint8", "BOOL": "bool",
}
_NAMES = {np.dtype(ours): theirs for theirs, ours in _DTYPES.items()}
_METADATA = "__metadata__"


def tensors(path: pathlib.Path) -> dict[str, Stored]:
  """Reads the header of a file: where each tensor lies.

  Raises:
    CheckpointError: the file is damaged, cut off, names a tensor twice, or
      holds numbers of a kind that is not read here.
  """
  try:
    with open(path, "rb") as file:
      # The library checks sizes, offsets and the file's length, but does not
      # tell the offsets.
      with safetensors.safe_open(path, framework="numpy"):
        pass
      length = int.from_bytes(file.read(8), "little")
      header = json.loads(file.read(length), object_pairs_hook=unique)
  except OSError as e:
    raise unreadable(path, e) from None
  except (safetensors.SafetensorError, ValueError) as e:
    raise CheckpointError(f"{path}: damaged or cut off ({e})") from None
  header.pop(_METADATA, None)
  found = {}
  for name, about in header.items():
    if about["dtype"] not in _DTYPES:
      raise CheckpointError(
          f"{path}: tensor {name!r} has the type {about['dtype']}; only"
          f" {', '.join(_DTYPES)} are read"
      )
    dtype = np.dtype(_DTYPES[about["dtype"]])
    offset = 8 + length + about["data_offsets"][0]
    found[name] = Stored(path, dtype, tuple(about["shape"]), offset)
  return found


def write(
    path: str | os.PathLike,
    shapes: Mapping[str, tuple[np.dtype, tuple[int, ...]]],
    read: Callable[[str], np.ndarray],
) -> None:
  """Writes a file, one tensor in memory at a time.

  Args:
    path: the file, written under its own name.
    shapes: {name: (type, shape)} of every tensor.
    read: gives the tensor of a name; called once for each.
  """
  # Wide numbers first, so that each lies on a multiple of its size: torch
  # cannot read them elsewhere.
  names = sorted(shapes, key=lambda name: -shapes[name][0].itemsize)
  header, end = {_METADATA: {"format": "pt"}}, 0
  for name in names:
    dtype, shape = shapes[name]
    begin, end = end, end + dtype.itemsize * math.prod(shape)
    header[name] = {
        "dtype": _NAMES[dtype],
        "shape": list(shape),
        "data_offsets": [begin, end],
    }
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  with open(path, "wb") as file:
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
      _write_one(file, name, shapes[name], read(name))
    file.flush()
    os.fsync(file.fileno())


def _write_one(file: BinaryIO, name: str, expected, value: np.ndarray) -> None:
  if (value.dtype, value.shape) != expected:
    raise ValueError(
        f"tensor {name!r} was announced as {expected}, not as"
        f" {(value.dtype, value.shape)}"
    )
  file.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
