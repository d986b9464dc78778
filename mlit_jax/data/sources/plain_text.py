"""Running text in one language per file, for continued pre-training."""

import os
import pathlib
from collections.abc import Iterator

from mlit_jax.data.quality import BadRow, Row
from mlit_jax.data.sources import by_language, fields, lines
from mlit_jax.data.sources.source import Document, Source
from mlit_jax.errors import UsageError

_MAX_DOCUMENT_BYTES = 1 << 24
_PATTERNS = ("{lang}.txt", "{lang}.txt.gz", *by_language.ROW_FILES)
_UNITS = ("line", "paragraph")


def _documents(
    path, bad, wanted, *, lang="", files="", split="train", prefix="",
    column="text", unit="line",
):
  if unit not in _UNITS:
    raise UsageError(f"unit is one of {' '.join(_UNITS)}, not {unit!r}")
  if not lang and not os.path.isdir(path):
    raise UsageError(f"{path}: say its language with the option 'lang'")
  prefix = prefix or pathlib.PurePath(path).name.partition(".")[0]
  patterns = (files,) if files else _PATTERNS
  for code, location in by_language.locations(
      path, patterns, lang, wanted.languages
  ):
    if not code:
      raise UsageError(f"{path}: say its language with the option 'lang'")
    if location.removesuffix(".gz").endswith(".txt"):
      rows = _texts(location, unit)
    else:
      found = by_language.rows(
          location, bad, wanted, lang=code, split=split,
          max_row_bytes=_MAX_DOCUMENT_BYTES,
      )
      rows = ((row, "", "") for _, row in found)
    for row, reason, detail in rows:
      with bad.catch(row):
        if reason:
          raise BadRow(reason, detail)
        text = row.data
        if isinstance(text, dict):
          text = fields.text(text, column)
        yield row, Document(f"{prefix}/{row.index}", code, text)


def _texts(path: str, unit: str) -> Iterator[tuple[Row, str, str]]:
  """Lines, or runs of lines between empty ones."""
  index, begin, held, bad = 0, 0, [], ("", "")
  for number, text, *problem in lines.texts(path, _MAX_DOCUMENT_BYTES):
    is_text = problem[0] or text.strip()
    if is_text and unit == "line":
      yield Row(path, number, index, text), *problem
      index += 1
    elif is_text:
      begin = begin or number
      held.append(text)
      bad = problem if problem[0] else bad
    elif held:
      yield _paragraph(path, begin, index, held, bad)
      index, begin, held, bad = index + 1, 0, [], ("", "")
  if held:
    yield _paragraph(path, begin, index, held, bad)


def _paragraph(path, begin, index, held, bad) -> tuple[Row, str, str]:
  text = held if bad[0] else "\n".join(held)
  return Row(path, begin, index, text), *bad


TEXT = Source(
    name="text",
    summary="running text, for continued pre-training (mC4, Wikipedia)",
    files="a .txt with a document on each line (or in each paragraph), or rows"
    " with a column of text (.jsonl, .parquet, hf: and tfds:); .gz allowed; or"
    " a folder with <lang>.txt and so on",
    licence="the corpus's own",
    languages="as the file names or the option 'lang' say",
    options={
        **by_language.OPTIONS,
        "prefix": "first part of the ids, before the number (the file's name)",
        "column": "which column holds the text (text)",
        "unit": "what is a document of a .txt: line (the default) or paragraph",
    },
    has_distinct_ids=True,
    documents=_documents,
)
