"""Random models that lm-evaluation-harness reads, too, and its reading."""

import pytest
import small_tokenizers
import torch
import transformers
from lm_eval.models import huggingface

LINES = [
    "The item was packaged in bubble wrap because it was fragile.",
    "El hombre abrió el grifo, así que el agua fluyó.",
    "Mwanamume alifungua bomba kwa hivyo maji yalitiririka.",
    "顾客打开水龙头, 所以水流出来了。", "กระเป๋าเดินทางของผู้หญิงล้น",
    "Девушка нашла в хлопьях насекомое, поэтому она потеряла аппетит.",
    "Tüdruk leidis oma hommikusöögihelvestest putuka, seetõttu",
] * 3
# name -> transformers' config, its field of the length, other fields
SHAPES = {
    "llama": ("LlamaConfig", "max_position_embeddings", {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    }),
    "neox": ("GPTNeoXConfig", "max_position_embeddings", {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }),
    "bloom": ("BloomConfig", "seq_length", {
        "hidden_size": 32, "n_layer": 2, "n_head": 4,
    }),
}
# As the parameters of a fixture: one is for every day.
PARAMETERS = [
    name if name == "llama" else pytest.param(name, marks=pytest.mark.long)
    for name in SHAPES
]


def write(name, place, max_length=64):
  """A model of a shape with a tokenizer of its kind, in a directory."""
  kind, length, fields = SHAPES[name]
  small_tokenizers.write(name, place, LINES)
  tokenizer = transformers.AutoTokenizer.from_pretrained(place)
  torch.manual_seed(0)
  config = getattr(transformers, kind)(
      vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id,
      eos_token_id=tokenizer.eos_token_id, **fields | {length: max_length},
  )
  model = transformers.AutoModelForCausalLM.from_config(config)
  with torch.no_grad():
    for weight in model.parameters():
      weight.add_(0.2 * torch.randn_like(weight))
  model.save_pretrained(place)
  return place


def harness(directory, max_length=None):
  """The harness's own Hugging Face model."""
  return huggingface.HFLM(
      pretrained=str(directory), device="cpu", dtype="float32", batch_size=4,
      max_length=max_length,
  )
