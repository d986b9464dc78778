"""Gemma 2B (Gemma Team 2024).

Paper: Shaham et al. 2024, "Multilingual Instruction Tuning With Just a Pinch
of Multilinguality"; Gemma stands in for PaLM 2-S.

  mlit train --config gemma_2b:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/gemma_2b

Presets
  full: all parameters; the paper's numbers are not known (papers.py)
  lora: not the paper's: alpaca's LoRA, rank 8, rate 3e-4, 5 epochs

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect (paper): 40 examples spread over eleven languages help these a lot.
"""

from mlit_jax.configs.train import families, papers

PRESETS = ("full", "lora")
SHAPE = families.gemma(layers=18, width=2048, heads=8, kv_heads=1, mlp=16384)


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  if preset == "full":
    return papers.pinch("gemma_2b", SHAPE)
  return papers.alpaca("gemma_2b", SHAPE, "lora")
