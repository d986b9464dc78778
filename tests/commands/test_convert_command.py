"""`mlit convert`: its exit codes, and one clear line for wrong use."""

import json

import flax.linen as nn
import jax
import numpy as np
import pytest

from mlit_jax import main
from mlit_jax.data import tokenizers
from mlit_jax.models import lora
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface, peft


@pytest.fixture
def model(random_params, tmp_path):
  config = DecoderConfig(
      vocab_size=7, num_layers=1, embed_dim=4, num_heads=2, num_kv_heads=1,
      head_dim=6, mlp_dim=3,
  )
  pieces = tokenizers.train_sentencepiece(["a b c"], 300).model
  huggingface.save(
      tmp_path / "model", config, random_params(config), pieces, bos_id=1,
      eos_id=2,
  )
  return tmp_path / "model"


def mlit(capsys, *arguments):
  """(exit code, standard output, standard error)."""
  try:
    code = main.main(["convert", *map(str, arguments)])
  except SystemExit as e:
    code = e.code
  captured = capsys.readouterr()
  return code, captured.out, captured.err


def test_converts(capsys, model, tmp_path):
  out = tmp_path / "out"
  out.mkdir()  # empty
  code, printed, _ = mlit(
      capsys, model, out, "--dtype", "bfloat16", "--max-shard-size", "200"
  )
  assert (code, printed) == (0, f"12 tensors: {out}\n")
  index = json.loads((out / "model.safetensors.index.json").read_text())
  assert len(index["weight_map"]) == 12
  _, loaded = huggingface.load(model)
  half = loaded["head"].astype("bfloat16").astype(np.float32)
  code, *_ = mlit(capsys, out, tmp_path / "again", "--dtype", "float32")
  assert code == 0
  _, again = huggingface.load(tmp_path / "again")
  np.testing.assert_array_equal(again["head"], half)


@pytest.mark.parametrize(
    "source, destination, options, words",
    [
        ("nowhere", "out", (), "nowhere: no such directory"),
        ("model", "out", ("--like", "gone"), "gone: no such directory"),
        ("model", "out", ("--adapter", "gone"), "gone: no such directory"),
        ("model", "full", (), "full: exists already; choose another directory"),
        ("model", "model", (), "model: exists already"),
        ("model", "file", (), "file: exists already"),
        ("model", "out", ("--dtype", "int8"), "invalid choice: 'int8'"),
        ("model", "out", ("--max-shard-size", "0GB"), "'0GB' is no size"),
        ("model", "out", ("--max-shard-size", "5 apples"), "500MB or 5GB"),
        ("model", "out", ("--max-shard-size", "-1"), "--max-shard-size"),
        ("model", "out", ("--dtpye", "float32"), "--dtpye"),
    ],
)
def test_wrong_use_is_one_line_and_makes_nothing(
    capsys, model, tmp_path, monkeypatch, source, destination, options, words
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "x").write_text("")
  (tmp_path / "file").write_text("")
  before = sorted(tmp_path.rglob("*"))
  code, out, error = mlit(capsys, source, destination, *options)
  assert (code, out) == (2, "")
  assert words in error and error.count("\n") == 1
  assert sorted(tmp_path.rglob("*")) == before


def test_an_adapter_is_merged_or_refused(capsys, model, tmp_path):
  config, params = huggingface.load(model)
  how = lora.LoraConfig(rank=2)
  adapters = nn.meta.unbox(lora.init(config, how, 0))
  adapters = jax.tree.map(lambda x: x + 0.5, adapters)
  adapter, out = tmp_path / "adapter", tmp_path / "out"
  peft.save_adapter(adapter, config, how, adapters)
  assert mlit(capsys, model, out, "--adapter", adapter)[0] == 0
  _, found = huggingface.load(out)
  expected = lora.merge(params, adapters, how)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected
  )
  code, printed, error = mlit(
      capsys, model, tmp_path / "again", "--adapter", model
  )
  assert (code, printed, error.count("\n")) == (1, "", 1)
  assert "adapter_config.json: cannot be read: No such file" in error
  assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("tokenizer.model", b"x", "model: tokenizer.model: not a Sentence"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json: not JSON ("),
        ("tokenizer_config.json", b"[]", "expected a JSON object"),
    ],
)
def test_a_damaged_tokenizer_fails_with_one_line(
    capsys, model, tmp_path, name, content, words
):
  (model / "tokenizer.json").unlink()
  (model / name).write_bytes(content)
  code, out, error = mlit(capsys, model, tmp_path / "out")
  assert (code, out, error.count("\n")) == (1, "", 1)
  assert words in error
  assert not (tmp_path / "out").exists()


def test_a_damaged_checkpoint_fails_with_one_line(capsys, model, tmp_path):
  (model / "model.safetensors").write_bytes(b"")
  code, out, error = mlit(capsys, model, tmp_path / "out")
  assert (code, out) == (1, "")
  assert error.startswith(
      f"mlit convert: {model}/model.safetensors: damaged or cut off"
  )
  assert error.count("\n") == 1
  assert not (tmp_path / "out").exists()
