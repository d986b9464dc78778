"""Mean states of every layer, against transformers' hidden states."""

import csv
import json

import numpy as np
import pytest

from mlit_jax import main
from mlit_jax.evals import representation, scoring

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

import small_tokenizers  # noqa: E402

ENGLISH = [f"The {a} {b} the house." for a in ("cat", "dog", "old man")
           for b in ("sees", "leaves")]
SWAHILI = [f"{a} {b} nyumba." for a in ("Paka", "Mbwa", "Mzee")
           for b in ("anaona", "anaacha")]


@pytest.fixture(scope="module", params=["llama", "bloom"])
def directory(request, tmp_path_factory):
  """Few layers are unrolled, many are not; both have the same states."""
  place = tmp_path_factory.mktemp(request.param) / "model"
  small_tokenizers.write(request.param, place, (ENGLISH + SWAHILI) * 9)
  tokenizer = transformers.AutoTokenizer.from_pretrained(place)
  torch.manual_seed(0)
  ids = {
      "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id,
      "eos_token_id": tokenizer.eos_token_id,
  }
  config = {
      "llama": lambda: transformers.LlamaConfig(
          hidden_size=16, intermediate_size=24, num_hidden_layers=2,
          num_attention_heads=2, max_position_embeddings=64, **ids
      ),
      "bloom": lambda: transformers.BloomConfig(
          hidden_size=16, n_layer=5, n_head=2, **ids
      ),
  }[request.param]()
  model = transformers.AutoModelForCausalLM.from_config(config)
  with torch.no_grad():
    for weight in model.parameters():
      weight.add_(0.3 * torch.randn_like(weight))
  model.save_pretrained(place)
  return place


def test_states_are_those_of_transformers(directory):
  model = scoring.LanguageModel(directory, batch_size=4)
  network = transformers.AutoModelForCausalLM.from_pretrained(directory)
  found = representation.mean_states(model, ENGLISH, batch_size=4)
  num_begin = len(model.tokenizer.begin_ids)
  for i, text in enumerate(ENGLISH):
    ids = [*model.tokenizer.begin_ids, *model.tokenizer.encode(text)]
    with torch.no_grad():
      states = network(
          torch.tensor([ids]), output_hidden_states=True
      ).hidden_states
    want = torch.stack(states)[:, 0, num_begin:].mean(1).numpy()
    np.testing.assert_allclose(found[:, i], want, rtol=2e-4, atol=2e-5)


def test_retrieval_by_hand():
  first = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.9]])
  second = np.array([[9.0, 0.1], [1.0, 1.2], [1.0, 1.0]])
  # cosines: rows of first; own is the diagonal.
  #   1.00 0.64 0.71    nearest 0
  #   0.01 0.77 0.71    nearest 1
  #   0.75 0.99 1.00    nearest 2
  # backwards: 0 -> 0, 1 -> 2, 2 -> 2.
  assert representation.retrieved(first, second).tolist() == [1, 0.5, 1]


def test_the_command_writes_layers_points_and_maps(directory, tmp_path, capsys):
  place = tmp_path / "flores" / "devtest"
  place.mkdir(parents=True)
  for code, lines in (("eng_Latn", ENGLISH), ("swh_Latn", SWAHILI)):
    text = "".join(line + "\n" for line in lines)
    (place / f"{code}.devtest").write_text(text)
  out = tmp_path / "out"
  command = [
      "eval", "representation", "--model", str(directory), "--data",
      str(tmp_path), "--output", str(out), "--batch_size", "4",
  ]
  assert main.main(command) == 0
  (results,) = json.loads((out / "results.json").read_text()).values()
  layers = results["sw"]["layers"]
  assert results["sw"]["score"] == layers[len(layers) // 2]
  assert results["sw"]["metric"] == "retrieval"
  model = scoring.LanguageModel(directory, batch_size=4)
  states = [
      representation.mean_states(model, lines, 4)
      for lines in (ENGLISH, SWAHILI)
  ]
  want = [representation.retrieved(a, b).mean() for a, b in zip(*states)]
  assert layers == pytest.approx(want)
  with open(out / "representation" / "points.csv") as file:
    points = list(csv.DictReader(file))
  assert len(points) == len(layers) * 12
  with open(out / "representation" / "layers.csv") as file:
    table = list(csv.DictReader(file))
  assert [float(row["sw"]) for row in table] == pytest.approx(layers, rel=1e-5)
  for name in ("maps.pdf", "maps.png"):
    assert (out / "representation" / name).stat().st_size > 5000
  (place / "swh_Latn.devtest").write_text("Moja.\n")
  assert main.main([*command, "--languages", "sw"]) == 1
  assert "{'en': 6, 'sw': 1}" in capsys.readouterr().err
