"""Raw rows of a file, a folder of files or a published dataset, streamed.

Of a file no more than one row is held in memory at a time; rows that cannot be
parsed go to the BadRows.
"""

import functools
import os
import pathlib
import re
from collections.abc import Iterator

from mlit_jax.data.quality import BadRows, Row
from mlit_jax.data.sources import json_rows, lines, tables
from mlit_jax.data.sources.source import SourceError

_JSON = (".jsonl", ".json", ".ndjson")
_SUFFIXES = (*_JSON, ".csv", ".tsv", ".parquet")
# Files that `datasets` and TFDS leave in the folder of a dataset.
_HF_FILES = ("dataset_dict.json", "state.json")
_TFDS_FILE = "features.json"
# A folder whose files begin with one of these holds a dataset in splits.
_SPLITS = {"train", "validation", "valid", "val", "dev", "test", "eval"}


def read(
    location: str | os.PathLike,
    bad: BadRows,
    *,
    split: str = "train",
    max_row_bytes: int = lines.MAX_ROW_BYTES,
) -> Iterator[Row]:
  """Rows as dictionaries, in order.

  Args:
    location: a .jsonl, .json (a list, or one row a line), .csv, .tsv or
      .parquet file, also .gz but for the last; a folder of files of one kind,
      read in the order of their names (those that begin with the split, where
      files are named after splits); a folder written by `datasets` or by
      TFDS; `hf:NAME`, `hf:NAME@CONFIG` or `tfds:NAME`.
    bad: takes the rows that cannot be parsed.
    split: of a dataset that has several.
    max_row_bytes: longer rows of text files are bad.

  Raises:
    SourceError: nothing is there, or nothing that can be read.
  """
  kind, name = _published(os.fspath(location))
  if kind == "hf":
    from mlit_jax.data.sources import hub

    parsed = hub.read(name, split)
  elif kind == "tfds":
    from mlit_jax.data.sources import tfds_rows

    parsed = tfds_rows.read(name, split)
  else:
    parsed = (
        (str(file), row)
        for file in _files(pathlib.Path(location), split)
        for row in _parse(file, max_row_bytes)
    )
  for index, (file, (line, data, reason, detail)) in enumerate(parsed):
    row = Row(file, line, index, data)
    if reason:
      bad.add(row, reason, detail)
    elif not isinstance(data, dict):
      bad.add(row, "wrong_type", "the row is no object with fields")
    else:
      yield row


def _published(location: str) -> tuple[str, str]:
  """("hf" or "tfds", name or folder) of a published dataset."""
  for kind in ("hf", "tfds"):
    if location.startswith(f"{kind}:"):
      return kind, location.removeprefix(f"{kind}:")
  path = pathlib.Path(location)
  if any((path / name).is_file() for name in _HF_FILES):
    return "hf", location
  if (path / _TFDS_FILE).is_file():
    return "tfds", location
  return "", location


def _files(path: pathlib.Path, split: str) -> list[pathlib.Path]:
  if path.is_file():
    if _suffix(path) not in _SUFFIXES:
      raise SourceError(
          f"{path}: the name does not tell the format; known are"
          f" {' '.join(_SUFFIXES)}, with .gz or without"
      )
    return [path]
  if not path.exists():
    raise SourceError(f"{path}: there is no such file or folder")
  files = sorted(x for x in path.iterdir() if _suffix(x) in _SUFFIXES)
  found = {x: re.match("[a-z]*", x.name.lower()).group() for x in files}
  if present := _SPLITS & set(found.values()):
    files = [x for x in files if found[x] == split]
    if not files:
      raise SourceError(
          f"{path}: has no split {split!r}; it has {' '.join(sorted(present))}"
      )
  kinds = sorted({_suffix(x) for x in files})
  if not files:
    raise SourceError(f"{path}: holds no file of {' '.join(_SUFFIXES)}")
  if len(kinds) > 1:
    raise SourceError(
        f"{path}: holds files of several kinds, {' '.join(kinds)}; name one"
    )
  return files


def _suffix(path: pathlib.Path) -> str:
  return pathlib.PurePath(path.name.lower().removesuffix(".gz")).suffix


def _parse(path: pathlib.Path, max_bytes: int) -> Iterator[lines.Parsed]:
  parse = {
      ".csv": functools.partial(tables.read_csv, max_bytes=max_bytes),
      ".tsv": functools.partial(
          tables.read_csv, max_bytes=max_bytes, delimiter="\t"
      ),
      ".parquet": tables.read_parquet,
  }.get(_suffix(path), functools.partial(json_rows.read, max_bytes=max_bytes))
  return parse(path)
