"""Parameters of a model and of an adapter; rows and steps of a run."""

import functools
import math
from collections.abc import Mapping
from typing import Any

from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.lora import LoraConfig

# The share of packed rows that holds tokens.
_DENSITY = 0.93
Model = DecoderConfig | EncoderDecoderConfig


def num_parameters(model: Model) -> int:
  """Of a model of this shape."""
  return _num_parameters(model)


@functools.cache
def _num_parameters(model: Model) -> int:
  import jax

  from mlit_jax.models.interchange import huggingface

  shapes = jax.tree.leaves(huggingface.abstract_params(model))
  return sum(math.prod(x.shape) for x in shapes)


@functools.cache
def num_trained(model: Model, lora: LoraConfig) -> int:
  """Of an adapter."""
  import jax

  from mlit_jax.models import lora as lora_lib

  adapter = jax.eval_shape(
      lambda: lora_lib.init(model, lora, 0)
  )
  return sum(math.prod(x.shape) for x in jax.tree.leaves(adapter))


def num_rows(tokens: int, row_length: int) -> int:
  """That examples of so many tokens are packed into."""
  return math.ceil(tokens / (_DENSITY * row_length))


def num_steps(options: Mapping[str, Any], examples: int, tokens: int) -> int:
  """Of a run with the options of steps_training.train."""
  size, epochs = options["batch_size"], options["epochs"]
  rows = examples
  if options.get("packing", True):
    rows = num_rows(tokens, options["row_length"])
  return max(1, math.ceil(rows / size) * epochs)  # the last batch is filled up
