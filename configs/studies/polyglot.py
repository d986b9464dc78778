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

`--study.experiments=few,pairwise` does only these beside the models with many
examples of each language alone and of all in parallel: `few` examples, `few`
that are `curated`, the set `without` the main language, the sets at one
language's size (`sampled`; `--study.designs` says in which way), and the
parallel model against each language alone (`pairwise`).

Presets
  pocket: en es it of the paper's five languages; Czech and Russian stand in
    for German and French. The two-turn questions are the pocket world's. For
    Lima-X, a small set chosen for its variety, stand as many examples of each
    of the pocket world's kinds of instruction, each about another fact.
  paper: the paper's five languages; Bactrian-X (64,000 examples a language),
    Bactrian-X cut to 1,030 and Lima-X (1,030), MT-Bench-X's eighty questions
    of two turns. 24EU-7B, or with `--study.model=mixtral_8x7b` Mixtral; rate
    1e-5, batch 64. 24EU-7B's shape is not published: plans take LLaMA 7B's.
"""

import ml_collections

from mlit_jax import languages
from mlit_jax.configs.studies import paper, pocket

PRESETS = ("pocket", "paper")


def get_config(preset: str = "pocket") -> ml_collections.ConfigDict:
  """The config of a preset; KeyError if there is no such preset."""
  return {"pocket": _pocket, "paper": _paper}[preset]()


def _pocket() -> ml_collections.ConfigDict:
  config = pocket.common(("en", "cs", "ru", "it", "es"))
  config.substitutions = (
      "Czech and Russian stand in for German and French.",
      "The pocket world's questions stand in for Bactrian-X, at the size of"
      " Lima-X too; its questions of two turns for MT-Bench-X.",
      "For Lima-X, which was chosen by people, stand as many questions of each"
      " kind, each about another fact: a rule chose them for their variety.",
      f"{pocket.DECODER} 24EU-7B and Mixtral.",
  )
  config.evaluation = "two-turns"
  config.few_examples = 128
  # A source of few examples that somebody chose with care; "": none.
  config.curated = "curated"
  config.experiments = ("few", "curated", "without", "sampled", "pairwise")
  config.num_examples = 960
  config.designs = ("parallel", "sampled", "partition")
  config.pretrain.documents = 8000
  return config


def _paper() -> ml_collections.ConfigDict:
  config = paper.common(
      languages.SETS["polyglot"], ("eu24_7b", "mixtral_8x7b"), "full"
  )
  config.substitutions = (
      "Three epochs, rows of 2,048 tokens and a rate that falls as a cosine"
      " after a warm-up of 3 % are assumed: the text at hand gives none of"
      " them.",
      "Whether a set cut to the size of one language may have an example in two"
      " languages is not in it, either: both ways are done, sampled and"
      " partition.",
      "The judge is a model that you name; the paper's is GPT-4.",
      paper.ANSWERED,
  )
  config.num_examples, config.few_examples = 64_000, 1030
  config.designs = ("parallel", "sampled", "partition")
  config.experiments = ("few", "curated", "without", "sampled", "pairwise")
  config.train, config.curated = "bactrian_x", "lima_x"
  config.evaluation = "mt_bench_x"
  config.sources.bactrian_x = paper.expected(64_000, 600)
  config.sources.lima_x = paper.expected(1030, 2500)
  config.sources.mt_bench_x = paper.expected(80, 400, turns=2)
  paper.translated(config, "lima_x", "mt_bench_x")  # Bactrian-X is published
  return config
