"""A model whose numbers are NaN: failures that are told, and no results.

Of a run that diverged, say.
"""

import json

import numpy as np
import pytest

from mlit_jax import main
from mlit_jax.evals import outcomes

pytest.importorskip("lm_eval", reason="the extra `test` has it")
pytestmark = pytest.mark.torch

import random_models  # noqa: E402
from safetensors import numpy as safetensors_numpy  # noqa: E402

REASON = "the model's logits are not finite"


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
  place = random_models.write("llama", tmp_path_factory.mktemp("model"))
  weights = place / "model.safetensors"
  tensors = safetensors_numpy.load_file(weights)
  tensors["model.norm.weight"][:] = np.nan
  safetensors_numpy.save_file(tensors, weights, {"format": "pt"})
  return place


@pytest.mark.parametrize("how", [["--logprobs"], ["--beams", "2"]])
def test_decode_tells_every_row(broken, how, tmp_path, capsys):
  source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  source.write_text("".join(
      json.dumps({"id": f"{i}", "lang": "en", "prompt": "item"}) + "\n"
      for i in range(3)
  ))
  command = [
      "decode", "--model", str(broken), "--input", str(source), "--output",
      str(out), "--max_new_tokens", "4", *how,
  ]
  assert main.main(command) == 1
  rows = [json.loads(line) for line in out.read_text().splitlines()]
  assert sorted(row["id"] for row in rows) == ["0", "1", "2"]
  assert all(row["failure"].startswith(REASON) for row in rows)
  assert REASON in "".join(capsys.readouterr())


def test_eval_counts_what_has_no_answer(broken, tmp_path, capsys):
  data = tmp_path / "data"
  for code in ("eng_Latn", "est_Latn"):
    file = data / f"flores/devtest/{code}.devtest"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("The item.\nIt was fragile.\n")
  (data / "mgsm_sw.tsv").write_text("Moja na mbili?\t3\n")
  assert main.main([
      "eval", "mgsm,flores:to_en", "--model", str(broken), "--data", str(data),
      "--output", str(tmp_path / "out"), "--batch_size", "4",
  ]) == 1
  results = json.loads((tmp_path / "out" / "results.json").read_text())
  for name, by_lang in results.items():
    for lang, entry in by_lang.items():
      rows = outcomes.read_rows(tmp_path / "out", name, lang)
      assert entry["n"] == 0 and entry["failed"] == len(rows) > 0
      assert entry["score"] is None
      assert all(row["failure"].startswith(REASON) for row in rows)
      assert not any("answer" in row for row in rows)
  assert set(results) >= {"mgsm", "flores:to_en"}
  assert "1 failed" in capsys.readouterr().out
