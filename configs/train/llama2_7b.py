"""LLaMA 2 7B (Touvron et al. 2023), tuned as the papers tune LLaMA 7B.

Papers: Zhu et al. 2023, "Extrapolating Large Language Models to Non-English";
Chen et al. 2024, "Monolingual or Multilingual Instruction Tuning".

  mlit train --config llama2_7b:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/llama2_7b

Presets
  full: xllama: all parameters; rate 2e-5, batch 128, 3 epochs
  lora: alpaca: rank 8 on query, key, value; rate 3e-4, 5 epochs

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect: the papers do not have it.
"""

from mlit_jax.configs.train import families, papers

PRESETS = ("full", "lora")
SHAPE = families.llama2(layers=32, width=4096, heads=32, mlp=11008)


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  if preset == "full":
    return papers.xllama("llama2_7b", SHAPE)
  return papers.alpaca("llama2_7b", SHAPE, "lora")
