"""Sources that have a file for each language."""

import os
import pathlib
import re
from collections.abc import Collection, Iterator, Sequence

from mlit_jax import languages
from mlit_jax.data.quality import BadRow, BadRows, Row
from mlit_jax.data.sources import fields, lines
from mlit_jax.data.sources import rows as rows_lib
from mlit_jax.data.sources.source import SourceError, Wanted

# How people call them; `{lang}` is a code of any system.
ROW_FILES = tuple(
    f"{{lang}}{suffix}"
    for suffix in (
        ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".json.gz"
    )
)
# The options of every source that reads rows by language.
OPTIONS = {
    "lang": "language of a single file",
    "files": "name of each language's file in a folder, e.g."
    " train_{lang}.jsonl",
    "split": "which split, where there are several (train)",
}


def rows(
    path: str | os.PathLike,
    bad: BadRows,
    wanted: Wanted,
    *,
    lang: str,
    files: str = "",
    split: str = "train",
    patterns: Sequence[str] = ROW_FILES,
    max_row_bytes: int = lines.MAX_ROW_BYTES,
) -> Iterator[tuple[str, Row]]:
  """(language, row) of every wanted language; indices begin anew in each.

  Args:
    path: a location as rows.read takes it, all in `lang`; or a folder with a
      file for each language.
    bad: takes the rows that cannot be parsed.
    wanted: the languages to read.
    lang: the language of a location that is not by language; "" if its rows
      say it themselves.
    files: see OPTIONS; instead of `patterns`.
    split: see OPTIONS.
    patterns: names of the files under the folder.
    max_row_bytes: longer rows are bad.
  """
  for code, location in locations(
      path, (files,) if files else patterns, lang, wanted.languages
  ):
    for row in rows_lib.read(
        location, bad, split=split, max_row_bytes=max_row_bytes
    ):
      yield code, row


def locations(
    path: str | os.PathLike,
    patterns: Sequence[str],
    lang: str,
    wanted: Collection[str] | None = None,
) -> list[tuple[str, str]]:
  """(language, location), in the order of the codes.

  Raises:
    SourceError: two files are in one language, or a wanted one has none.
  """
  path = os.fspath(path)
  found: dict[str, str] = {}
  if not path.startswith(("hf:", "tfds:")) and os.path.isdir(path):
    for pattern in patterns:
      for name, code in _matches(pathlib.Path(path), pattern):
        if code in found:
          raise SourceError(
              f"{path}: {os.path.relpath(found[code], path)} and {name} are"
              f" both in {code}; say which with the option 'files', e.g."
              " files=train_{lang}.json"
          )
        found[code] = os.path.join(path, name)
  if not found:
    return [(languages.get(lang).code if lang else "", path)]
  if missing := sorted(set(wanted or ()) - set(found)):
    raise SourceError(
        f"{path}: has no file for {' '.join(missing)}; it has"
        f" {' '.join(sorted(found))}"
    )
  return [(c, found[c]) for c in sorted(found) if not wanted or c in wanted]


def _matches(
    folder: pathlib.Path, pattern: str
) -> Iterator[tuple[str, str]]:
  """(name, language) of the folder's files that fit a pattern."""
  before, _, after = pattern.partition("{lang}")
  name_of = re.compile(f"{re.escape(before)}([^/]+){re.escape(after)}")
  for file in sorted(folder.glob(f"{before}*{after}")):
    name = file.relative_to(folder).as_posix()
    if (match := name_of.fullmatch(name)) and (code := _code(match[1])):
      yield name, code


def _code(text: str) -> str:
  """The language that a part of a file's name stands for, or "".

  pt_BR is Portuguese, but EN_DE two languages.
  """
  try:
    if re.fullmatch("[a-z]{2,3}[-_][A-Z]{2}", text):
      return fields.language(text)
    return languages.get(text).code
  except (languages.UnknownLanguageError, BadRow):
    return ""
