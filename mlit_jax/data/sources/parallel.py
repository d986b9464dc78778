"""Parallel corpora: Moses files, tables of pairs, TMX."""

import itertools
import os
import pathlib
import re
from collections.abc import Iterator

from mlit_jax import languages
from mlit_jax.data.quality import BadRow, Row
from mlit_jax.data.sources import fields, lines, translation
from mlit_jax.data.sources.source import Source, SourceError
from mlit_jax.errors import UsageError

_TU = re.compile(r"(\{[^{}]*\})?tu$")
# What stands in these is markup of the program the text came from.
_MARKUP = frozenset({"bpt", "ept", "it", "ph", "ut"})
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def _moses(path, bad, wanted, *, corpus="", source_lang="", target_lang="",
           **options):
  pairs = translation.Pairs(source_lang, target_lang, **options)
  files = [_moses_file(path, code) for code in (source_lang, target_lang)]
  name = corpus or pathlib.PurePath(path).name.rstrip(".")
  yield from pairs.read(
      beside(*files), f"{name}/{pairs.name}", bad, wanted
  )


def _tsv(path, bad, wanted, *, corpus="", columns="0,1", source_lang="",
         target_lang="", **options):
  pairs = translation.Pairs(source_lang, target_lang, **options)
  try:
    first, second = (int(x) for x in str(columns).split(","))
  except ValueError:
    raise UsageError(
        f"columns={columns!r}: give two numbers, from 0, e.g. 1,3"
    ) from None
  rows = _columns(path, first, second)
  name = f"{corpus or _stem(path)}/{pairs.name}"
  yield from pairs.read(rows, name, bad, wanted)


def _tmx(path, bad, wanted, *, corpus="", source_lang="", target_lang="",
         **options):
  pairs = translation.Pairs(source_lang, target_lang, **options)
  rows = _units(path, pairs.source_lang, pairs.target_lang)
  name = f"{corpus or _stem(path)}/{pairs.name}"
  yield from pairs.read(rows, name, bad, wanted)


def _moses_file(prefix: str | os.PathLike, code: str) -> str:
  """PREFIX.CODE, the code being of any system, with .txt or .gz or without."""
  language = languages.get(code)
  codes = dict.fromkeys(
      [code, *(getattr(language, system) for system in languages.SYSTEMS)]
  )
  tried = [
      f"{os.fspath(prefix).rstrip('.')}.{x}{end}"
      for x in codes if x
      for end in ("", ".txt", ".gz", ".txt.gz")
  ]
  for file in tried:
    if os.path.isfile(file):
      return file
  raise SourceError(
      f"{prefix}: has no {language.name} side; the path of a Moses corpus is"
      f" what its two files have in common, e.g. {tried[0]} is missing"
  )


def beside(
    source: str, target: str
) -> Iterator[translation.RawPair]:
  """The lines of two files beside each other.

  Raises:
    SourceError: one is longer, so that no pair can be trusted.
  """
  sides = lines.texts(source), lines.texts(target)
  for index, (left, right) in enumerate(itertools.zip_longest(*sides)):
    if left is None or right is None:
      short, long = (source, target) if left is None else (target, source)
      raise SourceError(
          f"{short}: ends after {index:,} lines, but {long} goes on: the two"
          " are not aligned"
      )
    reason, detail = left[2:] if left[2] else right[2:]
    yield Row(source, index + 1, index, (left[1], right[1])), reason, detail


def _columns(
    path: str | os.PathLike, first: int, second: int
) -> Iterator[translation.RawPair]:
  """Two columns of a table without header and quotes, as corpora have it."""
  for index, (number, text, reason, detail) in enumerate(lines.texts(path)):
    data = text
    if not reason:
      cells = text.split("\t")
      if len(cells) > max(first, second):
        data = (cells[first], cells[second])
      else:
        reason, detail = "columns", (
            f"{len(cells)} columns, none with the number {max(first, second)}"
        )
    yield Row(str(path), number, index, data), reason, detail


def _units(
    path: str | os.PathLike, source: str, target: str
) -> Iterator[translation.RawPair]:
  """The translation units of a TMX file, one in memory at a time.

  Raises:
    SourceError: it is no XML, or declares entities (which can swell to any
      size or name files of this machine; no TMX file needs them).
  """
  import xml.etree.ElementTree as xml

  import defusedxml
  from defusedxml import ElementTree

  index = -1
  try:
    with lines.open_bytes(path) as file:
      parsed = ElementTree.iterparse(file, events=("start", "end"))
      parents = []
      for event, element in parsed:
        if event == "start":
          parents.append(element)
          continue
        parents.pop()
        if not _TU.match(element.tag):
          continue
        index += 1
        row = Row(str(path), index + 1, index, "")
        yield _unit(row, element, source, target)
        parents[-1].clear()
  except defusedxml.DefusedXmlException as e:
    raise SourceError(f"{path}: refused: {e}") from None
  except (xml.ParseError, OSError, EOFError) as e:
    raise SourceError(f"{path}: damaged: {e}; fetch it again") from None


def _unit(row: Row, unit, source: str, target: str) -> tuple[Row, str, str]:
  found = {}
  for variant in unit:
    code = variant.get(_LANG) or variant.get("lang")
    segment = next((x for x in variant if x.tag.endswith("seg")), None)
    if code and segment is not None:
      try:
        found.setdefault(fields.language(code), _text(segment))
      except BadRow:  # a third language, which the registry may not have
        continue
  row = Row(row.file, row.line, row.index, found)
  if missing := {source, target} - found.keys():
    return row, "missing_field", (
        f"unit {row.line} has no {' '.join(sorted(missing))}; it has"
        f" {sorted(found)}"
    )
  texts = found[source], found[target]
  if sum(map(len, texts)) > lines.MAX_ROW_BYTES:
    return row, *lines.too_long(lines.MAX_ROW_BYTES)
  return Row(row.file, row.line, row.index, texts), "", ""


def _text(segment) -> str:
  """The text of a segment without the markup inside it."""
  pieces = [segment.text or ""]
  for child in segment:
    if child.tag.rpartition("}")[2] not in _MARKUP:
      pieces.append(_text(child))
    pieces.append(child.tail or "")
  return "".join(pieces)


def _stem(path: str | os.PathLike) -> str:
  return pathlib.PurePath(path).name.partition(".")[0]


_OPTIONS = {
    **translation.OPTIONS,
    "corpus": "first part of the ids, before languages and number (the file's"
    " name)",
}
_LICENCE = "the corpus's own"
_LANGUAGES = "the two that are asked for"
MOSES = Source(
    name="moses",
    summary="a parallel corpus in two files, line by line (OPUS, WikiMatrix,"
    " News Commentary), as instructions to translate",
    files="two files NAME.<lang>, also with .txt or .gz; the path is NAME",
    licence=_LICENCE,
    languages=_LANGUAGES,
    options=_OPTIONS,
    has_distinct_ids=True,
    instructions=_moses,
)
TSV = Source(
    name="tsv",
    summary="a parallel corpus in two columns, as instructions to translate",
    files="a file with tabs between columns, no header and no quotes",
    licence=_LICENCE,
    languages=_LANGUAGES,
    options={
        **_OPTIONS,
        "columns": "numbers of the source's and the target's column, from 0"
        " (0,1; WikiMatrix has 1,2; Tatoeba's downloads 1,3)",
    },
    has_distinct_ids=True,
    instructions=_tsv,
)
TMX = Source(
    name="tmx",
    summary="a translation memory, as instructions to translate",
    files="a TMX 1.1 to 1.4 file, also .gz",
    licence=_LICENCE,
    languages=_LANGUAGES,
    options=_OPTIONS,
    has_distinct_ids=True,
    instructions=_tmx,
)
