"""BLOOM 7.1B (BigScience 2022).

Papers: Ji and Chen 2024, "Lucky 52"; Chen et al. 2024, "Monolingual or
Multilingual Instruction Tuning".

  mlit train --config bloom_7b1:lora --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/bloom_7b1

Presets
  full: Lucky 52: all parameters; rate 3e-5, length 768, 3 epochs
  full_alpaca: rate 2e-5, batch 256, 3 epochs
  lora: alpaca: rank 8 on query, key, value; rate 3e-4, 5 epochs

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect (Lucky 52): zero-shot accuracy does not grow steadily with the number
of languages. (alpaca): with LoRA the multilingual model leads.
"""

from mlit_jax.configs.train import families, papers

PRESETS = ("full", "full_alpaca", "lora")
SHAPE = families.bloom(layers=30, width=4096, heads=32)


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  if preset == "full":
    return papers.lucky52("bloom_7b1", SHAPE)
  if preset == "full_alpaca":
    return papers.alpaca("bloom_7b1", SHAPE, "full")
  return papers.alpaca("bloom_7b1", SHAPE, "lora")
