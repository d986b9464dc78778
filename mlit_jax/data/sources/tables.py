"""Rows of tables: CSV, TSV and Parquet."""

import csv
import pathlib
from collections.abc import Iterator

from mlit_jax.data.sources import lines
from mlit_jax.data.sources.source import SourceError

_BATCH = 256


def read_csv(
    path: pathlib.Path, max_bytes: int, delimiter: str = ","
) -> Iterator[lines.Parsed]:
  """Rows of a table whose first line names the columns, quoted as usual."""
  last = 0
  skipped: list[lines.Parsed] = []

  def texts():
    nonlocal last
    for number, line, cut in lines.read(path, max_bytes):
      last = number
      if cut:
        skipped.append((number, line, *lines.too_long(max_bytes)))
      else:
        # What is not UTF-8 comes out as surrogates, so that it is known.
        yield line.decode("utf-8", "surrogateescape") + "\n"

  csv.field_size_limit(max(csv.field_size_limit(), max_bytes))
  reader = csv.reader(texts(), delimiter=delimiter)
  header = None
  while True:
    number = last + 1
    try:
      fields = next(reader, None)
    except csv.Error as e:
      yield number, "", "too_long", f"{e}; is a quote not closed?"
      continue
    yield from skipped
    skipped.clear()
    if fields is None:
      return
    if not fields:
      continue
    raw = "".join(fields).encode("utf-8", "surrogateescape")
    if header is None:
      header = fields
    elif len(fields) != len(header):
      yield number, fields, "columns", (
          f"{len(fields)} columns, the header has {len(header)}"
      )
    elif not _is_utf8(raw):
      yield number, raw, "not_utf8", "not UTF-8"
    else:
      yield number, dict(zip(header, fields, strict=True)), "", ""


def read_parquet(path: pathlib.Path) -> Iterator[lines.Parsed]:
  """Rows of a Parquet file; the line is the row's number.

  Raises:
    SourceError: it is damaged.
  """
  import pyarrow
  from pyarrow import parquet

  number = 0
  try:
    with parquet.ParquetFile(path) as file:
      for batch in file.iter_batches(batch_size=_BATCH):
        for row in _rows(batch):
          number += 1
          bad = ("not_utf8", "not UTF-8") if row is None else ("", "")
          yield number, row or "", *bad
  except (pyarrow.ArrowException, OSError) as e:
    raise SourceError(f"{path}: damaged Parquet file: {e}") from None


def _rows(batch) -> list:
  """The rows of a batch, None for one that is not UTF-8."""
  try:
    return batch.to_pylist()
  except UnicodeDecodeError:
    if batch.num_rows == 1:
      return [None]
    halves = batch.slice(0, batch.num_rows // 2), batch.slice(
        batch.num_rows // 2
    )
    return [row for half in halves for row in _rows(half)]


def _is_utf8(raw: bytes) -> bool:
  try:
    raw.decode()
  except UnicodeDecodeError:
    return False
  return True
