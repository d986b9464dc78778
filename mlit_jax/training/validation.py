"""Validation: cross-entropy per set, the best parameters, early stop."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlit_jax.training.step import Step, TrainState


@dataclasses.dataclass(frozen=True)
class ValidationSet:
  """What is measured together: a language, say.

  Attributes:
    name: unique.
    batches: can be gone through again and again (data/batches.in_order).
    adapter: which of the K it is for.
  """

  name: str
  batches: Iterable[dict[str, np.ndarray]]
  adapter: int = 0


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
  """When to validate, and when to stop.

  Attributes:
    every: steps between two validations; every adapter's last step has one,
      too. 0: none.
    patience: an adapter stops after so many validations without a new lowest
      loss; 0: it does not stop early.
  """

  every: int = 0
  patience: int = 0


@dataclasses.dataclass(frozen=True)
class Validation:
  """One validation.

  Attributes:
    step: after how many steps.
    losses: name of a set -> nats per loss token.
    means: of each adapter over all loss tokens of its sets.
  """

  step: int
  losses: dict[str, float]
  means: tuple[float, ...]


def validate(
    step: Step, state: TrainState, sets: Sequence[ValidationSet], at: int
) -> Validation:
  """Measures the cross-entropy of all sets, without dropout and z-loss.

  Args:
    step: computes.
    state: whose parameters are measured; stays.
    sets: every adapter has one at least.
    at: number of steps done.
  """
  number = step.config.num_adapters
  totals = []
  for one in sets:
    found = np.zeros(2)
    for batch in one.batches:
      if number > 1:
        ids = np.full(len(batch["inputs"]), one.adapter, np.int32)
        batch = batch | {"adapter_ids": ids}
      loss = step.evaluate(state, step.place(batch))
      # Exact whatever the number of hosts: sums of float64 on the host.
      found += [float(jnp.sum(loss.total)), float(jnp.sum(loss.weight))]
    totals.append(found)
  losses = {
      one.name: _mean(*found) for one, found in zip(sets, totals, strict=True)
  }
  means = []
  for k in range(number):
    own = [t for one, t in zip(sets, totals, strict=True) if one.adapter == k]
    means.append(_mean(*sum(own, np.zeros(2))))
  return Validation(at, losses, tuple(means))


def _mean(total: float, weight: float) -> float:
  return float(total / weight) if weight else math.nan


class Best:
  """The parameters of the lowest validation loss, per adapter."""

  def __init__(self, step: Step, config: ValidationConfig):
    """Nothing is best yet."""
    number = step.config.num_adapters
    self._patience = config.patience
    self._adapted = step.config.lora is not None
    self.values = [math.inf] * number
    self.steps = [0] * number
    self._without = [0] * number
    self.params: Any = None
    self._choose = jax.jit(
        self._chosen, donate_argnums=0,
        out_shardings=jax.tree.map(
            lambda x: x.sharding, step.abstract_state().params
        ),
    )

  def see(self, validation: Validation, state: TrainState) -> None:
    """Keeps a copy of what is better than before."""
    better = []
    for k, value in enumerate(validation.means):
      better.append(value < self.values[k])
      if better[k]:
        self.values[k], self.steps[k] = value, validation.step
        self._without[k] = 0
      elif not self.stopped[k]:
        self._without[k] += 1
    if self.params is None:
      self.params = jax.tree.map(jnp.copy, state.params)
    else:
      self.params = self._choose(self.params, state.params, np.array(better))

  @property
  def stopped(self) -> list[bool]:
    """Which adapters have lost their patience."""
    return [0 < self._patience <= n for n in self._without]

  def get_state(self) -> dict:
    """All but the parameters, as JSON values."""
    return {
        "values": [v if math.isfinite(v) else None for v in self.values],
        "steps": self.steps, "without": self._without,
    }

  def set_state(self, state: dict, params: Any) -> None:
    """Goes on from what `get_state` returned."""
    self.values = [math.inf if v is None else v for v in state["values"]]
    self.steps, self._without = list(state["steps"]), list(state["without"])
    self.params = params

  def _chosen(self, best, params, better):
    if not self._adapted:
      return jax.tree.map(lambda b, p: jnp.where(better[0], p, b), best, params)

    def one(b, p):
      mask = better.reshape(1, -1, *(1,) * (b.ndim - 2))
      return jnp.where(mask, p, b)

    return jax.tree.map(one, best, params)
