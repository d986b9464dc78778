"""The smallest change of a run that fits: every candidate really compiled."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mlit_jax import partitioning
from mlit_jax.training import plan as plan_lib
from mlit_jax.training import setup
from mlit_jax.training.accelerators import Slices
from mlit_jax.training.config import MeshConfig, Run
from mlit_jax.training.plan import Plan

# Least computation first, of those that drop anything.
_REMAT = ("dots", "context", "full")


class Change(NamedTuple):
  """A value of a setting.

  Attributes:
    flags: what to add to the command.
    section: of the run that is changed.
    value: what that section is then, of a run that has it as it was.
  """

  flags: tuple[str, ...]
  section: str
  value: Callable[[Run], object]

  def of(self, run: Run) -> Run:
    return dataclasses.replace(run, **{self.section: self.value(run)})


def search(
    run: Run,
    slices: Slices,
    *,
    make_plan: Callable[[Run, Slices], Plan] = plan_lib.make,
    show: Callable[[str], None] = lambda text: None,
) -> tuple[tuple[str, ...], Plan] | None:
  """The flags of the smallest change that fits, and its plan.

  One setting is changed before several, and settings before the chips. Of one
  setting the mildest value that fits is taken. Of several, which are needed,
  each is left out or made milder as far as it still fits, what costs most time
  first: then none of them can be milder.

  What fits, fits with a stronger value, too: where all settings together do not
  fit, none does alone; where a setting's strongest value does not, its milder
  ones do not.

  Args:
    run: what does not fit.
    slices: on which chips.
    make_plan: `plan.make`.
    show: called with what is tried, and what became of it.

  Returns:
    None if nothing fits, up to the largest slice.
  """
  here: Slices | None = slices
  while here is not None:
    moved = (f"--topology {here.name}",) if here is not slices else ()
    trial = _Trial(run, here, moved, make_plan, show)
    # What is asked for here is known not to fit.
    if moved and (found := trial(())) is not None:
      return moved, found
    if (changes := _smallest(run, here, trial)) is not None:
      flags = [flag for change in changes for flag in change.flags]
      return (*moved, *flags), trial(changes)
    here = here.larger()
  return None


class _Trial:
  """Compiles a run with changes, each once."""

  def __init__(self, run, slices, moved, make_plan, show):
    self._run, self._slices, self._moved = run, slices, moved
    self._make_plan, self._show = make_plan, show
    self._found: dict[tuple, Plan | None] = {}

  def __call__(self, changes: Sequence[Change]) -> Plan | None:
    """The plan, if it fits."""
    flags = tuple(flag for change in changes for flag in change.flags)
    if flags not in self._found:
      run = self._run
      for change in changes:
        run = change.of(run)
      name = " ".join(self._moved + flags)
      self._found[flags] = self._plan(run, name)
    return self._found[flags]

  def _plan(self, run: Run, name: str) -> Plan | None:
    try:
      if _state_bytes(run, self._slices) > self._slices.chip.memory:
        self._show(
            f"{name}: does not fit, the training state alone is too large"
        )
        return None
      self._show(f"{name}: compiling")
      found = self._make_plan(run, self._slices)
    except partitioning.PartitionError as e:
      self._show(f"{name}: {e}")
      return None
    self._show(f"{name}: {'fits' if found.fits else 'does not fit'}")
    return found if found.fits else None


def _smallest(run: Run, slices: Slices, trial: _Trial) -> list[Change] | None:
  """The smallest change on these chips, or None."""
  values = _values(run, slices)
  chosen = [of_one[-1] for of_one in values]
  if not values or trial(chosen) is None:
    return None
  for of_one in values:
    if trial(of_one[-1:]) is not None:
      return [_mildest(of_one, lambda change: trial([change]))]
  for k in reversed(range(len(values))):
    before, after = chosen[:k], chosen[k + 1 :]
    if trial([*before, *after]) is not None:
      chosen, values = [*before, *after], [*values[:k], *values[k + 1 :]]
      continue
    chosen[k] = _mildest(
        values[k],
        lambda change, b=before, a=after: trial([*b, change, *a]),
    )
  return chosen


def _mildest(values: list[Change], fits: Callable) -> Change:
  """The first that fits, where the last one does."""
  low, high = 0, len(values) - 1
  while low < high:
    middle = (low + high) // 2
    if fits(values[middle]) is not None:
      high = middle
    else:
      low = middle + 1
  return values[high]


def _state_bytes(run: Run, slices: Slices) -> int:
  """Of the training state, on a chip."""
  state = plan_lib.step_on(run, slices)[0].abstract_state()
  return sum(row.bytes_per_device for row in partitioning.layout(state))


def _values(run: Run, slices: Slices) -> list[list[Change]]:
  """Each setting's values that take less memory than the run's.

  Settings, and values of each, with what costs least time first.
  """
  mesh = _mesh(run, slices)
  # Parts of a batch must divide over the mesh that is then had, too.
  cut = mesh[-1].of(run) if mesh else run
  found = [_loss(run), _remat(run), _accumulation(run, cut, slices), mesh]
  return [values for values in found if values]


def _loss(run: Run) -> list[Change]:
  return [] if run.train.loss == "chunked" else [_train("loss", "chunked")]


def _remat(run: Run) -> list[Change]:
  now = run.train.remat
  if now == "offload":
    return [_train("remat", "full")]
  weaker = _REMAT[_REMAT.index(now) + 1 :] if now in _REMAT else _REMAT
  return [_train("remat", policy) for policy in weaker]


def _accumulation(run: Run, cut: Run, slices: Slices) -> list[Change]:
  """Parts of a batch, each with a row for all that the mesh cuts it into."""
  shape, devices = setup.model(run), slices.devices()
  try:
    ways = math.lcm(*(
        partitioning.batch_ways(setup.mesh(r, shape, devices)[0])
        for r in (run, cut)
    ))
  except partitioning.PartitionError:
    return []
  size, rows = run.train.batch_size, _rows(run)
  return [
      _train("accumulation", number)
      for number in range(run.train.accumulation + 1, size + 1)
      if size % number == 0 and rows % (number * ways) == 0
  ]


def _mesh(run: Run, slices: Slices) -> list[Change]:
  """Parameters cut along embed, or experts; whatever sizes were given."""
  shape, devices = setup.model(run), slices.devices()
  preset = "expert" if getattr(shape, "num_experts", 0) else "fsdp"
  flags = [f"--config.mesh.{axis}=0" for axis in run.mesh.sizes()]
  change = Change(
      (*flags, f"--config.mesh.preset={preset}"), "mesh",
      lambda run: MeshConfig(preset),
  )
  try:
    now, new = (
        setup.mesh(r, shape, devices)[0] for r in (run, change.of(run))
    )
    partitioning.check_batch(_rows(run) // run.train.accumulation, new)
  except partitioning.PartitionError:
    return []
  return [] if now.shape == new.shape else [change]


def _rows(run: Run) -> int:
  """Of an update; adapters have rows each."""
  return run.train.batch_size * setup.step_config(run).num_adapters


def _train(name: str, value) -> Change:
  return Change(
      (f"--config.train.{name}={value}",), "train",
      lambda run: dataclasses.replace(run.train, **{name: value}),
  )
