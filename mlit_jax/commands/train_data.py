"""A run's data: rows, batches, validation sets, what they were made from."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from mlit_jax.errors import UsageError
from mlit_jax.training.config import Run

VALIDATION = "validation"  # what `mlit data build` holds out


@dataclasses.dataclass(frozen=True)
class RunData:
  """What a run learns from.

  Attributes:
    names: of the adapters, or of the one directory.
    batches: a grain dataset.
    num_steps: updates of every adapter.
    sets: to validate on.
    density: share of the rows' places that hold tokens.
    examples: number of them all.
  """

  names: tuple[str, ...]
  batches: Any
  num_steps: tuple[int, ...]
  sets: tuple
  density: float
  examples: int


def hashes(run: Run) -> dict[str, str]:
  """Directory -> a hash of its tokens, of all that the run reads.

  Raises:
    UsageError: no directory is given.
    DataError: one is not what `mlit data build` writes.
  """
  from mlit_jax.data import token_file

  if not run.data.directories:
    raise UsageError(
        "say what to learn from: --config.data.directories=DIR, made by `mlit"
        " data build` (several with commas: an adapter each)"
    )
  found = {}
  for directory in (*run.data.directories, *_validation(run)):
    if directory is not None:
      shards = token_file.read_summary(directory)["shards"]
      said = json.dumps([shard["sha256"] for shard in shards])
      found[str(directory)] = hashlib.sha256(said.encode()).hexdigest()
  return found


def names(run: Run) -> tuple[str, ...]:
  """What the adapters are called: the last parts of their directories' paths.

  Raises:
    UsageError: two are the same.
  """
  found = tuple(
      pathlib.Path(d).absolute().name for d in run.data.directories
  )
  twice = {name for name in found if found.count(name) > 1}
  if twice:
    raise UsageError(
        f"data.directories: {twice.pop()!r} is the name of several, and"
        " adapters are named after them; rename one"
    )
  return found


def load(run: Run, encodes: bool, host: tuple[int, int]) -> RunData:
  """Reads everything that the run learns from and is validated on.

  Args:
    run: the config.
    encodes: whether the model is an encoder-decoder.
    host: (index, number) of the hosts.

  Raises:
    DataError: a file is missing or damaged, or an example is too long.
  """
  from mlit_jax.data import batches

  rows = [_rows(run, d, encodes, run.data.packing) for d in
          run.data.directories]
  size, epochs = run.train.batch_size, []
  for r in rows:
    an_epoch = batches.num_batches(r, size, 1)
    if not an_epoch:
      raise UsageError("data.directories: there are no examples")
    epochs.append(
        -(-run.train.num_steps // an_epoch) if run.train.num_steps
        else run.train.epochs
    )
  num_steps = tuple(
      run.train.num_steps or batches.num_batches(r, size, n)
      for r, n in zip(rows, epochs, strict=True)
  )
  if run.train.warmup_steps >= min(num_steps):
    raise UsageError(
        f"train.warmup_steps={run.train.warmup_steps}: the data give"
        f" {min(num_steps)} steps, and the run would never leave its warm-up;"
        " lower it, or set train.warmup_ratio"
    )
  options = {"seed": run.seed, "host": host}
  if len(rows) == 1:
    made = batches.batches(rows[0], size, epochs=epochs[0], **options)
  else:
    made = batches.together(rows, size, epochs=epochs, **options)
  return RunData(
      names(run), made, num_steps, _sets(run, encodes, host),
      sum(r.density * len(r) for r in rows) / sum(len(r) for r in rows),
      sum(r.num_examples for r in rows),
  )


def num_steps(run: Run) -> int | None:
  """Updates of the run on its data; None if these are not there.

  Raises:
    DataError: a file is damaged, or an example is too long.
  """
  from mlit_jax.data import batches, token_file

  directories = run.data.directories
  if not directories or not all(
      (pathlib.Path(d) / token_file.SUMMARY).is_file() for d in directories
  ):
    return None
  train, encodes = run.train, run.data.input_length > 0
  return train.num_steps or max(
      batches.num_batches(
          _rows(run, d, encodes, run.data.packing), train.batch_size,
          train.epochs,
      )
      for d in directories
  )


def _rows(run: Run, directory, encodes: bool, packing: bool, lang=None):
  from mlit_jax.data import batches, paired_rows, tokenizers

  data = run.data
  options = {
      "packing": packing, "weighting": run.train.weighting, "lang": lang,
  }
  size = run.train.batch_size
  if encodes:
    return paired_rows.PairedRows(
        directory, data.row_length, data.input_length, size,
        end_id=tokenizers.load(directory).eos_id, **options,
    )
  return batches.PackedRows(
      directory, data.row_length, size, data.loss_length, **options
  )


def _validation(run: Run) -> Sequence:
  """The validation directory of every adapter, or None."""
  if not run.validation.every:
    return []
  if run.validation.directories:
    return run.validation.directories
  found = []
  for directory in run.data.directories:
    folder = pathlib.Path(directory) / VALIDATION
    if not folder.is_dir():
      raise UsageError(
          f"{directory}: has no folder {VALIDATION}, which a recipe with"
          " held-out examples makes; give --config.validation.directories=DIR,"
          " or --config.validation.every=0 for no validation"
      )
    found.append(folder)
  return found


def _sets(run: Run, encodes: bool, host) -> tuple:
  """A validation set for each language of each adapter."""
  from mlit_jax.data import batches, token_file
  from mlit_jax.training.validation import ValidationSet

  found = []
  for k, directory in enumerate(_validation(run)):
    for lang in sorted(token_file.read_summary(directory)["languages"]):
      name = lang if len(run.data.directories) == 1 else (
          f"{names(run)[k]}/{lang}"
      )
      rows = _rows(run, directory, encodes, True, lang)
      found.append(ValidationSet(
          name, batches.in_order(rows, run.train.batch_size, host=host), k
      ))
  return tuple(found)
