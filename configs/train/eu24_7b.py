"""24EU-7B: a European multilingual base of 7B in 24 languages.

Paper: Weber et al. 2024, "Investigating Multilingual Instruction-Tuning".
Our text does not give the model's shape, so that it is the base's own: give
--config.base to `mlit plan`, too.

  mlit train --config eu24_7b:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/eu24_7b

Presets
  full: the paper's: all parameters; rate 1e-5, batch 64
  lora: not the paper's: alpaca's LoRA, rank 8, rate 3e-4, 5 epochs

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect (paper): parallel data beat monolingual ones across languages, by up to
9.9 %.
"""

from mlit_jax.configs.train import papers

PRESETS = ("full", "lora")
SHAPE = {}


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  if preset == "full":
    return papers.polyglot("eu24_7b", SHAPE)
  return papers.alpaca("eu24_7b", SHAPE, "lora")
