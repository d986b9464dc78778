"""Any model directory that this project loads, tuned as alpaca tunes.

Paper: Chen et al. 2024, "Monolingual or Multilingual Instruction Tuning".
The shape is the base's: give --config.base to `mlit plan`, too.

  mlit train --config any_model:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/mine

Presets
  full: all parameters; rate 2e-5, batch 256, 3 epochs
  lora: rank 8 on query, key, value; rate 3e-4, batch 128, 5 epochs

Cost: `mlit plan` with the same arguments. Expect what the paper's models of
like size show (bloom_7b1.py).
"""

from mlit_jax.configs.train import papers

PRESETS = ("full", "lora")


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  return papers.alpaca("any_model", {}, preset)
