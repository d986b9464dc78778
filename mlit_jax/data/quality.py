"""Bad rows: counted by reason, set aside in a file, fatal above a limit.

A reader hands every row it cannot use to a `BadRows`, which decides whether
reading goes on. Nothing is dropped without a count:

  with quality.BadRows("bad.jsonl", max_bad=0.01) as bad:
    for instruction in sources.open_source("alpaca", path, bad_rows=bad):
      ...
  print(bad.summary())
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Self

from mlit_jax import languages, scripts
from mlit_jax.errors import UsageError

REASONS = {
    "not_utf8": "the bytes are not UTF-8",
    "not_json": "the line is not JSON",
    "too_long": "the row is longer than any example",
    "columns": "the row has more or fewer columns than the header",
    "missing_field": "a field is not there",
    "wrong_type": "a field is of another type than it must be",
    "wrong_value": "a field has a value that the format does not know",
    "empty": "a text is empty",
    "surrogate": "a text holds a lone surrogate, which no file can hold",
    "turns": "the turns of a conversation are not in order",
    "duplicate_id": "the id was there before in this language",
    "unknown_language": "no language has that code",
    "wrong_language": "the text is not in the language it should be in",
}
# Characters of a bad row that are kept; enough to recognise it by.
MAX_QUARANTINED = 2000

# Names the language of a text, in any code system; "" where it cannot tell.
Identify = Callable[[str], str]


class BadRow(ValueError):
  """A row that cannot be used: one of REASONS, and what is wrong with it."""

  def __init__(self, reason: str, detail: str):
    super().__init__(detail)
    if reason not in REASONS:
      raise ValueError(f"{reason!r} is not one of {sorted(REASONS)}")
    self.reason = reason


class BadRowsError(ValueError):
  """There are more bad rows than allowed."""


@dataclasses.dataclass(frozen=True)
class Row:
  """A raw row of a source.

  Attributes:
    file: the file, or what else names the place.
    line: where it begins there, from 1.
    index: its number in the whole source, bad rows counted too, from 0: what
      ids are made of where the rows have none.
    data: the fields, or the text that could not be parsed.
  """

  file: str
  line: int
  index: int
  data: Any

  @property
  def place(self) -> str:
    return f"{self.file}:{self.line}"


class BadRows:
  """Counts bad rows and sets them aside; a context that ends the reading.

  Attributes:
    counts: reason -> number.
    num_good: rows that were used.
  """

  def __init__(
      self,
      file: str | os.PathLike | None = None,
      max_bad: int | float = 0,
      advice: str = "mend them, or allow more with max_bad",
  ):
    """The bad rows of one reading.

    Args:
      file: JSON Lines with file, line, reason, detail and row (a text, cut
        to MAX_QUARANTINED characters) of each; written under a temporary name
        and renamed at the end, also where the reading fails. Empty if there
        are none.
      max_bad: how many are allowed: a whole number counts rows, a float is a
        share of all rows, which is checked at the end.
      advice: what an error says can be done.

    Raises:
      UsageError: max_bad is negative, or a share above 1.
    """
    if isinstance(max_bad, bool) or not (
        max_bad >= 0 and (isinstance(max_bad, int) or max_bad <= 1)
    ):
      raise UsageError(
          f"max_bad is a number of rows or a share from 0.0 to 1.0, not"
          f" {max_bad!r}"
      )
    self.counts: collections.Counter[str] = collections.Counter()
    self.num_good = 0
    self._file = None if file is None else pathlib.Path(file)
    self._max_bad = max_bad
    self._advice = advice
    self._out = None

  def __enter__(self) -> Self:
    if self._file is not None:
      self._file.parent.mkdir(parents=True, exist_ok=True)
      self._out = tempfile.NamedTemporaryFile(
          "w", encoding="utf-8", dir=self._file.parent,
          prefix=f".{self._file.name}.", suffix=".tmp", delete=False,
      )
    return self

  def __exit__(self, kind, error, trace) -> None:
    if self._out is not None:
      self._out.close()
      umask = os.umask(0)
      os.umask(umask)
      os.chmod(self._out.name, 0o666 & ~umask)
      os.replace(self._out.name, self._file)
      self._out = None
    total = self.num_bad + self.num_good
    if (
        kind is None
        and isinstance(self._max_bad, float)
        and self.num_bad > self._max_bad * total
    ):
      raise BadRowsError(
          f"{self.summary()}; that is {self.num_bad / total:.2%}, and"
          f" {self._max_bad:.2%} are allowed" + self._mend()
      )

  @property
  def num_bad(self) -> int:
    return self.counts.total()

  def summary(self) -> str:
    """What was read, on one line."""
    bad = ", ".join(f"{k} {n:,}" for k, n in sorted(self.counts.items()))
    return (
        f"{self.num_good:,} good rows, {self.num_bad:,} bad"
        + (f" ({bad})" if bad else "")
    )

  def add(self, row: Row, reason: str, detail: str) -> None:
    """Counts a bad row and sets it aside.

    Raises:
      BadRowsError: it is one more than the number allowed.
    """
    self.counts[reason] += 1
    if self._out is not None:
      entry = {
          "file": row.file, "line": row.line, "reason": reason,
          "detail": _printable(detail), "row": _printable(row.data),
      }
      self._out.write(json.dumps(entry, ensure_ascii=False) + "\n")
    if isinstance(self._max_bad, int) and self.num_bad > self._max_bad:
      raise BadRowsError(
          f"{row.place}: {_printable(detail)} ({reason}; bad rows so far:"
          f" {self.num_bad:,}, allowed: {self._max_bad:,})" + self._mend()
      )

  @contextlib.contextmanager
  def catch(self, row: Row) -> Iterator[None]:
    """Takes in the BadRow that is raised inside."""
    try:
      yield
    except BadRow as e:
      self.add(row, e.reason, str(e))

  def _mend(self) -> str:
    listed = f"; they are listed in {self._file}" if self._file else ""
    return f"; {self._advice}{listed}"


def parse_max_bad(text: str) -> int | float:
  """Reads a limit as people write it: `20` rows, or `0.5%` of all rows.

  Raises:
    UsageError: it is neither.
  """
  try:
    if text.strip().endswith("%"):
      return float(text.strip()[:-1]) / 100
    return int(text)
  except ValueError:
    raise UsageError(
        f"{text!r} is no limit for bad rows; give a number of rows (20) or a"
        " share (0.5%)"
    ) from None


def check_text(name: str, text: str) -> None:
  """Refuses a text that is empty or that no file can hold.

  Raises:
    BadRow: empty or surrogate.
  """
  if not text.strip():
    raise BadRow("empty", f"{name!r} is empty")
  try:
    text.encode("utf-8")
  except UnicodeEncodeError as e:
    raise BadRow(
        "surrogate", f"{name!r} holds a lone surrogate at {e.start}"
    ) from None


def check_language(text: str, lang: str, identify: Identify | None) -> None:
  """Refuses a text in another script, or that is identified as another tongue.

  Args:
    text: what should be in the language; code and addresses do not count.
    lang: the language it should be in.
    identify: an identifier, asked where the script is right.

  Raises:
    BadRow: wrong_language.
  """
  letters, share = scripts.share(text, lang)
  if letters >= scripts.MIN_LETTERS and share < scripts.MIN_SHARE:
    raise BadRow(
        "wrong_language",
        f"{share:.0%} of {letters} letters are in the script of {lang}",
    )
  if identify is None or not (found := identify(text)):
    return
  # The identifier's labels do not tell the scripts of a language apart.
  wanted, found = languages.get(lang), languages.get(found)
  if found != wanted and (found.fasttext or found.code) != wanted.fasttext:
    raise BadRow(
        "wrong_language", f"identified as {found.code} instead of {lang}"
    )


class Seen:
  """Ids that were there: eight bytes of hash each, some 70 bytes in memory."""

  def __init__(self):
    self._hashes: set[int] = set()

  def check(self, id_: str, lang: str) -> None:
    """Refuses an id that was there before in the language.

    Raises:
      BadRow: duplicate_id.
    """
    import hashlib

    digest = hashlib.blake2b(f"{lang}\0{id_}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    if number in self._hashes:
      raise BadRow("duplicate_id", f"the id {id_!r} is there twice in {lang}")
    self._hashes.add(number)


def _printable(value: Any) -> str:
  """A value as a text that UTF-8 can hold, cut to size."""
  if isinstance(value, bytes):
    value = value[: 4 * MAX_QUARANTINED].decode("utf-8", "backslashreplace")
  if not isinstance(value, str):
    value = json.dumps(value, ensure_ascii=False, default=repr)
  cut = value[:MAX_QUARANTINED]
  return cut.encode("utf-8", "backslashreplace").decode("utf-8")
