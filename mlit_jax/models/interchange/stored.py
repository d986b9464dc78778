"""Where a tensor lies in a file, and reading it from there."""

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import ml_dtypes  # noqa: F401  NumPy knows bfloat16 by its name from here on.
import numpy as np


class CheckpointError(ValueError):
  """A checkpoint that cannot be used; names file, and field or tensor."""


@dataclasses.dataclass(frozen=True)
class Stored:
  """A tensor in a file.

  Attributes:
    path: the file.
    dtype: of the numbers there, little-endian.
    shape: of the tensor.
    offset: of its first number, in bytes from the file's start.
    strides: numbers between neighbours along each axis; None: row by row.
  """

  path: pathlib.Path
  dtype: np.dtype
  shape: tuple[int, ...]
  offset: int
  strides: tuple[int, ...] | None = None

  @property
  def extent(self) -> int:
    """How many numbers lie between its first and its last, both included."""
    if self.strides is None or 0 in self.shape:
      return math.prod(self.shape)
    steps = zip(self.shape, self.strides, strict=True)
    return 1 + sum((size - 1) * stride for size, stride in steps)

  def read(self, name: str) -> np.ndarray:
    """Reads this tensor alone.

    The file is read, not mapped: mapped pages would stay in memory for as long
    as the mapping does.

    Args:
      name: the tensor's, for the error.

    Raises:
      CheckpointError: the file is shorter than its header says.
    """
    buffer = np.empty(self.extent * self.dtype.itemsize, np.uint8)
    left = memoryview(buffer)
    try:
      with open(self.path, "rb", buffering=0) as file:
        file.seek(self.offset)
        while left:
          if not (count := file.readinto(left)):
            raise CheckpointError(
                f"{self.path}: cut off in tensor {name!r}; fetch the file again"
            )
          left = left[count:]
    except OSError as e:
      raise unreadable(self.path, e) from None
    values = buffer.view(self.dtype)
    if self.strides is None or 0 in self.shape:
      return values.reshape(self.shape)
    strides = [stride * self.dtype.itemsize for stride in self.strides]
    view = np.lib.stride_tricks.as_strided(values, self.shape, strides)
    return np.ascontiguousarray(view)


def unreadable(path: str | os.PathLike, error: OSError) -> CheckpointError:
  """The error for a file that the system does not let us read."""
  return CheckpointError(f"{path}: cannot be read: {error.strerror or error}")


def read_json(path: pathlib.Path) -> Any:
  """The content of a JSON file in which no key stands twice.

  Raises:
    CheckpointError: it cannot be read, or is not JSON.
  """
  try:
    return json.loads(
        path.read_text(encoding="utf-8"), object_pairs_hook=unique
    )
  except OSError as e:
    raise unreadable(path, e) from None
  except (ValueError, RecursionError) as e:
    raise CheckpointError(f"{path}: not JSON ({e})") from None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A hook for json.loads: a key that stands twice is a ValueError."""
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"{twice!r} stands there twice")
  return found
