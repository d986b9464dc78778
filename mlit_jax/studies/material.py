"""What a study's models learn from and are asked: by name, from anywhere.

The pocket world's material has names of its own (POCKET); any other name is
one of the config's `sources`, READER:PATH as `mlit data build` takes it.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence

from mlit_jax.data import sources
from mlit_jax.data.pocket import items, parallel, world
from mlit_jax.data.sources import translation
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction, Message

POCKET, INTO, OUT_OF = "pocket", "into", "out-of"
READING, TWO_TURNS = "reading", "two-turns"
ENDINGS, ANSWERS = CHOICES = ("endings", "answers")
_HELD_OUT = 60  # sentences to translate
Rows = Mapping[tuple[str, str], Instruction]


def is_pocket(name: str) -> bool:
  """Whether the pocket world has it."""
  return name in (POCKET, INTO, OUT_OF, READING, TWO_TURNS)


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
    name: `pocket`; `into` and `out-of`, translation instructions between
      English and each language (by the foreign language); or one of `given`.
    languages: which.
    given: source -> READER:PATH.
  """
  if name == POCKET:
    return sources.pocket_instructions(languages, "train")
  if name in (INTO, OUT_OF):
    return {
        (row.id, lang): row
        for lang in languages
        for row in _translation(name, lang, held_out=False)
    }
  return _given(name, languages, given)


@dataclasses.dataclass(frozen=True)
class Choice:
  """A beginning and its endings, one of them right.

  Attributes:
    context: what the endings follow.
    endings: as they are put behind it.
    right: which of them is right.
    asked: whether the context is a question, to be put in a template.
  """

  id: str
  lang: str
  context: str
  endings: tuple[str, ...]
  right: int
  asked: bool = False


def choices(name: str, languages: Sequence[str]) -> list[Choice]:
  """Multiple choice in the pocket world.

  Args:
    name: `endings`: hand-written beginnings with two endings; `answers`:
      the unseen questions about a fact, each with the right answer and with a
      wrong one.
    languages: which.
  """
  make = {ENDINGS: _endings, ANSWERS: _answers}[name]
  return [row for lang in languages for row in make(lang)]


def prompts(
    name: str, languages: Sequence[str], given: Mapping[str, str]
) -> list[Instruction]:
  """What models are asked, with references where there are any.

  Args:
    name: `pocket`: unseen questions; `reading`: a context and a question;
      `into`, `out-of`: unseen sentences to translate; `two-turns`: two turns
      of a user; or one of `given`.
    languages: which.
    given: source -> READER:PATH.
  """
  if name == POCKET:
    return list(sources.pocket_instructions(languages, "eval").values())
  if name in (INTO, OUT_OF):
    return [
        row for lang in languages
        for row in _translation(name, lang, held_out=True)
    ]
  if name in (READING, TWO_TURNS):
    make = {READING: _reading, TWO_TURNS: _two_turns}[name]
    return [row for lang in languages for row in make(lang)]
  return list(_given(name, languages, given).values())


def digest(names: Sequence[str], given: Mapping[str, str]) -> str:
  """Changes when the pocket world or a given source's address does."""
  text = "\0".join(f"{n}={given.get(n, '')}" for n in sorted(names))
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _given(name, languages, given) -> dict[tuple[str, str], Instruction]:
  check(name, given)
  reader, colon, path = given[name].partition(":")
  if not colon:
    raise UsageError(
        f"study.sources.{name}={given[name]!r}: write READER:PATH"
    )
  rows = sources.open_source(reader, path, languages=languages)
  return {(row.id, row.lang): row for row in rows}


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
          0 if _even(row.id) else 1,
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
            asked=True,
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
