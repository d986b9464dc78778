"""A model directory as a judge, from `mlit judge` down to the engine."""

import json

import pytest

from mlit_jax import main, records
from mlit_jax.data import tokenizers
from mlit_jax.decoding import engine as engine_lib
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface
from mlit_jax.studies import local_judge


@pytest.fixture(scope="module")
def model(random_params, tmp_path_factory):
  """A tiny model; what it says is noise."""
  directory = tmp_path_factory.mktemp("models") / "judge"
  tokenizer = tokenizers.train_sentencepiece(
      ["[[A]] [[B]] [[C]] answer question judge better reply verdict"] * 9, 320
  )
  config = DecoderConfig(
      vocab_size=tokenizer.vocab_size, num_layers=1, embed_dim=8, num_heads=2,
      num_kv_heads=1, head_dim=4, mlp_dim=8, max_length=2100,
  )
  huggingface.save(
      directory, config, random_params(config), tokenizer.model,
      bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id,
  )
  return directory


def _write(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


def test_it_judges_a_file_as_one_batch(model, tmp_path, monkeypatch, capsys):
  batches = []
  generate = engine_lib.Engine.generate

  def counted(self, params, requests, **options):
    batches.append(len(requests))
    return generate(self, params, requests, **options)

  monkeypatch.setattr(engine_lib.Engine, "generate", counted)
  prompts, a, b = [], [], []
  for i in range(5):
    row = {"id": str(i), "lang": "en"}
    prompts.append(row | {"prompt": f"Question {i}?"})
    more = {"finish_reason": "stop", "num_tokens": 1}
    # The last answer is longer than the judge can read.
    a.append(row | {"model": "A", "response": "x " * (3000 * (i == 4)), **more})
    b.append(row | {"model": "B", "response": "y", **more})
  argv = ["judge", "side_by_side", "--judge", f"local:{model}",
          "--prompts", _write(tmp_path / "P.jsonl", prompts),
          "--a", _write(tmp_path / "A.jsonl", a),
          "--b", _write(tmp_path / "B.jsonl", b),
          "--output", str(tmp_path / "J.jsonl"), "--max_tokens", "4",
          "--no_ask_again", "--batch_size", "8"]
  code = main.main(argv)
  rows = records.read_records(tmp_path / "J.jsonl", records.Judgment)
  assert batches == [8] and len(rows) == 10
  assert [j.failure for j in rows[8:]] == ["transport"] * 2
  assert "exceed the judge's length of 2100" in rows[8].raw
  revision = local_judge.fingerprint(model)[:12]
  for j in rows[:8]:
    assert j.revision == revision and j.usage["output"] <= 5
    assert j.usage["input"] > 100 and j.failure != "transport"
  # Noise holds no verdict: the run failed, and says so.
  assert code == (0 if any(j.verdict for j in rows) else 1)
  assert "judgments failed: " in capsys.readouterr().out
  main.main(argv)
  assert records.read_records(tmp_path / "J.jsonl", records.Judgment) == rows
  # What was too long is tried again, and nothing else.
  assert batches in ([8], [8, 0])


def test_samples_differ_and_repeat(model):
  make = local_judge.Generator(model, temperature=1, max_tokens=8)
  prompt = (records.Message("user", "question"),)
  texts = {i: r.text for i, r in make([prompt] * 3, [1, 2, 1])}
  assert texts[0] == texts[2] != texts[1]


def test_other_weights_are_another_judge(model, tmp_path):
  import shutil

  copy = tmp_path / "copy"
  shutil.copytree(model, copy)
  first = local_judge.fingerprint(model)
  assert local_judge.fingerprint(copy) == first
  weights = copy / huggingface.WEIGHTS
  data = bytearray(weights.read_bytes())
  data[len(data) // 2] ^= 1
  weights.write_bytes(data)
  assert local_judge.fingerprint(copy) != first
