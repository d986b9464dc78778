"""What the paper presets of all studies share: a given base, its tuning.

How a paper tunes stands in configs/train/. What the papers do not say, a number
here assumes: characters of a row (a plan's tokens come from them) and how long
an answer may be.

Examples have a row each, so that batches count examples as in the papers; with
--study.tune.packing=true they share rows, which is several times faster, and a
batch then has as many rows as hold the paper's number of examples.
"""

import importlib
from collections.abc import Sequence

import ml_collections

from mlit_jax.configs.studies import shared

# Adapters train together while a batch has at most so many rows; 0: each run
# by itself. Four runs of alpaca's batch of 128 over BLOOM 7.1B take 13.8 of
# the 15.75 GiB of a chip of v5litepod-16 (mlit plan --config bloom_7b1:lora).
ROWS_TOGETHER = 512
# Of an answer: every paper's text is silent on it.
_NEW_TOKENS = 512
ANSWERED = (
    f"Answers are the likeliest tokens, at most {_NEW_TOKENS}: the text does"
    " not say how they are decoded."
)


def common(
    languages: Sequence[str], models: Sequence[str], preset: str
) -> ml_collections.ConfigDict:
  """A study of these languages, tuned as a paper tunes.

  Args:
    languages: of the study.
    models: configs in configs/train/, the first being the default.
    preset: theirs.
  """
  config = shared.common(languages)
  config.models, config.model = tuple(models), models[0]
  # A language model must be named: letter by letter free text has no right
  # answer.
  config.judge = ""
  config.max_new_tokens = _NEW_TOKENS
  config.dtype = "bfloat16"
  config.tune = tuning(models[0], preset)
  return config


def translated(config, *sources: str) -> None:
  """Declares sources that come in English; the paper had them translated."""
  for name in sources:
    config.translation.sources[name] = "en"


def expected(rows: int, characters: int, turns: int = 1) -> str:
  """Data to be given: rows in each language, characters of a row (assumed)."""
  return f"expected:{rows}:{characters}:{turns}"


def tuning(model: str, preset: str) -> ml_collections.ConfigDict:
  """The published hyper-parameters of a model's tuning."""
  module = importlib.import_module(f"mlit_jax.configs.train.{model}")
  found = module.get_config(preset)
  section = ml_collections.ConfigDict(found.train.to_dict())
  section.row_length = found.data.row_length
  section.loss_length = 0
  section.truncate = True
  section.packing = found.data.packing
  section.precision = "bfloat16"
  section.mesh = "auto"
  section.checkpoint_every = 500
  # As in pocket.py; on where a paper chooses its checkpoints.
  section.held_out, section.validate_every = 0, 0
  if "lora" in found:
    section.lora = found.lora.to_dict()
    section.rows_together = ROWS_TOGETHER
  return section
