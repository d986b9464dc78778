"""What the presets of all studies share, pocket or paper."""

from collections.abc import Sequence

import ml_collections


def common(languages: Sequence[str]) -> ml_collections.ConfigDict:
  """A study of these languages: its judge, its data and its base."""
  config = ml_collections.ConfigDict()
  config.languages = tuple(languages)
  config.main_language = "en"
  # Sentences for the report: what stands in for what the paper had.
  config.substitutions = ()
  config.seed = 0
  config.template = "plain"
  # Any that `mlit judge --judge` takes. Keys come from the environment; stored
  # replies are in the working directory and are never asked for again.
  config.judge = "reference"
  config.judging = ml_collections.ConfigDict({
      # auto: the pocket world's words where it asks the questions, else lid.176
      "gate": "auto",
      "prompt_language": "en",
      "temperature": 0.0,
      "max_tokens": 1024,
      # Of a local judge.
      "template": "plain",
      "batch_size": 16,
      # Of a judge that is paid for: IN,OUT a million tokens, and where to stop.
      "price": "",
      "max_cost": 0.0,
      "concurrency": 16,
      "requests_per_minute": 0.0,
      "tokens_per_minute": 0.0,
      "batch": False,
      # Share of the questions that may stay without a reply.
      "tolerated_failures": 0.0,
  })
  # Where examples and questions come from: the pocket world, or a name that
  # stands in sources as READER:PATH (`mlit data sources` lists the readers).
  config.train = "pocket"
  config.evaluation = "pocket"
  config.sources = ml_collections.ConfigDict()
  # What a machine has to translate first (a plan says what it costs): of a
  # source that is not there yet, the language in which it comes. The price of a
  # million characters sent, in US dollars, is Cloud Translation's list price
  # for its standard model (cloud.google.com/translate/pricing: 20 beyond the
  # first 500,000 a month); look yours up.
  config.translation = ml_collections.ConfigDict({"sources": {}, "price": 20.0})
  # A model directory; without one a base is pre-trained on the pocket world,
  # in base_languages (codes with commas; default: the study's languages).
  config.base = ""
  config.base_languages = ""
  # Which of the preset's bases; of a paper's models, one.
  config.model = ""
  # A paper's models: configs in configs/train/, which say their shapes.
  config.models = ()
  config.max_new_tokens = 32
  config.decode_batch_size = 64
  # Of weights that answer, and over which devices they are cut: data, fsdp,
  # tensor; -1 takes what is left.
  config.dtype = "float32"
  config.decode_mesh = (-1, 1, 1)
  return config
