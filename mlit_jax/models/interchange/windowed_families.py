"""Checkpoints whose layers may differ by a window: Gemma and Qwen."""

import dataclasses
from collections.abc import Callable
from typing import Any

from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import rope
from mlit_jax.models.interchange.family import Family, same
from mlit_jax.models.interchange.llama_families import (
    ATTENTION,
    ENDS,
    LLAMA_FIELDS,
    LLAMA_KEYS,
    MLP,
    NO_DROPOUT,
    QK_NORMS,
    layers,
)

_SLIDING, _FULL = "sliding_attention", "full_attention"


def _windows(values: dict, otherwise: Callable[[int], bool]) -> dict[str, Any]:
  """The window of the layers that have it.

  Args:
    values: config.json's fields; layer_types is taken out.
    otherwise: whether layer i has it, where layer_types does not say.
  """
  window = values.pop("sliding_window", 4096)
  types = values.pop("layer_types", None)
  count = values.get("num_hidden_layers")
  count = count if type(count) is int else 0  # refused later
  if types is None:
    types = [_SLIDING if otherwise(i) else _FULL for i in range(count)]
  if not isinstance(types, list) or set(types) - {_SLIDING, _FULL}:
    raise ValueError(
        f"layer_types={types!r} is not supported, only a list of"
        f" {_SLIDING!r} and {_FULL!r}"
    )
  if len(types) != count:
    raise ValueError(
        f"layer_types has {len(types)} entries for {count} layers"
    )
  if _SLIDING not in types:
    return {"window": None}
  if _FULL not in types:
    return {"window": window}
  windowed = tuple(kind == _SLIDING for kind in types)
  return {"window": window, "windowed_layers": windowed}


def _write_windows(c: DecoderConfig) -> dict[str, Any]:
  windowed = c.windowed_layers or (c.window is not None,) * c.num_layers
  return {
      "sliding_window": c.window,
      "layer_types": [_SLIDING if w else _FULL for w in windowed],
  }


_GEMMA_FIELDS = {k: v for k, v in LLAMA_FIELDS.items() if v != "activation"}
_GEMMA_FIXED = NO_DROPOUT | {
    # Files of the first Gemma say "gelu" and mean its approximation.
    "hidden_act": ("gelu_pytorch_tanh", "gelu"),
    "use_bidirectional_attention": (None, False),
}
_GEMMA_CONSTANTS = {"norm_offset": True, "embedding_scale": True}
_GEMMA_DEFAULTS = {
    "norm_eps": 1e-6, "head_dim": 256, "max_length": 8192,
    "tie_embeddings": True, "activation": "gelu_pytorch_tanh",
}


def _read_gemma(values: dict) -> dict[str, Any]:
  bias = values.pop("attention_bias", False)
  return {"qkv_bias": bias, "out_bias": bias}


def _write_gemma(c: DecoderConfig) -> dict[str, Any]:
  return {"attention_bias": c.qkv_bias}


GEMMA1 = Family(
    architecture="GemmaForCausalLM",
    prefix="model.",
    keys=LLAMA_KEYS,
    fields=_GEMMA_FIELDS,
    constants=_GEMMA_CONSTANTS,
    defaults=_GEMMA_DEFAULTS | {"num_kv_heads": 16},
    fixed=_GEMMA_FIXED | {"hidden_activation": ("gelu_pytorch_tanh", None)},
    read=_read_gemma,
    write=_write_gemma,
)


def _read_gemma2(values: dict) -> dict[str, Any]:
  windows = _windows(values, lambda i: i % 2 == 0)
  return _read_gemma(values) | windows


GEMMA2 = Family(
    architecture="Gemma2ForCausalLM",
    prefix="model.",
    keys=ENDS | layers(ATTENTION | QK_NORMS | MLP | {
        "input_layernorm.weight": ("blocks/attention_norm/scale", same),
        "post_attention_layernorm.weight": (
            "blocks/attention_post_norm/scale", same,
        ),
        "pre_feedforward_layernorm.weight": ("blocks/mlp_norm/scale", same),
        "post_feedforward_layernorm.weight": (
            "blocks/mlp_post_norm/scale", same,
        ),
    }),
    fields=_GEMMA_FIELDS | {
        "hidden_activation": "activation",
        "query_pre_attn_scalar": "query_scalar",
        "attn_logit_softcapping": "attention_softcap",
        "final_logit_softcapping": "logit_softcap",
    },
    constants=_GEMMA_CONSTANTS | {"post_norms": True},
    defaults=_GEMMA_DEFAULTS | {
        "num_kv_heads": 4, "query_scalar": 256, "attention_softcap": 50.0,
        "logit_softcap": 30.0,
    },
    fixed=_GEMMA_FIXED,
    aliases={"sliding_window_size": "sliding_window"},
    read=_read_gemma2,
    write=lambda c: _write_gemma(c) | _write_windows(c),
)


def _read_gemma3(values: dict) -> dict[str, Any]:
  pattern = values.pop("_sliding_window_pattern", 6)
  pattern = values.pop("sliding_window_pattern", pattern)
  if type(pattern) is not int or pattern <= 0:
    raise ValueError(
        "sliding_window_pattern must be a positive whole number:"
        f" {pattern!r}"
    )
  local = values.pop("rope_local_base_freq", 10000.0)
  if (tables := values.pop("rope_parameters", None)) is not None:
    if not isinstance(tables, dict) or set(tables) - {_SLIDING, _FULL}:
      raise ValueError(
          f"rope_parameters={tables!r} must hold tables {_FULL!r} and"
          f" {_SLIDING!r}, and nothing else"
      )
    values["rope_parameters"] = tables.get(_FULL)
    inner = {"rope_parameters": tables.get(_SLIDING)}
    found = rope.read(inner, "rope_theta")
    if inner or "rope_scaling" in found:
      raise ValueError(
          f"rope_parameters: {_SLIDING}={tables[_SLIDING]!r} is not supported,"
          " only a base without scaling"
      )
    local = found.get("rope_base", local)
  windows = _windows(values, lambda i: bool((i + 1) % pattern))
  if windows["window"] is not None:
    windows["local_rope_base"] = local
  return _read_gemma(values) | windows


def _write_gemma3(c: DecoderConfig) -> dict[str, Any]:
  written = _write_gemma(c) | _write_windows(c)
  if c.local_rope_base is not None:
    written["rope_local_base_freq"] = c.local_rope_base
  return written


GEMMA3 = dataclasses.replace(
    GEMMA2,
    architecture="Gemma3ForCausalLM",
    fields={
        k: v for k, v in GEMMA2.fields.items() if v != "attention_softcap"
    },
    constants=GEMMA2.constants | {"qk_norm": True},
    defaults=_GEMMA_DEFAULTS | {
        "num_kv_heads": 4, "query_scalar": 256, "max_length": 131072,
        "rope_base": 1e6,
    },
    # transformers has the field and does not use it.
    fixed=_GEMMA_FIXED | {"attn_logit_softcapping": (None,)},
    read=_read_gemma3,
    write=_write_gemma3,
)


def _read_qwen(values: dict) -> dict[str, Any]:
  first = values.pop("max_window_layers", 28)
  used = values.pop("use_sliding_window", False)
  return _windows(values, lambda i: used and i >= first)


QWEN2 = Family(
    architecture="Qwen2ForCausalLM",
    prefix="model.",
    keys=LLAMA_KEYS,
    fields=LLAMA_FIELDS,
    constants={"qkv_bias": True},
    defaults={"norm_eps": 1e-6, "num_kv_heads": 32, "max_length": 32768},
    fixed=NO_DROPOUT | {"use_mrope": (False,)},
    read=_read_qwen,
    write=lambda c: _write_windows(c) | {
        "use_sliding_window": c.window is not None
    },
)

QWEN3 = dataclasses.replace(
    QWEN2,
    architecture="Qwen3ForCausalLM",
    constants={"qk_norm": True},
    defaults=QWEN2.defaults | {"head_dim": 128},
    read=lambda values: _read_gemma(values) | _read_qwen(values),
    write=lambda c: _write_gemma(c) | QWEN2.write(c),
)
