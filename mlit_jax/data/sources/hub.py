"""Rows of Hugging Face datasets, by name or as written to a folder."""

import pathlib
from collections.abc import Iterator

from mlit_jax.data.sources import lines
from mlit_jax.data.sources.source import SourceError


def read(location: str, split: str) -> Iterator[tuple[str, lines.Parsed]]:
  """(place, row), as rows.read takes them.

  Args:
    location: a folder written by `save_to_disk`; or the name of a dataset
      (`org/name`, with `@CONFIG` behind it where it has configurations), which
      is streamed. Code that a dataset brings along is never run.
    split: which split.

  Raises:
    SourceError: `datasets` is not installed, or the dataset cannot be had.
  """
  try:
    import datasets
  except ImportError:
    raise SourceError(
        f"{location}: needs the package 'datasets'; install mlit-jax[hf]"
    ) from None
  name, _, config = location.partition("@")
  place = f"hf:{location}:{split}"
  is_folder = pathlib.Path(location).is_dir()
  try:
    if is_folder:
      data = datasets.load_from_disk(location)
    else:
      data = datasets.load_dataset(name, config or None, streaming=True)
    if isinstance(data, dict):
      if split not in data:
        raise SourceError(
            f"hf:{location}: has no split {split!r}; it has {' '.join(data)}"
        )
      data = data[split]
    for number, row in enumerate(data, start=1):
      yield place, (number, row, "", "")
  except SourceError:
    raise
  # `datasets` and what lies below it raise errors of many libraries.
  except Exception as e:
    problem = " ".join(str(e).split())
    mend = (
        "write it again with save_to_disk" if is_folder else
        "without a connection, download the dataset elsewhere and give the"
        " path of its .parquet or .jsonl files (or of a folder written by"
        " save_to_disk) instead"
    )
    raise SourceError(
        f"{place}: cannot be read ({type(e).__name__}: {problem:.300}); {mend}"
    ) from None
