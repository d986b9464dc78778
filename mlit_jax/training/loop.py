"""The training loop: every run of every kind."""

import contextlib
import dataclasses
import functools
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlit_jax import partitioning
from mlit_jax.errors import Preempted
from mlit_jax.training import optimizer, validation
from mlit_jax.training.checkpoint import Checkpoints
from mlit_jax.training.step import Step, TrainState
from mlit_jax.training.validation import (
    Validation,
    ValidationConfig,
    ValidationSet,
)
from mlit_jax.training.watch import TrainingError, Watch, WatchConfig


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """How long a run is, and what it does beside its steps.

  Attributes:
    num_steps: of each adapter; all begin with the first step.
    watch: what to do when a step goes wrong.
    validation: how often, and when to stop early.
    keep: how many checkpoints are kept.
  """

  num_steps: tuple[int, ...]
  watch: WatchConfig = dataclasses.field(default_factory=WatchConfig)
  validation: ValidationConfig = dataclasses.field(
      default_factory=ValidationConfig
  )
  keep: int = 2


@dataclasses.dataclass(frozen=True)
class Progress:
  """What a caller may show of a step; comes one step late.

  Attributes:
    step: from 1.
    num_steps: of the whole run.
    losses, learning_rates, grad_norms: of each adapter; a loss is NaN where an
      adapter had nothing to learn.
    correct: share of the loss tokens than which none is likelier.
    loss_tokens: their weight.
    ok: of each adapter: True: it made an update; False: the step was bad; None:
      it had nothing to learn, or had stopped.
    tokens, places: of the batch (this host's part): all tokens but padding,
      and with it.
  """

  step: int
  num_steps: int
  losses: tuple[float, ...]
  learning_rates: tuple[float, ...]
  grad_norms: tuple[float, ...]
  correct: tuple[float, ...]
  loss_tokens: tuple[float, ...]
  ok: tuple[bool | None, ...]
  tokens: int
  places: int

  @property
  def loss(self) -> float:
    """Nats per loss token of the whole batch; 0 without any."""
    weight = sum(self.loss_tokens)
    return sum(
        loss * w for loss, w in zip(self.losses, self.loss_tokens, strict=True)
        if w
    ) / weight if weight else 0.0

  @property
  def learning_rate(self) -> float:
    """The highest of all adapters."""
    return max(self.learning_rates)


@dataclasses.dataclass(frozen=True)
class Result:
  """How a run ended.

  Attributes:
    params: what was trained: after the last step or, with validation, of the
      lowest validation loss, per adapter.
    losses: of each adapter's last step, in nats per loss token.
    best: each adapter's (step, validation loss); None without validation.
    skipped: number of bad steps.
  """

  params: dict
  losses: tuple[float, ...]
  best: tuple[tuple[int, float], ...] | None
  skipped: int

  @property
  def loss(self) -> float:
    """The mean over the adapters."""
    return sum(self.losses) / len(self.losses)


def run(
    step: Step,
    state: TrainState,
    dataset,
    config: RunConfig,
    *,
    checkpoints: tuple[str | os.PathLike, int] | None = None,
    validation_sets: Sequence[ValidationSet] = (),
    report: Callable[[Progress], None] = lambda progress: None,
    report_validation: Callable[[Validation], None] = lambda found: None,
    preempted: Callable[[int], bool] = lambda step: False,
) -> Result:
  """Trains, from the newest checkpoint if there is one.

  Args:
    step: the compiled step; runs of one shape share it.
    state: from `step.start`; used up.
    dataset: a grain dataset of batches (data/batches.py).
    config: how long.
    checkpoints: directory, and steps between two checkpoints.
    validation_sets: what to validate on.
    report: called with the progress of every step.
    report_validation: called with every validation.
    preempted: asked after every step, with the number of steps done; if it
      says so, the run saves and stops.

  Raises:
    TrainingError: a step went wrong and the config says to stop, the data ended
      early, or the checkpoint is of a longer run.
    CheckpointError: the checkpoint is damaged or of another model.
    PartitionError: the batch does not divide over the mesh.
    Preempted: it has saved and stopped.
  """
  return _Run(
      step, state, dataset, config, checkpoints, validation_sets, report,
      report_validation,
  ).run(preempted)


class _Run:
  """One run; what it carries from step to step."""

  def __init__(
      self, step, state, dataset, config, checkpoints, sets, report,
      report_validation,
  ):
    number = step.config.num_adapters
    if len(config.num_steps) != number:
      raise ValueError(
          f"num_steps has {len(config.num_steps)} entries, and there are"
          f" {number} adapters"
      )
    self._step, self._state, self._config = step, state, config
    self._batches = iter(dataset)
    self._directory, self._every = checkpoints or (None, 0)
    self._sets = sets if config.validation.every else ()
    self._report, self._report_validation = report, report_validation
    self._num_steps = max(config.num_steps)
    self._watch = Watch(config.watch, number)
    self._best = (
        validation.Best(step, config.validation) if self._sets else None
    )
    self._losses, self._skipped = [math.nan] * number, 0
    self._waiting = None

  def run(self, preempted) -> Result:
    with contextlib.ExitStack() as stack:
      done, self._saved = 0, None
      if self._directory is not None:
        self._saved = Checkpoints(
            self._directory, every=self._every, keep=self._config.keep,
            beside=self._beside_state(),
        )
        stack.callback(self._saved.close)
        done = self._restore()
      for index in range(done, self._num_steps):
        if self._best is not None and all(self._over(index)):
          break
        self._one(index, check=index == done)
        self._after(index + 1, preempted(index + 1))
      self._look()
    params = self._state.params
    best = None
    if self._best is not None:
      params = self._best.params
      best = tuple(zip(self._best.steps, self._best.values, strict=True))
    return Result(params, tuple(self._losses), best, self._skipped)

  def _one(self, index: int, check: bool) -> None:
    """Starts a step, and looks at the one before."""
    batch = next(self._batches, None)
    if batch is None:
      raise TrainingError(
          f"the data ended at step {index} of {self._num_steps}"
      )
    rows = len(batch["inputs"])
    if check:
      _, parts = partitioning.host_part(self._step.mesh)
      partitioning.check_batch(rows * parts, self._step.mesh)
    rates = tuple(
        optimizer.learning_rate(self._step.config.optimizer, index, number)
        if index < number else 0.0
        for number in self._config.num_steps
    )
    over = self._over(index)
    limits = np.where(over, -np.inf, self._watch.limits(index + 1))
    tokens = int(np.count_nonzero(batch["segment_ids"]))
    self._state, metrics = self._step(
        self._state, self._step.place(batch), np.asarray(rates), limits
    )
    # The values of the step before: the device need not wait for the host.
    self._look()
    self._waiting = index + 1, metrics, rates, over, (
        tokens, batch["segment_ids"].size
    )

  def _over(self, index: int) -> list[bool]:
    """Which adapters make no more updates."""
    stopped = self._best.stopped if self._best is not None else None
    return [
        index >= number or bool(stopped and stopped[k])
        for k, number in enumerate(self._config.num_steps)
    ]

  def _look(self) -> None:
    """Waits for the last step; reports it, and does what a bad one needs."""
    if self._waiting is None:
      return
    (at, metrics, rates, over, counts), self._waiting = self._waiting, None
    found = jax.tree.map(lambda x: np.asarray(x).tolist(), metrics)
    ok = tuple(
        None if over[k] or (not weight and math.isfinite(weight)) else fine
        for k, (weight, fine) in enumerate(
            zip(found.weight, found.ok, strict=True)
        )
    )
    progress = Progress(
        at, self._num_steps,
        tuple(
            math.nan if o is None else x
            for o, x in zip(ok, found.loss, strict=True)
        ),
        rates, tuple(found.grad_norm), tuple(found.correct),
        tuple(found.weight), ok, *counts,
    )
    for k, o in enumerate(ok):
      if o is not None:
        self._losses[k] = found.loss[k]
    if self._watch.is_bad(progress):
      self._skipped += 1
      if self._config.watch.on_bad_step == "rollback":
        self._roll_back(progress)
    self._report(progress)

  def _after(self, done: int, preempted: bool) -> None:
    """Validation and checkpoints that are due after a step."""
    last = done == self._num_steps
    every = self._config.validation.every
    due = done in self._config.num_steps or (every and done % every == 0)
    if self._best is not None and due:
      self._look()  # may roll back
      found = validation.validate(self._step, self._state, self._sets, done)
      self._best.see(found, self._state)
      self._report_validation(found)
    if self._saved is None:
      if preempted and not last:
        raise Preempted(f"stopped at step {done}; nothing is saved")
      return
    if done % self._every == 0 or preempted:
      self._look()  # A run that has failed must not look finished later.
      self._saved.save(done, self._to_save(), self._position(), preempted)
    if preempted and not last:
      self._saved.close()
      raise Preempted(
          f"saved step {done} of {self._num_steps} in {self._directory}"
      )

  def _to_save(self) -> dict[str, Any]:
    """What a checkpoint holds now."""
    # Before the first validation whatever is of the right shape.
    best = self._best and (self._best.params or self._state.params)
    return self._checkpointed(self._state, best)

  def _checkpointed(self, state: TrainState, best: Any) -> dict[str, Any]:
    """The part of a state that is written: everything but a frozen base."""
    name = "params" if self._step.config.lora is None else "adapters"
    parts = {
        name: state.params, "opt_state": state.opt_state,
        "updates": state.updates, "key": state.key,
    }
    return parts | ({} if self._best is None else {"best": best})

  def _beside_state(self) -> dict[str, Any]:
    """What `mlit convert` needs beside the adapters."""
    lora = self._step.config.lora
    return {} if lora is None else {"lora": dataclasses.asdict(lora)}

  def _position(self) -> dict[str, Any]:
    return {
        "iterator": _plain(self._batches.get_state()),
        "losses": [x if math.isfinite(x) else None for x in self._losses],
        "skipped": self._skipped,
        "watch": self._watch.get_state(),
        "best": None if self._best is None else self._best.get_state(),
    }

  def _restore(self) -> int:
    """Takes the newest checkpoint; the number of steps done."""
    found = self._saved.restore(self._wanted())
    if found is None:
      return 0
    done, saved, position = found
    if done > self._num_steps:
      raise TrainingError(
          f"the checkpoint in {self._directory} is of step {done}, and the run"
          f" has {self._num_steps} steps; give it another directory"
      )
    try:
      self._batches.set_state(position["iterator"])
      self._watch.set_state(position["watch"])
      if self._best is not None:
        self._best.set_state(position["best"], saved["best"])
    except (IndexError, KeyError, TypeError, ValueError) as e:
      raise TrainingError(
          f"the checkpoint in {self._directory} is of other data ({e}); give"
          " the run another directory"
      ) from None
    self._losses = [
        math.nan if x is None else x for x in position["losses"]
    ]
    self._skipped = position["skipped"]
    self._take(saved)
    return done

  def _take(self, saved: dict[str, Any]) -> None:
    params = saved.get("params", saved.get("adapters"))
    self._state = self._state._replace(
        params=params,
        **{k: saved[k] for k in ("opt_state", "updates", "key")},
    )

  def _wanted(self) -> dict[str, Any]:
    """What to restore, as abstract arrays."""
    abstract = self._step.abstract_state()
    return self._checkpointed(abstract, abstract.params)

  def _roll_back(self, progress: Progress) -> None:
    found = None
    if self._saved is not None:
      found = self._saved.restore(self._wanted())
    if found is None:
      raise TrainingError(
          f"step {progress.step} of {progress.num_steps} was bad, and there is"
          " no checkpoint to go back to; write checkpoints more often"
      )
    bad = np.array([ok is False for ok in progress.ok])
    self._take(found[1] if bad.all() else self._of_bad(found[1], bad))

  def _of_bad(self, saved: dict[str, Any], bad: np.ndarray) -> dict[str, Any]:
    """What was saved of the bad adapters, and what the others have now."""

    def at(axis):
      def one(then, now):
        return jnp.where(np.expand_dims(
            bad, [i for i in range(now.ndim) if i != axis]
        ), then, now)
      return one

    lie = jax.tree.map(lambda x: x.sharding, self._step.abstract_state())

    # The adapters' axis comes second in them, and first in what is beside them.
    @functools.partial(
        jax.jit, out_shardings=(lie.params, lie.opt_state, lie.updates)
    )
    def choose(then, now):
      return (
          jax.tree.map(at(1), then[0], now[0]),
          *jax.tree.map(at(0), then[1:], now[1:]),
      )

    names = "adapters", "opt_state", "updates"
    now = self._state.params, self._state.opt_state, self._state.updates
    found = choose(tuple(saved[name] for name in names), now)
    return saved | dict(zip(names, found, strict=True))


def _plain(state):
  """A grain iterator's state as JSON values."""
  return json.loads(json.dumps(state, default=int))
