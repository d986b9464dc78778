"""People's filled-in sheets, checked and turned into judgments."""

import collections
import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.judging import protocols, sheets

FORMAT = "mlit-annotate-1"
_COLUMNS = ("item", "rating", "comment")


class RatingsError(ValueError):
  """A sheet that cannot be used; names file, line and what to mend."""


@dataclasses.dataclass(frozen=True)
class Rated:
  """What one rater filled in.

  Attributes:
    rater: who.
    path: the file, for messages.
    rows: (where, item, rating, comment) of every row with a rating; `where`
      is a line, or an item of an export.
  """

  rater: str
  path: str
  rows: tuple[tuple[str, str, str, str], ...]


def read(path: str | os.PathLike, rater: str = "") -> Rated:
  """Reads a sheet: CSV, or what the page exported.

  Args:
    path: the file.
    rater: who filled it in; default: the name in the export, else the file's.

  Raises:
    RatingsError: it is neither.
  """
  path = pathlib.Path(path)
  try:
    text = path.read_text(encoding="utf-8-sig")
  except OSError as e:
    raise RatingsError(f"{path}: cannot be read ({e.strerror})") from None
  except UnicodeDecodeError:
    raise RatingsError(
        f"{path}: not UTF-8; save it as CSV in UTF-8"
    ) from None
  if text.lstrip().startswith("{"):
    own, rows = _export(path, text)
  else:
    own, rows = "", [*_table(path, text)]
  return Rated(rater or own or path.stem, str(path), tuple(rows))


def _export(path, text: str) -> tuple[str, list]:
  try:
    found = json.loads(text)
    if found["format"] != FORMAT:
      raise ValueError
    rows = []
    for item, given in found["ratings"].items():
      rating, comment = given.get("rating", ""), given.get("comment", "")
      if not all(isinstance(x, str) for x in (rating, comment)):
        raise TypeError
      if rating:
        rows.append((item, item, rating, comment))
    return str(found.get("rater", "")).strip(), rows
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    raise RatingsError(
        f"{path}: not what a sheet's page exports; export it again, or give the"
        " filled-in CSV"
    ) from None


def _table(path, text: str) -> Iterator[tuple[str, str, str, str]]:
  # Spreadsheets write what their country does between cells.
  mark = max(",;\t", key=text.split("\n", 1)[0].count)
  reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
  # A cell may be as long as an answer; the limit is the whole process's.
  limit = csv.field_size_limit(1 << 30)
  try:
    numbered = [(reader.line_num, row) for row in reader]
  except csv.Error as e:
    raise RatingsError(f"{path}: line {reader.line_num}: {e}") from None
  finally:
    csv.field_size_limit(limit)
  header = numbered[0][1] if numbered else ()
  names = [name.strip().lower().split(" ")[0] for name in header]
  if missing := [name for name in _COLUMNS[:2] if name not in names]:
    raise RatingsError(
        f"{path}: line 1: no column {missing[0]!r}; give the sheet as it was"
        " made, with the ratings filled in"
    )
  place = {name: names.index(name) for name in _COLUMNS if name in names}
  for number, row in numbered[1:]:
    cells = {
        name: row[i].strip() if i < len(row) else ""
        for name, i in place.items()
    }
    if cells["rating"]:
      yield (
          f"line {number}", cells["item"], cells["rating"],
          cells.get("comment", ""),
      )


def judgments(
    key: Sequence[sheets.Entry], rated: Sequence[Rated]
) -> tuple[list[records.Judgment], dict[tuple[str, str], tuple[int, int]]]:
  """People's judgments, and how much of its sheets each rater did.

  Args:
    key: of all the sheets.
    rated: the sheets; one rater may have filled in several.

  Returns:
    A Judgment for every rating, the judge being human:RATER, in the order of
    the raters and of the key; what was not rated is left out. And (rater,
    sheet) -> number rated and number asked, of the sheets that a rater began.

  Raises:
    RatingsError: an item is unknown or rated twice, or a rating is none.
  """
  entries = {entry.name: entry for entry in key}
  sizes = collections.Counter(_sheet(entry.name) for entry in key)
  given: dict[str, dict[str, tuple[Any, str]]] = {}
  for sheet in rated:
    theirs = given.setdefault(sheet.rater, {})
    for where, name, rating, comment in sheet.rows:
      where = f"{sheet.path}: {where}"
      if name not in entries:
        raise RatingsError(
            f"{where}: the key has no item {name!r:.40}; is it the key of this"
            " sheet?"
        )
      if name in theirs:
        raise RatingsError(
            f"{where}: {sheet.rater} rated {name} twice; keep one, or name the"
            " raters: NAME=FILE"
        )
      theirs[name] = _value(where, entries[name], rating), comment
  found, done = [], {}
  for rater, theirs in given.items():
    found += [
        _judgment(entry, rater, *theirs[entry.name])
        for entry in key if entry.name in theirs
    ]
    for sheet, number in collections.Counter(map(_sheet, theirs)).items():
      done[rater, sheet] = number, sizes[sheet]
  return found, done


def _sheet(item: str) -> str:
  return item.rpartition("-")[0]


def _value(where: str, entry: sheets.Entry, rating: str) -> int:
  protocol = protocols.PROTOCOLS.get(entry.protocol)
  if protocol is None:
    raise RatingsError(f"the key has an unknown protocol {entry.protocol!r}")
  known = [choice.value for choice in sheets.choices(protocol)]
  try:
    number = float(rating.replace(",", "."))  # digits of any script
  except ValueError:
    number = None
  if number is None or f"{number:g}" not in known:
    raise RatingsError(
        f"{where}: rating {rating!r:.40} of {entry.name} is not one of"
        f" {' '.join(known)}"
    )
  return int(number)


def _judgment(
    entry: sheets.Entry, rater: str, value: int, comment: str
) -> records.Judgment:
  protocol = protocols.PROTOCOLS[entry.protocol]
  about: dict[str, Any] = {"score": float(value), "raw": f"[[{value}]]"}
  if protocol.verdict == "letters":
    verdict = entry.order[value - 1] if value else "tie"
    about = {"verdict": verdict, "raw": f"[[{'CAB'[value]}]]"}
  elif protocol.verdict == "yes_no":
    about["raw"] = "[[YES]]" if value else "[[NO]]"
  return records.Judgment(
      id=entry.id, lang=entry.lang, protocol=entry.protocol,
      judge=f"human:{rater}", system_a=entry.system_a, system_b=entry.system_b,
      order=entry.order, turn=entry.turn,
      extra={"comment": comment} if comment else {}, **about,
  )
