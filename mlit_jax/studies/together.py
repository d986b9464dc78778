"""LoRA runs that share a base become one training step and one of decoding.

Runs of one base, one section of options and as many examples are adapters of
one program (training/step.py), and what they are asked alike they answer in
one program, too (decoding/adapters.py). Each keeps its own step, which takes
its adapter or its answers out: whatever reads them knows nothing of the others.
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence

from mlit_jax.data import recipe_spec
from mlit_jax.data.counts import RecipeError
from mlit_jax.studies import work
from mlit_jax.studies.study import Step

MODEL, DECODE = "model-", "decode-"
ADAPTERS, ANSWERS = "adapters-", "answers-"  # the steps that are shared


def join(graph: Sequence[Step]) -> list[Step]:
  """The graph with runs joined as far as `rows_together` allows.

  Args:
    graph: each step after those it needs.
  """
  steps = {step.name: step for step in graph}
  before = _trained_before(graph)
  groups: dict[str, list[Step]] = {}
  for step in graph:
    if (key := _kind(step, steps, before)) is not None:
      groups.setdefault(key, []).append(step)
  for group in groups.values():
    for members in _parts(group):
      steps |= _train(members)
      names = [m.name for m in members]
      asked: dict[str, list[Step]] = {}
      for step in graph:
        if _does(step, work.decode) and step.needs[0] in names:
          asked.setdefault(_text(step.params), []).append(step)
      for alike in asked.values():
        if len(alike) > 1:
          steps |= _decode(alike)
  return _in_order(steps)


def _does(step: Step, function) -> bool:
  """Whether a step is a call of one of work.py's."""
  return getattr(step.work, "func", None) is function


def _kind(step: Step, steps: Mapping[str, Step], before) -> str | None:
  """Runs of one kind can be joined; None: this one trains by itself."""
  if not _does(step, work.train):
    return None
  options = step.params["options"]
  together = options.get("rows_together", 0) // options["batch_size"]
  if "lora" not in options or together < 2:
    return None
  data, *others = step.needs
  recipe = steps[data].params["recipe"]
  try:
    size = sum(recipe_spec.sizes(recipe))
  except RecipeError:  # known only when it is drawn
    return None
  size += steps[data].params.get("of", 0)
  # One whose data wait for another's answers can never be that one's fellow.
  return _text([step.params, others, size, sorted(before[step.name])])


def _parts(group: Sequence[Step]) -> Iterable[Sequence[Step]]:
  """Parts of nearly one size, none with more rows than allowed."""
  options = group[0].params["options"]
  most = options["rows_together"] // options["batch_size"]
  number = -(-len(group) // most)
  for i in range(number):
    part = group[i * len(group) // number : (i + 1) * len(group) // number]
    if len(part) > 1:
      yield part


def _train(members: Sequence[Step]) -> dict[str, Step]:
  """One step for all, and for each one that takes its adapter out."""
  first = members[0]
  runs = [m.name.removeprefix(MODEL) for m in members]
  data = tuple(m.needs[0] for m in members)
  train = functools.partial(
      first.work, data=dict(zip(runs, data, strict=True))
  )
  shared = Step(
      ADAPTERS + runs[0], train, {"runs": runs, **first.params},
      (*data, *first.needs[1:]),
  )
  return {shared.name: shared} | {
      m.name: _taker(m, shared, run, work.take_adapter)
      for m, run in zip(members, runs, strict=True)
  }


def _decode(members: Sequence[Step]) -> dict[str, Step]:
  """One step for all, and for each one that takes its answers out."""
  first = members[0]
  systems = [m.work.keywords["systems"][0] for m in members]
  shared = Step(
      ANSWERS + first.name.removeprefix(DECODE),
      functools.partial(first.work, systems=systems),
      {"systems": systems, **first.params},
      tuple(m.needs[0] for m in members),
  )
  return {shared.name: shared} | {
      m.name: _taker(m, shared, system, work.take_answers)
      for m, system in zip(members, systems, strict=True)
  }


def _taker(step: Step, shared: Step, name: str, take) -> Step:
  return dataclasses.replace(
      step, work=functools.partial(take, shared=shared.name, name=name),
      params={"taken_from": shared.name}, needs=(shared.name,),
  )


def _trained_before(graph: Sequence[Step]) -> dict[str, frozenset[str]]:
  """Step -> every training that it waits for, however far off."""
  found: dict[str, frozenset[str]] = {}
  for step in graph:
    every = set()
    for need in step.needs:
      every |= found[need] | ({need} if need.startswith(MODEL) else set())
    found[step.name] = frozenset(every)
  return found


def _in_order(steps: Mapping[str, Step]) -> list[Step]:
  """Each after those it needs, and else as they stand."""
  found: dict[str, Step] = {}

  def add(name: str) -> None:
    if name not in found:
      for need in steps[name].needs:
        add(need)
      found[name] = steps[name]

  for name in steps:
    add(name)
  return list(found.values())


def _text(value) -> str:
  return json.dumps(value, sort_keys=True)
