"""PyTorch's zip format (`torch.save` since 1.6), read without PyTorch.

The archive holds a pickle that says what the tensors are, and a record of raw
numbers per storage. The pickle is not unpickled, for that would run what it
asks for. Its opcodes are read with `pickletools` into lists, dicts and names;
the few names that tensors need have a meaning here, any other is an error.
"""

import math
import os
import pathlib
import pickletools
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

from mlit_jax.models.interchange.stored import (
    CheckpointError,
    Stored,
    unreadable,
)

_DTYPES = {
    "torch DoubleStorage": "float64", "torch FloatStorage": "float32",
    "torch HalfStorage": "float16", "torch BFloat16Storage": "bfloat16",
    "torch LongStorage": "int64", "torch IntStorage": "int32",
    "torch ShortStorage": "int16", "torch CharStorage": "int8",
    "torch ByteStorage": "uint8", "torch BoolStorage": "bool",
}
_DICT = "collections OrderedDict"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
_KNOWN = {_DICT, _TENSOR, _PARAMETER, *_DTYPES}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# How a file from before 1.6 begins: a pickled magic number.
_OLD = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")


class _Name(NamedTuple):
  """Something the pickle asks for by name; only a name here."""

  name: str


class _Storage(NamedTuple):
  """The numbers of one record."""

  dtype: np.dtype
  key: str
  size: int


class _Tensor(NamedTuple):
  """A view of a storage; offset and strides count numbers."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def tensors(path: pathlib.Path) -> dict[str, Stored]:
  """Reads what a file holds: where each tensor lies.

  Raises:
    CheckpointError: the file is damaged, cut off, or of the older format; its
      pickle asks for anything but tensors.
  """
  try:
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
      records = {info.filename: info for info in archive.infolist()}
      root = next((n for n in records if n.endswith("/data.pkl")), None)
      if root is None:
        raise CheckpointError(f"{path}: a zip file, but none of PyTorch's")
      for name, info in records.items():
        if info.compress_type != zipfile.ZIP_STORED:
          raise CheckpointError(f"{path}: record {name!r} is compressed")
      root = root.removesuffix("data.pkl")
      order = records.get(f"{root}byteorder")
      if order and archive.read(order) != b"little":
        raise CheckpointError(f"{path}: its numbers are not little-endian")
      found = _read(path, archive.read(f"{root}data.pkl"))
      return {
          name: _place(path, file, name, tensor, records, root)
          for name, tensor in found.items()
      }
  except OSError as e:
    raise unreadable(path, e) from None
  except CheckpointError:
    raise
  except zipfile.BadZipFile as e:
    raise _no_zip(path, e) from None
  # What a parser says to a stream that makes no sense.
  except (
      EOFError, LookupError, MemoryError, OverflowError, RuntimeError,
      TypeError, ValueError, struct.error,
  ) as e:
    raise CheckpointError(f"{path}: damaged ({e})") from None


def _no_zip(path: pathlib.Path, error: Exception) -> CheckpointError:
  with open(path, "rb") as file:
    if file.read(len(_OLD)) != _OLD:
      return CheckpointError(f"{path}: damaged or cut off ({error})")
  return CheckpointError(
      f"{path}: in PyTorch's format from before 1.6; convert it once, where"
      " PyTorch is installed: f = "
      f"{os.fspath(path)!r}; torch.save(torch.load(f, weights_only=True), f)"
  )


def _read(path: pathlib.Path, pickled: bytes) -> dict[str, _Tensor]:
  found = _interpret(path, pickled)
  if type(found) is not dict or not found:
    raise CheckpointError(f"{path}: no dict of tensors")
  for name, value in found.items():
    if not isinstance(value, _Tensor):
      raise CheckpointError(
          f"{path}: {name!r} is no tensor; save the model's state_dict() alone"
      )
  return found


def _interpret(path: pathlib.Path, pickled: bytes) -> Any:
  """The value of a pickle made of plain data, names and tensors."""
  stack: list[Any] = []
  marks: list[int] = []
  memo: dict[int, Any] = {}

  def pop_to_mark() -> list:
    at = marks.pop()
    items = stack[at:]
    del stack[at:]
    return items

  for code, argument, _ in pickletools.genops(pickled):
    op = code.name
    if op in _LITERALS:
      stack.append(argument)
    elif op in _CONSTANTS:
      stack.append(_CONSTANTS[op])
    elif op in _EMPTY:
      stack.append(_EMPTY[op]())
    elif op == "MARK":
      marks.append(len(stack))
    elif op == "TUPLE":
      stack.append(tuple(pop_to_mark()))
    elif op in _TUPLES:
      items = stack[-_TUPLES[op] :]
      del stack[-_TUPLES[op] :]
      stack.append(tuple(items))
    elif op in ("BINPUT", "LONG_BINPUT"):
      memo[argument] = stack[-1]
    elif op == "MEMOIZE":
      memo[len(memo)] = stack[-1]
    elif op in ("BINGET", "LONG_BINGET"):
      stack.append(memo[argument])
    elif op in ("SETITEM", "SETITEMS"):
      one = op == "SETITEM"
      items = [stack.pop(-2), stack.pop()] if one else pop_to_mark()
      _set_items(stack[-1], items)
    elif op in ("APPEND", "APPENDS"):
      items = pop_to_mark() if op == "APPENDS" else [stack.pop()]
      _expect(stack[-1], list).extend(items)
    elif op in ("GLOBAL", "STACK_GLOBAL"):
      if op == "STACK_GLOBAL":
        parts = _expect(stack.pop(-2), str), _expect(stack.pop(), str)
        argument = " ".join(parts)
      if argument not in _KNOWN:
        raise CheckpointError(
            f"{path}: its pickle asks for {argument.replace(' ', '.')!r}, which"
            " is no part of a tensor; nothing was run"
        )
      stack.append(_Name(argument))
    elif op == "BINPERSID":
      stack.append(_storage(stack.pop()))
    elif op == "REDUCE":
      arguments = stack.pop()
      stack.append(_call(_expect(stack.pop(), _Name).name, arguments))
    elif op == "BUILD":
      # What torch notes about modules, beside a state_dict's tensors.
      stack.pop()
      _expect(stack[-1], dict)
    elif op == "STOP":
      return stack.pop()
    elif op not in ("PROTO", "FRAME"):
      raise CheckpointError(
          f"{path}: its pickle holds {op}, which tensors do not need"
      )
  raise ValueError("its pickle has no end")


def _set_items(target: Any, items: list) -> None:
  _expect(target, dict)
  for key, value in zip(items[::2], items[1::2], strict=True):
    if _expect(key, str) in target:
      raise ValueError(f"{key!r} stands there twice")
    target[key] = value


def _call(name: str, arguments: Any) -> Any:
  """What a call of one of the known names would make, as plain data."""
  if name == _DICT:
    made: dict = {}
    for pair in _expect(arguments, tuple)[0] if arguments else ():
      _set_items(made, list(pair))
    return made
  if name == _PARAMETER:
    return _expect(_expect(arguments, tuple)[0], _Tensor)
  if name == _TENSOR:
    storage, offset, shape, strides, *_ = _expect(arguments, tuple)
    for number in (offset, *_expect(shape, tuple), *_expect(strides, tuple)):
      if _expect(number, int) < 0:
        raise ValueError(f"a tensor with the offset, size or stride {number}")
    if len(shape) != len(strides):
      raise ValueError(f"a tensor of shape {shape} with strides {strides}")
    return _Tensor(_expect(storage, _Storage), offset, shape, strides)
  raise ValueError(f"its pickle calls {name}")


def _storage(about: Any) -> _Storage:
  kind, of, key, _, size = _expect(about, tuple)
  if kind != "storage" or _expect(of, _Name).name not in _DTYPES:
    raise ValueError("a storage that is none of numbers")
  dtype = np.dtype(_DTYPES[of.name])
  return _Storage(dtype, _expect(key, str), _expect(size, int))


def _expect(value: Any, kind: type) -> Any:
  if type(value) is not kind:
    # Not the value: a small pickle may stand for a text without end.
    raise ValueError(f"expected {kind.__name__}, not {type(value).__name__}")
  return value


def _place(path, file, name, tensor: _Tensor, records, root) -> Stored:
  """Where a tensor lies in the file."""
  storage, offset, shape, strides = tensor
  info = records.get(f"{root}data/{storage.key}")
  if info is None:
    raise CheckpointError(
        f"{path}: no record {storage.key!r}, which tensor {name!r} is in"
    )
  # The names' length in the local header may differ from the directory's.
  file.seek(info.header_offset)
  header = struct.unpack("<4s22xHH", file.read(30))
  start = info.header_offset + 30 + header[1] + header[2]
  end = start + info.file_size
  size = storage.dtype.itemsize
  if header[0] != b"PK\3\4" or end > file.seek(0, os.SEEK_END):
    raise CheckpointError(f"{path}: cut off in tensor {name!r}")
  row_by_row = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
  stored = Stored(
      path, storage.dtype, shape, start + offset * size,
      None if strides == row_by_row else strides,
  )
  # More numbers than the storage has would be an array grown out of nothing.
  needed = max(offset + stored.extent, math.prod(shape))
  if storage.size * size != info.file_size or needed > storage.size:
    raise CheckpointError(
        f"{path}: tensor {name!r} of shape {shape} reaches beyond its record"
        f" of {info.file_size} bytes"
    )
  return stored
