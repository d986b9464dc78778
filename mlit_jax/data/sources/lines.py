"""Lines of text files, plain or gzipped, none of them longer than allowed."""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from mlit_jax.data.sources.source import SourceError

# A longer row is no example but a broken file.
MAX_ROW_BYTES = 1 << 20
CHUNK = 1 << 16

# (number of the row's first line, its fields, why it is bad or "", detail)
Parsed = tuple[int, Any, str, str]


def read(
    path: str | os.PathLike, max_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[int, bytes, bool]]:
  """(number from 1, line without its end, whether it was cut).

  Only a line feed ends a line: texts hold U+2028 and the like. A byte order
  mark is taken off.

  Raises:
    SourceError: the file cannot be read or is damaged.
  """
  with open_bytes(path) as file:
    number = 0
    while line := call(path, file.readline, max_bytes + 1):
      number += 1
      cut = len(line) > max_bytes and not line.endswith(b"\n")
      rest = line if cut else b"\n"
      while rest and not rest.endswith(b"\n"):
        rest = call(path, file.readline, CHUNK)
      if number == 1:
        line = line.removeprefix(b"\xef\xbb\xbf")
      yield number, line.removesuffix(b"\n").removesuffix(b"\r"), cut


def texts(
    path: str | os.PathLike, max_bytes: int = MAX_ROW_BYTES
) -> Iterator[Parsed]:
  """The lines as texts; those that are none are bad."""
  for number, line, cut in read(path, max_bytes):
    if cut:
      yield number, line, *too_long(max_bytes)
      continue
    try:
      yield number, line.decode(), "", ""
    except UnicodeDecodeError as e:
      yield number, line, "not_utf8", f"not UTF-8 at byte {e.start}"


def too_long(max_bytes: int) -> tuple[str, str]:
  """Reason and detail of a row that is cut."""
  return "too_long", f"longer than {max_bytes:,} bytes"


def open_bytes(path: str | os.PathLike) -> BinaryIO:
  """The file, unzipped if it is called .gz."""
  try:
    return (gzip.open if str(path).endswith(".gz") else open)(path, "rb")
  except OSError as e:
    raise SourceError(f"{path}: cannot be read: {e.strerror}") from None


def call(path: str | os.PathLike, function: Callable[..., bytes], *args):
  """A read that says which file is damaged."""
  try:
    return function(*args)
  except (OSError, EOFError, zlib.error) as e:
    raise SourceError(f"{path}: damaged: {e}; fetch it again") from None
