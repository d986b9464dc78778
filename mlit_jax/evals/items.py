"""What a benchmark asks: one item, and how its rows are found and read."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping

from mlit_jax import languages
from mlit_jax.data import quality
from mlit_jax.data.sources import rows as rows_lib
from mlit_jax.data.sources.source import SourceError

Row = quality.Row
# The hub, instead of a folder with the files.
HUB = "hub"


class BenchmarkError(ValueError):
  """A benchmark's file is not there or is not what it should be."""


class MissingError(BenchmarkError):
  """A benchmark has no file in a language."""


@dataclasses.dataclass(frozen=True)
class Choice:
  """Which option is the likeliest?

  Attributes:
    id: the same in every language where items are parallel.
    options: (context, continuation) of each.
    right: index of the right option.
    cluster: items that depend on each other have one.
  """

  id: str
  options: tuple[tuple[str, str], ...]
  right: int
  cluster: str


@dataclasses.dataclass(frozen=True)
class Question:
  """What does the model write?

  Attributes:
    id, cluster: as of Choice.
    prompt: what is asked.
    references: right answers; any of them counts.
    source: the text that is translated, or "".
    cue: what a prompt that is no conversation ends with.
  """

  id: str
  prompt: str
  references: tuple[str, ...]
  cluster: str
  source: str = ""
  cue: str = ""


class Strict(quality.BadRows):
  """No row of a benchmark may be bad."""

  def add(self, row: Row, reason: str, detail: str) -> None:
    """Raises BenchmarkError: every row counts."""
    raise BenchmarkError(f"{row.place}: {detail}; mend or fetch it again")


def _read_rows(path: pathlib.Path, lang: str) -> Iterator[Row]:
  return rows_lib.read(path, Strict())


@dataclasses.dataclass(frozen=True)
class Files:
  """Where the rows of a benchmark are, a file for each language.

  Attributes:
    folder: the benchmark's folder under --data.
    names: how files are called there, with `{lang}` or a code system of
      languages in it, and `*` for anything.
    hub: the dataset on the hub and its configuration.
    split: the split there.
    codes: languages that the benchmark has another code for.
    read: the rows of a file.
  """

  folder: str
  names: tuple[str, ...]
  hub: str
  split: str
  codes: Mapping[str, str] = dataclasses.field(default_factory=dict)
  read: Callable[[pathlib.Path, str], Iterator[Row]] = _read_rows

  def find(self, lang: str, data: str | os.PathLike) -> pathlib.Path | None:
    """The language's file in the folder `data`, if it is there."""
    for folder in (pathlib.Path(data) / self.folder, pathlib.Path(data)):
      for name in self.names:
        for path in sorted(folder.glob(self._name(name, lang))):
          return path
    return None

  def rows(self, lang: str, data: str | os.PathLike) -> Iterator[Row]:
    """The language's rows.

    Args:
      lang: short code.
      data: the folder with the files, or HUB.

    Raises:
      BenchmarkError: they are not there; the line names the file to put there.
    """
    missing = self.missing(lang)
    if data == HUB:
      try:
        yield from rows_lib.read(
            f"hf:{self._name(self.hub, lang)}", Strict(), split=self.split
        )
      except SourceError as e:
        problem = str(e).partition("; ")[0]
        raise MissingError(
            f"{problem}; {missing}, and give it with --data"
        ) from None
      return
    path = self.find(lang, data)
    if path is None:
      raise MissingError(
          f"{data}: has no file for {self.folder} in {lang}; {missing}"
      )
    empty = True
    for row in self.read(path, lang):
      empty = False
      yield row
    if empty:
      raise MissingError(f"{path}: has no rows in {lang}; {missing}")

  def missing(self, lang: str) -> str:
    """What to do where there is no file."""
    name = self._name(self.names[0], lang)
    hub = self._name(self.hub, lang)
    return f"put {self.folder}/{name} (on the hub: {hub}) into a folder"

  def _name(self, pattern: str, lang: str) -> str:
    language = languages.get(lang)
    return pattern.format(
        lang=self.codes.get(lang, lang), flores101=language.flores101,
        flores200=language.flores200,
    )
