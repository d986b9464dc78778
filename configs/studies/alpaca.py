"""Alpaca: one model per language, one for all, or a small one for all?

Paper: Chen et al. 2024, "Monolingual or Multilingual Instruction Tuning: Which
Makes a Better Alpaca", sections 2 and 3 (Figures 1 to 5).

  mlit study alpaca:pocket --workdir runs/alpaca

Four budgets, C being what one monolingual model costs: N monolingual models
(N·C), one model tuned on all languages' data (N·C), the main language's model
for everybody (C), and one multilingual model of the size of a monolingual one
(C), its examples drawn from the merged set (`sampled`) or each id in one
language (`partition`). Answers are rated 1 to 3, nothing if in the wrong
language, and summed.

Presets
  pocket: the six of the paper's nine languages that the pocket world has (bg,
    de and fr are missing); its unseen ones (bn, no) are replaced by Hebrew and
    Swahili. Two sizes of the pocket base stand in for the paper's model sizes.
"""

import ml_collections

from mlit_jax.configs.studies import pocket

PRESETS = ("pocket",)


def get_config(preset: str = "pocket") -> ml_collections.ConfigDict:
  """The config of a preset; KeyError if there is no such preset."""
  return {"pocket": _pocket}[preset]()


def _pocket() -> ml_collections.ConfigDict:
  config = pocket.common(("en", "cs", "zh", "fi", "ru", "es"))
  config.test_languages = ("en", "es", "ru", "zh")  # seen, rated
  config.unseen_languages = ("he", "sw")
  config.base_languages = "en,cs,zh,fi,ru,es,he,sw"
  config.budgets = ("all", "sampled", "partition")
  config.num_examples = 640  # of one monolingual run
  config.other_bases = ml_collections.ConfigDict({
      "small": {
          "embed_dim": 64, "num_heads": 2, "num_kv_heads": 2, "mlp_dim": 128,
      },
  })
  config.pretrain.documents = 9000
  return config
