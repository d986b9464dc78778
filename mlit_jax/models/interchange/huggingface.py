"""Model directories in Hugging Face layout, in and out.

A directory holds config.json, model.safetensors, tokenizer.model (and the same
as tokenizer.json) and generation_config.json. Only tensors and JSON are read;
nothing is executed.
"""

import ctypes
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import ml_dtypes  # noqa: F401  NumPy knows bfloat16 by its name from here on.
import numpy as np
import safetensors
import safetensors.numpy

from mlit_jax import records
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import tokenizer_json

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# LLaMA's config fields and ours.
_FIELDS = {
    "vocab_size": "vocab_size",
    "num_hidden_layers": "num_layers",
    "hidden_size": "embed_dim",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "head_dim": "head_dim",
    "intermediate_size": "mlp_dim",
    "max_position_embeddings": "max_length",
    "rope_theta": "rope_base",
    "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tie_embeddings",
}
_REQUIRED = (
    "vocab_size", "num_hidden_layers", "hidden_size", "num_attention_heads",
    "intermediate_size",
)
# LLaMA's value of a field left out, where ours is another.
_DEFAULTS = {"norm_eps": 1e-6}
# Fields that must have this value, because no other is computed here.
_FIXED = {
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rope_scaling": None,
    "attention_dropout": 0.0,
    "pretraining_tp": 1,
}
_PLAIN_ROPE = (None, "default")
# Fields that do not change what the model computes.
_IGNORED = frozenset({
    "_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id",
    "initializer_range", "pad_token_id", "torch_dtype", "transformers_version",
    "use_cache",
})


class CheckpointError(ValueError):
  """A model directory that cannot be used; names the file and the field."""


def load_config(directory: str | os.PathLike) -> DecoderConfig:
  """Reads config.json.

  Raises:
    CheckpointError: it is missing or not JSON, describes another architecture,
      or has a field that is not known (it might change the model).
  """
  path = pathlib.Path(directory) / CONFIG
  try:
    values = json.loads(path.read_text(encoding="utf-8"))
  except OSError as e:
    raise CheckpointError(f"{path}: cannot be read: {e.strerror}") from None
  except ValueError as e:
    raise CheckpointError(f"{path}: not JSON ({e})") from None
  if not isinstance(values, dict):
    raise CheckpointError(f"{path}: expected a JSON object, not {values!r:.40}")
  # transformers 5 keeps the rotary base in a table of its own.
  rope = values.pop("rope_parameters", None) or {}
  if not isinstance(rope, dict) or rope.get("rope_type") not in _PLAIN_ROPE:
    raise CheckpointError(
        f"{path}: rope_parameters={rope!r} are not supported, only rope_type"
        " 'default'"
    )
  values |= {k: v for k, v in rope.items() if k != "rope_type"}
  for name in ("model_type", *_REQUIRED):
    if values.get(name) is None:
      raise CheckpointError(f"{path}: no field {name!r}; add it")
  fields = dict(_DEFAULTS)
  for name, value in values.items():
    if name in _FIELDS:
      if value is not None:
        fields[_FIELDS[name]] = value
    elif name in _FIXED:
      if value != _FIXED[name]:
        raise CheckpointError(
            f"{path}: {name}={value!r} is not supported, only"
            f" {_FIXED[name]!r}"
        )
    elif name not in _IGNORED:
      raise CheckpointError(
          f"{path}: unknown field {name!r} (= {value!r}): it may change what"
          " the model computes; remove it if it does not"
      )
  fields.setdefault("num_kv_heads", fields["num_heads"])
  try:
    # An even width stands in until the sizes it is made of are checked.
    config = DecoderConfig.from_dict({"head_dim": 2, **fields})
    if "head_dim" not in fields:
      width = config.embed_dim // config.num_heads
      config = dataclasses.replace(config, head_dim=width)
  except ValueError as e:
    raise CheckpointError(f"{path}: {e}") from None
  return config


def load(directory: str | os.PathLike) -> tuple[DecoderConfig, dict]:
  """Reads config and weights, as numpy arrays in the scanned layout.

  Raises:
    CheckpointError: names the file, and the tensor that is missing, surplus or
      of another shape.
  """
  config = load_config(directory)
  path = pathlib.Path(directory) / WEIGHTS
  try:
    tensors = safetensors.numpy.load_file(path)
  except OSError as e:
    raise CheckpointError(f"{path}: cannot be read: {e}") from None
  except safetensors.SafetensorError as e:
    raise CheckpointError(f"{path}: damaged or cut off ({e})") from None

  def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in tensors:
      raise CheckpointError(f"{path}: no tensor {name!r}")
    tensor = tensors.pop(name)
    if tensor.shape != shape:
      raise CheckpointError(
          f"{path}: {name!r} has shape {tensor.shape}, the config says {shape}"
      )
    return tensor.astype(np.float32)

  params: dict[str, Any] = {}
  for (ours, theirs), (shape, inward) in _maps(config).items():
    if "{i}" in theirs:
      layers = [
          inward(take(theirs.format(i=i), shape))
          for i in range(config.num_layers)
      ]
      value = np.stack(layers)
    else:
      value = inward(take(theirs, shape))
    _set(params, ours, value)
  if tensors:
    raise CheckpointError(f"{path}: surplus tensors {sorted(tensors)[:5]}")
  return config, params


def save(
    directory: str | os.PathLike,
    config: DecoderConfig,
    params: Mapping,
    tokenizer_model: bytes,
    *,
    bos_id: int,
    eos_id: int,
) -> None:
  """Writes a directory that `transformers` loads, all or nothing.

  Args:
    directory: replaced if it exists.
    config: shape of the model.
    params: its parameters, in the scanned layout.
    tokenizer_model: a serialised SentencePiece model.
    bos_id, eos_id: begin and end token.
  """
  directory = pathlib.Path(directory)
  temporary = directory.with_name(f".{directory.name}.tmp")
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    _write(temporary, config, params, tokenizer_model, bos_id, eos_id)
    _replace(temporary, directory)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _write(directory, config, params, tokenizer_model, bos_id, eos_id):
  tensors = {}
  for (ours, theirs), (shape, inward) in _maps(config).items():
    value = np.asarray(_get(params, ours), np.float32)
    expected = inward(np.empty(shape)).shape
    if "{i}" in theirs:
      expected = (config.num_layers, *expected)
    if value.shape != expected:
      raise CheckpointError(
          f"parameter {ours!r} has shape {value.shape}, the config says"
          f" {expected}; save it with the config it was made with"
      )
    if "{i}" in theirs:
      for i, layer in enumerate(value):
        tensors[theirs.format(i=i)] = _outward(ours, layer, shape)
    else:
      tensors[theirs] = _outward(ours, value, shape)
  safetensors.numpy.save_file(
      tensors, directory / WEIGHTS, metadata={"format": "pt"}
  )
  theirs = {v: k for k, v in _FIELDS.items()}
  values = {theirs[k]: v for k, v in vars(config).items()}
  ids = {"bos_token_id": bos_id, "eos_token_id": eos_id}
  records.write_json(
      directory / CONFIG,
      {
          "architectures": ["LlamaForCausalLM"],
          "torch_dtype": "float32",
          **_FIXED,
          **values,
          **ids,
      },
  )
  records.write_json(directory / "generation_config.json", ids)
  tokenizer_json.write_sentencepiece(directory, tokenizer_model)


def _replace(new: pathlib.Path, old: pathlib.Path) -> None:
  """Puts a directory in the place of another (or of none) at one stroke."""
  if not old.exists():
    os.replace(new, old)
  elif not _exchange(new, old):
    # No such call here: for a moment neither has the name, but both are whole.
    aside = new.with_suffix(".old")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(old, aside)
    os.replace(new, old)
    shutil.rmtree(aside)


def _exchange(one: pathlib.Path, other: pathlib.Path) -> bool:
  """Swaps two names in one system call; False where Linux's is missing."""
  at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
  try:
    renameat2 = ctypes.CDLL(None).renameat2
  except (OSError, AttributeError):
    return False
  one, other = os.fsencode(one), os.fsencode(other)
  return renameat2(at_cwd, one, at_cwd, other, exchange) == 0


def _maps(config: DecoderConfig):
  """{(our path, their name): (their shape, their tensor -> ours)}.

  Their linear maps are (out, in), ours (in, out) with heads apart.
  """
  c, d = config, config.embed_dim

  def heads(n):
    return (n * c.head_dim, d), lambda w: w.T.reshape(d, n, c.head_dim)

  def same(w):
    return w

  def flip(w):
    return w.T

  layer = "model.layers.{i}."
  table = {
      ("embedding", "model.embed_tokens.weight"): ((c.vocab_size, d), same),
      ("final_norm/scale", "model.norm.weight"): ((d,), same),
      ("blocks/attention_norm/scale", layer + "input_layernorm.weight"): (
          (d,), same,
      ),
      ("blocks/mlp_norm/scale", layer + "post_attention_layernorm.weight"): (
          (d,), same,
      ),
      ("blocks/attention/query", layer + "self_attn.q_proj.weight"): heads(
          c.num_heads
      ),
      ("blocks/attention/key", layer + "self_attn.k_proj.weight"): heads(
          c.num_kv_heads
      ),
      ("blocks/attention/value", layer + "self_attn.v_proj.weight"): heads(
          c.num_kv_heads
      ),
      ("blocks/attention/out", layer + "self_attn.o_proj.weight"): (
          (d, c.num_heads * c.head_dim),
          lambda w: w.T.reshape(c.num_heads, c.head_dim, d),
      ),
      ("blocks/mlp/gate", layer + "mlp.gate_proj.weight"): (
          (c.mlp_dim, d), flip,
      ),
      ("blocks/mlp/up", layer + "mlp.up_proj.weight"): ((c.mlp_dim, d), flip),
      ("blocks/mlp/down", layer + "mlp.down_proj.weight"): (
          (d, c.mlp_dim), flip,
      ),
  }
  if not c.tie_embeddings:
    table["head", "lm_head.weight"] = (c.vocab_size, d), same
  return table


def _outward(ours: str, value: np.ndarray, shape: tuple[int, ...]):
  """Our array as their tensor: the in-axes first, flattened, then turned."""
  if ours.startswith(("blocks/attention/", "blocks/mlp/")):
    value = value.reshape(shape[::-1]).T
  return np.ascontiguousarray(value)


def _get(tree: Mapping, path: str):
  for key in path.split("/"):
    tree = tree[key]
  return tree


def _set(tree: dict, path: str, value) -> None:
  *parents, last = path.split("/")
  for key in parents:
    tree = tree.setdefault(key, {})
  tree[last] = value
