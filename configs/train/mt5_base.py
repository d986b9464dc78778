"""mT5 base (Xue et al. 2021), T5X's line: no paper here tunes it.

Reads Hugging Face's checkpoints, and T5X's (docs/t5x.md).

  mlit train --config mt5_base:full --config.base=MODEL \
    --config.data.directories=DATA --workdir runs/mt5_base

Presets
  full: all parameters; a constant rate of 1e-3, batch 128

Cost: `mlit plan` with the same arguments; docs/plan.md has the table.
Expect: no published figure to compare with.
"""

from mlit_jax.configs.train import families, papers

PRESETS = ("full",)
SHAPE = families.mt5(layers=12, width=768, heads=12, mlp=2048)


def get_config(preset: str = PRESETS[0]):
  """The config of a preset."""
  return papers.t5x("mt5_base", SHAPE)
