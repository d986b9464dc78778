"""Mixtral 8x7B (Jiang et al. 2024).

Paper: Weber et al. 2024, "Investigating Multilingual Instruction-Tuning".

  mlit train --config mixtral_8x7b:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/mixtral_8x7b

Presets
  full: the paper's: all parameters; rate 1e-5, batch 64
  lora: not the paper's: alpaca's LoRA, rank 8, rate 3e-4, 5 epochs

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect (paper): parallel data beat monolingual ones across languages, by up to
9.9 %.
"""

from mlit_jax.configs.train import families, papers

PRESETS = ("full", "lora")
SHAPE = families.llama(
    layers=32, width=4096, heads=32, mlp=14336, family="mixtral",
    num_kv_heads=8, max_length=32768, norm_eps=1e-5, rope_base=1e6,
    num_experts=8, experts_per_token=2,
)


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  if preset == "full":
    return papers.polyglot("mixtral_8x7b", SHAPE)
  return papers.alpaca("mixtral_8x7b", SHAPE, "lora")
