"""FLORES and SIB-200: the same sentences in many languages."""

from collections.abc import Iterator

from mlit_jax.data.quality import BadRow, Row
from mlit_jax.data.sources import (
    by_language,
    fields,
    lines,
    parallel,
    rows,
    translation,
)
from mlit_jax.data.sources.source import Document, Source, SourceError
from mlit_jax.errors import UsageError

_SPLITS = ("dev", "devtest")


def _documents(path, bad, wanted, *, split="dev"):
  for lang, file in _files(path, split, wanted.languages):
    for row, reason, detail in _lines(file):
      with bad.catch(row):
        if reason:
          raise BadRow(reason, detail)
        yield row, Document(f"flores/{split}/{row.index}", lang, row.data)


def _instructions(
    path, bad, wanted, *, split="dev", source_lang="", target_lang="",
    **options,
):
  pairs = translation.Pairs(source_lang, target_lang, **options)
  codes = (pairs.source_lang, pairs.target_lang)
  files = dict(_files(path, split, codes))
  yield from pairs.read(
      parallel.beside(*(files[code] for code in codes)), f"flores/{split}",
      bad, wanted,
  )


def _files(path, split: str, languages) -> list[tuple[str, str]]:
  if split not in _SPLITS:
    raise UsageError(f"split is one of {' '.join(_SPLITS)}, not {split!r}")
  return _by_language(path, f"{split}/{{lang}}.{split}", languages)


def _by_language(path, pattern: str, languages) -> list[tuple[str, str]]:
  found = by_language.locations(path, (pattern,), "", languages)
  if not found[0][0]:
    name = pattern.replace("{lang}", "<lang>")
    raise SourceError(f"{path}: has no files {name}")
  return found


def _lines(file: str) -> Iterator[tuple[Row, str, str]]:
  for index, (number, text, reason, detail) in enumerate(lines.texts(file)):
    yield Row(file, number, index, text), reason, detail


def _sib200(path, bad, wanted, *, split="train"):
  for lang, file in _by_language(
      path, f"{{lang}}/{split}.tsv", wanted.languages
  ):
    for row in rows.read(file, bad):
      with bad.catch(row):
        yield row, Document(
            id=f"sib200/{fields.text(row.data, 'index_id')}",
            lang=lang,
            text=fields.text(row.data, "text"),
            extra={"category": fields.text(row.data, "category")},
        )


FLORES = Source(
    name="flores",
    summary="FLORES-200: about a thousand sentences, parallel in all languages;"
    " as texts, or as instructions to translate between two",
    files="the folder flores200_dataset with dev/<lang>.dev and"
    " devtest/<lang>.devtest (FLORES-101's is alike)",
    licence="CC BY-SA 4.0",
    languages="204, of which those that the registry has",
    options={"split": "dev (the default) or devtest", **translation.OPTIONS},
    has_distinct_ids=True,
    instructions=_instructions,
    documents=_documents,
)
SIB200 = Source(
    name="sib200",
    summary="SIB-200: FLORES's sentences with their topics, as texts",
    files="the folder data/annotated with <lang>/train.tsv, dev.tsv, test.tsv:"
    " {index_id, category, text}; the index is the parallel id",
    licence="CC BY-SA 4.0",
    languages="205, of which those that the registry has",
    options={"split": "train (the default), dev or test"},
    documents=_sib200,
)
