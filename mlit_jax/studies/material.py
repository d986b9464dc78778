"""What a study's models learn from and are asked: by name, from anywhere.

The pocket world's material has names of its own (POCKET); any other name is
one of the config's `sources`, READER:PATH as `mlit data build` takes it.
"""

import dataclasses
import functools
import hashlib
import os
import random
from collections.abc import Iterator, Mapping, Sequence

from mlit_jax.data import counts, quality, sources
from mlit_jax.data.pocket import items, parallel, world
from mlit_jax.data.sources import translation
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction, Message
from mlit_jax.studies import expected

POCKET, INTO, OUT_OF = "pocket", "into", "out-of"
READING, TWO_TURNS = "reading", "two-turns"
CURATED = "curated"  # few examples to learn from, chosen for their variety
# Where a study brings its own: sentences in all languages, and running text.
SENTENCES, DOCUMENTS = "sentences", "documents"
ENDINGS, ANSWERS = CHOICES = ("endings", "answers")
_HELD_OUT = 60  # sentences to translate
Rows = Mapping[tuple[str, str], Instruction]


def is_pocket(name: str) -> bool:
  """Whether the pocket world has it."""
  return name in (POCKET, CURATED, INTO, OUT_OF, READING, TWO_TURNS)


def check(name: str, given: Mapping[str, str]) -> None:
  """UsageError unless there is such a material."""
  if not is_pocket(name) and name not in given:
    raise UsageError(
        f"no source {name!r}: give it as study.sources.{name}=READER:PATH"
    )


def instructions(
    name: str, languages: Sequence[str], given: Mapping[str, str]
) -> Rows:
  """The training examples of a source, by (id, language).

  Args:
    name: `pocket`; `curated`, some of these; `into` and `out-of`, translation
      instructions between English and each language (by the foreign
      language); or one of `given`.
    languages: which.
    given: source -> READER:PATH.
  """
  if name == POCKET:
    return sources.pocket_instructions(languages, "train")
  if name == CURATED and name not in given:
    rows = sources.pocket_instructions(languages, "train")
    return {key: row for key, row in rows.items() if key[0] in items.chosen()}
  if name in (INTO, OUT_OF) and name not in given:
    return {
        (row.id, lang): row
        for lang in languages
        for row in _translation(name, lang, held_out=False)
    }
  rows = _given(name, languages, given)
  if name not in (INTO, OUT_OF):
    return rows
  return {  # told from other rows by their ids, as the pocket world's are
      (f"{name}/{id_}", lang): dataclasses.replace(row, id=f"{name}/{id_}")
      for (id_, lang), row in rows.items()
  }


def asked(name: str, given: Mapping[str, str]) -> str:
  """The source of a material's questions: `into` learns from another one."""
  return test if (test := f"{name}-test") in given else name


@dataclasses.dataclass(frozen=True)
class Choice:
  """A beginning and its endings, one of them right.

  Attributes:
    context: what the endings follow; of a pronoun, what follows its first
      reading.
    endings: as they are put behind it.
    right: which of them is right.
    cluster: choices that depend on each other have one.
    asked: whether the context is a question, to be put in a template.
    befores: the ending's own contexts, where they differ.
  """

  id: str
  lang: str
  context: str
  endings: tuple[str, ...]
  right: int
  cluster: str
  asked: bool = False
  befores: tuple[str, ...] = ()

  @property
  def contexts(self) -> tuple[str, ...]:
    """What each ending follows."""
    return self.befores or (self.context,) * len(self.endings)


def choices(
    name: str, languages: Sequence[str], given: Mapping[str, str]
) -> list[Choice]:
  """Multiple choice, in the pocket world or from a benchmark.

  Args:
    name: `endings`: hand-written beginnings with two endings; `answers`:
      the unseen questions about a fact, each with the right answer and with a
      wrong one; or one of `given`, as BENCHMARK:DIRECTORY: its languages
      among `languages` (evals/benchmarks.py).
    languages: which.
    given: source -> where.
  """
  if name not in CHOICES:
    return list(_benchmark(name, languages, given))
  make = {ENDINGS: _endings, ANSWERS: _answers}[name]
  return [row for lang in languages for row in make(lang)]


def prompts(
    name: str, languages: Sequence[str], given: Mapping[str, str]
) -> list[Instruction]:
  """What models are asked, with references where there are any.

  Args:
    name: `pocket`: unseen questions; `reading`: a context and a question;
      `into`, `out-of`: unseen sentences to translate; `two-turns`: two turns
      of a user; or one of `given`, which goes before all these (of `into` it
      is `into-test`; of `reading` a prompt is a text and, on its last line,
      the question).
    languages: which.
    given: source -> READER:PATH.
  """
  if name == POCKET:
    return list(sources.pocket_instructions(languages, "eval").values())
  name = asked(name, given)
  if name in given:
    if (promised := expected.of(given[name])) is not None:
      rows = promised.prompts(languages)
    else:
      rows = list(_given(name, languages, given).values())
    return [_about_text(row) for row in rows] if name == READING else rows
  if name in (INTO, OUT_OF):
    return [
        row for lang in languages
        for row in _translation(name, lang, held_out=True)
    ]
  if name in (READING, TWO_TURNS):
    make = {READING: _reading, TWO_TURNS: _two_turns}[name]
    return [row for lang in languages for row in make(lang)]
  return list(_given(name, languages, given).values())


def parallel_sentences(
    languages: Sequence[str], given: Mapping[str, str]
) -> dict[str, list[str]]:
  """Language -> the sentences that no model is tuned to translate, in order.

  Args:
    languages: which.
    given: source -> READER:PATH; `sentences` is one with running texts.
  """
  if SENTENCES in given:
    return _parallel(languages, given)
  found = {}
  for lang in languages:
    pairs = parallel.sentence_pairs("en", lang)
    found[lang] = [p.target for p in pairs if p.id in _held_out()]
  return found


def documents(
    shares: Mapping[str, float], total: int, seed: int, given: Mapping[str, str]
) -> list[sources.Document]:
  """Running text, drawn by shares: the pocket world's, or `documents`."""
  if DOCUMENTS not in given:
    return [
        sources.Document(d.id, d.id.split("/")[1], d.text)
        for d in sources.pocket_documents(shares, total, seed)
    ]
  rng, found = random.Random(seed), []
  for lang, number in counts.split_by_share(total, shares).items():
    rows = [row for row in _texts(DOCUMENTS, (lang,), given)]
    if len(rows) < number:
      raise UsageError(
          f"study.sources.{DOCUMENTS} has {len(rows)} texts in {lang}, and"
          f" {number} are asked for"
      )
    found += rng.sample(rows, number)
  return found


def _texts(name, languages, given) -> list[sources.Document]:
  reader, path = _reader(name, given)
  return list(sources.open_documents(reader, path, languages=languages))


def _parallel(languages, given) -> dict[str, list[str]]:
  if (promised := expected.of(given[SENTENCES])) is not None:
    text = "x" * promised.characters
    return {lang: [text] * promised.rows for lang in languages}
  found = {lang: {} for lang in languages}
  for row in _texts(SENTENCES, languages, given):
    found[row.lang][row.id] = row.text
  shared = set.intersection(*(set(rows) for rows in found.values()))
  if not shared:
    raise UsageError(
        f"study.sources.{SENTENCES}: no sentence is there in all of"
        f" {' '.join(languages)}"
    )
  return {
      lang: [rows[i] for i in sorted(shared)] for lang, rows in found.items()
  }


def digest(names: Sequence[str], given: Mapping[str, str]) -> str:
  """Changes when the pocket world or a given source's address does."""
  text = "\0".join(f"{n}={given.get(n, '')}" for n in sorted(names))
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reader(name: str, given: Mapping[str, str]) -> tuple[str, str]:
  check(name, given)
  reader, colon, path = given[name].partition(":")
  if not colon:
    raise UsageError(
        f"study.sources.{name}={given[name]!r}: write READER:PATH, rows:PATH"
        " for rows of your own"
    )
  return reader, path


def _given(name, languages, given) -> dict[tuple[str, str], Instruction]:
  reader, path = _reader(name, given)
  rows = sources.open_source(
      reader, path, languages=languages,
      bad_rows=quality.BadRows(advice="mend them"),
  )
  return {(row.id, row.lang): row for row in rows}


def _about_text(row: Instruction) -> Instruction:
  """A question about a text: the prompt's last line, where it is not apart."""
  context, _, question = row.prompt.rpartition("\n")
  return dataclasses.replace(
      row, extra={"context": context, "question": question, **row.extra}
  )


def benchmark(name: str, given: Mapping[str, str]):
  """A multiple-choice benchmark among the sources, and where its files are.

  Raises:
    UsageError: there is none, or no such directory.
  """
  from mlit_jax.evals import benchmarks

  check(name, given)
  reader, _, path = given[name].partition(":")
  promised = expected.of(given[name])
  found = benchmarks.BENCHMARKS.get(name if promised else reader)
  if found is None or not (promised or os.path.isdir(path)):
    raise UsageError(
        f"study.sources.{name}={given[name]!r}: write BENCHMARK:DIRECTORY with"
        f" one of {', '.join(benchmarks.BENCHMARKS)}"
    )
  return found, path


def _benchmark(name, languages, given) -> Iterator[Choice]:
  found, path = benchmark(name, given)
  promised = expected.of(given[name])
  for lang in languages:
    if lang not in found.languages:
      continue
    if promised:
      text = "x" * (promised.characters // 2)
      yield from (
          Choice(f"{i}", lang, text, (text, text), 0, f"{i}")
          for i in range(promised.rows)
      )
      continue
    for item in found.items(path, lang):
      befores, endings = zip(*item.options, strict=True)
      yield Choice(
          item.id, lang, befores[0], endings, item.right, item.cluster,
          befores=befores,
      )


@functools.cache
def _held_out() -> frozenset[str]:
  """Which sentences no model is tuned to translate."""
  ids = [pair.id for pair in parallel.sentence_pairs("en", "es")]
  ids.sort(key=lambda i: hashlib.sha256(f"held out\0{i}".encode()).digest())
  return frozenset(ids[:_HELD_OUT])


def _translation(name: str, lang: str, held_out: bool) -> list[Instruction]:
  """Sentence pairs as instructions; the row's language is the foreign one."""
  if lang == "en":
    return []
  direction = "forward" if name == INTO else "backward"
  pairs = translation.Pairs("en", lang, direction=direction)
  found = []
  for pair in parallel.sentence_pairs("en", lang):
    if (pair.id in _held_out()) == held_out:
      (row,) = pairs.instructions(
          f"{name}/{pair.id}", pair.source, pair.target
      )
      found.append(dataclasses.replace(row, lang=lang))
  return found


def _endings(lang: str) -> list[Choice]:
  return [
      Choice(
          row.id, lang, row.premise,
          (row.right, row.wrong)[:: 1 if _even(row.id) else -1],
          0 if _even(row.id) else 1, row.id,
      )
      for row in parallel.choices(lang)
  ]


def _answers(lang: str) -> list[Choice]:
  """The same question, answered with the right and with another entity."""
  language, found = world.load_language(lang), []
  for item in items.split()["eval"]:
    if item.task not in items.ONE_FACT_TASKS:
      continue
    asked, right = items.render(language, item)
    wrong = [
        answer
        for question, answer in (
            items.render(language, dataclasses.replace(item, args=args))
            for args in _other_args(item)
        )
        if question == asked and answer != right
    ]
    if not wrong:
      continue
    number = _number(item.id)
    endings = [right, wrong[number % len(wrong)]]
    if number % 2:
      endings.reverse()
    found.append(
        Choice(
            item.id, lang, asked, tuple(endings), endings.index(right),
            item.id, asked=True,
        )
    )
  return found


def _other_args(item: items.Item) -> list[tuple[str, str]]:
  """One entity of a fact exchanged for another's, so that it is not true."""
  facts = items.candidates(item.task)
  x, y = item.args
  mixed = [(x, b) for _, b in facts] + [(a, y) for a, _ in facts]
  return [args for args in dict.fromkeys(mixed) if args not in facts]


def _number(id_: str) -> int:
  return int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big")


def _even(id_: str) -> bool:
  return _number(id_) % 2 == 0


def _reading(lang: str) -> list[Instruction]:
  space = world.load_language(lang).space
  return [
      Instruction(
          id=row.id, lang=lang,
          messages=(
              Message("user", f"{row.context}{space}{row.question}"),
          ),
          response=row.answer,
          extra={"context": row.context, "question": row.question},
      )
      for row in parallel.contexts(lang)
  ]


def _two_turns(lang: str) -> list[Instruction]:
  return [
      Instruction(
          id=row.id, lang=lang,
          messages=tuple(Message("user", p) for p in row.prompts),
          response=row.responses[-1],
          extra={"reference": list(row.responses)},
      )
      for row in parallel.two_turns(lang)
  ]
