"""OpenLLaMA 7B (Geng and Liu 2023).

Paper: Chen et al. 2024, "Monolingual or Multilingual Instruction Tuning".

  mlit train --config openllama_7b:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/openllama_7b

Presets
  full: all parameters; rate 2e-5, batch 256, 3 epochs
  lora: rank 8 on query, key, value; rate 3e-4, batch 128, 5 epochs

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect (paper): of 30 cases in five families of about 7B, LoRA in one language
alone is ahead in two, Russian and Chinese with LLaMA.
"""

from mlit_jax.configs.train import families, papers

PRESETS = ("full", "lora")
SHAPE = families.llama(layers=32, width=4096, heads=32, mlp=11008)


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  return papers.alpaca("openllama_7b", SHAPE, preset)
