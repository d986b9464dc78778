"""LLaMA 13B (Touvron et al. 2023), tuned as the papers tune 7B.

Papers: Zhu et al. 2023, "Extrapolating Large Language Models to Non-English";
Chen et al. 2024, "Monolingual or Multilingual Instruction Tuning".

  mlit train --config llama_13b:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/llama_13b

Presets
  full: xllama: all parameters; rate 2e-5, batch 128, 3 epochs
  lora: alpaca: rank 8 on query, key, value; rate 3e-4, 5 epochs

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect: the papers do not have it.
"""

from mlit_jax.configs.train import families, papers

PRESETS = ("full", "lora")
SHAPE = families.llama(layers=40, width=5120, heads=40, mlp=13824)


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  if preset == "full":
    return papers.xllama("llama_13b", SHAPE)
  return papers.alpaca("llama_13b", SHAPE, "lora")
