"""Pinch: does tuning in one language help others, and how little is enough?

Paper: Shaham et al. 2024, "Multilingual Instruction Tuning With Just a Pinch
of Multilinguality", sections 3 and 4.1 (Figures 1, 3 and 10).

  mlit study pinch:pocket --workdir runs/pocket

Presets
  pocket: the embedded pocket world in the paper's twelve languages; a decoder
    of 0.8 million parameters is pre-trained on its running text and tuned on
    1,280 examples a run. A little less than six minutes on two CPU cores
    (benchmarks/RESULTS.md).
    Expect each monolingual model to be far ahead in its own language; whether
    anything passes from one language to another at this size is what the
    report says.
  own: your own rows and model directory, in any languages (README.md): with
    --study.base, --study.languages, --study.sources.train and
    --study.sources.test. Monolingual models, their controls, mixtures and
    pairs; full tuning at rate 2e-5 in batches of 16, 3 epochs.
  paper: the paper's own twelve languages, 4,640 examples a model (1,000 of
    LIMA, 3,640 of OpenAssistant, translated; section 2), 617 AlpacaFarm
    instructions a language, P of 1 (40 examples), 10, 20, ... 100 % (sections
    3.2 and 3.3), one to six languages in three orders and six pairs (section
    4). Gemma 2B or 7B stands in for PaLM 2-S; the paper's hyper-parameters are
    not in its text (configs/train/papers.py). Tuning sets with responses
    exchanged, which the pocket preset has as a control, are not the paper's.
  paper_slavic: seven Slavic languages, monolingual, each against each (section
    4.1, Figure 7).

What a base that is given has read is not in its files. Without it transfer is
not set against the languages' shares (section 4.2, Figure 8), and the report
says so; `--study.base_shares=LANG:PERCENT,...` gives them, e.g. of 24EU-7B
en:43.88,fr:8.65,de:8.48,es:7.63,it:4.64 (Weber et al. 2024). The paper's own,
of PaLM 2, stand in Anil et al. (2023), Table 21.
"""

import ml_collections

from mlit_jax import languages
from mlit_jax.configs.studies import paper, pocket

PRESETS = ("pocket", "own", "paper", "paper_slavic")


def get_config(preset: str = "pocket") -> ml_collections.ConfigDict:
  """The config of a preset; KeyError if there is no such preset."""
  return {
      "pocket": _pocket, "own": _own, "paper": _paper,
      "paper_slavic": _paper_slavic,
  }[preset]()


def _pocket() -> ml_collections.ConfigDict:
  config = pocket.common((
      "ar", "cs", "en", "es", "et", "fi", "he", "hi", "it", "ru", "sw", "zh",
  ))
  config.tune.learning_rate = 3e-3
  config.substitutions = (
      "The pocket world's questions stand in for LIMA, OpenAssistant and"
      " AlpacaFarm, in the paper's twelve languages; nothing is translated by a"
      " machine.",
      f"{pocket.DECODER} PaLM 2-S.",
      "Of the paper's seven Slavic languages there are two: pairs of related"
      " languages stand in for them.",
      "1,280 examples in place of 4,640; 4 of the paper's 11 shares of"
      " multilingual data (2 of them for half of the languages), 1, 2 and 6"
      " languages added, in two orders of the paper's three.",
  )
  config.base_shares = ""
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


def _own() -> ml_collections.ConfigDict:
  config = paper.common(("en", "es"), ("any_model",), "full")
  config.num_examples = 100
  config.train, config.evaluation = "train", "test"
  config.sources.train = paper.expected(100, 400)
  config.sources.test = paper.expected(50, 150)
  config.tune.batch_size, config.tune.checkpoint_every = 16, 100
  config.base_shares = ""
  config.experiments = ("percent", "bilingual")
  config.percents, config.one_percent = (10.0, 50.0, 100.0), 0
  config.controls = True
  config.half_languages, config.half_percents = (), ()
  config.numbers, config.num_orders, config.family = (), 0, ()
  config.max_new_tokens = 128
  config.decode_batch_size = 32
  return config


def _paper() -> ml_collections.ConfigDict:
  config = _of_paper(languages.SETS["pinch"])
  config.experiments = ("percent", "half", "number", "bilingual", "share")
  config.percents = (1.0, *(float(p) for p in range(10, 101, 10)))
  config.one_percent = 40  # over eleven languages, and 4,600 in English
  config.half_percents = config.percents
  config.numbers = (1, 2, 3, 4, 5, 6)
  config.num_orders = 3
  return config


def _paper_slavic() -> ml_collections.ConfigDict:
  config = _of_paper(languages.SETS["slavic"])
  config.main_language = "ru"
  config.experiments = ("family",)
  config.family = config.languages
  return config


def _of_paper(codes) -> ml_collections.ConfigDict:
  config = paper.common(codes, ("gemma_2b", "gemma_7b"), "full")
  config.substitutions = (
      "Gemma stands in for PaLM 2-S, and for PaLM 2-L as the judge a model that"
      " you name.",
      "Rate 2e-5 with a warm-up of 3 % and a cosine, batch 64, three epochs and"
      " rows of 768 tokens are assumed: the text at hand gives none of them.",
      "Which languages stand together in orders and in pairs is drawn with the"
      " study's seed.",
      "What Gemma has read is not published: transfer against shares of"
      " pre-training needs --study.base_shares.",
      paper.ANSWERED,
  )
  config.num_examples = 4640
  config.base_shares = ""  # Gemma's are not published
  config.train, config.evaluation = "lima_oasst", "alpacafarm"
  config.sources.lima_oasst = paper.expected(4640, 1600)
  config.sources.alpacafarm = paper.expected(617, 150)
  paper.translated(config, "lima_oasst", "alpacafarm")
  config.controls = False
  config.percents, config.half_percents, config.one_percent = (), (), 0
  config.half_languages = languages.SETS["pinch_seen_six"]
  config.numbers, config.num_orders, config.family = (), 0, ()
  return config
