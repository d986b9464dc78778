"""T5s in Hugging Face's layout: what a config.json may say, and tensors."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
import safetensors.numpy

from mlit_jax import partitioning
from mlit_jax.models import encoder_decoder
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import huggingface, t5_families
from mlit_jax.models.interchange.storage import CheckpointError, TensorFiles

# The config.json of google/mt5-small and of google/umt5-small, of t5-small the
# fields that say something.
MT5 = {
    "architectures": ["MT5ForConditionalGeneration"], "d_ff": 1024, "d_kv": 64,
    "d_model": 512, "decoder_start_token_id": 0, "dropout_rate": 0.1,
    "eos_token_id": 1, "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0, "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-06, "model_type": "mt5", "num_decoder_layers": 8,
    "num_heads": 6, "num_layers": 8, "pad_token_id": 0,
    "relative_attention_num_buckets": 32, "tie_word_embeddings": False,
    "tokenizer_class": "T5Tokenizer", "vocab_size": 250112,
}
UMT5 = MT5 | {
    "architectures": ["UMT5ForConditionalGeneration"],
    "classifier_dropout": 0.0, "dense_act_fn": "gelu_new",
    "is_gated_act": True, "model_type": "umt5", "output_past": True,
    "relative_attention_max_distance": 128, "scalable_attention": True,
    "torch_dtype": "float32", "use_cache": True, "vocab_size": 256384,
}
T5 = {
    "model_type": "t5", "d_ff": 2048, "d_kv": 64, "d_model": 512,
    "num_heads": 8, "num_layers": 6, "vocab_size": 32128, "n_positions": 512,
    "task_specific_params": {"summarization": {"num_beams": 4}},
}
PATH = pathlib.Path("config.json")
SMALL = EncoderDecoderConfig(
    family="t5", vocab_size=9, num_encoder_layers=2, num_decoder_layers=1,
    embed_dim=6, num_heads=2, head_dim=4, mlp_dim=5, num_buckets=8,
)


def test_mt5_and_umt5():
  config = t5_families.read_config(MT5, PATH)
  assert config == EncoderDecoderConfig(
      family="mt5", vocab_size=250112, num_encoder_layers=8,
      num_decoder_layers=8, embed_dim=512, num_heads=6, head_dim=64,
      mlp_dim=1024,
  )
  assert not config.bias_per_layer
  config = t5_families.read_config(UMT5, PATH)
  assert config.bias_per_layer and config.vocab_size == 256384
  assert config.gated_mlp and not config.scale_logits
  assert not config.tie_embeddings


def test_t5_1_0_by_its_defaults():
  config = t5_families.read_config(T5, PATH)
  assert config.tie_embeddings and config.scale_logits
  assert not config.gated_mlp
  assert config.num_decoder_layers == config.num_encoder_layers == 6
  assert (config.num_buckets, config.max_distance) == (32, 128)
  assert config.norm_eps == 1e-6


@pytest.mark.parametrize(
    "change, words",
    [
        ({"rope_theta": 1e4}, "unknown field 'rope_theta' (= 10000.0)"),
        ({"model_type": "bart"}, "model_type='bart' is none of"),
        ({"d_kv": None}, "no field 'd_kv'; add it"),
        ({"feed_forward_proj": "gated-silu"}, "feed_forward_proj='gated-silu'"),
        ({"dense_act_fn": "relu"}, "contradicts feed_forward_proj"),
        ({"is_gated_act": False}, "contradicts feed_forward_proj"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder=False"),
        ({"is_decoder": True}, "is_decoder=True is not supported, only False"),
        ({"scale_decoder_outputs": True}, "no field of an mt5"),
        ({"tie_word_embeddings": "no"}, "must be true or false: 'no'"),
        ({"num_layers": 1 << 31}, "num_encoder_layers must be below 2**31"),
        ({"num_heads": 0}, "num_heads must be a positive whole number: 0"),
        ({"num_heads": "6"}, "num_heads must be a positive whole number: '6'"),
        ({"tie_word_embeddings": False, "layer_norm_epsilon": 0}, "norm_eps"),
    ],
)
def test_what_is_not_computed_is_refused(change, words):
  with pytest.raises(CheckpointError) as error:
    t5_families.read_config(MT5 | change, PATH)
  assert str(error.value).startswith("config.json: ")
  assert words in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {}, {"tie_embeddings": True, "scale_logits": True, "gated_mlp": False},
        {"family": "mt5", "norm_eps": 1e-4}, {"family": "umt5"},
        {"family": "umt5", "tie_embeddings": True, "scale_logits": True},
        # What transformers 5 saves of an umT5 whose head is not tied.
        {"family": "umt5", "scale_logits": True},
    ],
)
def test_what_is_written_is_read(change, random_params, tmp_path):
  config = dataclasses.replace(SMALL, **change)
  params = random_params(config)
  huggingface.write_model(
      tmp_path, config, params, {"eos_token_id": 7}, max_shard_bytes=300
  )
  assert len(list(tmp_path.glob("*.safetensors"))) > 3
  found, loaded = huggingface.load(tmp_path)
  assert found == config
  jax.tree.map(np.testing.assert_array_equal, loaded, params)
  values = json.loads((tmp_path / "generation_config.json").read_text())
  assert values == {
      "pad_token_id": 0, "eos_token_id": 7, "decoder_start_token_id": 0,
  }


def test_copies_and_an_unused_table_are_passed_over(random_params, tmp_path):
  """As older files have them; other tensors too many are refused."""
  config = dataclasses.replace(SMALL, tie_embeddings=True)
  params = random_params(config)
  huggingface.write_model(tmp_path, config, params, {})
  files = TensorFiles(tmp_path)
  tensors = {name: files.read(name) for name in files.names()}
  shared = tensors["shared.weight"]
  more = {
      "encoder.embed_tokens.weight": shared,
      "decoder.embed_tokens.weight": shared, "lm_head.weight": shared,
      "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight":
          np.ones((8, 2), np.float32),
  }
  file = tmp_path / "model.safetensors"
  safetensors.numpy.save_file(tensors | more, file)
  values = json.loads((tmp_path / "config.json").read_text())
  for name in ("tie_word_embeddings", "scale_decoder_outputs"):
    values[name] = True
  (tmp_path / "config.json").write_text(json.dumps(values))
  found, loaded = huggingface.load(tmp_path)
  assert found.tie_embeddings
  np.testing.assert_array_equal(loaded["embedding"], shared)
  other = {"encoder.embed_tokens.weight": shared + 1}
  safetensors.numpy.save_file(tensors | other, file)
  with pytest.raises(CheckpointError, match="surplus tensor 'encoder.embed"):
    huggingface.load(tmp_path)


def test_loading_over_a_mesh_cuts_every_parameter(random_params, tmp_path):
  params = random_params(SMALL)
  huggingface.write_model(tmp_path, SMALL, params, {})
  mesh = partitioning.make_mesh()
  _, loaded = huggingface.load(tmp_path, mesh, "bfloat16")
  boxed = jax.eval_shape(lambda: encoder_decoder.init_params(SMALL, 0))

  def equal(found, expected, sharding):
    assert (found.sharding, found.dtype) == (sharding, "bfloat16")
    np.testing.assert_array_equal(found, expected.astype("bfloat16"))

  jax.tree.map(
      equal, loaded, params, partitioning.param_shardings(boxed, mesh)
  )


def test_without_weights_config_json_tells_of_the_head(tmp_path):
  path = tmp_path / "config.json"
  for tied in (False, True):
    path.write_text(json.dumps(MT5 | {"tie_word_embeddings": tied}))
    assert huggingface.load_config(tmp_path).tie_embeddings is tied


def test_no_json_is_a_named_error(tmp_path):
  (tmp_path / "model.safetensors").write_bytes(b"")
  with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
    huggingface.load_config(tmp_path)
  for text, words in (("{", "not JSON"), ("[]", "expected a JSON object")):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"config\.json: {words}"):
      huggingface.load_config(tmp_path)
