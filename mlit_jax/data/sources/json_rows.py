"""Rows of JSON files: one object a line, or one list of objects."""

import codecs
import json
import os
from collections.abc import Iterator

from mlit_jax.data.sources import lines
from mlit_jax.data.sources.source import SourceError


def read(path: str | os.PathLike, max_bytes: int) -> Iterator[lines.Parsed]:
  """The rows, whichever of the two it is.

  Raises:
    SourceError: the file cannot be read, or its list is damaged: unlike a bad
      line, that leaves no place to go on from.
  """
  with lines.open_bytes(path) as file:
    head = lines.call(path, file.read, lines.CHUNK)
  if head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[":
    return _list(path, max_bytes)
  return _lines(path, max_bytes)


def _lines(path, max_bytes: int) -> Iterator[lines.Parsed]:
  for number, text, reason, detail in lines.texts(path, max_bytes):
    if reason:
      yield number, text, reason, detail
    elif text.strip():
      yield number, *_loads(text)


def _loads(text: str):
  try:
    return json.loads(text, parse_constant=_refuse_constant), "", ""
  except json.JSONDecodeError as e:
    return text, "not_json", f"not JSON: {e.msg} at column {e.colno}"
  # Nested too deeply, or a number of thousands of digits.
  except (ValueError, RecursionError) as e:
    return text, "not_json", f"not JSON: {e}"


def _refuse_constant(name: str):
  # Python reads NaN and Infinity; JSON, and other readers, know neither.
  raise ValueError(f"{name} is no JSON number")


def _list(path, max_bytes: int) -> Iterator[lines.Parsed]:
  decoder = json.JSONDecoder(parse_constant=_refuse_constant)
  with lines.open_bytes(path) as file:
    text = _Buffer(path, file)
    text.take("[")
    separator = ""
    while text.peek() != "]":
      if separator:
        text.take(separator)
      separator = ","
      text.skip_space()
      yield text.line, text.value(decoder, max_bytes), "", ""
      text.skip_space()
    text.take("]")
    if text.peek():
      text.fail("something stands behind its end")


class _Buffer:
  """Characters of a UTF-8 file, read on as they are needed.

  Attributes:
    line: number of the line that is read, from 1.
  """

  def __init__(self, path, file):
    self.line = 1
    self._path = path
    self._file = file
    self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    self._text = ""
    self._at = 0

  def peek(self) -> str:
    """The next character, "" at the end."""
    while self._at == len(self._text) and self._more(lines.CHUNK):
      pass
    return self._text[self._at : self._at + 1]

  def skip_space(self) -> None:
    while (char := self.peek()) and char in " \t\r\n":
      self.line += char == "\n"
      self._at += 1

  def take(self, char: str) -> None:
    """Goes past a character and the space around it."""
    self.skip_space()
    if self.peek() != char:
      self.fail(f"expected {char!r}, not {self.peek() or 'the end'!r}")
    self._at += 1
    self.skip_space()

  def value(self, decoder: json.JSONDecoder, max_bytes: int):
    """The JSON value that begins here."""
    while True:
      try:
        value, end = decoder.raw_decode(self._text, self._at)
        # A number at the end of what was read may go on behind it.
        if end < len(self._text):
          break
        problem = "broken off"
      except (ValueError, RecursionError) as e:
        problem = getattr(e, "msg", str(e))
      size = len(self._text) - self._at
      if size > max_bytes:
        self.fail(f"no whole row within {max_bytes:,} bytes ({problem})")
      # Twice as much each time: a long row is not parsed too often.
      if not self._more(max(lines.CHUNK, size)):
        self.fail(problem)
    self.line += self._text.count("\n", self._at, end)
    self._at = end
    return value

  def fail(self, problem: str):
    raise SourceError(
        f"{self._path}:{self.line}: the JSON list is damaged: {problem}"
    )

  def _more(self, size: int) -> bool:
    chunk = lines.call(self._path, self._file.read, size)
    try:
      new = self._decode(chunk, not chunk)
    except UnicodeDecodeError:
      self.fail("not UTF-8")
    self._text = self._text[self._at :] + new
    self._at = 0
    return bool(chunk)
