"""Rows in, rows out: what of an instruction is translated, and its checks.

A translated row keeps its id, its roles and its other fields; `translation`
says where it came from and what may be wrong with it:

  {"id", "lang": "he", "messages": …, "response": …,
   "translation": {"source": "en", "backend": "google", "flags": [...]}}
"""

import collections
import dataclasses
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

from mlit_jax import cache as cache_lib
from mlit_jax import languages, records
from mlit_jax.errors import UsageError
from mlit_jax.translation import backends, flags, segments, translator


@dataclasses.dataclass(frozen=True)
class Item:
  """A row to translate.

  Attributes:
    row: the row; its response is "" where that is not translated.
    texts: the parsed messages and, last, the response if there is one.
  """

  row: records.Instruction
  texts: tuple[segments.Text, ...]


@dataclasses.dataclass(frozen=True)
class Failure:
  """A row that has no translation, and why."""

  id: str
  lang: str
  reason: str

  def to_row(self) -> dict[str, str]:
    return dataclasses.asdict(self)


class MissingError(Exception):
  """There is no translation; the message says why."""


def read(
    path: str | os.PathLike, targets: Sequence[str], *,
    max_length: int, prompts_only: bool = False,
) -> list[Item]:
  """Reads the rows that are to be translated.

  Args:
    path: instruction rows, JSON Lines.
    targets: the languages to translate into.
    max_length: a segment's greatest length.
    prompts_only: leave responses out.

  Raises:
    RecordError: a row is not an instruction; names file and line.
    UsageError: a row is in a target language or in none that is known, or its
      id comes twice.
  """
  items, seen = [], set()
  for row in records.read_records(path, records.Instruction):
    where = f"{path}: {row.id!r} ({row.lang})"
    try:
      code = languages.get(row.lang).code
    except languages.UnknownLanguageError as e:
      raise UsageError(f"{where}: {e}") from None
    if code in targets:
      raise UsageError(f"{where} is in {code} already; leave it out of --to")
    if row.id in seen:
      raise UsageError(f"{where} comes twice; give an id once, in one language")
    seen.add(row.id)
    if prompts_only:
      row = dataclasses.replace(row, response="")
    texts = (segments.parse(text, max_length) for text in _texts(row))
    items.append(Item(row, tuple(texts)))
  if not items:
    raise UsageError(f"{path} has no rows")
  return items


def jobs(
    items: Sequence[Item], targets: Sequence[str], backend: backends.Backend
) -> Iterator[translator.Job]:
  """Every segment of every row into every language."""
  for target in targets:
    for item in items:
      for text in item.texts:
        for segment in text.segments:
          source = item.row.lang
          name = translator.key(backend, segment.text, source, target)
          yield translator.Job(segment.text, source, target, name)


def from_store(
    backend: backends.Backend, store: cache_lib.Cache, failed: dict[str, str]
) -> Callable[[Item, str], list[str]]:
  """Finds translations among the stored replies.

  Args:
    backend: whose replies.
    store: where they are.
    failed: key -> why the last run got no reply.
  """

  def find(item: Item, target: str) -> list[str]:
    def reply(segment: segments.Segment) -> str:
      name = translator.key(backend, segment.text, item.row.lang, target)
      stored = store.get(name)
      if stored is None:
        raise MissingError(failed.get(name, "no reply"))
      return stored["text"]

    return [text.translated(reply) for text in item.texts]

  return find


def from_file(path: str | os.PathLike) -> Callable[[Item, str], list[str]]:
  """Finds translations in a file of rows that were translated elsewhere.

  Raises:
    RecordError: a row is not an instruction; names file and line.
    UsageError: its (id, lang) comes twice.
  """
  found = {}
  for row in records.read_records(path, records.Instruction):
    if (row.id, row.lang) in found:
      raise UsageError(f"{path}: {row.id!r} ({row.lang}) comes twice")
    found[row.id, row.lang] = row

  def find(item: Item, target: str) -> list[str]:
    row = found.get((item.row.id, target))
    if row is None:
      raise MissingError(f"{path} has no such row")
    roles = [message.role for message in item.row.messages]
    if [message.role for message in row.messages] != roles:
      raise MissingError(f"{path} has other turns for it")
    if item.row.response and not row.response:
      raise MissingError(f"{path} has no response for it")
    response = row.response if item.row.response else ""
    return _texts(dataclasses.replace(row, response=response))

  return find


def finish(
    items: Sequence[Item],
    targets: Sequence[str],
    find: Callable[[Item, str], list[str]],
    origin: str,
) -> Iterator[records.Instruction | Failure]:
  """Translated rows in the order of the languages, then of the items.

  Args:
    items: the rows.
    targets: the languages.
    find: gives the translations of an item's texts.
    origin: the back end's name, for the row.
  """
  for target in targets:
    for item in items:
      try:
        texts = find(item, target)
      except MissingError as e:
        yield Failure(item.row.id, target, str(e))
        continue
      yield _translated(item.row, target, texts, origin)


class Summary:
  """Counts what was written; rows pass through it.

  Attributes:
    failures: the rows that have no translation.
    back_translation: language -> what the sample scored.
  """

  def __init__(self, items: Sequence[Item]):
    self._sizes = {i.row.id: sum(map(len, _texts(i.row))) for i in items}
    self._flagged = 0
    self._rows = collections.Counter()
    self._failed = collections.Counter()
    self._flags = collections.defaultdict(collections.Counter)
    self._ratios = collections.defaultdict(list)
    self.failures: list[Failure] = []
    self.back_translation: dict[str, dict] = {}

  def through(
      self, finished: Iterable[records.Instruction | Failure]
  ) -> Iterator[records.Instruction]:
    """Keeps failures back and lets translated rows through."""
    for one in finished:
      if isinstance(one, Failure):
        self.failures.append(one)
        self._failed[one.lang] += 1
        continue
      self._rows[one.lang] += 1
      found = one.extra["translation"]["flags"]
      self._flags[one.lang].update(found)
      self._flagged += bool(found)
      length = sum(map(len, _texts(one)))
      self._ratios[one.lang].append(length / self._sizes[one.id])
      yield one

  def to_json(self, backend: str) -> dict:
    """The summary, per language and overall; equal runs give equal values."""
    langs = {}
    for lang in dict.fromkeys((*self._rows, *self._failed)):
      ratios = self._ratios[lang]
      langs[lang] = {
          "rows": self._rows[lang],
          "failed": self._failed[lang],
          "flags": {name: self._flags[lang][name] for name in flags.FLAGS},
          "length_ratio": round(statistics.median(ratios), 4) if ratios else 0,
      }
      if lang in self.back_translation:
        langs[lang]["back_translation"] = self.back_translation[lang]
    overall = {
        "rows": self._rows.total(),
        "failed": self._failed.total(),
        "flagged": self._flagged,
        "flags": {
            name: sum(x["flags"][name] for x in langs.values())
            for name in flags.FLAGS
        },
    }
    return {"backend": backend, "languages": langs, "overall": overall}


def _texts(row: records.Instruction) -> list[str]:
  texts = [message.content for message in row.messages]
  return [*texts, row.response] if row.response else texts


def _translated(
    row: records.Instruction, target: str, texts: Sequence[str], origin: str
) -> records.Instruction:
  found = set()
  for source, text in zip(_texts(row), texts, strict=True):
    found.update(flags.check(source, text, row.lang, target))
  messages = tuple(
      records.Message(message.role, text)
      for message, text in zip(row.messages, texts, strict=False)
  )
  about = {
      "source": row.lang,
      "backend": origin,
      "flags": [name for name in flags.FLAGS if name in found],
  }
  return records.Instruction(
      id=row.id,
      lang=target,
      messages=messages,
      response=texts[-1] if row.response else "",
      extra={**row.extra, "translation": about},
  )
