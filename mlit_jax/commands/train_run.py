"""Does a training run: base and data in, model directory out."""

import contextlib
import dataclasses
import math
import os
import pathlib
import sys

import flax.linen as nn
import jax
import numpy as np

from mlit_jax import cpu, partitioning, records
from mlit_jax.commands import train_data
from mlit_jax.data import tokenizers
from mlit_jax.errors import UsageError
from mlit_jax.models import lora as lora_lib
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import (
    exchange,
    huggingface,
    peft,
    storage,
    tokenizer_json,
)
from mlit_jax.models.interchange.family import ModelConfig
from mlit_jax.training import (
    config_fields,
    flops,
    gathering,
    loop,
    preemption,
    setup,
)
from mlit_jax.training.config import RANDOM, Run
from mlit_jax.training.logging_run import RunLog
from mlit_jax.training.logging_speed import Speed, peak_flops
from mlit_jax.training.logging_terminal import Terminal
from mlit_jax.training.logging_writers import (
    JsonLines,
    TensorBoard,
    WeightsAndBiases,
)
from mlit_jax.training.precision import PRECISIONS
from mlit_jax.training.profiling import Profile
from mlit_jax.training.step import Step
from mlit_jax.training.validation import ValidationConfig
from mlit_jax.training.workdir import CHECKPOINTS, METRICS, Workdir

MODEL, ADAPTER, ADAPTERS, RESULT = "model", "adapter", "adapters", "result.json"
# What a run that goes on may have otherwise: the loss stays what it is.
_MAY_CHANGE = ("mesh", "checkpoint", "logging", "plan")


def run(
    config: Run,
    workdir: str | os.PathLike,
    profiled: tuple[int, int] | None = None,
) -> None:
  """Trains, or goes on, and writes the model or its adapters.

  Args:
    config: of the run.
    workdir: its directory.
    profiled: first and last step to trace.

  Raises:
    UsageError: the config lacks base or data, the data do not fit the model, or
      the directory holds another run.
    Preempted: it has saved, and shall be started again.
  """
  if not config.base:
    raise UsageError(
        "say what to start from: --config.base=DIR, a model directory, or"
        f" --config.base={RANDOM} for random parameters"
    )
  hashes, names = train_data.hashes(config), train_data.names(config)
  cpu.keep_freed_memory()
  shape = setup.model(config)
  tokenizer = _tokenizer(config, shape)
  workdir, first = pathlib.Path(workdir), jax.process_index() == 0
  with contextlib.ExitStack() as stack:
    if first:
      flat = config_fields.flatten(config)
      opened = stack.enter_context(
          Workdir(workdir, flat, hashes, _MAY_CHANGE, _base_hash(config))
      )
    if _was_done(workdir):
      if first:
        print(f"was done before: {_said(workdir)}")
      return
    mesh, why = setup.mesh(config, shape)
    if first:
      opened.note(model=dataclasses.asdict(shape), mesh=dict(mesh.shape))
    step = Step(shape, setup.step_config(config), mesh)
    data = train_data.load(
        config, isinstance(shape, EncoderDecoderConfig),
        partitioning.host_part(mesh),
    )
    if profiled and profiled[0] > max(data.num_steps):
      raise UsageError(
          f"--profile_steps {profiled[0]}:{profiled[1]}: the run has"
          f" {max(data.num_steps)} steps"
      )
    terminal = Terminal(config.logging.every) if first else None
    if first:
      terminal.line(_describe(config, step, data, why))
    log = RunLog(
        names, terminal, _writers(config, workdir) if first else (),
        Speed(_step_flops(config, step), peak_flops(mesh.devices.flat)),
        partitioning.host_part(mesh)[1],
    )
    stack.callback(log.close)
    state = step.start(
        _base(config, step), config.seed, _adapters(config, step)
    )
    result = _train(config, workdir, step, state, data, log, profiled)
    log.close()  # The terminal's last line comes before what follows.

    def write(params) -> None:
      _export(config, workdir, shape, params, names, tokenizer)
      records.write_json(workdir / RESULT, _summary(result, data, names))
      print(f"done: {_said(workdir)}")

    gathering.read_on_first(result.params, write)


def _was_done(workdir: pathlib.Path) -> bool:
  """What the first host finds, for all of them."""
  done = (workdir / RESULT).exists()
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    done = bool(multihost_utils.broadcast_one_to_all(np.array(done)))
  return done


def _train(config, workdir, step, state, data, log, profiled) -> loop.Result:
  """Runs the loop, stopped by SIGTERM."""
  every = config.checkpoint.every
  validation = config.validation
  with preemption.Watch() as watch, contextlib.closing(
      Profile(workdir / "profile", profiled)
  ) as profile:

    def after(done: int) -> bool:
      profile.after(done)
      return watch.asked(done)

    result = loop.run(
        step, state, data.batches,
        loop.RunConfig(
            data.num_steps, config.watch,
            ValidationConfig(validation.every, validation.patience),
            config.checkpoint.keep,
        ),
        checkpoints=(workdir / CHECKPOINTS, every) if every else None,
        validation_sets=data.sets,
        report=log.step, report_validation=log.validation, preempted=after,
    )
  if profiled and not profile.was_begun:
    print(
        f"note: nothing was traced: the run went on behind step {profiled[0]}",
        file=sys.stderr,
    )
  return result


def _tokenizer(config: Run, shape: ModelConfig) -> pathlib.Path:
  """The directory of the data's tokenizer, which is the model's."""
  first = pathlib.Path(config.data.directories[0])
  tokenizer = tokenizers.load(first)
  tokenizers.check_vocabulary(tokenizer, shape.vocab_size, first)
  others = [pathlib.Path(d) for d in config.data.directories[1:]]
  if config.base != RANDOM:
    others.append(pathlib.Path(config.base))
  for other in others:
    for name in ("tokenizer.json", "tokenizer.model", "spiece.model"):
      mine, theirs = first / name, other / name
      if mine.exists() and theirs.exists() and (
          mine.read_bytes() != theirs.read_bytes()
      ):
        raise UsageError(
            f"{first} and {other} have different tokenizers ({name}); build"
            " the data with --tokenizer of the base"
        )
  return first


def _base_hash(config: Run) -> dict[str, str]:
  """Directory -> hash of the weights to start from; {} of random ones."""
  if config.base == RANDOM:
    return {}
  return {config.base: storage.fingerprint(config.base)}


def _base(config: Run, step: Step) -> dict:
  """The parameters to start from, on the mesh."""
  if config.base == RANDOM:
    return step.init(config.seed)
  types = PRECISIONS[config.train.precision]
  dtype = types.trained if config.lora is None else types.frozen
  return huggingface.load(config.base, step.mesh, dtype)[1]


def _adapters(config: Run, step: Step) -> dict | None:
  """Several adapters start alike, each as it would in a run of its own."""
  number = step.config.num_adapters
  if number == 1:
    return None
  one = nn.meta.unbox(lora_lib.init(step.model, config.lora, config.seed))
  return lora_lib.stack([one] * number)


def _export(config, workdir, shape, params, names, tokenizer) -> None:
  """Writes the model, or an adapter in PEFT's layout for each directory."""
  if config.lora is None:
    narrow = config.train.precision.startswith("bfloat16")
    said = tokenizers.load(tokenizer)
    ids = {"bos_token_id": said.bos_id, "eos_token_id": said.eos_id}
    with exchange.replacing(workdir / MODEL) as temporary:
      huggingface.write_model(
          temporary, shape, params,
          {k: v for k, v in ids.items() if v is not None and v >= 0},
          np.dtype("bfloat16" if narrow else "float32"),
      )
      tokenizer_json.copy_files(
          tokenizer if config.base == RANDOM else config.base, temporary
      )
    return
  adapters = jax.tree.map(np.asarray, params)
  for k, name in enumerate(names):
    place = workdir / ADAPTER if len(names) == 1 else workdir / ADAPTERS / name
    peft.save_adapter(
        place, shape, config.lora, adapters, k, os.path.abspath(config.base)
    )


def _writers(config: Run, workdir: pathlib.Path) -> list:
  writers = [JsonLines(workdir / METRICS)]
  if config.logging.tensorboard:
    writers.append(TensorBoard(workdir / "tensorboard"))
  if config.logging.wandb_project:
    writers.append(WeightsAndBiases(
        workdir, config.logging.wandb_project, config.name,
        config_fields.flatten(config),
    ))
  return writers


def _step_flops(config: Run, step: Step) -> float:
  return flops.train_step(
      step.model, config.train.batch_size * step.config.num_adapters,
      config.data.row_length, config.data.loss_length,
      config.data.input_length, config.lora,
  )


def _describe(config: Run, step: Step, data, why: str) -> str:
  def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))

  abstract = step.abstract_state()
  trained, frozen = count(abstract.params), count(abstract.base)
  sizes = [f"{name}={n}" for name, n in step.mesh.shape.items() if n > 1]
  return (
      f"{config.name}: {trained:,} parameters to train"
      f"{f' over {frozen:,} frozen ones' if frozen else ''};"
      f" {data.examples} examples, rows {100 * data.density:.0f} % full;"
      f" {max(data.num_steps)} updates; mesh"
      f" {' x '.join(sizes) or 'of one device'} ({why})"
  )


def _summary(result: loop.Result, data, names) -> dict:
  """result.json: how the run ended."""
  runs = {}
  for k, name in enumerate(names):
    loss = result.losses[k]
    runs[name] = {
        "steps": data.num_steps[k],
        "loss": loss if math.isfinite(loss) else None,
    }
    if result.best is not None:
      step, loss = result.best[k]
      runs[name] |= {
          "best_step": step,
          "validation": loss if math.isfinite(loss) else None,
      }
  return {"runs": runs, "bad_steps": result.skipped}


def _said(workdir: pathlib.Path) -> str:
  places = [workdir / MODEL, workdir / ADAPTER, workdir / ADAPTERS]
  return str(next((p for p in places if p.exists()), workdir))
