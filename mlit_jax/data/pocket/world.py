"""The pocket world: its facts, and the language files that put them in words.

`world.toml` names what exists and what is true; `languages/<code>.toml` gives
every entity its surface forms, stored whole, and every fact and instruction
its sentences. A template's slot `{x.nom}` is the form `nom` of the entity in
slot `x`: nothing is ever inflected by code, so a sentence is right if its
template and its forms are.
"""

import dataclasses
import functools
import hashlib
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources

SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
PHRASINGS = 3

# Every member is followed by the next, the last one by the first.
_CYCLES = {"day_after": "day", "month_after": "month"}
_INVERSE_TASKS = {
    "capital_of": "capital",
    "day_before": "day_after",
    "month_before": "month_after",
    "number_before": "number_after",
}
# What a second turn asks: which entity it goes on from, and its relation to z.
_SECOND_TURNS = {
    "capital": ("x", "continent"),
    "day_after": ("y", "day_after"),
    "month_after": ("y", "month_after"),
    "number_after": ("y", "number_after"),
}


class PocketError(ValueError):
  """A language file that does not fit the world; names the file and entry."""


@dataclasses.dataclass(frozen=True)
class World:
  """What exists and what is true.

  Attributes:
    entities: category -> entity ids, in their natural order.
    category: entity id -> category.
    relations: relation -> pairs (x, y), e.g. capital -> (france, paris).
    size: animals from the smallest to the largest.
  """

  entities: Mapping[str, tuple[str, ...]]
  category: Mapping[str, str]
  relations: Mapping[str, tuple[tuple[str, str], ...]]
  size: tuple[str, ...]

  @property
  def things(self) -> tuple[str, ...]:
    """Every entity that is of some kind (a dog is a mammal)."""
    return tuple(x for x, _ in self.relations["kind"])

  def larger(self, a: str, b: str) -> str:
    return max(a, b, key=self.size.index)


@functools.cache
def load_world() -> World:
  """Reads world.toml and completes the relations that follow from order."""
  table = tomllib.loads(_read("world.toml"))
  entities = {c: tuple(v.split()) for c, v in table["entities"].items()}
  category = {e: c for c, members in entities.items() for e in members}
  relations = {
      name: tuple(tuple(pair.split(":")) for pair in pairs.split())
      for name, pairs in table["relations"].items()
  }
  relations["opposite"] += tuple((y, x) for x, y in relations["opposite"])
  relations["kind"] = tuple(
      (member, kind)
      for members, kind in table["kinds"].items()
      for member in entities[members]
  )
  for relation, members in _CYCLES.items():
    days = entities[members]
    relations[relation] = tuple(zip(days, days[1:] + days[:1], strict=True))
  numbers = entities["number"]
  relations["number_after"] = tuple(itertools.pairwise(numbers))
  return World(
      entities, category, relations, tuple(table["order"]["size"].split())
  )


@dataclasses.dataclass(frozen=True)
class Language:
  """One language file: forms, templates and the hand-written material."""

  code: str
  separator: str
  forms: Mapping[str, Mapping[str, str]]
  fact: Mapping[str, list[str]]
  task: Mapping[str, Mapping]
  two_turn: Mapping[str, Mapping[str, str]]
  choice: Mapping[str, Mapping[str, str]]
  free: Mapping[str, Mapping[str, str]]

  @property
  def space(self) -> str:
    """What stands between two sentences or words."""
    return "" if self.code == "zh" else " "

  def form(self, entity: str, form: str) -> str:
    """The stored form, or PocketError naming the entity that lacks it."""
    try:
      return self.forms[entity][form]
    except KeyError:
      raise PocketError(
          f"languages/{self.code}.toml: {entity!r} has no form {form!r}; add"
          " it to the entity's entry or use another form in the template"
      ) from None

  def render(self, template: str, slots: Mapping[str, str]) -> str:
    """Fills a template.

    Args:
      template: text with slots `{x.nom}`; a slot without a form (`{list}`) is
        replaced by the slot's value as it stands.
      slots: slot name -> entity id (or the value of a formless slot).

    Returns:
      The sentence, its first letter in upper case where the script has case.
    """

    def fill(match: re.Match) -> str:
      slot, form = match.groups()
      if slot not in slots:
        raise PocketError(
            f"languages/{self.code}.toml: unknown slot {{{slot}}} in"
            f" {template!r}; this template has {sorted(slots)}"
        )
      return slots[slot] if form is None else self.form(slots[slot], form)

    return capitalise(SLOT.sub(fill, template))

  def join(self, entities: tuple[str, ...]) -> str:
    """The base forms in a row, e.g. "three, four, five"."""
    return self.separator.join(self.form(e, "nom") for e in entities)


def capitalise(text: str) -> str:
  """Upper-cases the first letter; leading quotes and ¿ ¡ are stepped over."""
  for i, char in enumerate(text):
    if char.isalnum():
      return text[:i] + char.upper() + text[i + 1 :]
  return text


@functools.cache
def load_language(code: str) -> Language:
  """Reads languages/<code>.toml.

  Raises:
    PocketError: the world has no such language, or the file is incomplete.
  """
  if code not in language_codes():
    raise PocketError(
        f"the pocket world has no language {code!r}; it has"
        f" {' '.join(language_codes())}"
    )
  return parse_language(code, _read(f"languages/{code}.toml"))


def parse_language(code: str, text: str) -> Language:
  """Reads the text of a language file.

  Raises:
    PocketError: it is not TOML, or lacks a section.
  """
  try:
    table = tomllib.loads(text)
    groups = table["entity"].values()
    return Language(
        code=table["language"],
        separator=table["separator"],
        forms={e: forms for group in groups for e, forms in group.items()},
        **{k: table[k] for k in ("fact", "task", "two_turn", "choice", "free")},
    )
  except tomllib.TOMLDecodeError as e:
    raise PocketError(f"languages/{code}.toml: not TOML: {e}") from None
  except KeyError as e:
    raise PocketError(f"languages/{code}.toml: has no {e}; add it") from None


@functools.cache
def language_codes() -> tuple[str, ...]:
  """The languages the world speaks, in alphabetical order of their codes."""
  folder = resources.files(__package__) / "languages"
  names = [f.name for f in folder.iterdir() if f.name.endswith(".toml")]
  return tuple(sorted(name.removesuffix(".toml") for name in names))


def statement_slots(relation: str) -> Iterator[dict[str, str]]:
  """The slots of every true statement of a relation."""
  world = load_world()
  if relation == "bigger":
    for i, small in enumerate(world.size):
      for large in world.size[i + 1 :]:
        yield {"x": large, "y": small}
  elif relation != "count":
    for x, y in world.relations[relation]:
      yield {"x": x, "y": y}


def two_turn_slots(task: str) -> Iterator[dict[str, str]]:
  """The slots of every two-turn item: z answers the second question.

  A country that lies on two continents and a number without a next one have
  no second question.
  """
  world = load_world()
  start, relation = _SECOND_TURNS[task]
  following = dict(world.relations[relation])
  for x, y in world.relations[task]:
    if z := following.get({"x": x, "y": y}[start]):
      yield {"x": x, "y": y, "z": z}


def task_relation(task: str) -> str:
  """The relation whose facts a one-fact task asks for."""
  return _INVERSE_TASKS.get(task, task)


def digest(codes: Iterable[str]) -> str:
  """SHA-256 of the world and of these languages' files."""
  found = hashlib.sha256(_read("world.toml").encode())
  for code in sorted(codes):
    found.update(_read(f"languages/{code}.toml").encode())
  return found.hexdigest()


def _read(name: str) -> str:
  return (resources.files(__package__) / name).read_text(encoding="utf-8")
