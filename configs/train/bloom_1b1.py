"""BLOOM 1.1B (BigScience 2022).

Paper: Chen et al. 2024, "Monolingual or Multilingual Instruction Tuning".

  mlit train --config bloom_1b1:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/bloom_1b1

Presets
  full: all parameters; rate 2e-5, batch 256, 3 epochs
  lora: rank 8 on query, key, value; rate 3e-4, batch 128, 5 epochs

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect (paper): with LoRA one multilingual model is level with, or ahead of,
monolingual ones from 3B on; with full tuning monolingual ones mostly lead.
"""

from mlit_jax.configs.train import families, papers

PRESETS = ("full", "lora")
SHAPE = families.bloom(layers=24, width=1536, heads=16)


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  return papers.alpaca("bloom_1b1", SHAPE, preset)
