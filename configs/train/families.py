"""Shapes of the papers' models, by family; sizes stand in each model's file."""

from typing import Any

Shape = dict[str, Any]


def bloom(*, layers: int, width: int, heads: int) -> Shape:
  """BLOOM (BigScience 2022)."""
  return _heads(width, heads) | {
      "family": "bloom", "vocab_size": 250880, "num_layers": layers,
      "mlp_dim": 4 * width, "position": "alibi", "norm": "layer",
      "embedding_norm": True, "tie_embeddings": True, "gated_mlp": False,
      "activation": "gelu_tanh", "qkv_bias": True, "out_bias": True,
      "mlp_bias": True,
  }


def pythia(
    *, layers: int, width: int, heads: int, vocab_size: int = 50304
) -> Shape:
  """Pythia (Biderman et al. 2023)."""
  return _heads(width, heads) | {
      "family": "gpt_neox", "vocab_size": vocab_size, "num_layers": layers,
      "mlp_dim": 4 * width, "rotary_fraction": 0.25, "norm": "layer",
      "parallel_residual": True, "gated_mlp": False, "activation": "gelu",
      "qkv_bias": True, "out_bias": True, "mlp_bias": True,
  }


def llama(*, layers: int, width: int, heads: int, mlp: int, **more) -> Shape:
  """LLaMA (Touvron et al. 2023) and what is built like it."""
  return _heads(width, heads) | {
      "family": "llama", "vocab_size": 32000, "num_layers": layers,
      "mlp_dim": mlp, "norm_eps": 1e-6,
  } | more


def llama2(*, layers: int, width: int, heads: int, mlp: int) -> Shape:
  """LLaMA 2 up to 13B (Touvron et al. 2023)."""
  return llama(
      layers=layers, width=width, heads=heads, mlp=mlp, norm_eps=1e-5,
      max_length=4096,
  )


def gemma(
    *, layers: int, width: int, heads: int, kv_heads: int, mlp: int
) -> Shape:
  """Gemma (Gemma Team 2024)."""
  return {
      "family": "gemma", "vocab_size": 256000, "num_layers": layers,
      "embed_dim": width, "num_heads": heads, "num_kv_heads": kv_heads,
      "head_dim": 256, "mlp_dim": mlp, "max_length": 8192, "norm_eps": 1e-6,
      "norm_offset": True, "embedding_scale": True, "tie_embeddings": True,
      "activation": "gelu_tanh",
  }


def mt5(*, layers: int, width: int, heads: int, mlp: int) -> Shape:
  """mT5 (Xue et al. 2021)."""
  return {
      "family": "mt5", "vocab_size": 250112, "num_encoder_layers": layers,
      "num_decoder_layers": layers, "embed_dim": width, "num_heads": heads,
      "head_dim": 64, "mlp_dim": mlp,
  }


def _heads(width: int, heads: int) -> Shape:
  return {
      "embed_dim": width, "num_heads": heads, "num_kv_heads": heads,
      "head_dim": width // heads,
  }
