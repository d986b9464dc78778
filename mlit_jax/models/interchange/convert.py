"""Checkpoints of any layout read here, as Hugging Face directories."""

import dataclasses
import functools
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping

import jax
import numpy as np

from mlit_jax import records
from mlit_jax.models import lora as lora_lib
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import (
    exchange,
    huggingface,
    mapping,
    orbax_file,
    peft,
    storage,
    t5_families,
    t5x,
    tokenizer_json,
)
from mlit_jax.models.interchange.family import ModelConfig, abstract_params
from mlit_jax.models.interchange.storage import CheckpointError, Tensors
from mlit_jax.models.interchange.stored import read_json

_GENERATION = "generation_config.json"
# Of a training checkpoint with adapters: their tree, and their LoraConfig.
_ADAPTERS, _LORA = "adapters", pathlib.Path("lora", "metadata")


@dataclasses.dataclass(frozen=True)
class Source:
  """What a Hugging Face directory is made from.

  Attributes:
    tensors: under Hugging Face's names.
    model: its shape.
    config: the content of config.json.
    beside: the directory that has generation_config.json and the tokenizer,
      if there is one.
  """

  tensors: Tensors
  model: ModelConfig
  config: Mapping
  beside: pathlib.Path | None


@dataclasses.dataclass(frozen=True)
class Layout:
  """A layout of checkpoints.

  Attributes:
    name: for people.
    matches: whether a directory is one.
    open: reads (directory, like), where `like` is a model directory that gives
      what the checkpoint lacks, or None; CheckpointError if it cannot.
  """

  name: str
  matches: Callable[[pathlib.Path], bool]
  open: Callable[[pathlib.Path, pathlib.Path | None], Source]


def convert(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    *,
    like: str | os.PathLike | None = None,
    adapter: str | os.PathLike | None = None,
    dtype: str | None = None,
    max_shard_bytes: int = 5 * 10**9,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> int:
  """Writes a Hugging Face directory, all or nothing, tensor by tensor.

  Args:
    source: a directory of one of LAYOUTS; or the directory of a training
      checkpoint's step with LoRA adapters, which become directories in PEFT's
      layout: the destination, or 0, 1 and so on in it where there are several.
    destination: the directory; replaced if it exists.
    like: a model directory whose config.json and tokenizer files are taken,
      for layouts that have none of their own.
    adapter: a directory in PEFT's layout that is merged into the weights.
    dtype: of the floating-point numbers; None: as they are.
    max_shard_bytes: of a file with weights.
    show: called with the number of tensors written, and that of all.

  Returns:
    The number of tensors.

  Raises:
    CheckpointError: the source is of no known layout, damaged or incomplete.
  """
  source = pathlib.Path(source)
  if _has(source, _ADAPTERS):
    if dtype is not None or adapter is not None:
      raise CheckpointError(
          f"{source}: has LoRA adapters, which go out as they are; convert"
          " their base with --adapter to merge one"
      )
    return _convert_adapters(source, pathlib.Path(destination), like)
  layout = next((x for x in LAYOUTS if x.matches(source)), None)
  if layout is None:
    raise CheckpointError(_unknown(source))
  opened = layout.open(source, None if like is None else pathlib.Path(like))
  config = dict(opened.config)
  if dtype is not None:
    _set_dtype(config, dtype)
  wanted = None if dtype is None else np.dtype(dtype)
  tensors = opened.tensors
  if adapter is not None:
    tensors = peft.Merged(tensors, opened.model, adapter, wanted)
  with exchange.replacing(destination) as temporary:
    storage.save(temporary, _Shown(tensors, show), wanted, max_shard_bytes)
    records.write_json(temporary / huggingface.CONFIG, config)
    if opened.beside is not None:
      _copy_beside(opened.beside, temporary)
  return len(opened.tensors.names())


def _unknown(source: pathlib.Path) -> str:
  *names, last = (layout.name for layout in LAYOUTS)
  text = f"{source}: expected {', '.join(names)} or {last}"
  inner = [p for p in source.iterdir() if any(x.matches(p) for x in LAYOUTS)]
  if inner:
    newest = max(inner, key=lambda p: (p.stat().st_mtime, p.name))
    text += f"; did you mean {newest}?"
  return text


class _Shown:
  """Tensors whose reading is counted."""

  def __init__(self, tensors: Tensors, show: Callable[[int, int], None]):
    self.names, self.shape = tensors.names, tensors.shape
    self.dtype, self._read = tensors.dtype, tensors.read
    self._show, self._done = show, 0

  def read(self, name: str) -> np.ndarray:
    self._done += 1
    self._show(self._done, len(self.names()))
    return self._read(name)


def _is_huggingface(directory: pathlib.Path) -> bool:
  return (directory / huggingface.CONFIG).is_file()


def _open_huggingface(directory: pathlib.Path, like) -> Source:
  if like is not None:
    raise CheckpointError(
        f"{directory}: has a config.json of its own; leave --like out"
    )
  model, files = huggingface.check(directory)
  return Source(files, model, _config(directory), directory)


def _convert_adapters(source, destination, like) -> int:
  """Adapters of a training checkpoint, in PEFT's layout."""
  model = huggingface.load_config(_like(source, like))
  fields = read_json(source / _LORA)
  try:
    lora = lora_lib.LoraConfig(**fields)
  except (TypeError, ValueError) as e:
    raise CheckpointError(f"{source / _LORA}: {e}") from None
  adapters = orbax_file.arrays(source / "state", _ADAPTERS)
  leaves = jax.tree.leaves(adapters)
  count = leaves[0].shape[1] if len(leaves[0].shape) > 1 else 1
  try:
    with exchange.replacing(destination) as temporary:
      for k in range(count):
        place = temporary if count == 1 else temporary / str(k)
        peft.save_adapter(place, model, lora, adapters, k, os.fspath(like))
  except ValueError as e:
    raise CheckpointError(f"{source}: {e}") from None
  return len(leaves) * count


def _has(directory: pathlib.Path, root: str) -> bool:
  """Whether it is a training checkpoint's step with this tree."""
  metadata = directory / "state" / orbax_file.METADATA
  return metadata.is_file() and f"('{root}',".encode() in metadata.read_bytes()


def _like(directory: pathlib.Path, like):
  if like is None:
    raise CheckpointError(
        f"{directory}: a training checkpoint has no config.json and no"
        " tokenizer; give --like DIR, a model directory of the same shape"
    )
  return like


def _open_training(directory: pathlib.Path, like) -> Source:
  model = huggingface.load_config(_like(directory, like))
  params = orbax_file.arrays(directory / "state", "params")
  if isinstance(model, EncoderDecoderConfig):
    # It is the tensors that tell of a T5 (t5_families.py).
    model = dataclasses.replace(model, tie_embeddings="head" not in params)
  _check_shapes(directory, params, abstract_params(model), like)
  tensors = mapping.Exported(huggingface.groups(model), params)
  config = _config(like)
  _set_dtype(config, tensors.dtype(tensors.names()[0]).name)
  return Source(tensors, model, config, like)


def _open_t5x(directory: pathlib.Path, like) -> Source:
  files, values, model = t5x.Tensors(directory), {}, None
  if like is not None:
    values = read_json(like / huggingface.CONFIG)
    model = t5_families.read_config(values, like / huggingface.CONFIG)
  config = t5x.read_config(files, model)
  params = mapping.lazy(
      files, t5x.groups(config, files), abstract_params(config)
  )
  tensors = mapping.Exported(t5_families.groups(config), params)
  values = t5_families.TOKEN_IDS | values | t5_families.write_config(config)
  _set_dtype(values, tensors.dtype(tensors.names()[0]).name)
  return Source(tensors, config, values, like)


LAYOUTS = (
    Layout("a Hugging Face directory", _is_huggingface, _open_huggingface),
    Layout("a T5X checkpoint", t5x.matches, _open_t5x),
    Layout(
        "the directory of a training checkpoint's step",
        functools.partial(_has, root="params"),
        _open_training,
    ),
)


def _check_shapes(directory, params, abstract, like) -> None:
  """Raises CheckpointError unless the parameters are those of the model."""
  found, wanted = (
      {
          jax.tree_util.keystr(path, simple=True, separator="/"): x.shape
          for path, x in jax.tree_util.tree_leaves_with_path(tree)
      }
      for tree in (params, abstract)
  )
  for name in sorted(found.keys() | wanted.keys()):
    have, want = found.get(name), wanted.get(name)
    if have != want:
      raise CheckpointError(
          f"{directory}: parameter {name} has shape {have}, a model like"
          f" {like} has {want}; give --like a model of the same shape"
      )


def _config(directory: pathlib.Path) -> dict:
  return read_json(directory / huggingface.CONFIG)


def _copy_beside(source: pathlib.Path, destination: pathlib.Path) -> None:
  """What stands beside the weights and has no code in it."""
  if (source / _GENERATION).is_file():
    shutil.copyfile(source / _GENERATION, destination / _GENERATION)
  try:
    tokenizer_json.copy_files(source, destination)
  except ValueError as e:
    raise CheckpointError(f"{source}: {e}") from None


def _set_dtype(config: dict, dtype: str) -> None:
  """transformers 5 calls the field dtype, and reads the older name too."""
  config["dtype" if "dtype" in config else "torch_dtype"] = dtype
