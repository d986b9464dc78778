"""Pinch: does tuning in one language help others, and how little is enough?

Paper: Shaham et al. 2024, "Multilingual Instruction Tuning With Just a Pinch
of Multilinguality", sections 3 and 4.1 (Figures 1, 3 and 10).

  mlit study pinch:pocket --workdir runs/pocket

Presets
  pocket: the embedded pocket world in the paper's twelve languages; a decoder
    of 0.8 million parameters is pre-trained on its running text and tuned on
    1,280 examples a run. A little more than six minutes on two CPU cores
    (benchmarks/RESULTS.md).
    Expect each monolingual model to be far ahead in its own language; whether
    anything passes from one language to another at this size is what the
    report says.
"""

import ml_collections

from mlit_jax.configs.studies import pocket

PRESETS = ("pocket",)


def get_config(preset: str = "pocket") -> ml_collections.ConfigDict:
  """The config of a preset; KeyError if there is no such preset."""
  return {"pocket": _pocket}[preset]()


def _pocket() -> ml_collections.ConfigDict:
  config = pocket.common((
      "ar", "cs", "en", "es", "et", "fi", "he", "hi", "it", "ru", "sw", "zh",
  ))
  # monolingual models always; beside them any of
  config.experiments = (
      "percent", "half", "number", "bilingual", "family", "share",
  )
  config.percents = (1.0, 10.0, 50.0, 100.0)
  config.one_percent = 0  # examples at P = 1; 0: 1 % to the nearest
  config.controls = True
  # Experiments 3 and 4: the paper's six, the other six are unseen.
  config.half_languages = ("en", "ar", "fi", "it", "ru", "sw")
  config.half_percents = (10.0, 100.0)
  config.numbers = (1, 2, 6)
  config.num_orders = 2
  # Experiment 6: of the paper's seven Slavic languages the pocket world has
  # two. What stands in for them are pairs of related languages.
  config.family = ("ru", "cs", "es", "it", "fi", "et", "he", "ar")
  return config
