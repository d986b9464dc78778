"""How each paper tunes: what its models' configs have in common.

Batches count examples, as the papers do: `data.packing` is off. On an
accelerator packed rows are several times faster; then give a batch of as many
rows as hold the paper's number of examples (`mlit data show` says how many a
row holds), e.g. --config.data.packing=true --config.train.batch_size=32.

Where a paper's text is silent, transformers' Trainer gives the number: AdamW
with betas 0.9 and 0.999, no weight decay, gradients clipped at 1, a linear
schedule; and where a paper follows Stanford Alpaca, that one's code: a cosine
schedule, rows of 512 tokens.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

_TRAINER = {"b1": 0.9, "b2": 0.999, "weight_decay": 0.0, "clip_norm": 1.0}
_ALPACA_ROWS = 52_000


def alpaca(name: str, model: Mapping[str, Any], preset: str):
  """Chen et al. 2024, "Monolingual or Multilingual", appendix A.1 and Table 1.

  `lora`: rank 8, alpha 16, dropout 0.05 on query, key and value; rate 3e-4,
  batch 128, 5 epochs. `full`: rate 2e-5, warm-up 0.03, batch 256, 3 epochs. One
  of the nine languages' 52,000 examples is a monolingual run; a base has eleven
  runs in all: nine of these, one on everything, one on a ninth of everything.

  With LoRA the paper takes the best checkpoint by validation loss. Data decide
  whether there is anything to validate on, so no preset asks for it: hold
  examples out (`"validation": 1000` in the recipe) and give
  --config.validation.every=100; what is written then is the best.
  """
  config = _start(name, model, length=512)
  # (9 + 9 + 1) x 52,000 in eleven runs.
  config.plan = {"examples": 19 * _ALPACA_ROWS // 11, "runs": 11}
  if preset == "lora":
    config.lora = {
        "pattern": "attention/(query|key|value)$", "rank": 8, "alpha": 16.0,
        "dropout": 0.05,
    }
    config.train = _TRAINER | {
        "learning_rate": 3e-4, "schedule": "linear", "warmup_ratio": 0.0,
        "batch_size": 128, "epochs": 5,
    }
  else:
    config.train = _TRAINER | {
        "learning_rate": 2e-5, "schedule": "cosine", "warmup_ratio": 0.03,
        "batch_size": 256, "epochs": 3,
    }
  config.train.remat = "context"
  return config


def lucky52(name: str, model: Mapping[str, Any]):
  """Ji and Chen 2024, section 3.1: rate 3e-5, length 768, 3 epochs.

  The batch grows from 256 to 1280 with the number of languages; this is the
  first. Of the 52 models the k-th sees 67,000 examples in k languages.
  """
  config = _start(name, model, length=768)
  config.train = _TRAINER | {
      "learning_rate": 3e-5, "schedule": "linear", "warmup_ratio": 0.0,
      "batch_size": 256, "epochs": 3, "remat": "context",
  }
  # The mean of k = 1 … 52 languages.
  config.plan = {"examples": 67_000 * 53 // 2, "runs": 52}
  return config


def xllama(name: str, model: Mapping[str, Any]):
  """Zhu et al. 2023, appendix A: full, 3 epochs, rate 2e-5, batch 128.

  The examples are those of one language's run with Chinese: Alpaca twice, and
  912,500 sentence pairs (Table 1). Six such runs and one of all languages.
  """
  config = _start(name, model, length=512)
  config.train = _TRAINER | {
      "learning_rate": 2e-5, "schedule": "cosine", "warmup_ratio": 0.03,
      "batch_size": 128, "epochs": 3, "remat": "context",
  }
  config.plan = {"examples": 2 * _ALPACA_ROWS + 912_500, "runs": 7}
  return config


def polyglot(name: str, model: Mapping[str, Any]):
  """Weber et al. 2024: rate 1e-5, batch 64, Adam, weight decay 0.1.

  Rows of 2048 tokens, three epochs and the schedule are not in our text. The
  examples are those of one language of Bactrian-X; nine mixtures are compared.
  """
  config = _start(name, model, length=2048)
  config.train = _TRAINER | {
      "learning_rate": 1e-5, "schedule": "cosine", "warmup_ratio": 0.03,
      "batch_size": 64, "epochs": 3, "weight_decay": 0.1, "remat": "context",
  }
  config.plan = {"examples": 64_000, "runs": 9}
  return config


def pinch(name: str, model: Mapping[str, Any]):
  """Shaham et al. 2024, section 3, with an open model for PaLM 2-S.

  The paper's numbers are not in our text: these are the full tuning's of
  alpaca, with its batch cut to suit 4,640 examples. Twelve monolingual runs.
  """
  config = _start(name, model, length=768)
  config.train = _TRAINER | {
      "learning_rate": 2e-5, "schedule": "cosine", "warmup_ratio": 0.03,
      "batch_size": 64, "epochs": 3, "remat": "context",
  }
  config.plan = {"examples": 4_640, "runs": 12}
  return config


def t5x(name: str, model: Mapping[str, Any]):
  """How T5X fine-tunes mT5 (Xue et al. 2021, section 3.2): Adafactor, 1e-3.

  Dropout is 0.1, T5X's for fine-tuning, and its z-loss is 1e-4.
  """
  config = _start(name, model, length=512)
  config.data.input_length = 1024
  config.train = {
      "optimizer": "adafactor", "learning_rate": 1e-3,
      "schedule": "constant", "warmup_ratio": 0.0,
      "batch_size": 128, "epochs": 3, "remat": "context", "dropout": 0.1,
      "z_loss": 1e-4,
  }
  config.plan = {"examples": _ALPACA_ROWS, "runs": 1}
  return config


def _start(name: str, model: Mapping[str, Any], length: int):
  config = ml_collections.ConfigDict({
      "name": name, "data": {"row_length": length, "packing": False},
      "plan": {},
  })
  if model:
    config.model = dict(model)
  return config
