"""All sources by name: what there is, and how to open it."""

import glob
import os
from collections.abc import Collection, Iterator

from mlit_jax import languages as registry
from mlit_jax.data import quality
from mlit_jax.data.sources import (
    alpaca,
    aya,
    flores,
    generic,
    lima,
    oasst,
    parallel,
    plain_text,
    questions,
)
from mlit_jax.data.sources.source import (
    Document,
    Source,
    SourceError,
    Wanted,
)
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        generic.ROWS, lima.LIMA, oasst.OASST, alpaca.ALPACA, alpaca.DOLLY,
        alpaca.BACTRIAN, aya.AYA, alpaca.ALPACA_FARM, questions.MT_BENCH,
        questions.VICUNA, parallel.MOSES, parallel.TSV, parallel.TMX,
        flores.FLORES, flores.SIB200, plain_text.TEXT,
    )
}


def open_source(
    name: str,
    path: str | os.PathLike,
    *,
    languages: Collection[str] | None = None,
    bad_rows: quality.BadRows | None = None,
    check_language: bool = True,
    identify: quality.Identify | None = None,
    **options,
) -> Iterator[Instruction]:
  """The instructions of a source, streamed, each of them checked.

  Args:
    name: one of SOURCES.
    path: where its files are; `hf:NAME` and `tfds:NAME` work wherever rows are
      read.
    languages: keeps these only, codes of any system.
    bad_rows: counts and sets aside what cannot be used; without it the first
      bad row is an error. The caller opens and closes it (it is a context).
    check_language: whether a response in a script that is not its language's
      is bad.
    identify: names the language of a text (as a code of any system, "" if it
      cannot tell); a response that it finds in another language is bad.
    **options: the source's own; describe() explains them.

  Returns:
    An iterator; what it gives has distinct (id, language).

  Raises:
    UsageError: there is no such source, option or language. At once; all
      others come while it is read.
    SourceError: the files are not there or damaged.
    quality.BadRowsError: there are more bad rows than allowed.
  """
  source = _source(name)
  if source.instructions is None:
    raise UsageError(f"{name} has texts and no instructions")
  return _read(
      source, source.instructions, path, languages, bad_rows, check_language,
      identify, options,
  )


def open_documents(
    name: str,
    path: str | os.PathLike,
    *,
    languages: Collection[str] | None = None,
    bad_rows: quality.BadRows | None = None,
    check_language: bool = True,
    identify: quality.Identify | None = None,
    **options,
) -> Iterator[Document]:
  """The running texts of a source; as open_source()."""
  source = _source(name)
  if source.documents is None:
    raise UsageError(f"{name} has instructions and no texts")
  return _read(
      source, source.documents, path, languages, bad_rows, check_language,
      identify, options,
  )


def describe(name: str = "") -> str:
  """What a source is and expects, for people; without a name, all of them."""
  if not name:
    width = max(map(len, SOURCES))
    return "\n".join(f"{k:<{width}}  {s.summary}" for k, s in SOURCES.items())
  source = _source(name)
  lines = [
      f"{source.name}: {source.summary}",
      f"files: {source.files}",
      f"languages: {source.languages}",
      f"licence: {source.licence}",
  ]
  if source.options:
    lines.append("options:")
    lines += [f"  {key}: {text}" for key, text in source.options.items()]
  return "\n".join(lines)


def _source(name: str) -> Source:
  if name not in SOURCES:
    raise UsageError(f"no source {name!r:.60}; there are {' '.join(SOURCES)}")
  return SOURCES[name]


def _read(
    source, reader, path, languages, bad_rows, check_language, identify, options
):
  """Checks what was asked for, and only then begins."""
  _check_options(source, options)
  try:
    codes = None if languages is None else frozenset(
        registry.get(code).code for code in languages
    )
    for name in ("lang", "source_lang", "target_lang"):
      if options.get(name):
        registry.get(options[name])
  except registry.UnknownLanguageError as e:
    raise UsageError(str(e)) from None
  # A Moses corpus is what the names of its two files begin with.
  here = os.path.exists(path) or glob.glob(f"{glob.escape(str(path))}.*")
  if not here and not str(path).startswith(("hf:", "tfds:")):
    raise SourceError(
        f"{path}: there is no such file or folder; {source.name} needs"
        f" {source.files}"
    )
  wanted = Wanted(codes, check_language, identify)
  bad_rows = bad_rows or quality.BadRows()
  found = reader(path, bad_rows, wanted, **options)
  return _checked(source, found, bad_rows, wanted)


def _check_options(source: Source, options) -> None:
  if unknown := sorted(set(options) - set(source.options)):
    raise UsageError(
        f"{source.name} has no option {unknown[0]!r}; it has"
        f" {' '.join(source.options) or 'none'}"
    )


def _checked(source, found, bad_rows, wanted):
  seen = None if source.has_distinct_ids else quality.Seen()
  for row, item in found:
    if wanted.languages is not None and item.lang not in wanted.languages:
      continue
    with bad_rows.catch(row):
      if text := item.text if isinstance(item, Document) else item.response:
        wanted.check(text, item.lang)
      if seen is not None:
        seen.check(item.id, item.lang)
      bad_rows.num_good += 1
      yield item
