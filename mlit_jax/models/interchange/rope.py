"""Rotary positions in config.json, in the older and the newer way.

Older: the base, and a table `rope_scaling`. Newer (transformers 5): a table
`rope_parameters` with both. The older is written: every reader knows it.
"""

import dataclasses
import math
from typing import Any

from mlit_jax.models.config import DecoderConfig, RopeScaling

# Our fields of RopeScaling by theirs.
_NAMES = {
    "factor": "factor",
    "original_max_position_embeddings": "original_length",
    "low_freq_factor": "low_frequency_factor",
    "high_freq_factor": "high_frequency_factor",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "attention_factor": "attention_factor",
    "truncate": "truncate",
}
_OF_KIND = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": (
        "factor", "original_max_position_embeddings", "low_freq_factor",
        "high_freq_factor",
    ),
    "yarn": (
        "factor", "original_max_position_embeddings", "beta_fast", "beta_slow",
        "attention_factor", "truncate",
    ),
}
_PLAIN = (None, "default")


def read(values: dict[str, Any], base_name: str) -> dict[str, Any]:
  """Takes the rotary fields out of a config.json's and gives ours.

  Args:
    values: fields of config.json; changed.
    base_name: the field of the base outside of tables.

  Raises:
    ValueError: names the field that is unknown, missing or not supported.
  """
  name, table = "rope_parameters", values.pop("rope_parameters", None)
  scaling = values.pop("rope_scaling", None)
  if scaling and table:
    raise ValueError(
        "rope_scaling and rope_parameters say the same twice; remove one"
    )
  if scaling:
    name, table = "rope_scaling", scaling
  base = values.pop(base_name, None)
  table = table or {}
  if not isinstance(table, dict):
    raise ValueError(f"{name}={table!r} is no table of rotary fields")
  table = dict(table)
  ours = {}
  if (base := table.pop("rope_theta", base)) is not None:
    ours["rope_base"] = base
  if "partial_rotary_factor" in table:
    # A field of its own; what does not know it will not accept it.
    values["partial_rotary_factor"] = table.pop("partial_rotary_factor")
  kind = table.pop("type", None)
  kind = table.pop("rope_type", kind)
  if kind in _PLAIN:
    known = ()
  elif kind not in _OF_KIND:
    raise ValueError(
        f"{name}: rope_type={kind!r} is not supported, only one of"
        f" {('default', *_OF_KIND)}"
    )
  else:
    known = _OF_KIND[kind]
    ours["rope_scaling"] = _scaling(name, kind, table, values)
  if unknown := sorted(set(table) - set(known)):
    raise ValueError(
        f"{name}: unknown field {unknown[0]!r} (= {table[unknown[0]]!r}) of"
        f" rope_type {kind!r}"
    )
  return ours


def _scaling(name, kind, table, values) -> RopeScaling:
  length = values.get("max_position_embeddings")
  if kind == "yarn":
    _settle_attention_factor(table)
  required = ["factor"]
  if kind == "llama3":
    required += ["low_freq_factor", "high_freq_factor"]
  for field in required:
    if table.get(field) is None:
      raise ValueError(f"{name}: no field {field!r}; add it")
  fields = {
      _NAMES[theirs]: table[theirs]
      for theirs in _OF_KIND[kind]
      if table.get(theirs) is not None
  }
  if kind != "linear":
    fields.setdefault("original_length", length)
  return RopeScaling(kind, **fields)


def _settle_attention_factor(table):
  """Peng et al. 2023, section 3.4, with DeepSeek's two factors of it."""
  scale, all_dims = table.pop("mscale", None), table.pop("mscale_all_dim", None)
  factor = table.get("factor")
  if table.get("attention_factor") is not None or factor is None:
    return

  def of(multiplier):
    return 1.0 if factor <= 1 else 0.1 * multiplier * math.log(factor) + 1.0

  both = scale and all_dims
  table["attention_factor"] = of(scale) / of(all_dims) if both else of(1)


def write(config: DecoderConfig, base_name: str) -> dict[str, Any]:
  """The rotary fields of a config.json."""
  scaling = config.rope_scaling
  if scaling is None:
    return {base_name: config.rope_base, "rope_scaling": None}
  table = {
      theirs: getattr(scaling, _NAMES[theirs])
      for theirs in _OF_KIND[scaling.kind]
  }
  if table.get("truncate"):
    del table["truncate"]  # the default, and unknown to older readers
  return {
      base_name: config.rope_base,
      "rope_scaling": {"rope_type": scaling.kind, **table},
  }


def with_full_length(config: DecoderConfig) -> DecoderConfig:
  """The config with the length that dynamic scaling stretches it to."""
  scaling = config.rope_scaling
  if scaling is None or scaling.kind != "dynamic":
    return config
  length = int(scaling.original_length * scaling.factor)
  return dataclasses.replace(config, max_length=length)


def original_length(config: DecoderConfig) -> int:
  """What config.json calls the model's length: dynamic scaling's is shorter."""
  scaling = config.rope_scaling
  dynamic = scaling is not None and scaling.kind == "dynamic"
  return scaling.original_length if dynamic else config.max_length
