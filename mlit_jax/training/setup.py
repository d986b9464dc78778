"""From a run's config to its model, its mesh and its step.

`mlit train` runs the step, `mlit plan` compiles the very same one.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mlit_jax import mesh_presets, partitioning
from mlit_jax.errors import UsageError
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface
from mlit_jax.models.interchange.family import ModelConfig, boxed_params
from mlit_jax.training import accelerators
from mlit_jax.training.config import RANDOM, Run
from mlit_jax.training.precision import PRECISIONS
from mlit_jax.training.step import StepConfig

_MAX_NAMED = 3
_MOMENTS = {"adamw": 2, "lion": 1, "adafactor": 0}  # as large as the weights
_DEVICE_BYTES = 16 << 30  # where a device does not say how much it has


def model(run: Run) -> ModelConfig:
  """The shape of the run's model: the config's, which is that of the base.

  Raises:
    UsageError: there is none, base and config disagree (names the fields), a
      decoder is asked to have dropout, or an encoder has rows of no length.
    CheckpointError: the base is no model directory that can be read.
  """
  if run.base in ("", RANDOM):
    if run.model is None:
      raise UsageError(
          f"config {run.name} takes its model's shape from a base: give"
          " --config.base=DIR, a model directory"
      )
    found = run.model
  else:
    found = huggingface.load_config(run.base)
    if run.model is not None and found != run.model:
      raise UsageError(f"{run.base}: {_differences(found, run.model)}")
  if run.train.dropout and isinstance(found, DecoderConfig):
    raise UsageError(
        "train.dropout: the papers' decoders have none; it is for"
        " encoder-decoders, and lora.dropout is for adapters"
    )
  if not isinstance(found, DecoderConfig) and not run.data.input_length:
    raise UsageError(
        f"{run.base} is an encoder-decoder: say how many tokens its encoder's"
        " rows have, with --config.data.input_length=N"
    )
  return found


def step_config(run: Run) -> StepConfig:
  """What the run's step computes."""
  return StepConfig(
      optimizer=run.train.optimizer_config(), lora=run.lora,
      num_adapters=max(1, len(run.data.directories)),
      **{
          name: getattr(run.train, name)
          for name in (
              "precision", "accumulation", "remat", "loss", "z_loss", "dropout"
          )
      },
  )


def mesh(
    run: Run, shape: ModelConfig, devices: Sequence | None = None
) -> tuple[Mesh, str]:
  """The run's mesh, and why it has its shape.

  Args:
    run: the config.
    shape: of the model.
    devices: present or not; all of this machine's by default.

  Raises:
    PartitionError: the sizes do not fit the devices, or the rows.
  """
  devices = list(jax.devices() if devices is None else devices)
  lengths = {
      f"data.{name}": length
      for name in ("row_length", "input_length", "loss_length")
      if (length := getattr(run.data, name))
  }
  if sizes := run.mesh.sizes():
    found, why = partitioning.make_mesh(sizes, devices), "sizes as given"
  else:
    found, why = choose_mesh(
        run.mesh.preset, shape, step_config(run), run.train.batch_size,
        devices, lengths.values(),
    )
  partitioning.check_lengths(lengths, found)
  return found, why


def choose_mesh(
    preset: str,
    shape: ModelConfig,
    step: StepConfig,
    batch_size: int,
    devices: Sequence | None = None,
    lengths: Iterable[int] = (),
) -> tuple[Mesh, str]:
  """The mesh that a preset gives, and why it has its shape.

  Args:
    preset: of mesh_presets.NAMES.
    shape: of the model.
    step: what is computed.
    batch_size: rows of an update, of each adapter.
    devices: present or not; all of this machine's by default.
    lengths: places of a row, with a loss or not; for presets that cut rows.

  Raises:
    PartitionError: the preset does not fit the devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  boxed = boxed_params(shape)
  case = mesh_presets.Case(
      axes=mesh_presets.logical_axes(boxed) | {"length": frozenset(lengths)},
      num_devices=len(devices),
      rows=batch_size * step.num_adapters // step.accumulation,
      state_bytes=state_bytes(nn.meta.unbox(boxed), step),
      device_bytes=_device_bytes(devices),
      num_slices=partitioning.num_slices(devices),
  )
  sizes, reason = mesh_presets.choose(preset, case)
  return partitioning.make_mesh(sizes, devices), reason


def _device_bytes(devices: Sequence) -> int:
  """Memory of a device: the least that any host says, so that all agree.

  A device tells its own host alone.
  """
  own = [d for d in devices if d.process_index == jax.process_index()]
  found = accelerators.memory((own or devices)[0]) or _DEVICE_BYTES
  if jax.process_count() == 1:
    return found
  said = multihost_utils.process_allgather(np.int32(found >> 20))  # MiB
  return int(said.min()) << 20


def state_bytes(abstract_params, step: StepConfig) -> int:
  """Bytes of parameters, optimiser and gradients, uncut; of adapters none."""
  number = sum(
      math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params)
  )
  types = PRECISIONS[step.precision]
  if step.lora is not None:
    return number * np.dtype(types.frozen).itemsize
  trained = np.dtype(types.trained).itemsize
  wide = max(trained, 4)  # gradients and moments
  return number * (trained + wide + wide * _MOMENTS[step.optimizer.optimizer])


def _differences(found: ModelConfig, wanted: ModelConfig) -> str:
  if type(found) is not type(wanted):
    return "this base is an encoder-decoder, or the config's model is one"
  names = [
      field.name for field in dataclasses.fields(found)
      if getattr(found, field.name) != getattr(wanted, field.name)
  ]
  said = ", ".join(
      f"{name}={getattr(found, name)!r} (config: {getattr(wanted, name)!r})"
      for name in names[:_MAX_NAMED]
  )
  more = len(names) - _MAX_NAMED
  return (
      f"the base is not this config's model: {said}"
      f"{f' and {more} more' if more > 0 else ''}; take the base's config,"
      " any_model, or set --config.model.KEY"
  )
