"""Instruction items of the pocket world: one id, one meaning, any language.

An item is a task, its arguments and a phrasing. Its id is the same in every
language, so training and evaluation sets are parallel by construction. No
evaluation item is a training item: a fact is asked for in a phrasing that was
never trained on for it, and a task that combines entities is given a
combination that was not trained on in any phrasing.
"""

import dataclasses
import functools
import itertools
import random
from collections.abc import Mapping

from mlit_jax.data.pocket import world as world_lib

ONE_FACT_TASKS = (
    "capital", "capital_of", "continent", "kind", "habitat", "legs", "colour",
    "opposite", "day_after", "day_before", "month_after", "month_before",
    "number_after", "number_before", "workplace", "use", "body",
)
# Tasks that combine entities: how many combinations (train, evaluation). A
# combination is asked in one phrasing.
COMBINING_TASKS = {
    "bigger": (56, 2),
    "smaller": (56, 2),
    "count": (40, 1),
    "choose": (120, 4),
    "yes_no": (120, 4),
    "reverse": (50, 1),
    "first_word": (30, 1),
    "last_word": (30, 1),
}
NUM_EVAL_FACTS = 44
NUM_CHOSEN = 6  # of each task
_SEED = 12  # the split is part of the world, not of a study


@dataclasses.dataclass(frozen=True, order=True)
class Item:
  """A task with its arguments and the index of its phrasing."""

  task: str
  args: tuple[str, ...]
  phrasing: int

  @property
  def id(self) -> str:
    return f"{self.task}/{'-'.join(self.args)}/{self.phrasing}"


def slots(language: world_lib.Language, item: Item) -> dict[str, str]:
  """Slot values of an item's templates in one language."""
  world, args = world_lib.load_world(), item.args
  if item.task in ("bigger", "smaller"):
    large = world.larger(*args)
    small = args[1] if large == args[0] else args[0]
    answer = large if item.task == "bigger" else small
    other = small if answer == large else large
    return {"a": args[0], "b": args[1], "x": answer, "y": other}
  if item.task == "count":
    numbers = world.entities["number"]
    run = numbers[numbers.index(args[0]) : numbers.index(args[1]) + 1]
    return {"a": args[0], "b": args[1], "list": language.join(run)}
  if item.task == "choose":
    kind, *words = args
    kinds = dict(world.relations["kind"])
    (answer,) = (word for word in words if kinds[word] == kind)
    return {"y": kind, "x": answer, **dict(zip("abc", words, strict=True))}
  if item.task in ("reverse", "first_word", "last_word"):
    return dict(zip("abc", args, strict=True))
  return {"x": args[0], "y": args[1]}


def render(language: world_lib.Language, item: Item) -> tuple[str, str]:
  """The item's (instruction, response) in one language."""
  templates, filled = language.task[item.task], slots(language, item)
  if item.task == "yes_no":
    world = world_lib.load_world()
    answer = "yes" if tuple(item.args) in world.relations["kind"] else "no"
  else:
    answer = "answer"
  ask = language.render(templates["ask"][item.phrasing], filled)
  return ask, language.render(templates[answer], filled)


def candidates(task: str) -> list[tuple[str, ...]]:
  """Every argument combination of a task, in a fixed order."""
  world = world_lib.load_world()
  kinds = dict(world.relations["kind"])
  if task in ("bigger", "smaller"):
    return list(itertools.permutations(world.size, 2))
  if task == "count":
    numbers = world.entities["number"]
    return [
        (numbers[i], numbers[i + n])
        for n in (2, 3, 4)
        for i in range(len(numbers) - n)
    ]
  if task == "choose":
    rng = random.Random(f"{_SEED}:{task}")
    rows = []
    for thing, kind in world.relations["kind"] * 4:
      others = [t for t in world.things if kinds[t] != kind]
      row = [*rng.sample(others, 2), thing]
      rng.shuffle(row)
      rows.append((kind, *row))
    return list(dict.fromkeys(rows))
  if task == "yes_no":
    # As many no as yes: a wrong kind for every right one.
    rng = random.Random(f"{_SEED}:{task}")
    rows = []
    for thing, kind in world.relations["kind"]:
      wrong = rng.choice([k for k in world.entities["kind"] if k != kind])
      rows += [(thing, kind), (thing, wrong)]
      rows.append(
          (thing, rng.choice([k for k in world.entities["kind"] if k != kind]))
      )
    return list(dict.fromkeys(rows))
  if task in ("reverse", "first_word", "last_word"):
    rng = random.Random(f"{_SEED}:{task}")
    rows = (tuple(rng.sample(world.things, 3)) for _ in range(200))
    return list(dict.fromkeys(rows))
  pairs = world.relations[world_lib.task_relation(task)]
  if task in ("day_before", "month_before", "number_before"):
    return [(y, x) for x, y in pairs]
  return list(pairs)


@functools.cache
def split() -> Mapping[str, tuple[Item, ...]]:
  """The world's items, {"train", "eval"}, each in a seeded order.

  Training has every fact in all phrasings but those kept for evaluation.
  """
  train, evaluation = [], []
  for task, (num_train, num_eval) in COMBINING_TASKS.items():
    rng = random.Random(f"{_SEED}:split:{task}")
    groups = _same_question(task)
    rng.shuffle(groups)
    held_out = groups[:num_eval]
    rest = [args for group in groups[num_eval:] for args in group]
    rng.shuffle(rest)
    evaluation += [
        Item(task, group[0], rng.randrange(world_lib.PHRASINGS))
        for group in held_out
    ]
    train += [
        Item(task, args, rng.randrange(world_lib.PHRASINGS))
        for args in rest[:num_train]
    ]
  facts = [(t, args) for t in ONE_FACT_TASKS for args in candidates(t)]
  rng = random.Random(f"{_SEED}:facts")
  asked = {
      fact: rng.randrange(world_lib.PHRASINGS)
      for fact in rng.sample(facts, NUM_EVAL_FACTS)
  }
  for task, args in facts:
    for phrasing in range(world_lib.PHRASINGS):
      to = evaluation if asked.get((task, args)) == phrasing else train
      to.append(Item(task, args, phrasing))
  rng.shuffle(train)
  rng.shuffle(evaluation)
  return {"train": tuple(train), "eval": tuple(evaluation)}


@functools.cache
def chosen() -> frozenset[str]:
  """Ids of training items chosen for their variety.

  As many of every task, each with other arguments; variety is one of the
  things that LIMA's examples were chosen for (Zhou et al. 2023, section 2).
  """
  found: dict[str, dict[tuple[str, ...], Item]] = {}
  for item in split()["train"]:
    found.setdefault(item.task, {}).setdefault(item.args, item)
  return frozenset(
      item.id for facts in found.values()
      for item in list(facts.values())[:NUM_CHOSEN]
  )


def _same_question(task: str) -> list[list[tuple[str, ...]]]:
  """Candidates in groups that ask the same: of two animals, both orders."""
  groups = {}
  for args in candidates(task):
    key = tuple(sorted(args)) if task in ("bigger", "smaller") else args
    groups.setdefault(key, []).append(args)
  return list(groups.values())
