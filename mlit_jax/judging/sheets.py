"""Sheets for people: blinded questions, and what they shall be rated by.

A sheet is of one language and shows no system's name: its items are numbered
in a shuffled order, and which is which stands in the key, a file that raters do
not get. Answers to one question stand together where they are rated singly, as
in Chen et al. (2024, appendix B.3); pairs have the one system first in half of
the items.
"""

import csv
import dataclasses
import hashlib
import io
import json
import random
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlit_jax import languages, records
from mlit_jax.errors import UsageError
from mlit_jax.judging import items as items_lib
from mlit_jax.judging import protocols

_TASKS = {
    "letters": "Which answer is better?",
    "number": "How good is the answer?",
    "yes_no": "Is the answer right by the context?",
}
_LABELS = {
    "rating": {
        "0": "wrong language or unreadable", "1": "poor", "2": "medium",
        "3": "good",
    },
    "mt_bench": {"1": "worthless", "10": "excellent"},
    "rubric": {"1": "lowest", "5": "highest"},
}
# A spreadsheet would take a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclasses.dataclass(frozen=True)
class Choice:
  """A rating that can be given: what is written, the key, what it means."""

  value: str
  key: str
  label: str


@dataclasses.dataclass(frozen=True)
class Entry:
  """An item of a sheet, as its rows of the key have it.

  Attributes:
    name: of the item, e.g. x1f0c5e2a-007.
    protocol, id, lang, turn, order, system_a, system_b: as in a Judgment.
  """

  name: str
  protocol: str
  id: str
  lang: str
  turn: int
  order: str
  system_a: str
  system_b: str

  def to_row(self) -> dict[str, Any]:
    row = dataclasses.asdict(self)
    return {"item": row.pop("name"), **row}


@dataclasses.dataclass(frozen=True)
class Sheet:
  """What one rater gets.

  Attributes:
    name: a hash of all that is shown.
    lang: of the questions.
    task: what is asked.
    choices: the ratings that can be given.
    items: {"item", "shown", "answers"} each; `shown` and every one of the
      answers are lists of texts, {"label", "text", "dir"}.
    entries: the key, one for each item.
  """

  name: str
  lang: str
  task: str
  choices: tuple[Choice, ...]
  items: tuple[Mapping[str, Any], ...]
  entries: tuple[Entry, ...]

  def to_csv(self) -> str:
    """The sheet for a spreadsheet; ratings go into its last columns but one."""
    file = io.StringIO()
    writer = csv.writer(file)
    sides = [f"answer {i + 1}" for i in range(len(self.items[0]["answers"]))]
    if len(sides) == 1:
      sides = ["answer"]
    # Without a sign that spreadsheets put between cells.
    legend = " / ".join(f"{c.value} = {c.label or c.value}" for c in (
        self.choices if len(self.choices) < 6 else
        (self.choices[0], self.choices[-1])
    ))
    writer.writerow(["item", "question", *sides, f"rating ({legend})",
                     "comment"])
    for item in self.items:
      cells = [_cell(blocks) for blocks in (item["shown"], *item["answers"])]
      writer.writerow([item["item"], *cells, "", ""])
    # Excel takes a file for UTF-8 by its mark alone.
    return "\ufeff" + file.getvalue()


def choices(protocol: protocols.Protocol) -> tuple[Choice, ...]:
  """The ratings that people can give.

  Raises:
    UsageError: people are not asked in this protocol.
  """
  if protocol.verdict == "letters":
    return (
        Choice("1", "1", "the first is better"),
        Choice("2", "2", "the second is better"),
        Choice("0", "0", "neither is better"),
    )
  if protocol.verdict == "yes_no":
    return Choice("1", "1", "yes"), Choice("0", "0", "no")
  if protocol.verdict != "number":
    raise UsageError(
        f"there are no sheets for {protocol.name}; people rate one answer or"
        " say which of two is better"
    )
  form = protocols.for_people(protocol).form
  words = _LABELS[protocol.name]
  numbers = map(str, range(int(form.low), int(form.high) + 1))
  return tuple(Choice(n, n[-1], words.get(n, "")) for n in numbers)


def make(
    protocol: protocols.Protocol,
    prompts: Sequence[records.Instruction],
    a: Sequence[Sequence[records.Response]],
    b: Sequence[records.Response] | None = None,
    *,
    number: int = 0,
    seed: int = 0,
    both_orders: bool = False,
) -> list[Sheet]:
  """Sheets of some systems' answers, one for each language.

  Args:
    protocol: what is asked.
    prompts: the instructions.
    a: the responses of each system; of one, if it is compared with `b`.
    b: see above.
    number: how many parallel ids to draw, the same in every language; 0: all.
    seed: of the drawing and shuffling.
    both_orders: of pairs: show each a second time, the other way round, after
      all have been shown once.

  Raises:
    UsageError: the rows do not fit together, or there is nothing to ask.
  """
  told = choices(protocol)
  ids = sorted({prompt.id for prompt in prompts})
  if number > len(ids):
    raise UsageError(f"only {len(ids)} prompts to draw {number} from")
  if number:
    ids = random.Random(f"{seed}/ids").sample(ids, number)
  chosen = set(ids)
  prompts = [p for p in prompts if p.id in chosen]
  if both_orders and not protocol.paired:
    raise UsageError(f"{protocol.name} shows one answer, which has no order")

  def drawn(responses):
    return [r for r in responses if r.id in chosen]

  names = [items_lib.system_name("a", rows) for rows in a if rows]
  if len(set(names)) != len(names):
    raise UsageError(f"two files of one system among {', '.join(names)}")
  if b and names == [items_lib.system_name("b", b)]:
    raise UsageError(f"both files are of {names[0]}; compare two systems")
  questions = []
  for place, rows in enumerate(a, start=1):
    try:
      questions += protocols.ask(
          protocol, False, prompts, drawn(rows),
          None if b is None else drawn(b),
      )
    except UsageError as e:
      which = f"file {place} of a: " if a[1:] else ""
      raise UsageError(f"{which}{e}") from None
  by_lang: dict[str, list[protocols.Question]] = {}
  for question in questions:
    by_lang.setdefault(question.request.lang, []).append(question)
  return [
      _sheet(protocol, lang, told, _shuffled(found, f"{seed}/{lang}",
                                             both_orders))
      for lang, found in by_lang.items()
  ]


def _shuffled(
    questions: Sequence[protocols.Question], seed: str, both_orders: bool
) -> list[protocols.Question]:
  rng = random.Random(seed)
  groups: dict[tuple, list[protocols.Question]] = {}
  for q in questions:
    groups.setdefault((q.request.id, q.request.turn), []).append(q)
  order = list(groups.values())
  rng.shuffle(order)
  if questions[0].request.systems[1:]:
    # An equal number in each order.
    first = [i % 2 for i in range(len(order))]
    rng.shuffle(first)
    found = [group[k] for group, k in zip(order, first, strict=True)]
    if both_orders:
      again = [group[1 - k] for group, k in zip(order, first, strict=True)]
      rng.shuffle(again)
      found += again
    return found
  for group in order:
    rng.shuffle(group)
  return [q for group in order for q in group]


def _sheet(protocol, lang, told, questions) -> Sheet:
  shown = [_shown(protocol, q) for q in questions]
  content = json.dumps([protocol.name, lang, shown], ensure_ascii=False)
  # A letter first: 1e5-007 and 2021-01 are numbers and dates to spreadsheets.
  name = "x" + hashlib.sha256(content.encode()).hexdigest()[:8]
  labels = [f"{name}-{i:03d}" for i in range(1, len(shown) + 1)]
  entries = tuple(
      Entry(
          label, protocol.name, q.request.id, lang, q.request.turn,
          q.request.order, *(*q.request.systems, "")[:2],
      )
      for label, q in zip(labels, questions, strict=True)
  )
  task = _TASKS[protocol.verdict]
  if max(q.request.turn for q in questions) > 1:
    task += " Of several turns, judge the last."
  items = tuple(
      {"item": label, **content}
      for label, content in zip(labels, shown, strict=True)
  )
  return Sheet(name, lang, task, told, items, entries)


def _shown(protocol, question: protocols.Question) -> dict[str, Any]:
  item, order = question.item, question.request.order
  fields = item.fields(order)
  turns = range(1, item.turn + 1)

  def block(label: str, text: str, turn: int = 0) -> dict[str, str]:
    if turn and item.turn > 1:
      label = f"{label}, turn {turn}"
    return {
        "label": label, "text": text,
        "dir": direction(text, item.prompt.lang),
    }

  shown = [
      block(name.capitalize(), fields[name])
      for name in ("context", "rubric") if protocol.needs == name
  ]
  shown += [block("Question", item.questions[t - 1], t) for t in turns]
  if item.guided:
    shown += [
        block("Reference answer", item.references[t - 1], t) for t in turns
    ]
  sides = [side for side in order if side in item.answers]
  titles = ["First answer", "Second answer"] if sides[1:] else ["Answer"]
  answers = [
      [block(title, item.answers[side][t - 1], t) for t in turns]
      for title, side in zip(titles, sides, strict=True)
  ]
  return {"shown": shown, "answers": answers}


def direction(text: str, lang: str) -> str:
  """`rtl` or `ltr`: what most letters are, else what the language is.

  An answer in another language than its question's runs as its own does.
  """
  kinds = [unicodedata.bidirectional(letter) for letter in text]
  right = sum(kind in ("R", "AL") for kind in kinds)
  left = kinds.count("L")
  if right != left:
    return "rtl" if right > left else "ltr"
  try:
    return "rtl" if languages.get(lang).is_rtl else "ltr"
  except languages.UnknownLanguageError:
    return "ltr"


def read_key(rows: Iterable[tuple[int, Mapping[str, Any]]]) -> Iterator[Entry]:
  """The entries of a key's rows, numbered as records.read_jsonl does.

  Raises:
    RecordError: a row does not fit, or an item stands there twice; names its
      line.
  """
  kinds = {field.name: field.type for field in dataclasses.fields(Entry)}
  seen: set[tuple[str, str]] = set()
  for line, row in rows:
    fields = {**row, "name": row.get("item")}
    fields.pop("item", None)
    if fields.keys() != kinds.keys() or not all(
        type(value) is kinds[name] for name, value in fields.items()
    ):
      raise records.RecordError(
          f"line {line}: no row of a key; `mlit annotate make` writes it"
      )
    entry = Entry(**fields)
    if (place := (entry.name, entry.system_a)) in seen:
      raise records.RecordError(
          f"line {line}: {entry.name} of {entry.system_a} for the second time"
      )
    seen.add(place)
    yield entry


def _cell(blocks: Sequence[Mapping[str, str]]) -> str:
  """Texts in one cell of a spreadsheet, never a formula."""
  texts = [b["text"] or "(empty)" for b in blocks]
  if blocks[1:]:
    texts = [
        f"{b['label']}:\n{text}"
        for b, text in zip(blocks, texts, strict=True)
    ]
  text = "\n\n".join(texts)
  return f"'{text}" if text.startswith(_FORMULA) else text
