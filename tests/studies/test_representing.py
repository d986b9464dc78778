"""Sentence vectors, against transformers' hidden states."""

import numpy as np
import pytest

from mlit_jax.data import tokenizers
from mlit_jax.studies import representing

TEXTS = {
    "en": ["A dog is an animal.", "Paris is the capital of France.", "Yes."],
    "es": ["Un perro es un animal.", "París es la capital de Francia.", "Sí."],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  transformers = pytest.importorskip("transformers")
  torch = pytest.importorskip("torch")
  directory = tmp_path_factory.mktemp("model")
  lines = [line for rows in TEXTS.values() for line in rows] * 9
  tokenizer = tokenizers.train_sentencepiece(lines, 300)
  (directory / "tokenizer.model").write_bytes(tokenizer.model)
  torch.manual_seed(0)
  config = transformers.LlamaConfig(
      vocab_size=tokenizer.vocab_size, hidden_size=24, intermediate_size=32,
      num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64,
      bos_token_id=tokenizer.bos_id, eos_token_id=tokenizer.eos_id,
  )
  peer = transformers.LlamaForCausalLM(config).eval()
  with torch.no_grad():  # a norm of ones would hide that it was left out
    peer.model.norm.weight.uniform_(0.5, 2.0)
  peer.save_pretrained(directory)
  return directory, peer


@pytest.mark.torch
def test_vectors_are_means_of_transformers_hidden_states(model, tmp_path):
  import torch

  directory, peer = model
  shown = []
  found = representing.represent(directory, TEXTS, shown.append)
  assert shown == ["layer 1/2", "layer 2/2"]
  tokenizer = tokenizers.load(directory)
  for lang, rows in TEXTS.items():
    assert found[lang].shape == (2, 3, 24)
    for i, text in enumerate(rows):
      ids = torch.tensor([tokenizer.encode(text)])
      with torch.no_grad():
        states = peer(ids, output_hidden_states=True).hidden_states
        # The last one is behind the norm as it is.
        normed = [peer.model.norm(x) for x in states[1:-1]] + [states[-1]]
      for layer, x in enumerate(normed):
        assert np.allclose(
            found[lang][layer, i], x[0].mean(dim=0).numpy(), atol=2e-5
        )
  representing.write(tmp_path / "v.npz", found)
  again = representing.read(tmp_path / "v.npz")
  assert list(again) == list(found)
  assert np.array_equal(again["es"], found["es"])
