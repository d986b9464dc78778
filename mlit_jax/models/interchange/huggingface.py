"""Model directories in Hugging Face layout, in and out.

A directory holds config.json, its weights (storage.py), tokenizer files and
generation_config.json. Only tensors and JSON are read; nothing is executed.
"""

import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, SingleDeviceSharding

from mlit_jax import partitioning, records
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import (
    exchange,
    mapping,
    storage,
    t5_families,
    tokenizer_json,
)
from mlit_jax.models.interchange.families import FAMILIES
from mlit_jax.models.interchange.family import (
    ModelConfig,
    abstract_params,
    boxed_params,
)
from mlit_jax.models.interchange.storage import CheckpointError, TensorFiles
from mlit_jax.models.interchange.stored import read_json

CONFIG, WEIGHTS = "config.json", storage.WEIGHTS
_SHARD_BYTES = 5_000_000_000


def load_config(directory: str | os.PathLike) -> ModelConfig:
  """Reads config.json; of a T5 also whether a head is among the tensors.

  Raises:
    CheckpointError: it is missing or not JSON, describes another architecture,
      or has a field that is not known (it might change the model).
  """
  path = pathlib.Path(directory) / CONFIG
  values = read_json(path)
  if not isinstance(values, dict):
    raise CheckpointError(f"{path}: expected a JSON object, not {values!r:.40}")
  name = values.get("model_type")
  if name is None:
    raise CheckpointError(f"{path}: no field 'model_type'; add it")
  if not isinstance(name, str):
    raise CheckpointError(f"{path}: model_type={name!r:.60} is no name")
  if name in t5_families.ARCHITECTURES:
    files = TensorFiles(directory) if storage.has_weights(directory) else None
    return t5_families.read_config(values, path, files)
  if name not in FAMILIES:
    known = sorted([*FAMILIES, *t5_families.ARCHITECTURES])
    raise CheckpointError(
        f"{path}: model_type={name!r} is not supported, only one of"
        f" {', '.join(known)}"
    )
  try:
    return FAMILIES[name].read_config(values)
  except ValueError as e:
    raise CheckpointError(f"{path}: {e}") from None


def load(
    directory: str | os.PathLike,
    mesh: Mesh | None = None,
    dtype: jax.typing.DTypeLike = np.float32,
) -> tuple[ModelConfig, dict]:
  """Reads config and weights, each device its part.

  Args:
    directory: a model directory.
    mesh: over which the parameters are cut (partitioning.RULES); None: they
      lie on the first device.
    dtype: of the parameters.

  Raises:
    CheckpointError: names the file, and the tensors that are missing, surplus
      or of another shape.
    PartitionError: a parameter does not divide over the mesh.
  """
  config = load_config(directory)
  files = TensorFiles(directory)
  if mesh is None:
    shardings = SingleDeviceSharding(jax.devices()[0])
  else:
    shardings = partitioning.param_shardings(boxed_params(config), mesh)
  params = mapping.load(
      files, groups(config, files.names()), abstract_params(config), shardings,
      dtype,
  )
  return config, params


def check(directory: str | os.PathLike) -> tuple[ModelConfig, TensorFiles]:
  """Opens weights and reads config.json; no tensor is read.

  Raises:
    CheckpointError: as `load`.
  """
  config, files = load_config(directory), TensorFiles(directory)
  mapping.check(
      files, groups(config, files.names()), abstract_params(config)
  )
  return config, files


def groups(
    config: ModelConfig, names: Collection[str] = ()
) -> tuple[mapping.Group, ...]:
  """Which tensors make which of our parameters.

  Args:
    config: of the model.
    names: of a checkpoint's tensors, if there is one already.
  """
  if isinstance(config, EncoderDecoderConfig):
    return t5_families.groups(config)
  return FAMILIES[config.family].groups(config, names)


def save(
    directory: str | os.PathLike,
    config: DecoderConfig,
    params: Mapping,
    tokenizer_model: bytes,
    *,
    bos_id: int,
    eos_id: int,
    dtype: jax.typing.DTypeLike = np.float32,
) -> None:
  """Writes a directory that `transformers` loads, all or nothing.

  Args:
    directory: replaced if it exists.
    config: shape of the model.
    params: its parameters, in the scanned layout.
    tokenizer_model: a serialised SentencePiece model.
    bos_id, eos_id: begin and end token.
    dtype: of the weights.

  Raises:
    CheckpointError: the config's family cannot say what the config says, or
      the parameters are not the config's.
  """
  with exchange.replacing(directory) as temporary:
    ids = {"bos_token_id": bos_id, "eos_token_id": eos_id}
    write_model(temporary, config, params, ids, dtype)
    tokenizer_json.write_sentencepiece(temporary, tokenizer_model)


def write_model(
    directory: pathlib.Path,
    config: ModelConfig,
    params: Mapping,
    special_ids: Mapping[str, Any],
    dtype: jax.typing.DTypeLike = np.float32,
    max_shard_bytes: int = _SHARD_BYTES,
) -> None:
  """Writes config.json, generation_config.json and the weights.

  Args:
    directory: exists; give a temporary one (exchange.replacing), for a failure
      leaves it half-written.
    config: shape of the model.
    params: its parameters, in the scanned layout.
    special_ids: bos_token_id, eos_token_id and the like; those of a T5 are
      T5's own unless they are given.
    dtype: of the weights.
    max_shard_bytes: beyond it the weights go into several files.

  Raises:
    CheckpointError: as `save`.
  """
  if isinstance(config, EncoderDecoderConfig):
    values = t5_families.write_config(config)
    special_ids = t5_families.TOKEN_IDS | special_ids
  else:
    try:
      values = FAMILIES[config.family].write_config(config)
    except ValueError as e:
      raise CheckpointError(f"{directory / CONFIG}: {e}") from None
  _check_shapes(config, params)
  mapping.save(directory, groups(config), params, dtype, max_shard_bytes)
  values |= {"torch_dtype": np.dtype(dtype).name, **special_ids}
  records.write_json(directory / CONFIG, values)
  records.write_json(directory / "generation_config.json", dict(special_ids))


def _check_shapes(config: ModelConfig, params: Mapping) -> None:
  expected, found = (
      {
          jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
          for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
      }
      for tree in (abstract_params(config), params)
  )
  if different := sorted(expected.keys() ^ found.keys()):
    raise CheckpointError(
        f"parameters {different[:5]} are in the config's model or in these"
        " parameters, not in both; save them with the config they were made"
        " with"
    )
  for name, shape in found.items():
    if shape != expected[name]:
      raise CheckpointError(
          f"parameter {name!r} has shape {shape}, the config says"
          f" {expected[name]}; save it with the config it was made with"
      )
