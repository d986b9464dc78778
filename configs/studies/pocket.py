"""What the pocket presets of all studies share: the embedded world, a base."""

from collections.abc import Sequence

import ml_collections

from mlit_jax.configs.studies import shared

# A language's share of the running text, up to a common factor. At equal
# shares English and Chinese came out far ahead (83 % exact) and Hebrew and
# Russian behind (53 and 57 %): LOG.md.
_SHARES = {
    "ar": 1.1, "cs": 0.9, "en": 0.8, "es": 0.9, "et": 1.1, "fi": 1.0,
    "he": 1.5, "hi": 1.1, "it": 0.9, "ru": 1.45, "sw": 1.0, "zh": 0.7,
}

# Of the report's substitutions: what its base is in place of.
DECODER = "A small decoder that has read the pocket world's text stands in for"


def common(languages: Sequence[str]) -> ml_collections.ConfigDict:
  """A study of these languages of the pocket world."""
  config = shared.common(languages)
  config.num_examples = 1280
  config.vocab_size = 4000
  # Changes to the shape that make another base of it; beside a base that is
  # given, other model directories.
  config.other_bases = ml_collections.ConfigDict()
  config.shape = ml_collections.ConfigDict({
      "num_layers": 2,
      "embed_dim": 128,
      "num_heads": 4,
      "num_kv_heads": 4,
      "head_dim": 32,
      "mlp_dim": 256,
      "max_length": 256,
      "tie_embeddings": True,
  })
  config.pretrain = ml_collections.ConfigDict({
      "shares": _SHARES,
      "documents": 12000,
      "row_length": 128,
      "loss_length": 0,
      "batch_size": 4,
      "epochs": 5,
      "checkpoint_every": 500,
      "learning_rate": 4e-3,
  })
  config.tune = ml_collections.ConfigDict({
      "row_length": 80,
      # Answers are less than half of the tokens: the head works on these.
      "loss_length": 40,
      "batch_size": 6,
      "epochs": 4,
      "checkpoint_every": 0,
      "learning_rate": 5e-3,
      # Examples of each language that are held out; every so many steps the
      # loss on them is measured, and where it was lowest is kept. 0: the last.
      "held_out": 0,
      "validate_every": 0,
  })
  return config
