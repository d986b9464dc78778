"""Which slice trains which of a study's models."""

from collections.abc import Mapping, Sequence

from mlit_jax.errors import UsageError
from mlit_jax.studies import together
from mlit_jax.studies.study import Step

PREFIX, SHARED = "model-", together.ADAPTERS


def training_runs(steps: Sequence[Step]) -> list[str]:
  """The systems whose training can be shared out, in the graph's order.

  A step that everything waits for (`alone`: a base's pre-training) is none of
  them: it has to be done first, once.
  """
  return [
      step.name.removeprefix(PREFIX)
      for step in steps if step.name.startswith(PREFIX) and not step.alone
  ]


def assign(
    steps: Sequence[Step],
    num_slices: int,
    costs: Mapping[str, float] | None = None,
) -> list[list[str]]:
  """Shares a study's training runs out to slices.

  The dearest run goes first, each to the slice that has least to do (Graham
  1969, *Bounds on multiprocessing timing anomalies*: at most 4/3 of the best
  makespan). It depends on names and costs alone, so that every slice finds its
  own share by itself and finds it again after a restart, whatever is done by
  then. A run that needs another one's model goes where that one goes, after it,
  and adapters that are trained together stay together.

  Args:
    steps: the study's graph, each step after those it needs.
    num_slices: how many.
    costs: run -> cost, in any unit; the same for all by default.

  Returns:
    The runs of every slice in the order in which to do them; every run stands
    once. With more slices than runs, some have none.

  Raises:
    UsageError: no slice, or costs that are not of these runs.
  """
  if num_slices < 1:
    raise UsageError(f"{num_slices} slices: give at least 1")
  runs = training_runs(steps)
  if costs is None:
    costs = dict.fromkeys(runs, 1.0)
  if unlike := sorted(costs.keys() ^ set(runs)):
    raise UsageError(
        f"the costs must name the study's {len(runs)} runs; wrong or missing:"
        f" {', '.join(unlike[:5])}"
    )
  if wrong := sorted(run for run, cost in costs.items() if not cost >= 0):
    raise UsageError(f"the cost of {wrong[0]} is {costs[wrong[0]]}")
  needs = {step.name: step.needs for step in steps}
  groups: dict[str, list[str]] = {}  # first of the name -> runs, in order
  leader: dict[str, str] = {}  # a step that must stay with others -> the first
  for run in runs:
    near = {PREFIX + run}  # and what trains it, if that is shared
    near |= {x for x in needs[PREFIX + run] if x.startswith(SHARED)}
    held = near.union(*(needs[x] for x in near))
    firsts = {leader[x] for x in held if x in leader}
    first = min(firsts, default=run)
    members = [m for f in sorted(firsts) for m in groups.pop(f)] + [run]
    groups[first] = members
    leader |= {x: first for x, old in leader.items() if old in firsts}
    leader |= dict.fromkeys(near, first)
  shares: list[list[str]] = [[] for _ in range(num_slices)]
  loads = [0.0] * num_slices
  totals = {f: sum(costs[m] for m in ms) for f, ms in groups.items()}
  for first in sorted(groups, key=lambda f: (-totals[f], f)):
    index = min(range(num_slices), key=lambda i: (loads[i], i))
    shares[index] += groups[first]
    loads[index] += totals[first]
  return shares
