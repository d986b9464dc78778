"""Lucky 52: how many languages does instruction tuning need?

Paper: Ji and Chen 2024, "Lucky 52: How Many Languages Are Needed to
Instruction Fine-Tune Large Language Models?", sections 2 and 3 (Figures 1 to
3, Tables 1 to 3).

  mlit study lucky52:pocket --workdir runs/lucky52

Model k is tuned on the first k languages of an order, every language with the
same examples. Every model is asked to choose between endings, in every
language, by log-likelihood.

`--study.experiments=number,similarity` keeps to these, of accuracy by the
number of languages (Figures 1 and 2), by who has seen a language (`exposure`,
Figure 3) and by similarity (Tables 1 to 3). All are read from the same models:
what shortens the study is fewer `tuned_languages` or `tests`.

Presets
  pocket: ten of the pocket world's twelve languages are tuned on, in the
    paper's order; the base is pre-trained on ten others, so that there are
    languages that only base, only tuning, both or neither have seen. In place
    of XCOPA, XStoryCloze and XWinograd: hand-written beginnings with two
    endings, and questions with a right and a wrong answer. Similarity of
    sounds, the seventh measure, needs a table of yours (`sounds`); the six
    others are there. The outlier that the paper leaves out (Korean) is not in
    the pocket world: the checkpoint that matters most is left out instead.
  paper: BLOOM 7.1B, fifty-two languages in the paper's order (section 2.2),
    67,000 examples of Bactrian-X in each, all parameters tuned (section 3.1);
    XCOPA, XStoryCloze and XWinograd (section 2.3), each in its own languages;
    Korean is left out of the correlations once. Examples have a row each, as
    in the paper; `substitutions` says what is not as there.
"""

import ml_collections

from mlit_jax import languages
from mlit_jax.configs.studies import paper, pocket

PRESETS = ("pocket", "paper")


def get_config(preset: str = "pocket") -> ml_collections.ConfigDict:
  """The config of a preset; KeyError if there is no such preset."""
  return {"pocket": _pocket, "paper": _paper}[preset]()


def _pocket() -> ml_collections.ConfigDict:
  # The paper's order, as far as the pocket world has its languages.
  config = pocket.common((
      "en", "zh", "ar", "cs", "es", "et", "fi", "he", "hi", "it", "ru", "sw",
  ))
  config.tuned_languages = (
      "en", "zh", "ar", "cs", "es", "et", "fi", "hi", "it", "ru",
  )
  config.base_languages = "en,zh,ar,cs,es,fi,he,hi,it,ru"
  config.substitutions = (
      "Ten of the paper's fifty-two languages are tuned on, in its order.",
      "Hand-written beginnings with two endings, and questions with a right and"
      " a wrong answer, stand in for XCOPA, XStoryCloze and XWinograd; the"
      " pocket world's questions for Bactrian-X.",
      f"{pocket.DECODER} BLOOM 7.1B.",
      "Korean, whose checkpoint the paper leaves out of a correlation, is not"
      " there: the checkpoint that matters most is left out instead. How far"
      " consonants correspond needs a table of one's own.",
  )
  config.num_examples = 160  # in every language
  config.tests = ("endings", "answers")
  config.experiments = ("number", "exposure", "similarity")
  # The language whose checkpoint is left out of the correlations once; "": the
  # one whose absence moves them most.
  config.outlier = ""
  # A CSV file (a,b,similarity) of how far consonants correspond; the other six
  # measures of similarity are computed from URIEL's features.
  config.sounds = ""
  config.pretrain.documents = 10000
  return config


def _paper() -> ml_collections.ConfigDict:
  tuned = languages.SETS["lucky52"]
  tests = ("xcopa", "xstorycloze", "xwinograd")
  asked = [x for test in tests for x in languages.SETS[test]]
  every = tuple(dict.fromkeys([*tuned, *asked]))
  config = paper.common(every, ("bloom_7b1",), "full")
  config.judge = "reference"  # there is none to ask
  config.tuned_languages = tuned
  config.base_languages = ",".join(languages.SETS["bloom"])
  config.num_examples = 67_000  # in every language
  config.train, config.tests = "bactrian_x", tests
  config.experiments = ("number", "exposure", "similarity")
  config.evaluation = ""  # nothing is answered
  config.sources.bactrian_x = paper.expected(67_000, 600)
  # Their test parts; XWinograd has 4,449 in six languages.
  config.sources.xcopa = paper.expected(500, 120)
  config.sources.xstorycloze = paper.expected(1511, 400)
  config.sources.xwinograd = paper.expected(742, 120)
  config.outlier, config.sounds = "ko", ""
  config.substitutions = (
      "Who has seen a language is computed from the lists of BLOOM's card and"
      " of the languages tuned on: Japanese, which the paper counts among those"
      " never seen, is tuned on, and Haitian, which it counts as read by the"
      " base, is not on the card.",
      "The batch is 256 examples throughout; the paper's grows to 1,280 with"
      " the number of languages, its text does not say how.",
      "The learning rate falls linearly and has no warm-up: the text gives"
      " neither.",
      "How far consonants correspond needs a table of one's own.",
  )
  return config
