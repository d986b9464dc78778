"""T5X checkpoints, and T5s of Hugging Face's layout, converted."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from t5x_checkpoints import make, scan, write, write_orbax

from mlit_jax.data import tokenizers
from mlit_jax.models import encoder_decoder
from mlit_jax.models.interchange import convert, huggingface, t5_families, t5x
from mlit_jax.models.interchange.storage import CheckpointError, TensorFiles
from mlit_jax.training.checkpoint import Checkpoints


@pytest.mark.parametrize("scanned", [False, True])
def test_t5x_becomes_hugging_face(tmp_path, scanned):
  tree = make(scanned)
  source = write(tmp_path / "c", scan(tree) if scanned else tree)
  convert.convert(source, tmp_path / "out")
  values = json.loads((tmp_path / "out/config.json").read_text())
  assert values["model_type"] == ("umt5" if scanned else "t5")
  assert values["decoder_start_token_id"] == values["pad_token_id"] == 0
  assert values["tie_word_embeddings"] is False
  files = TensorFiles(tmp_path / "out")
  for ours, theirs in {
      "encoder.block.2.layer.0.SelfAttention.q.weight":
          tree["encoder/layers_2/attention/query/kernel"].T,
      "decoder.block.1.layer.1.EncDecAttention.o.weight":
          tree["decoder/layers_1/encoder_decoder_attention/out/kernel"].T,
      "lm_head.weight": tree["decoder/logits_dense/kernel"].T,
      "decoder.block.0.layer.2.layer_norm.weight":
          tree["decoder/layers_0/pre_mlp_layer_norm/scale"],
  }.items():
    np.testing.assert_array_equal(files.read(ours), theirs, err_msg=ours)
  config, params = huggingface.load(tmp_path / "out")
  expected_config, expected = t5x.load(source)
  assert config == expected_config
  jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_like_gives_family_numbers_token_ids_and_tokenizer(tmp_path):
  source = write_orbax(tmp_path / "c", make())
  like = tmp_path / "like"
  like.mkdir()
  config, _ = t5x.load(source)
  values = t5_families.write_config(config) | {
      "model_type": "mt5", "relative_attention_max_distance": 99,
      "eos_token_id": 5, "dropout_rate": 0.3,
  }
  del values["scale_decoder_outputs"]
  (like / "config.json").write_text(json.dumps(values))
  (like / "spiece.model").write_bytes(b"pieces")
  with pytest.raises(CheckpointError, match="like: spiece.model: not a Sent"):
    convert.convert(source, tmp_path / "out", like=like)
  assert not (tmp_path / "out").exists()
  pieces = tokenizers.train_sentencepiece(["a b c"], 300).model
  (like / "spiece.model").write_bytes(pieces)
  convert.convert(source, tmp_path / "out", like=like, dtype="bfloat16")
  written = json.loads((tmp_path / "out/config.json").read_text())
  assert written["architectures"] == ["MT5ForConditionalGeneration"]
  assert written["relative_attention_max_distance"] == 99
  assert (written["eos_token_id"], written["dropout_rate"]) == (5, 0.3)
  assert (tmp_path / "out/spiece.model").read_bytes() == pieces
  files = TensorFiles(tmp_path / "out")
  assert files.dtype("shared.weight") == jnp.bfloat16
  (like / "config.json").write_text(json.dumps(values | {"d_ff": 8}))
  with pytest.raises(CheckpointError, match="mlp_dim is 7, but 8"):
    convert.convert(source, tmp_path / "more", like=like)
  (like / "config.json").write_text(json.dumps({"model_type": "llama"}))
  with pytest.raises(CheckpointError, match="model_type='llama' is none of"):
    convert.convert(source, tmp_path / "more", like=like)
  (like / "config.json").unlink()
  with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
    convert.convert(source, tmp_path / "more", like=like)
  assert not (tmp_path / "more").exists()


def test_a_t5_of_hugging_face_stays_the_same(tmp_path, random_params):
  config = t5x.read_config(t5x.Tensors(write(tmp_path / "c", make())))
  (tmp_path / "in").mkdir()
  huggingface.write_model(tmp_path / "in", config, random_params(config), {})
  convert.convert(tmp_path / "in", tmp_path / "out")
  names = sorted(p.name for p in (tmp_path / "in").iterdir())
  assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
  one, two = TensorFiles(tmp_path / "in"), TensorFiles(tmp_path / "out")
  for name in one.names():
    np.testing.assert_array_equal(one.read(name), two.read(name))


@pytest.mark.parametrize("tied", [False, True])
def test_a_training_checkpoint_of_a_t5(tmp_path, random_params, tied):
  config = t5x.read_config(t5x.Tensors(write(tmp_path / "c", make(tied=tied))))
  assert config.tie_embeddings is tied
  params = random_params(config)
  like = tmp_path / "like"
  like.mkdir()
  huggingface.write_model(like, config, params, {"eos_token_id": 5})
  if not tied:  # which transformers 5 writes all the same
    path = like / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"tie_word_embeddings": True}))
  checkpoints = Checkpoints(tmp_path / "run", every=1)
  checkpoints.save(1, {"params": params}, {})
  checkpoints.close()
  convert.convert(tmp_path / "run/1", tmp_path / "out", like=like)
  found, loaded = huggingface.load(tmp_path / "out")
  assert found == huggingface.load_config(like)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)
  values = json.loads((tmp_path / "out/generation_config.json").read_text())
  assert values["eos_token_id"] == 5


@pytest.mark.torch
@pytest.mark.parametrize("tied", [False, True])
def test_transformers_gives_our_logits(tmp_path, tied):
  transformers = pytest.importorskip("transformers")
  torch = pytest.importorskip("torch")
  source = write(tmp_path / "c", make(tied=tied))
  convert.convert(source, tmp_path / "out")
  model, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(
      tmp_path / "out", output_loading_info=True
  )
  assert not any(report[k] for k in ("missing_keys", "unexpected_keys"))
  inputs = np.asarray([[3, 4, 5, 9, 2, 1]])
  tokens = np.asarray([[0, 7, 8, 10]])
  with torch.no_grad():
    theirs = model.eval()(
        input_ids=torch.tensor(inputs), decoder_input_ids=torch.tensor(tokens)
    ).logits.numpy()
  config, params = t5x.load(source)
  ours = jax.jit(encoder_decoder.EncoderDecoder(config).apply)(
      {"params": params},
      *(jnp.asarray(x) for x in (inputs, np.arange(6)[None], tokens,
                                 np.arange(4)[None])),
  )
  assert np.abs(theirs).max() > 0.1
  assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
  # Generation starts with the padding token, from config.json alone.
  answer = model.generate(torch.tensor(inputs), max_new_tokens=2)
  assert answer[0, 0] == 0
