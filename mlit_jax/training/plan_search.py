"""The smallest change of a run that fits: every candidate really compiled."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from mlit_jax import partitioning
from mlit_jax.training import plan as plan_lib
from mlit_jax.training import setup
from mlit_jax.training.accelerators import Slices
from mlit_jax.training.config import MeshConfig, Run
from mlit_jax.training.plan import Plan

# Least computation first, of those that drop anything.
_REMAT = ("dots", "context", "full")


class Candidate(NamedTuple):
  """A run to be tried.

  Attributes:
    flags: what to add to the command; empty: nothing.
    run: what the flags make of it.
  """

  flags: tuple[str, ...]
  run: Run


def search(
    run: Run,
    slices: Slices,
    *,
    make_plan: Callable[[Run, Slices], Plan] = plan_lib.make,
    show: Callable[[str], None] = lambda text: None,
) -> tuple[tuple[str, ...], Plan] | None:
  """The flags of the smallest change that fits, and its plan.

  One setting is changed before several, and settings before the chips. Of one
  setting the mildest value that fits is taken. Where all settings together do
  not fit, none does alone; where a setting's strongest value does not, its
  milder ones do not: they are not tried.

  Args:
    run: what does not fit.
    slices: on which chips.
    make_plan: `plan.make`.
    show: called with what is tried, and what became of it.

  Returns:
    None if nothing fits, up to the largest slice.
  """
  here, moved = slices, ()

  def attempt(candidate: Candidate) -> Plan | None:
    name = " ".join(moved + candidate.flags)
    try:
      if _state_bytes(candidate.run, here) > here.chip.memory:
        show(f"{name}: does not fit, the training state alone is too large")
        return None
      show(f"{name}: compiling")
      found = make_plan(candidate.run, here)
    except partitioning.PartitionError as e:
      show(f"{name}: {e}")
      return None
    show(f"{name}: {'fits' if found.fits else 'does not fit'}")
    return found if found.fits else None

  while True:
    everything = _everything(run, here)
    strongest = attempt(everything) if everything.flags else None
    if strongest is not None:
      for setting in _SETTINGS:
        values = setting(run, here)
        if not values or (best := attempt(values[-1])) is None:
          continue
        for milder in values[:-1]:
          if (found := attempt(milder)) is not None:
            return moved + milder.flags, found
        return moved + values[-1].flags, best
      return moved + everything.flags, strongest
    if (here := here.larger()) is None:
      return None
    moved = (f"--topology {here.name}",)
    if (found := attempt(Candidate((), run))) is not None:
      return moved, found


def _state_bytes(run: Run, slices: Slices) -> int:
  """Of the training state, on a chip."""
  state = plan_lib.step_on(run, slices)[0].abstract_state()
  return sum(row.bytes_per_device for row in partitioning.layout(state))


def _everything(run: Run, slices: Slices) -> Candidate:
  """Every setting at its strongest."""
  flags = ()
  for setting in _SETTINGS:
    if values := setting(run, slices):
      flags, run = flags + values[-1].flags, values[-1].run
  return Candidate(flags, run)


# Each setting's values that take less memory than the run's, mildest first.


def _loss(run: Run, slices: Slices) -> list[Candidate]:
  del slices
  if run.train.loss == "chunked":
    return []
  return [_train(run, "loss", "chunked")]


def _remat(run: Run, slices: Slices) -> list[Candidate]:
  del slices
  now = run.train.remat
  if now == "offload":
    return [_train(run, "remat", "full")]
  weaker = _REMAT[_REMAT.index(now) + 1 :] if now in _REMAT else _REMAT
  return [_train(run, "remat", policy) for policy in weaker]


def _accumulation(run: Run, slices: Slices) -> list[Candidate]:
  rows, now = run.train.batch_size, run.train.accumulation
  # A part of the batch has a row for each chip, or several.
  return [
      _train(run, "accumulation", number)
      for number in range(now + 1, rows // slices.num_chips + 1)
      if rows % (number * slices.num_chips) == 0
  ]


def _mesh(run: Run, slices: Slices) -> list[Candidate]:
  shape = setup.model(run)
  preset = "expert" if getattr(shape, "num_experts", 0) else "fsdp"
  changed = dataclasses.replace(run, mesh=MeshConfig(preset))
  try:
    now, new = (
        setup.mesh(r, shape, slices.devices())[0].shape for r in (run, changed)
    )
  except partitioning.PartitionError:
    return []
  if now == new:
    return []
  return [Candidate((f"--config.mesh.preset={preset}",), changed)]


_SETTINGS = (_loss, _remat, _accumulation, _mesh)


def _train(run: Run, name: str, value) -> Candidate:
  train = dataclasses.replace(run.train, **{name: value})
  return Candidate(
      (f"--config.train.{name}={value}",),
      dataclasses.replace(run, train=train),
  )
