"""A model of 0.8 million parameters that trains in seconds on a CPU.

To see how `mlit train` goes, before anything is rented. The data are the pocket
world's:

  mlit data build percent:10 --total 200 --workdir runs/data/tiny
  mlit train --config tiny --config.data.directories=runs/data/tiny \
    --workdir runs/tiny
  mlit train --config tiny:lora --config.base=runs/tiny/model \
    --config.data.directories=runs/data/tiny --workdir runs/tiny_lora

Presets
  full: from random parameters, 20 updates
  lora: adapters over a base

Cost: none. Expect: the loss falls from about the logarithm of the vocabulary's
4,000 (8.3) to below 3: it has learnt which words answers are made of.
"""

import ml_collections

PRESETS = ("full", "lora")


def get_config(preset: str = PRESETS[0]) -> ml_collections.ConfigDict:
  """The config of a preset."""
  config = ml_collections.ConfigDict({
      "name": "tiny",
      "model": {
          "vocab_size": 4000, "num_layers": 2, "embed_dim": 128,
          "num_heads": 4, "num_kv_heads": 4, "head_dim": 32, "mlp_dim": 256,
          "max_length": 256, "tie_embeddings": True,
      },
      "data": {"row_length": 80},
      "train": {
          "learning_rate": 3e-3, "batch_size": 8, "num_steps": 20,
          "precision": "float32",
      },
      "checkpoint": {"every": 10},
      "logging": {"every": 5},
  })
  if preset == "lora":
    config.lora = {"rank": 4}
  else:
    config.base = "random"
  return config
