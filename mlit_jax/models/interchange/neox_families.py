"""Checkpoints with fused queries, keys and values per head: NeoX and BLOOM."""

from typing import Any

from mlit_jax.models.interchange.family import (
    Family,
    fused_per_head,
    linear,
    linear_of_heads,
    same,
)
from mlit_jax.models.interchange.llama_families import NO_DROPOUT, QKV, SIZES

QKV_BIAS = " ".join(f"{path}_bias" for path in QKV.split())


def _read_neox(values: dict) -> dict[str, Any]:
  bias = values.pop("attention_bias", True)
  fraction = values.pop("rotary_pct", 0.25)
  table = values.get("rope_parameters")
  if isinstance(table, dict):
    table = values["rope_parameters"] = dict(table)
    fraction = table.pop("partial_rotary_factor", fraction)
  return {"qkv_bias": bias, "out_bias": bias, "rotary_fraction": fraction}


NEOX = Family(
    architecture="GPTNeoXForCausalLM",
    prefix="gpt_neox.",
    keys={
        "gpt_neox.embed_in.weight": ("embedding", same),
        "gpt_neox.final_layer_norm.weight": ("final_norm/scale", same),
        "gpt_neox.final_layer_norm.bias": ("final_norm/bias", same),
        "embed_out.weight": ("head", same),
    } | {
        f"gpt_neox.layers.{{layer}}.{theirs}": row
        for theirs, row in {
            "input_layernorm.weight": ("blocks/attention_norm/scale", same),
            "input_layernorm.bias": ("blocks/attention_norm/bias", same),
            "post_attention_layernorm.weight": ("blocks/mlp_norm/scale", same),
            "post_attention_layernorm.bias": ("blocks/mlp_norm/bias", same),
            "attention.query_key_value.weight": (QKV, fused_per_head),
            "attention.query_key_value.bias": (QKV_BIAS, fused_per_head),
            "attention.dense.weight": ("blocks/attention/out", linear_of_heads),
            "attention.dense.bias": ("blocks/attention/out_bias", same),
            "mlp.dense_h_to_4h.weight": ("blocks/mlp/up", linear),
            "mlp.dense_h_to_4h.bias": ("blocks/mlp/up_bias", same),
            "mlp.dense_4h_to_h.weight": ("blocks/mlp/down", linear),
            "mlp.dense_4h_to_h.bias": ("blocks/mlp/down_bias", same),
        }.items()
    },
    fields=SIZES | {
        "hidden_act": "activation",
        "layer_norm_eps": "norm_eps",
        "use_parallel_residual": "parallel_residual",
    },
    constants={"norm": "layer", "gated_mlp": False, "mlp_bias": True},
    defaults={"activation": "gelu", "parallel_residual": True},
    fixed=NO_DROPOUT | {"hidden_dropout": (0.0,)},
    base_name="rotary_emb_base",
    read=_read_neox,
    write=lambda c: {
        "rotary_pct": c.rotary_fraction, "attention_bias": c.qkv_bias,
    },
)


def _read_bloom(values: dict) -> dict[str, Any]:
  wide, width = values.pop("n_inner", None), values.get("hidden_size")
  if wide is None and isinstance(width, int):
    wide = 4 * width
  return {"mlp_dim": wide}


BLOOM = Family(
    architecture="BloomForCausalLM",
    prefix="transformer.",
    keys={
        "transformer.word_embeddings.weight": ("embedding", same),
        "transformer.word_embeddings_layernorm.weight": (
            "embedding_norm/scale", same,
        ),
        "transformer.word_embeddings_layernorm.bias": (
            "embedding_norm/bias", same,
        ),
        "transformer.ln_f.weight": ("final_norm/scale", same),
        "transformer.ln_f.bias": ("final_norm/bias", same),
        "lm_head.weight": ("head", same),
    } | {
        name.replace("gpt_neox.layers", "transformer.h").replace(
            ".attention.", ".self_attention."
        ): row
        for name, row in NEOX.keys.items()
        if "{layer}" in name
    },
    fields={
        "vocab_size": "vocab_size", "n_layer": "num_layers",
        "hidden_size": "embed_dim", "n_head": "num_heads",
        "seq_length": "max_length", "layer_norm_epsilon": "norm_eps",
        "tie_word_embeddings": "tie_embeddings",
    },
    constants={
        "position": "alibi", "norm": "layer", "embedding_norm": True,
        "gated_mlp": False, "activation": "gelu_new", "qkv_bias": True,
        "out_bias": True, "mlp_bias": True,
    },
    defaults={"tie_embeddings": True},
    fixed=NO_DROPOUT | {
        "hidden_dropout": (0.0,),
        "apply_residual_connection_post_layernorm": (False,),
    },
    # Of the program that trained it; and sums in another order.
    ignored=frozenset({
        "attention_softmax_in_fp32", "bias_dropout_fusion",
        "masked_softmax_fusion", "offset_alibi", "pretraining_tp",
        "skip_bias_add", "skip_bias_add_qkv", "slow_but_exact",
    }),
    aliases={
        "num_hidden_layers": "n_layer", "num_attention_heads": "n_head",
        "n_embed": "hidden_size",
    },
    base_name=None,
    read=_read_bloom,
    write=lambda c: {"n_inner": c.mlp_dim},
)
