"""Tells of a run's steps and validations, everywhere at once."""

import math
from collections.abc import Mapping, Sequence

from mlit_jax.training.logging_speed import Speed
from mlit_jax.training.logging_terminal import Terminal
from mlit_jax.training.logging_writers import Writer
from mlit_jax.training.loop import Progress
from mlit_jax.training.validation import Validation


class RunLog:
  """What `loop.run` reports to; closes its writers at the end."""

  def __init__(
      self,
      names: Sequence[str],
      terminal: Terminal | None,
      writers: Sequence[Writer],
      speed: Speed,
      num_hosts: int = 1,
  ):
    """Tells nothing yet.

    Args:
      names: of the adapters; one of full tuning.
      terminal: shows loss and speed, on one host.
      writers: take all numbers.
      speed: measures.
      num_hosts: that have as many rows each; of their tokens, this one's are
        taken for a fair share.
    """
    self._names, self._terminal, self._writers = names, terminal, writers
    self._speed, self._num_hosts = speed, num_hosts

  def step(self, progress: Progress) -> None:
    """A step is done."""
    rates = self._speed.step(
        progress.tokens * self._num_hosts, progress.places * self._num_hosts,
        progress.num_steps - progress.step,
    )
    values = {
        "loss": progress.loss, "learning_rate": progress.learning_rate,
        "loss_tokens": sum(progress.loss_tokens),
    }
    for name, said in (
        ("loss", progress.losses), ("accuracy", progress.correct),
        ("grad_norm", progress.grad_norms),
    ):
      values |= self._each(name, said)
    values["bad"] = sum(ok is False for ok in progress.ok)
    if rates is not None:
      values |= {
          "tokens_per_second": rates.tokens, "places_per_second": rates.places,
      }
      if rates.mfu is not None:
        values["mfu"] = rates.mfu
    self._write(progress.step, values)
    if self._terminal is not None:
      self._terminal.step(
          progress.step, progress.num_steps, progress.loss, rates
      )

  def validation(self, found: Validation) -> None:
    """All validation sets are measured."""
    values = {f"validation/{k}": x for k, x in found.losses.items()}
    values |= self._each("validation", found.means)
    self._write(found.step, values)
    if self._terminal is not None:
      said = "  ".join(f"{k} {x:.4f}" for k, x in found.losses.items())
      self._terminal.line(f"validation after step {found.step}: {said}")
    self._speed.pause()

  def close(self) -> None:
    """Waits until all is written; may be called again."""
    if self._terminal is not None:
      self._terminal.close()
    for writer in self._writers:
      writer.close()
    self._writers = ()

  def _each(self, name: str, values: Sequence[float]) -> dict[str, float]:
    """A value under its name; of several adapters, under theirs."""
    if len(values) == 1:
      return {name: values[0]}
    return {
        f"{name}/{adapter}": value
        for adapter, value in zip(self._names, values, strict=True)
    }

  def _write(self, step: int, values: Mapping[str, float]) -> None:
    values = {k: x for k, x in values.items() if math.isfinite(x)}
    for writer in self._writers:
      writer.write(step, values)
