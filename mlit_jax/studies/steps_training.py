"""The step in which models are trained: one, or several adapters at once.

Heavy libraries are imported where they are used, as in steps.py.
"""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.data import token_file, tokenizers
from mlit_jax.errors import UsageError
from mlit_jax.studies.steps import ADAPTER, MODEL, SUMMARY, VALIDATION

# Options that are StepConfig's, by the same names.
_OF_STEP = ("precision", "remat", "accumulation")


@dataclasses.dataclass(frozen=True)
class Run:
  """A training run.

  Attributes:
    data: a built token file.
    directory: where its model or its adapter goes, and its summary.
  """

  data: pathlib.Path
  directory: pathlib.Path


def train(
    directory: pathlib.Path,
    runs: Sequence[Run],
    vocabulary: pathlib.Path,
    *,
    base: pathlib.Path | None,
    model: Mapping[str, Any],
    options: Mapping[str, Any],
    seed: int,
    show: Callable[[str], None],
) -> None:
  """Trains a model, from `base` or from scratch, and exports it.

  With LoRA the adapter goes to the `adapter` folder, and `model` is the base.
  Several runs, which only LoRA can have, are adapters over one base in one
  program: each is to rounding what it would be in a step of its own.

  Args:
    directory: the step's; has the checkpoints.
    runs: one, or several adapters.
    vocabulary: where the tokenizer lies.
    base: a model directory, or None.
    model: fields of DecoderConfig without the vocabulary's size; {}: those
      of the base.
    options: `row_length, loss_length, batch_size, epochs,
      checkpoint_every` and `optimizer`, the fields of OptimizerConfig; also
      `packing`, `mesh` (a preset's name), `lora` (the fields of LoraConfig),
      StepConfig's `precision, remat, accumulation`, and `validate_every`
      steps: then the parameters of the lowest loss on what the data hold out
      are kept, instead of the last.
    seed: of the initial parameters and of the order of the data.
    show: shows the progress.
  """
  from mlit_jax.models.lora import LoraConfig
  from mlit_jax.studies import session
  from mlit_jax.training import loop, preemption
  from mlit_jax.training.optimizer import OptimizerConfig
  from mlit_jax.training.step import StepConfig
  from mlit_jax.training.validation import ValidationConfig

  tokenizer = tokenizers.load(vocabulary)
  config = _shape(tokenizer, base, model)
  lora = LoraConfig(**options["lora"]) if "lora" in options else None
  if lora is not None and (base.parent / ADAPTER).exists():
    raise UsageError(f"{base}: an adapter on an adapter; tune the base")
  length = options["row_length"]
  step = session.step(
      config,
      StepConfig(
          OptimizerConfig(**options["optimizer"]), lora, len(runs),
          **{key: options[key] for key in _OF_STEP if key in options},
      ),
      options.get("mesh", ""), options["batch_size"],
      (length, options["loss_length"] or length),
  )
  rows, batches, num_steps = _data(runs, options, seed)
  checkpoints = None
  if every := options["checkpoint_every"]:
    checkpoints = directory / "checkpoints", every
  every = options.get("validate_every", 0)
  with preemption.Watch() as watch:
    result = loop.run(
        step, _start(step, base, seed), batches,
        loop.RunConfig(num_steps, validation=ValidationConfig(every)),
        checkpoints=checkpoints,
        validation_sets=_held_out(runs, options) if every else (),
        report=lambda p: show(
            f"step {p.step}/{p.num_steps}  loss {p.loss:.3f}"
        ),
        preempted=watch.asked,
    )
  for k, run in enumerate(runs):
    run.directory.mkdir(parents=True, exist_ok=True)
    if lora is None:
      _export(run.directory, vocabulary, tokenizer, config, result.params)
    else:
      _export_adapter(run.directory, base, config, lora, result.params, k)
    built = token_file.read_summary(run.data)
    best = {}
    if result.best is not None:
      at, loss = result.best[k]
      best = {"best_step": at, "validation_loss": round(loss, 4)}
    records.write_json(
        run.directory / SUMMARY,
        best | {
            "steps": num_steps[k],
            "epochs": options["epochs"],
            "tokens_seen": built["total"]["tokens"] * options["epochs"],
            "parameters": _num_parameters(result.params) // len(runs),
            "num_layers": config.num_layers,
            "embed_dim": config.embed_dim,
            "family": config.family,
            "final_loss": round(result.losses[k], 4),
            "packing_density": round(rows[k].density, 4),
        },
    )


def take(made: pathlib.Path, directory: pathlib.Path) -> None:
  """Takes one run's adapter and summary out of those trained together."""
  from mlit_jax.models.interchange import exchange

  with exchange.replacing(directory / ADAPTER) as temporary:
    shutil.copytree(made / ADAPTER, temporary, dirs_exist_ok=True)
  _link(directory, made / os.readlink(made / MODEL))
  text = (made / SUMMARY).read_text(encoding="utf-8")
  records.write_json(directory / SUMMARY, json.loads(text))


def _shape(tokenizer, base, model: Mapping[str, Any]):
  """The model's config, which is that of the base if there is one."""
  from mlit_jax.models.config import DecoderConfig
  from mlit_jax.models.interchange import huggingface

  found = huggingface.load_config(base) if base is not None else None
  if not model:
    return found
  wanted = DecoderConfig(vocab_size=tokenizer.vocab_size, **model)
  if found not in (None, wanted):
    raise huggingface.CheckpointError(
        f"{base}: the base is {found}, the run is {wanted}"
    )
  return wanted


def _rows(data: pathlib.Path, options: Mapping[str, Any]):
  from mlit_jax.data import batches

  return batches.PackedRows(
      data, options["row_length"], options["batch_size"],
      options["loss_length"], packing=options.get("packing", True),
  )


def _held_out(runs: Sequence[Run], options: Mapping[str, Any]):
  """What each run is validated on, in all of its languages."""
  from mlit_jax.data import batches
  from mlit_jax.training.validation import ValidationSet

  return [
      ValidationSet(
          f"{k}",
          batches.in_order(
              _rows(run.data / VALIDATION, options), options["batch_size"]
          ),
          k,
      )
      for k, run in enumerate(runs)
  ]


def _data(runs: Sequence[Run], options: Mapping[str, Any], seed: int):
  """Rows and number of steps of each run, and the batches of all."""
  from mlit_jax.data import batches

  size, epochs = options["batch_size"], options["epochs"]
  rows = [_rows(run.data, options) for run in runs]
  num_steps = tuple(batches.num_batches(r, size, epochs) for r in rows)
  if len(runs) == 1:
    made = batches.batches(rows[0], size, seed=seed, epochs=epochs)
  else:
    made = batches.together(rows, size, seed=seed, epochs=[epochs] * len(runs))
  return rows, made, num_steps


def _start(step, base: pathlib.Path | None, seed: int):
  """The state before the first step; adapters start alike, as if apart."""
  import flax.linen as nn

  from mlit_jax.models import lora as lora_lib
  from mlit_jax.studies import steps_answers

  if base is None:
    return step.start(step.init(seed), seed)
  _, params = steps_answers.load(base, step.mesh)
  adapters, number = None, step.config.num_adapters
  if number > 1:
    one = nn.meta.unbox(lora_lib.init(step.model, step.config.lora, seed))
    adapters = lora_lib.stack([one] * number)
  return step.start(params, seed, adapters)


def _export(directory, vocabulary, tokenizer, config, params) -> None:
  from mlit_jax.models.interchange import (
      exchange,
      huggingface,
      tokenizer_json,
  )

  with exchange.replacing(directory / MODEL) as temporary:
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    huggingface.write_model(temporary, config, params, ids)
    tokenizer_json.copy_files(vocabulary, temporary)


def _export_adapter(directory, base, config, lora, params, number) -> None:
  from mlit_jax.models.interchange import peft

  peft.save_adapter(directory / ADAPTER, config, lora, params, number)
  _link(directory, base)


def _link(directory: pathlib.Path, base: pathlib.Path) -> None:
  """Makes the base, another step's, the model beside an adapter.

  The link is relative: a working directory may be moved as a whole.
  """
  target = os.path.relpath(base, directory)
  (directory / MODEL).unlink(missing_ok=True)
  (directory / MODEL).symlink_to(target, target_is_directory=True)


def _num_parameters(params) -> int:
  import jax

  return sum(x.size for x in jax.tree.leaves(params))
