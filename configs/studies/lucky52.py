"""Lucky 52: how many languages does instruction tuning need?

Paper: Ji and Chen 2024, "Lucky 52: How Many Languages Are Needed to
Instruction Fine-Tune Large Language Models?", sections 2 and 3 (Figures 1 to
3, Tables 1 to 3).

  mlit study lucky52:pocket --workdir runs/lucky52

Model k is tuned on the first k languages of an order, every language with the
same examples. Every model is asked to choose between endings, in every
language, by log-likelihood.

Presets
  pocket: ten of the pocket world's twelve languages are tuned on, in the
    paper's order; the base is pre-trained on ten others, so that there are
    languages that only base, only tuning, both or neither have seen. In place
    of XCOPA, XStoryCloze and XWinograd: hand-written beginnings with two
    endings, and questions with a right and a wrong answer.
"""

import ml_collections

from mlit_jax.configs.studies import pocket

PRESETS = ("pocket",)


def get_config(preset: str = "pocket") -> ml_collections.ConfigDict:
  """The config of a preset; KeyError if there is no such preset."""
  return {"pocket": _pocket}[preset]()


def _pocket() -> ml_collections.ConfigDict:
  # The paper's order, as far as the pocket world has its languages.
  config = pocket.common((
      "en", "zh", "ar", "cs", "es", "et", "fi", "he", "hi", "it", "ru", "sw",
  ))
  config.tuned_languages = (
      "en", "zh", "ar", "cs", "es", "et", "fi", "hi", "it", "ru",
  )
  config.base_languages = "en,zh,ar,cs,es,fi,he,hi,it,ru"
  config.num_examples = 160  # in every language
  config.tests = ("endings", "answers")
  config.outlier = ""  # a language whose checkpoint is left out once
  config.pretrain.documents = 10000
  return config
