"""Steps that go wrong: a loss that is not finite, or jumps."""

import dataclasses
import math

import numpy as np

POLICIES = ("stop", "skip", "rollback")
_MEMORY = 0.98  # of the running mean
_SETTLED = 20  # steps before a jump can be told from a start
_MOST_IN_A_ROW = 20


class TrainingError(RuntimeError):
  """A run that cannot go on; says at which step and why."""


@dataclasses.dataclass(frozen=True)
class WatchConfig:
  """When a step is bad, and what is done then.

  Whatever is done, a bad step itself makes no update.

  Attributes:
    on_bad_step: `stop` ends the run; `skip` goes on with the next batch;
      `rollback` takes parameters and optimiser from the last checkpoint, while
      data and schedule go on. Of several adapters the bad ones are skipped or
      rolled back, as in runs of their own; `stop` stops all.
    spike: a loss above so many times its running mean is bad; 0: only a loss
      or gradient that is not finite.
  """

  on_bad_step: str = "stop"
  spike: float = 0.0

  def __post_init__(self):
    if self.on_bad_step not in POLICIES:
      raise ValueError(
          f"unknown on_bad_step {self.on_bad_step!r}; known: {POLICIES}"
      )
    if self.spike and not self.spike > 1:
      raise ValueError(f"spike={self.spike} must be above 1, or 0 for none")


class Watch:
  """Keeps the running means; one a run."""

  def __init__(self, config: WatchConfig, num_adapters: int):
    """Has seen nothing yet."""
    self._config = config
    # (mean, steps seen) of each adapter, after the last two steps looked at.
    self._means = self._before = [(0.0, 0)] * num_adapters
    self._last = 0  # the step looked at last
    self._in_a_row = [0] * num_adapters

  def limits(self, step: int) -> np.ndarray:
    """Above which a loss is bad, [K].

    Args:
      step: number of the step that begins, from 1. What came before the one
        before it counts: that one may still be under way, and whether it is (a
        checkpoint waits for it) must change nothing.
    """
    means = self._before if self._last == step - 1 else self._means
    limits = np.full(len(means), np.inf)
    if self._config.spike:
      for k, (mean, seen) in enumerate(means):
        if seen >= _SETTLED:
          limits[k] = self._config.spike * mean / (1 - _MEMORY**seen)
    return limits

  def is_bad(self, progress) -> bool:
    """Looks at a step.

    Args:
      progress: a loop.Progress.

    Returns:
      Whether it was bad, and the run shall do what the config says.

    Raises:
      TrainingError: the config says `stop`, or too many were bad in a row.
    """
    bad = [k for k, ok in enumerate(progress.ok) if ok is False]
    self._before, self._last = self._means, progress.step
    self._means = [
        (_MEMORY * mean + (1 - _MEMORY) * loss, seen + 1) if ok
        else (mean, seen)
        for (mean, seen), loss, ok in zip(
            self._means, progress.losses, progress.ok, strict=True
        )
    ]
    for k, ok in enumerate(progress.ok):
      if ok is not None:  # it had something to learn
        self._in_a_row[k] = 0 if ok else self._in_a_row[k] + 1
    for k in bad:
      too_many = self._in_a_row[k] > _MOST_IN_A_ROW
      if self._config.on_bad_step == "stop" or too_many:
        raise TrainingError(self._say(progress, k))
    return bool(bad)

  def get_state(self) -> dict:
    """As JSON values."""
    return {
        "means": self._means, "before": self._before, "last": self._last,
        "in_a_row": self._in_a_row,
    }

  def set_state(self, state: dict) -> None:
    """Goes on from what `get_state` returned."""
    self._means, self._before = list(state["means"]), list(state["before"])
    self._last, self._in_a_row = state["last"], list(state["in_a_row"])

  def _say(self, progress, k: int) -> str:
    loss, norm = progress.losses[k], progress.grad_norms[k]
    if not math.isfinite(loss):
      what = f"the loss is {loss}"
    elif not math.isfinite(norm):
      what = f"the gradient's norm is {norm}"
    else:
      what = f"the loss has jumped to {loss:.3f}"
    if len(progress.losses) > 1:
      what += f" in adapter {k}"
    if self._config.on_bad_step != "stop":
      what += f", bad step {self._in_a_row[k]} in a row,"
    return (
        f"{what} at step {progress.step} of {progress.num_steps} (learning"
        f" rate {progress.learning_rates[k]:.2e}); lower the rate or look at"
        " the data"
    )
