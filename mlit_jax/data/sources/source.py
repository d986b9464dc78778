"""What a source is, and what it gives."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlit_jax import records
from mlit_jax.data import quality

# Give (row, record) one after another; bad rows go to the BadRows. Arguments:
# path, BadRows, Wanted, and as keywords the source's options.
ReadInstructions = Callable[
    ..., Iterator[tuple[quality.Row, records.Instruction]]
]
ReadDocuments = Callable[..., Iterator[tuple[quality.Row, "Document"]]]


class SourceError(ValueError):
  """A source that is not there or damaged; the message says what to mend."""


@dataclasses.dataclass(frozen=True)
class Wanted:
  """What the caller wants of a source.

  Attributes:
    languages: codes of the languages to keep; None keeps all.
    check_language: whether a text in another script than its language's is
      bad.
    identify: names the language of a text; see quality.check_language.
  """

  languages: frozenset[str] | None = None
  check_language: bool = True
  identify: quality.Identify | None = None

  def check(self, text: str, lang: str) -> None:
    """Refuses a text that is not in its language.

    Raises:
      BadRow: wrong_language.
    """
    if self.check_language:
      quality.check_language(text, lang, self.identify)


@dataclasses.dataclass(frozen=True)
class Document:
  """A running text in one language.

  Attributes:
    id: the same in every language that has the text.
    lang: the language code.
    text: one or more lines.
    extra: further fields, e.g. a topic.
  """

  id: str
  lang: str
  text: str
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Source:
  """A kind of data that can be opened by name.

  Attributes:
    name: how it is asked for, and the first part of its parallel ids.
    summary: what it is, in one line.
    files: what must lie at the path.
    licence: what the data may be used for, as its publisher says.
    languages: which languages it has, in words.
    options: name of an option -> what it does.
    has_distinct_ids: its ids are the numbers of its rows or such, which cannot
      repeat, so that none must be kept in memory to find it out.
    instructions, documents: the readers; None where it has none.
  """

  name: str
  summary: str
  files: str
  licence: str
  languages: str
  options: Mapping[str, str] = dataclasses.field(default_factory=dict)
  has_distinct_ids: bool = False
  instructions: ReadInstructions | None = None
  documents: ReadDocuments | None = None
