"""Pythia 160M (Biderman et al. 2023).

Paper: Chen et al. 2024, "Monolingual or Multilingual Instruction Tuning".

  mlit train --config pythia_160m:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/pythia_160m

Presets
  full: all parameters; rate 2e-5, batch 256, 3 epochs
  lora: rank 8 on query, key, value; rate 3e-4, batch 128, 5 epochs

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect (paper): the pattern that BLOOM shows.
"""

from mlit_jax.configs.train import families, papers

PRESETS = ("full", "lora")
SHAPE = families.pythia(layers=12, width=768, heads=12)


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  return papers.alpaca("pythia_160m", SHAPE, preset)
