"""LLaMA's checkpoints and those made like them: Mistral, Mixtral, Baichuan 2.

Fields, defaults and layouts as in transformers 5; Baichuan's as in its own
model files (arXiv 2309.10305). Other families take over names from here.
"""

from typing import Any

from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange.family import (
    Family,
    flat,
    fused_in_turn,
    linear,
    linear_of_heads,
    same,
)

QKV = "blocks/attention/query blocks/attention/key blocks/attention/value"
SIZES = {
    "vocab_size": "vocab_size",
    "num_hidden_layers": "num_layers",
    "hidden_size": "embed_dim",
    "num_attention_heads": "num_heads",
    "intermediate_size": "mlp_dim",
    "max_position_embeddings": "max_length",
    "tie_word_embeddings": "tie_embeddings",
}
LLAMA_FIELDS = SIZES | {
    "num_key_value_heads": "num_kv_heads",
    "head_dim": "head_dim",
    "hidden_act": "activation",
    "rms_norm_eps": "norm_eps",
}
NO_DROPOUT = {"attention_dropout": (0.0,)}


def layers(table: dict) -> dict:
  """The names in every layer."""
  return {f"model.layers.{{layer}}.{k}": v for k, v in table.items()}


ATTENTION = {
    f"self_attn.{theirs}_proj.{kind}": (f"blocks/attention/{ours}", layout)
    for theirs, name in {
        "q": "query", "k": "key", "v": "value", "o": "out",
    }.items()
    for kind, ours, layout in (
        ("weight", name, linear_of_heads if theirs == "o" else linear),
        ("bias", f"{name}_bias", flat),
    )
}
MLP = {
    f"mlp.{name}_proj.{kind}": (f"blocks/mlp/{name}{suffix}", layout)
    for name in ("gate", "up", "down")
    for kind, suffix, layout in (
        ("weight", "", linear), ("bias", "_bias", flat),
    )
}
ENDS = {
    "model.embed_tokens.weight": ("embedding", same),
    "model.norm.weight": ("final_norm/scale", same),
    "lm_head.weight": ("head", same),
}
NORMS = {
    "input_layernorm.weight": ("blocks/attention_norm/scale", same),
    "post_attention_layernorm.weight": ("blocks/mlp_norm/scale", same),
}
QK_NORMS = {
    "self_attn.q_norm.weight": ("blocks/attention/query_norm/scale", same),
    "self_attn.k_norm.weight": ("blocks/attention/key_norm/scale", same),
}
LLAMA_KEYS = ENDS | layers(NORMS | ATTENTION | QK_NORMS | MLP)


def _read_llama(values: dict) -> dict[str, Any]:
  bias = values.pop("attention_bias", False)
  return {
      "qkv_bias": bias, "out_bias": bias,
      "mlp_bias": values.pop("mlp_bias", False),
  }


def _write_llama(c: DecoderConfig) -> dict[str, Any]:
  return {"attention_bias": c.qkv_bias, "mlp_bias": c.mlp_bias}


LLAMA = Family(
    architecture="LlamaForCausalLM",
    prefix="model.",
    keys=LLAMA_KEYS,
    fields=LLAMA_FIELDS,
    defaults={"norm_eps": 1e-6},
    fixed=NO_DROPOUT,
    # pretraining_tp splits products into sums; max_sequence_length is LLaMA
    # 1's word for what max_position_embeddings says.
    ignored=frozenset({"max_sequence_length", "pretraining_tp"}),
    read=_read_llama,
    write=_write_llama,
)

MISTRAL = Family(
    architecture="MistralForCausalLM",
    prefix="model.",
    keys=LLAMA_KEYS,
    fields=LLAMA_FIELDS | {"sliding_window": "window"},
    defaults={
        "norm_eps": 1e-6, "num_kv_heads": 8, "max_length": 131072,
        "window": 4096,
    },
    fixed=NO_DROPOUT,
)

MIXTRAL = Family(
    architecture="MixtralForCausalLM",
    prefix="model.",
    keys=ENDS | layers(NORMS | ATTENTION | {
        "block_sparse_moe.gate.weight": ("blocks/mlp/router", linear),
        "block_sparse_moe.experts.{expert}.w1.weight": (
            "blocks/mlp/gate", linear,
        ),
        "block_sparse_moe.experts.{expert}.w3.weight": (
            "blocks/mlp/up", linear,
        ),
        "block_sparse_moe.experts.{expert}.w2.weight": (
            "blocks/mlp/down", linear,
        ),
    }),
    fields=LLAMA_FIELDS | {
        "sliding_window": "window",
        "num_local_experts": "num_experts",
        "num_experts_per_tok": "experts_per_token",
    },
    defaults={
        "norm_eps": 1e-5, "num_kv_heads": 8, "max_length": 131072,
        "rope_base": 1e6, "num_experts": 8, "experts_per_token": 2,
    },
    fixed=NO_DROPOUT | {"router_jitter_noise": (0.0,)},
    # Of the balancing loss, which tuning does not add.
    ignored=frozenset({"output_router_logits", "router_aux_loss_coef"}),
)


def _read_baichuan(values: dict) -> dict[str, Any]:
  # The 7B is rotary, the 13B has ALiBi, and no field says which: but only the
  # 7B has max_position_embeddings.
  length = values.pop("model_max_length", 4096)
  position = "rope" if "max_position_embeddings" in values else "alibi"
  if values.get("vocab_size") == 64000:
    raise ValueError(
        "vocab_size=64000 is Baichuan 1, whose head is another; only Baichuan 2"
        " is supported"
    )
  published = {4096: "rope", 5120: "alibi"}
  if published.get(width := values.get("hidden_size"), position) != position:
    raise ValueError(
        f"hidden_size={width} is Baichuan 2"
        f" {'7B, which has' if width == 4096 else '13B, which has no'}"
        " max_position_embeddings"
    )
  length = values.pop("max_position_embeddings", length)
  return {"position": position, "max_length": length}


def _write_baichuan(c: DecoderConfig) -> dict[str, Any]:
  names = ["model_max_length"]
  if c.position == "rope":
    names.append("max_position_embeddings")
  return dict.fromkeys(names, c.max_length)


BAICHUAN = Family(
    architecture="BaichuanForCausalLM",
    prefix="model.",
    keys=ENDS | layers(NORMS | MLP | {
        "self_attn.W_pack.weight": (QKV, fused_in_turn),
        "self_attn.o_proj.weight": ("blocks/attention/out", linear_of_heads),
    }),
    fields={
        theirs: ours
        for theirs, ours in LLAMA_FIELDS.items()
        if ours not in ("max_length", "num_kv_heads", "head_dim")
    },
    constants={"normalize_head": True},
    defaults={"norm_eps": 1e-6},
    # auto_map names program files, which are never run here.
    ignored=frozenset({"auto_map", "z_loss_weight"}),
    base_name=None,
    read=_read_baichuan,
    write=_write_baichuan,
)
