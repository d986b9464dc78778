"""DecoderConfig refuses what is no decoder, and says which field."""

import dataclasses

import pytest

from mlit_jax.models.config import DecoderConfig, RopeScaling

SIZES = {
    "vocab_size": 11, "num_layers": 2, "embed_dim": 12, "num_heads": 4,
    "num_kv_heads": 2, "head_dim": 6, "mlp_dim": 20,
}


def test_from_dict_fills_in_llama_defaults():
  config = DecoderConfig.from_dict(SIZES)
  assert dataclasses.asdict(config) == {
      **SIZES, "max_length": 2048, "rope_base": 10000.0, "norm_eps": 1e-5,
      "tie_embeddings": False, "family": "llama", "position": "rope",
      "rotary_fraction": 1.0, "rope_scaling": None, "local_rope_base": None,
      "window": None, "windowed_layers": None, "norm": "rms",
      "norm_offset": False, "post_norms": False, "qk_norm": False,
      "embedding_norm": False, "embedding_scale": False, "qkv_bias": False,
      "out_bias": False, "mlp_bias": False, "parallel_residual": False,
      "gated_mlp": True, "activation": "silu", "num_experts": 0,
      "experts_per_token": 0, "query_scalar": None, "attention_softcap": None,
      "logit_softcap": None, "normalize_head": False,
  }


def test_equal_configs_are_one_key():
  """session.trainer and session.engine share programs by the config."""
  one, other = DecoderConfig(**SIZES), DecoderConfig(**SIZES)
  assert {one: 1}[other] == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"vocab_size": 0}, "vocab_size must be a positive whole number: 0"),
        ({"mlp_dim": 2.0}, "mlp_dim must be a positive whole number: 2.0"),
        ({"num_layers": True}, "num_layers must be a positive whole number"),
        ({"num_kv_heads": 3}, "num_heads=4 is not a multiple of num_kv_heads"),
        ({"head_dim": 5}, "head_dim=5 must be even (rotary)"),
        ({"rope_base": "1e4"}, "rope_base must be a positive number: '1e4'"),
        ({"norm_eps": 0.0}, "norm_eps must be a positive number: 0.0"),
        ({"tie_embeddings": 1}, "tie_embeddings must be true or false: 1"),
        ({"experts": 8}, "unknown model fields ['experts']; known:"),
        ({"position": "sinus"}, "position='sinus' must be one of ('rope', 'al"),
        ({"activation": None}, "activation=None must be one of ('silu',"),
        ({"window": 0}, "window must be a positive whole number: 0"),
        ({"windowed_layers": (True, False)}, "windowed_layers needs a window"),
        (
            {"window": 4, "windowed_layers": (True,)},
            "windowed_layers has 1 entries for 2 layers",
        ),
        (
            {"window": 4, "windowed_layers": [True, False]},
            "windowed_layers must be a tuple of true and false",
        ),
        ({"local_rope_base": 1.0}, "local_rope_base is for layers with a wind"),
        ({"rotary_fraction": 1.5}, "rotary_fraction=1.5 is above 1"),
        (
            {"rotary_fraction": 0.5},
            "3 rotary dimensions (rotary_fraction=0.5 of head_dim=6) must be",
        ),
        ({"logit_softcap": -1.0}, "logit_softcap must be a positive number"),
        ({"qk_norm": 1}, "qk_norm must be true or false: 1"),
        ({"num_experts": 8}, "experts_per_token must be a positive whole"),
        (
            {"num_experts": 2, "experts_per_token": 3},
            "experts_per_token=3 exceeds num_experts=2",
        ),
        (
            {"num_experts": 2, "experts_per_token": 1, "mlp_bias": True},
            "experts are gated MLPs without biases",
        ),
    ],
)
def test_a_wrong_field_is_named(change, message):
  with pytest.raises(ValueError) as error:
    DecoderConfig.from_dict(SIZES | change)
  assert message in str(error.value)


def test_missing_fields_are_named():
  with pytest.raises(ValueError) as error:
    DecoderConfig.from_dict({"vocab_size": 11, "num_layers": 2, "head_dim": 2})
  assert str(error.value) == (
      "missing model fields ['embed_dim', 'mlp_dim', 'num_heads',"
      " 'num_kv_heads']; add them"
  )


@pytest.mark.parametrize(
    "values, message",
    [
        (("longrope", 2.0), "rope scaling 'longrope' is none of ('linear',"),
        (("linear", 0.0), "rope scaling's factor must be a positive number"),
        (("yarn", 2.0), "rope scaling's original_length must be a positive"),
        (("llama3", 2.0, 9, 4.0, 4.0), "low_frequency_factor=4.0 must be belo"),
    ],
)
def test_a_wrong_rope_scaling_is_named(values, message):
  with pytest.raises(ValueError) as error:
    RopeScaling(*values)
  assert message in str(error.value)
