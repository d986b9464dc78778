"""Whether a training step fits a TPU slice, and how long it takes: no TPU used.

The real step is compiled by TPU's own compiler for devices that are mere
descriptions. Memory is what the compiler says; operations are counted by
formula (flops.py), bytes between chips read from the program (collectives.py),
and times are bounds from the chips' published figures (accelerators.py).
"""

import dataclasses
import math
import re
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from mlit_jax import partitioning
from mlit_jax.training import collectives, flops, setup
from mlit_jax.training.accelerators import Slices
from mlit_jax.training.config import Run
from mlit_jax.training.precision import PRECISIONS
from mlit_jax.training.step import Step, StepConfig
from mlit_jax.training.token_losses import in_chunks

# How often a pass over the model reads its weights, with the backward pass.
_PASSES = {"none": 2, "dots": 2}
# Of XLA's names for types.
_BITS = {"pred": 8, "bf16": 16} | {
    f"{kind}{bits}": bits for kind in "fsu" for bits in (4, 8, 16, 32, 64)
}


class PlanError(RuntimeError):
  """A plan that cannot be made; says why."""


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of a chip's memory.

  Attributes:
    params: what is trained.
    base: what is not (under LoRA).
    optimizer: the optimiser's state.
    best: a copy of what is trained, which validation keeps; 0 without.
    batch: the rows.
    temporary: activations, gradients, gathered weights: all that lives within
      the step.
    peak: the most that is in use at once, with that copy; fitting is decided
      by it.
    available: what a program may use.
  """

  params: int
  base: int
  optimizer: int
  best: int
  batch: int
  temporary: int
  peak: int
  available: int

  @property
  def state(self) -> int:
    return self.params + self.base + self.optimizer

  @property
  def fits(self) -> bool:
    return self.peak <= self.available


@dataclasses.dataclass(frozen=True)
class Times:
  """Bounds of a step's seconds, each as if it were the only one.

  Attributes:
    compute: operations at the chip's peak.
    memory: bytes to and from HBM: weights once a pass; what is learnt and the
      optimiser read and written; temporaries written and read.
    links: bytes between chips of a slice; None: the program cannot be read.
    network: bytes between slices; None: that, or the network's figure is not
      published.
  """

  compute: float
  memory: float
  links: float | None
  network: float | None

  @property
  def best(self) -> float:
    """Everything done beside everything else."""
    return max(
        self.compute, self.memory, self.links or 0.0, self.network or 0.0
    )

  @property
  def worst(self) -> float:
    """Arithmetic and memory beside each other; then what chips say."""
    between = (self.links or 0.0) + (self.network or 0.0)
    return max(self.compute, self.memory) + between


@dataclasses.dataclass(frozen=True)
class Plan:
  """What compiling said.

  Attributes:
    run: whose step was compiled.
    slices: for which chips.
    mesh: sizes of the mesh's axes.
    reason: why it is this mesh.
    memory: of a chip. If it does not fit, what is known of it.
    failure: the compiler's words if it refused; "".
    layout: how the state lies, array by array.
    collectives: within a slice, kind -> how many a step, their bytes, the
      bytes a chip sends; None where there is no program, or it cannot be read.
    between_slices: the same of those that go over the network.
    model_flops: operations of a step that the model needs.
    device_flops: those that are done, all chips together.
    times: bounds of a step; None where nothing was compiled.
    compile_seconds: on this machine.
  """

  run: Run
  slices: Slices
  mesh: dict[str, int]
  reason: str
  memory: Memory
  failure: str
  layout: list[partitioning.Layout]
  collectives: dict[str, dict[str, float]] | None
  between_slices: dict[str, dict[str, float]] | None
  model_flops: float
  device_flops: float
  times: Times | None
  compile_seconds: float

  @property
  def fits(self) -> bool:
    return not self.failure and self.memory.fits

  @property
  def batch(self) -> dict[str, int]:
    """Rows of an update and their lengths."""
    step = setup.step_config(self.run)
    names = "rows", "length", "loss_length", "input_length"
    return dict(zip(names, _work(self.run, step), strict=True))

  def mfu(self, seconds: float) -> float:
    """Share of the chips' peak that the model's operations take."""
    peak = self.slices.chip.flops * self.slices.num_chips
    return self.model_flops / (seconds * peak)


def step_on(run: Run, slices: Slices) -> tuple[Step, str]:
  """The run's step on chips that are not there, and why it has its mesh.

  Raises:
    PartitionError: the model or the rows do not divide over the chips.
    AcceleratorError: there is no libtpu, or no such slice.
  """
  shape = setup.model(run)
  mesh, reason = setup.mesh(run, shape, slices.devices())
  config = setup.step_config(run)
  rows = _work(run, config)[0] // config.accumulation
  partitioning.check_batch(rows, mesh)
  return Step(shape, config, mesh), reason


def make(run: Run, slices: Slices) -> Plan:
  """Compiles a run's step for slices; one that is too large is a plan, too.

  Raises:
    PartitionError: the model or the rows do not divide over the chips.
    AcceleratorError: there is no libtpu, or no such slice.
    PlanError: the program lacks a part of the training state.
  """
  step, reason = step_on(run, slices)
  config, state = step.config, step.abstract_state()
  work = _work(run, config)
  batch = step.abstract_batch(*work)
  began = time.monotonic()
  failure, text = "", None
  temporary, peak, arguments = 0, 0, 0
  lowered = step.lower(batch)
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as e:
    if "RESOURCE_EXHAUSTED" not in str(e):
      raise PlanError(f"the compiler failed: {str(e).splitlines()[0]}") from e
    failure = str(e).splitlines()[0]
    temporary = _said_bytes(failure)
  else:
    analysis = compiled.memory_analysis()
    temporary = analysis.temp_size_in_bytes
    peak = analysis.peak_memory_in_bytes
    text = program_text(compiled)
    arguments = analysis.argument_size_in_bytes
    if text is not None:
      arguments = argument_bytes(text)
  seconds = time.monotonic() - began
  *parts, rows = (
      sum(row.bytes_per_device for row in partitioning.layout(part))
      for part in (state.params, state.base, state.opt_state, batch)
  )
  taken = sum(parts) + rows
  if not failure:
    check_arguments(arguments, taken)
  # It lies beside the step, which does not know of it.
  best = parts[0] if run.validation.every else 0
  memory = Memory(
      *parts, best, rows, temporary, (peak or taken + temporary) + best,
      slices.chip.memory,
  )
  found = None
  if text is not None:
    found = collectives.read(text, slices.num_chips, slices.per_slice)
  model_flops = flops.train_step(step.model, *work, config.lora)
  device_flops = executed(config, step.model, work, step.mesh.size)
  times = None
  if not failure:
    weights = sum(x.size for x in jax.tree.leaves(state.base or state.params))
    sent = None if found is None else [
        sum(c.sent for c in found if c.between_slices == between)
        for between in (False, True)
    ]
    times = bounds(
        config, slices, step.mesh.shape, weights, memory, sent, device_flops
    )
  return Plan(
      run, slices, {a: n for a, n in step.mesh.shape.items() if n > 1}, reason,
      memory, failure, partitioning.layout(state),
      *(
          None if found is None else collectives.by_kind(found, between)
          for between in (False, True)
      ),
      model_flops, device_flops, times, seconds,
  )


def argument_bytes(text: str) -> int:
  """Bytes of a program's arguments on a chip, as arrays are counted.

  Not as they lie there: a TPU fills the last two axes up to tiles, which may
  weigh more than an argument that was left out.

  Args:
    text: of the compiled program.
  """
  (head,) = re.findall(r"entry_computation_layout=\{\((.*?)\)->", text)[:1]
  return sum(
      _BITS[kind] * math.prod(map(int, filter(None, sizes.split(",")))) // 8
      for kind, sizes in re.findall(r"\b([a-z]+\d*\w*)\[([\d,]*)\]", head)
  )


def check_arguments(taken: int, wanted: int) -> None:
  """Raises PlanError unless a program takes all of what it works on.

  A compiler leaves out arguments that a program does not use: what it then
  says of memory is not what training takes.

  Args:
    taken: bytes of the program's arguments.
    wanted: bytes of the training state and the batch.
  """
  if taken < wanted:
    raise PlanError(
        f"the compiled program takes {taken} bytes of arguments a chip, less"
        f" than the {wanted} of the training state and the batch: a part of"
        " them was left out"
    )


def num_steps(run: Run) -> int:
  """Updates of the run; 0 if the config does not say how much data there is.

  Every epoch's last batch is filled up. Of packed rows it is a bound: there are
  fewer of them than examples.
  """
  train = run.train
  if train.num_steps:
    return train.num_steps
  return train.epochs * math.ceil(run.plan.examples / train.batch_size)


def _work(run: Run, config: StepConfig) -> tuple[int, int, int, int]:
  """Rows of an update over all chips, and lengths; adapters have rows each."""
  data = run.data
  rows = run.train.batch_size * config.num_adapters
  return rows, data.row_length, data.loss_length, data.input_length


def program_text(compiled) -> str | None:
  """The program as text; None if this jaxlib cannot read libtpu's program."""
  try:
    return compiled.as_text()
  except jax.errors.JaxRuntimeError:
    return None


def _said_bytes(failure: str) -> int:
  """The size of what did not fit, out of the compiler's message."""
  found = re.search(r"\((\d+(?:\.\d+)?)([KMGT])\) exceeds", failure)
  if not found:
    return 0
  return int(float(found[1]) * 1024 ** (1 + "KMGT".index(found[2])))


def executed(
    config: StepConfig,
    model,
    work: tuple[int, int, int, int],
    devices: int,
) -> float:
  """Operations of an update that are done, all chips together.

  Args:
    config: of the step.
    model: its shape.
    work: rows of the update, and lengths, as `Plan.batch` has them.
    devices: chips that share them out.
  """
  rows, length, loss_length, _ = work
  places = rows // config.accumulation * (loss_length or length)
  return flops.executed(
      model, *work, config.lora, config.remat,
      in_chunks(config.loss, places, model.vocab_size, devices),
  )


def bounds(
    config: StepConfig,
    slices: Slices,
    mesh: Mapping[str, int],
    weights: int,
    memory: Memory,
    sent: Sequence[float] | None,
    device_flops: float,
) -> Times:
  """Bounds of a step's seconds.

  Args:
    config: of the step.
    slices: its chips.
    mesh: sizes of the axes.
    weights: elements that a pass reads, adapters left out.
    memory: of a chip.
    sent: bytes that a chip sends, within a slice and over the network; None:
      the program cannot be read.
    device_flops: of `executed`.
  """
  chip = slices.chip
  width = np.dtype(PRECISIONS[config.precision].compute).itemsize
  passes = _PASSES.get(config.remat, 3) * config.accumulation
  # Weights cut along fsdp are put together for each pass.
  read = passes * width * weights / (mesh["tensor"] * mesh["expert"])
  # What is learnt, and the optimiser, are read and written; a base is not.
  changed = memory.params + memory.optimizer
  moved = read + 2 * changed + 2 * memory.temporary
  arithmetic = device_flops / (slices.num_chips * chip.flops)
  memory_time = moved / chip.memory_bandwidth
  if sent is None:
    return Times(arithmetic, memory_time, None, None)
  inside, outside = sent
  network = 0.0
  if outside:
    speed = chip.network_bandwidth
    network = None if speed is None else outside / speed
  return Times(
      arithmetic, memory_time,
      inside / slices.link_bandwidth if inside else 0.0,
      network,
  )
