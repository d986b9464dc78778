"""X-LLaMA: can a model be extrapolated to other languages by aligning them?

Paper: Zhu et al. 2023, "Extrapolating Large Language Models to Non-English by
Aligning Languages", sections 3 to 6 (Tables 2 to 4, Figures 2 to 7).

  mlit study xllama:pocket --workdir runs/xllama

One model per language (CoIT) is tuned on general instructions in English and
in the language and on translation from English into it; one model for all
(MuIT) on everything. With less and less translation data the scaling law S(X)
= 100 - alpha (gamma X)^beta is fitted for each language; it shares budgets of
translation data out among languages, which is compared with equal shares.
Further: what each kind of data is good for in one language (Figure 6), the
law of monolingual text beside it (Figure 7), whether answers agree across
languages, and maps of representations (Figure 5).

`--study.experiments=ablation,scaling` does only these.

Presets
  pocket: ar hi zh of the paper's six languages; Russian stands in for Greek
    and Finnish for Turkish, Vietnamese is left out. A base that has read mostly
    English stands in for LLaMA-7B; the pocket world's facts in other words
    for Alpaca and its translations, its sentence pairs for WikiMatrix and
    NewsCommentary, its short texts with a question for XQuAD and MLQA, unseen
    sentences for FLORES-101, unseen questions for MI-Eval, its running text
    for mC4. Translations are scored by chrF, which stands in for COMET and
    BLEURT; other LLaMA-based systems are not there to compare with.
  paper: LLaMA-7B, all parameters, 3 epochs, batch 128 (appendix A); Alpaca's
    52,000 in English and six languages, WikiMatrix and NewsCommentary (Table
    1), XQuAD, MI-Eval and FLORES-101; budgets of 300,000 and 1,200,000 pairs
    (Table 4). How many pairs and documents the points of Figures 3 and 7 have
    is not in the text: these are ours.
"""

import ml_collections

from mlit_jax import languages
from mlit_jax.configs.studies import paper, pocket

PRESETS = ("pocket", "paper")
_MEASURES = (
    "Other systems made from LLaMA are not compared with.",
    "chrF of single sentences, averaged, stands in for COMET and BLEURT; BLEU"
    " over sentence pieces is there where FLORES's tokenizer is.",
    "The mean cosine of parallel sentences' vectors in the untuned base's last"
    " layer stands in for the similarity of Pan et al. (2021).",
    "A question counts as answered if the right answer stands in the answer,"
    " as the paper's released code counts it, where the judge is the reference"
    " judge.",
    "Continued pre-training counts documents, translation data pairs of"
    " sentences: both are what the paper calls the scale of the data, and they"
    " are not equally long.",
)


def get_config(preset: str = "pocket") -> ml_collections.ConfigDict:
  """The config of a preset; KeyError if there is no such preset."""
  return {"pocket": _pocket, "paper": _paper}[preset]()


def _pocket() -> ml_collections.ConfigDict:
  config = pocket.common(("en", "ar", "hi", "zh", "ru", "fi"))
  config.substitutions = (
      "The pocket world stands in for all of the paper's data: facts asked for"
      " in other words for Alpaca and MI-Eval, pairs of sentences for"
      " WikiMatrix, NewsCommentary and FLORES-101, short texts with a question"
      " for XQuAD and MLQA, running text for mC4; a base that has read mostly"
      " English for LLaMA-7B.",
      "Russian stands in for Greek and Finnish for Turkish; Vietnamese is left"
      " out.",
      *_MEASURES,
  )
  config.num_examples = 640  # of the general data, in every language
  config.num_pairs = 600  # of translation, for every language
  # Of some languages there are fewer or more: language -> pairs.
  config.most_pairs = ml_collections.ConfigDict()
  config.sizes = (75, 150, 300)  # pairs, on the way to num_pairs
  config.document_sizes = (300, 600, 1200, 2400)  # of monolingual text
  config.ablated_language = "zh"
  config.budgets = (500, 1500)  # pairs in all languages together
  config.experiments = (
      "ablation", "scaling", "monolingual", "muit", "allocation",
  )
  # LLaMA has read mostly English.
  config.pretrain.shares.en = 5.0
  config.pretrain.documents = 10000
  # Translations are longer than answers to questions.
  config.tune.row_length = 112
  config.tune.loss_length = 56
  config.tune.batch_size = 4
  # Continued pre-training; documents come once, as in the paper's law.
  config.reading_on = ml_collections.ConfigDict({
      "row_length": 128,
      "loss_length": 0,
      "batch_size": 4,
      "epochs": 1,
      "checkpoint_every": 0,
      "learning_rate": 2e-3,
  })
  return config


def _paper() -> ml_collections.ConfigDict:
  codes = ("en", *languages.SETS["xllama"])
  config = paper.common(codes, ("llama_7b",), "full")
  config.num_examples = 52_000
  # Table 1, both corpora together.
  config.most_pairs = ml_collections.ConfigDict({
      "ar": 1_097_200, "el": 620_800, "hi": 234_300, "tr": 477_700,
      "vi": 1_073_800, "zh": 912_500,
  })
  config.num_pairs = max(config.most_pairs.values())
  config.sizes = (10_000, 50_000, 200_000)
  config.document_sizes = (10_000, 50_000, 200_000, 1_000_000)
  config.ablated_language = "zh"
  config.budgets = (300_000, 1_200_000)
  config.experiments = (
      "ablation", "scaling", "monolingual", "muit", "allocation",
  )
  config.substitutions = (
      "XQuAD alone is asked, not MLQA.",
      "How many pairs and documents the points of the paper's Figures 3 and 7"
      " have is not in its text: these are ours.",
      "The learning rate falls as Stanford Alpaca's does, whose code the paper"
      " names: a cosine after a warm-up of 3 %; rows end at 512 tokens as"
      " there. Continued pre-training has the"
      " same rate and batch, one epoch and full rows: the text gives none.",
      "Whether answers say the same in two languages is read from questions"
      " answered rightly in English: how many are in the other language, too.",
      "Questions about a text are judged, all of them, by a model that you"
      " name; MI-Eval's number of instructions is not in the text.",
      paper.ANSWERED,
      *_MEASURES,
  )
  config.train, config.evaluation = "alpaca", "mi_eval"
  given = config.sources
  given["alpaca"] = paper.expected(52_000, 600)
  # Instructions to translate, by the foreign language, as many as most_pairs.
  given["into"] = given["out-of"] = paper.expected(config.num_pairs, 300)
  given["into-test"] = given["out-of-test"] = paper.expected(1012, 300)
  given["reading"] = paper.expected(1190, 900)  # XQuAD
  given["mi_eval"] = paper.expected(600, 150)  # its number is not in the text
  given["sentences"] = paper.expected(1012, 130)  # FLORES-101, devtest
  given["documents"] = paper.expected(1_000_000, 2000)  # mC4
  paper.translated(config, "alpaca", "mi_eval")
  config.reading_on = config.tune.copy_and_resolve_references()
  del config.reading_on.held_out, config.reading_on.validate_every
  config.reading_on.epochs = 1
  config.reading_on.packing = True
  return config
