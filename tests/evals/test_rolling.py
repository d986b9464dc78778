"""Whole texts, against lm-evaluation-harness's own rolling log-likelihoods."""

import json
import math

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from mlit_jax import main
from mlit_jax.evals import scoring

pytest.importorskip("torch")
pytest.importorskip("transformers")
instance = pytest.importorskip("lm_eval.api.instance")
task = pytest.importorskip("lm_eval.api.task")
pytestmark = pytest.mark.torch

import random_models  # noqa: E402

LINES = random_models.LINES
# The second is many windows; words are counted oddly in the last.
TEXTS = [LINES[0], LINES[1] * 9, LINES[3], " a\n b"]


@pytest.fixture(scope="module", params=random_models.PARAMETERS)
def made(request, tmp_path_factory):
  """A random model, and what the harness gives TEXTS under it."""
  place = tmp_path_factory.mktemp(request.param) / "model"
  random_models.write(request.param, place)
  theirs = random_models.harness(place, 64).loglikelihood_rolling(
      [
          instance.Instance("loglikelihood_rolling", {}, (text,), i)
          for i, text in enumerate(TEXTS)
      ],
      disable_tqdm=True,
  )
  return place, theirs


def test_rolling_equals_the_harness(made):
  directory, theirs = made
  model = scoring.LanguageModel(directory, batch_size=4)
  found = model.rolling([*TEXTS, ""])
  assert [s.logprob for s in found[:-1]] == pytest.approx(theirs, abs=1e-4)
  assert found[1].num_tokens > 64


def test_the_command_counts_bits_as_the_harness(made, tmp_path, capsys):
  directory, theirs = made
  kind = task.ConfigurableTask
  lengths = [(kind.count_bytes(t), kind.count_words(t)) for t in TEXTS]
  source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  # Other fields of a row are nobody's business.
  rows = [
      {"id": f"{i}", "text": text, "failure": "", "continuation": "x"}
      for i, text in enumerate(TEXTS)
  ]
  source.write_text("".join(json.dumps(row) + "\n" for row in rows))
  command = [
      "score", "--rolling", "--model", str(directory), "--input", str(source),
      "--output", str(out), "--batch_size", "3",
  ]
  assert main.main(command) == 0
  found = [json.loads(line) for line in out.read_text().splitlines()]
  for row, logprob, (size, words) in zip(found, theirs, lengths, strict=True):
    assert row.keys() == {
        "id", "logprob", "num_tokens", "bits_per_byte", "bits_per_word"
    }
    assert row["logprob"] == pytest.approx(logprob, abs=1e-4)
    bits = -logprob / math.log(2)
    assert row["bits_per_byte"] == pytest.approx(bits / size, rel=1e-5)
    assert row["bits_per_word"] == pytest.approx(bits / words, rel=1e-5)
  size, words = map(sum, zip(*lengths, strict=True))
  bits = -sum(row["logprob"] for row in found) / math.log(2)
  told = f"{bits / size:.4f} bits per byte, {bits / words:.4f} per word"
  assert f"all texts: {told}" in capsys.readouterr().out
  # A bad row is told, and the rest goes on.
  with source.open("a") as file:
    file.write('{"id": "a", "text": ""}\n{"id": "b", "context": "c"}\n')
  assert main.main(command) == 1
  again = [json.loads(line) for line in out.read_text().splitlines()]
  assert again[:4] == found
  assert [row["failure"] for row in again[4:]] == [
      "line 5: 'text' is empty; give some",
      "line 6: 'text' must be text; give it",
  ]
  assert f"all texts: {told}" in capsys.readouterr().out
  assert main.main([*command, "--too_long", "truncate"]) == 2
  assert "--too_long is for contexts" in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_no_scores(tmp_path, capsys):
  """Of a run that diverged, say: no NaN in a file, and no accuracy of it."""
  place = random_models.write("llama", tmp_path / "model")
  weights = place / "model.safetensors"
  tensors = safetensors_numpy.load_file(weights)
  tensors["model.norm.weight"][:] = np.nan
  safetensors_numpy.save_file(tensors, weights, {"format": "pt"})
  model = scoring.LanguageModel(place)
  pair, text = model.score([(LINES[0], "x")]), model.rolling([LINES[0]])
  assert "not a finite number" in pair[0] and pair == text
  source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  source.write_text(json.dumps({"id": "a", "text": LINES[0]}) + "\n")
  assert main.main([
      "score", "--rolling", "--model", str(place), "--input", str(source),
      "--output", str(out),
  ]) == 1
  assert json.loads(out.read_text()) == {"id": "a", "failure": text[0]}
  assert "all texts" not in capsys.readouterr().out
