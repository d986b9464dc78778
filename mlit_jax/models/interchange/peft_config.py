"""adapter_config.json: what PEFT says of an adapter, read with suspicion.

A field that is unknown, or has a value which changes what is computed, is an
error. No pattern of the file is ever used as a regular expression: a hostile
one takes for ever.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from mlit_jax.models import lora as lora_lib
from mlit_jax.models.interchange.stored import CheckpointError, read_json

# Field -> what may stand there, because it changes nothing.
_FIXED = {
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "bias": ("none",),
    "corda_config": (None,),
    "fan_in_fan_out": (False,),
    "kasa_config": (None,),
    "layer_replication": (None,),
    "loftq_config": (None, {}),
    "lora_bias": (False,),
    "lora_ga_config": (None,),
    "modules_to_save": (None, []),
    "monteclora_config": (None,),
    "peft_type": ("LORA",),
    "task_type": (None, "CAUSAL_LM", "SEQ_2_SEQ_LM"),
    "trainable_token_indices": (None,),
    "use_bdlora": (None, False),
    "use_dora": (False,),
    "use_qalora": (False,),
    "velora_config": (None,),
    # The others change the base's weights, too.
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
_IGNORED = frozenset({
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying",
    "eva_config", "inference_mode", "layers_pattern", "megatron_config",
    "megatron_core", "peft_version", "qalora_group_size", "revision",
    "runtime_config",
})
_READ = frozenset({
    "alpha_pattern", "exclude_modules", "layers_to_transform", "lora_alpha",
    "lora_dropout", "r", "rank_pattern", "target_modules", "target_parameters",
    "use_rslora",
})
_REQUIRED = ("peft_type", "r", "lora_alpha")
_NAME = re.compile(r"\w+(\.\w+)*")
_NUMBERS = re.compile(r"\.\d+(?=\.)")


@dataclasses.dataclass(frozen=True)
class PeftConfig:
  """What matters of an adapter_config.json.

  Attributes:
    values: its fields, checked.
    ranks, alphas: of the modules whose names end so, before `r` and
      `lora_alpha`.
  """

  values: Mapping[str, Any]
  ranks: Mapping[str, int]
  alphas: Mapping[str, float]

  @property
  def dropout(self) -> float:
    return self.values.get("lora_dropout", 0.0)

  def rank(self, module: str) -> int:
    """The rank of a module's adapter."""
    return _find(self.ranks, module, self.values["r"])

  def scale(self, module: str) -> float:
    """What a module's B A is multiplied with."""
    alpha = _find(self.alphas, module, self.values["lora_alpha"])
    rank = self.rank(module)
    return alpha / (
        math.sqrt(rank) if self.values.get("use_rslora") else rank
    )

  def requires(self, module: str, layer: int) -> bool:
    """Whether a module must have an adapter.

    False where only an expression says so: then the tensors tell.
    """
    targets = self.values.get("target_modules")
    others = self.values.get("exclude_modules") or []
    if not isinstance(targets, list) or not isinstance(others, list):
      return False
    layers = self.values.get("layers_to_transform")
    if layers not in (None, []):
      if len(_NUMBERS.findall(module)) > 1:
        return False  # which of them is the layer's, PEFT's pattern tells
      layers = [layers] if isinstance(layers, int) else layers
      if layer not in layers:
        return False
    return _ends(targets, module) and not _ends(others, module)


def _ends(names, module: str) -> bool:
  return any(module == n or module.endswith(f".{n}") for n in names)


def _find(patterns: Mapping[str, Any], module: str, otherwise):
  """The first that fits, as PEFT looks."""
  for name, value in patterns.items():
    anchored = name.startswith("^")
    if module == name.removeprefix("^") or (
        not anchored and module.endswith(f".{name}")
    ):
      return value
  return otherwise


def read(path: pathlib.Path) -> PeftConfig:
  """Reads and checks a file.

  Raises:
    CheckpointError: it cannot be read, or a field is missing, unknown or has
      a value that is not computed here.
  """
  values = read_json(path)
  try:
    if not isinstance(values, dict):
      raise ValueError(f"expected a JSON object, not {values!r:.40}")
    _check(values)
    return PeftConfig(
        values, _patterns(values, "rank_pattern"),
        _patterns(values, "alpha_pattern"),
    )
  except ValueError as e:
    raise CheckpointError(f"{path}: {e}") from None


def _check(values: dict) -> None:
  for name in _REQUIRED:
    if name not in values:
      raise ValueError(f"no field {name!r}; add it")
  for name, value in values.items():
    if name in _FIXED:
      # 1 is True in Python, not in JSON.
      if not any(type(value) is type(x) and value == x for x in _FIXED[name]):
        raise ValueError(
            f"{name}={value!r:.60} is not supported, only {_FIXED[name][-1]!r}"
        )
    elif name not in _IGNORED | _READ:
      raise ValueError(
          f"unknown field {name!r} (= {value!r:.60}): it may change what the"
          " adapter does; remove it if it does not"
      )
  _number(values, "r", whole=True)
  _number(values, "lora_alpha")
  dropout = values.get("lora_dropout", 0.0)
  if type(dropout) not in (int, float) or not 0 <= dropout < 1:
    raise ValueError(f"lora_dropout must be in [0, 1): {dropout!r}")
  if type(stable := values.get("use_rslora", False)) is not bool:
    raise ValueError(f"use_rslora must be true or false: {stable!r:.60}")
  for name, kinds in (
      ("target_modules", (str,)), ("exclude_modules", (str,)),
      ("target_parameters", ()), ("layers_to_transform", (int,)),
  ):
    value = values.get(name)
    inner = int if name == "layers_to_transform" else str
    if value is None or type(value) in kinds:
      continue
    if not isinstance(value, list) or any(type(x) is not inner for x in value):
      raise ValueError(f"{name}={value!r:.60} is no list of {inner.__name__}")


def _number(values: dict, name: str, whole: bool = False) -> None:
  value = values[name]
  kinds = (int,) if whole else (int, float)
  if type(value) not in kinds or not 0 < value < math.inf:
    kind = "whole number" if whole else "number"
    raise ValueError(f"{name} must be a positive {kind}: {value!r:.60}")


def _patterns(values: dict, field: str) -> dict[str, Any]:
  """{end of a module's name: number}; "^name" stands for a whole name."""
  patterns = values.get(field) or {}
  if not isinstance(patterns, dict):
    raise ValueError(f"{field}={patterns!r:.60} is no JSON object")
  found = {}
  for pattern, value in patterns.items():
    name = pattern.removeprefix(r".*\.").replace(r"\.", ".").removesuffix("$")
    if not _NAME.fullmatch(name.removeprefix("^")):
      raise ValueError(
          f"{field}: {pattern!r:.60} is a regular expression; only names of"
          " modules are read"
      )
    _number({pattern: value}, pattern, field == "rank_pattern")
    found[name] = value
  return found


def write(
    lora: lora_lib.LoraConfig,
    ranks: Mapping[str, int],
    base_name: str | None,
    dropout: float,
    task: str,
) -> dict[str, Any]:
  """The content of adapter_config.json.

  Args:
    lora: whose scale all modules have.
    ranks: of each kind of module, by the end of its name.
    base_name: the base's directory or name.
    dropout: of the adapters' inputs.
  """
  usual = min(ranks.values())
  others = {name: rank for name, rank in ranks.items() if rank != usual}

  def alpha(rank):
    value = lora.alpha * rank / lora.rank
    return int(value) if value == int(value) else value

  return {
      "peft_type": "LORA",
      "task_type": task,
      "base_model_name_or_path": base_name,
      "inference_mode": True,
      "r": usual,
      "lora_alpha": alpha(usual),
      "lora_dropout": dropout,
      "target_modules": sorted(ranks),
      "rank_pattern": others,
      "alpha_pattern": {name: alpha(rank) for name, rank in others.items()},
      "bias": "none",
      "fan_in_fan_out": False,
      "init_lora_weights": True,
      "modules_to_save": None,
      "use_dora": False,
      "use_rslora": False,
  }
