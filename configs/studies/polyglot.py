"""Polyglot: do multilingual models need multilingual instructions?

Paper: Weber et al. 2024, "Investigating Multilingual Instruction-Tuning: Do
Polyglot Models Demand for Multilingual Instructions?" (data, training and
evaluation as in its summary).

  mlit study polyglot:pocket --workdir runs/polyglot

Each language alone, all of them in parallel, all but the main one, and both
sets again at the size of one language (`sampled` from the merged set, or each
id in one language, `partition`); with few examples (as Lima-X) and with many
(as Bactrian-X). Every model is asked questions of two turns, each answer is
scored 1 to 10, and the parallel model is compared with each monolingual one.

Presets
  pocket: en es it of the paper's five languages; Czech and Russian stand in
    for German and French. The two-turn questions are the pocket world's.
"""

import ml_collections

from mlit_jax.configs.studies import pocket

PRESETS = ("pocket",)


def get_config(preset: str = "pocket") -> ml_collections.ConfigDict:
  """The config of a preset; KeyError if there is no such preset."""
  return {"pocket": _pocket}[preset]()


def _pocket() -> ml_collections.ConfigDict:
  config = pocket.common(("en", "cs", "ru", "it", "es"))
  config.evaluation = "two-turns"
  config.few_examples = 128
  config.num_examples = 960
  config.designs = ("parallel", "sampled", "partition")
  config.pretrain.documents = 8000
  return config
