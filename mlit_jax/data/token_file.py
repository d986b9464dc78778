"""Token files, as they lie on disk; read without TensorFlow.

A built directory holds shards `tokens-00000-of-00001.array_record` (one record
an example: ids, loss mask, id, language) and `build.json`, written last, with
counts per language, token totals, fertility and every shard's hash.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import sys
import tempfile
from typing import Self

import msgpack
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

SUMMARY = "build.json"
_KEYS = {"origin", "languages", "total", "shards", "pad_id"}
_RECORDS_PER_CALL = 4096
_IN_MEMORY = 2**30  # bytes


def shard_name(index: int, number: int) -> str:
  return f"tokens-{index:05d}-of-{number:05d}.array_record"


class DataError(ValueError):
  """Token files that cannot be used; names the file."""


def read_summary(directory: str | os.PathLike) -> dict:
  """What build.json says; DataError if the directory is not a built one."""
  path = pathlib.Path(directory) / SUMMARY
  try:
    summary = json.loads(path.read_text(encoding="utf-8"))
  except OSError as e:
    raise DataError(
        f"{path}: cannot be read ({e.strerror}); build it with `mlit data"
        " build`"
    ) from None
  except ValueError as e:  # not UTF-8, not JSON
    raise DataError(f"{path}: not JSON ({e}); build it again") from None
  if not isinstance(summary, dict) or not summary.keys() >= _KEYS:
    raise DataError(
        f"{path}: not what `mlit data build` writes; build it again"
    )
  return summary


@dataclasses.dataclass(frozen=True)
class TokenExample:
  """One example, tokenized.

  Attributes:
    tokens: begin token, prompt, answer, end token.
    loss_mask: for every token, whether it is learnt (the answer and the end).
    id: the parallel id.
    lang: the language.
  """

  tokens: np.ndarray
  loss_mask: np.ndarray
  id: str
  lang: str

  def truncated(self, length: int) -> Self:
    """The first tokens; an end token that is cut off is not put back."""
    return dataclasses.replace(
        self, tokens=self.tokens[:length], loss_mask=self.loss_mask[:length]
    )

  def to_bytes(self) -> bytes:
    return msgpack.packb((
        self.id,
        self.lang,
        self.tokens.astype("<i4").tobytes(),
        self.loss_mask.astype("u1").tobytes(),
    ))

  @classmethod
  def from_bytes(cls, data: bytes) -> Self:
    name, lang, tokens, mask = msgpack.unpackb(data)
    return cls(
        np.frombuffer(tokens, "<i4"), np.frombuffer(mask, "u1"), name, lang
    )


class TokenFile:
  """A built directory's tokens: checked once, then any example at once.

  Tokens lie in flat arrays; past a gigabyte these are files of their own that
  the system pages in and out, so that memory does not bound a corpus.

  Attributes:
    summary: what build.json says.
    lengths: of the examples, in tokens.
    loss_lengths: how many tokens of each are learnt.
  """

  def __init__(self, directory: str | os.PathLike):
    """Reads every shard.

    Raises:
      DataError: a file is missing or damaged, or they disagree.
    """
    directory = pathlib.Path(directory)
    self.summary = read_summary(directory)
    total = self.summary["total"]
    number = total["examples"]
    self._tokens = _array(total["tokens"], np.int32)
    self._masks = _array(total["tokens"], np.uint8)
    self._starts = np.zeros(number + 1, np.int64)
    self.loss_lengths = np.zeros(number, np.int32)
    self._ids: list[str] = []
    self._langs: list[str] = []
    for shard in self.summary["shards"]:
      self._read(directory / shard["file"], shard)
    if self._starts[len(self._ids)] != total["tokens"]:
      raise DataError(
          f"{directory}: the shards hold {self._starts[len(self._ids)]} tokens,"
          f" {SUMMARY} says {total['tokens']}; build it again"
      )
    self.lengths = np.diff(self._starts).astype(np.int32)

  def _read(self, path: pathlib.Path, shard: dict) -> None:
    if not path.is_file():
      raise DataError(f"{path}: missing; build it with `mlit data build`")
    damaged = f"{path}: damaged or cut off; build it again"
    try:
      reader = ArrayRecordReader(str(path))
      number = reader.num_records()
    except RuntimeError as e:
      raise DataError(damaged) from e
    if not reader.ok():
      raise DataError(damaged)
    if number != shard["examples"]:
      raise DataError(
          f"{path}: holds {number} examples, {SUMMARY} says"
          f" {shard['examples']}; build it again"
      )
    digest = hashlib.sha256()
    for start in range(0, number, _RECORDS_PER_CALL):
      try:
        records = reader.read(start, min(start + _RECORDS_PER_CALL, number))
      except (RuntimeError, IndexError) as e:
        raise DataError(damaged) from e
      for data in records:
        digest.update(data)
      # Only now is it known to be what was written.
      if start + _RECORDS_PER_CALL >= number and (
          digest.hexdigest() != shard["sha256"]
      ):
        raise DataError(
            f"{path}: not the tokens that {SUMMARY} describes; build it again"
        )
      try:
        for data in records:
          self._add(TokenExample.from_bytes(data))
      except (ValueError, TypeError, IndexError) as e:
        raise DataError(damaged) from e
    reader.close()

  def _add(self, example: TokenExample) -> None:
    index = len(self._ids)
    start = int(self._starts[index])
    part = slice(start, start + len(example.tokens))
    self._tokens[part] = example.tokens
    self._masks[part] = example.loss_mask
    self._starts[index + 1] = part.stop
    # The first token is never predicted.
    self.loss_lengths[index] = example.loss_mask[1:].sum()
    self._ids.append(example.id)
    self._langs.append(sys.intern(example.lang))

  def __len__(self) -> int:
    return len(self._ids)

  def indices(self, lang: str | None = None) -> np.ndarray:
    """Of the examples in a language; None: of all."""
    return np.array(
        [i for i, x in enumerate(self._langs) if lang in (None, x)], np.int64
    )

  def __getitem__(self, index: int) -> TokenExample:
    if not 0 <= index < len(self):
      raise IndexError(index)
    part = slice(self._starts[index], self._starts[index + 1])
    return TokenExample(
        self._tokens[part], self._masks[part], self._ids[index],
        self._langs[index],
    )


def _array(size: int, dtype) -> np.ndarray:
  if size * np.dtype(dtype).itemsize < _IN_MEMORY:
    return np.empty(size, dtype)
  # A file without a name: gone with the process.
  with tempfile.TemporaryFile() as file:
    return np.memmap(file, dtype, "w+", shape=(size,))
