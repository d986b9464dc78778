"""config.json of every family: published ones, defaults, what is refused."""

import dataclasses
import json
import math
import pathlib
import re

import jax
import ml_dtypes  # noqa: F401  NumPy knows bfloat16 by its name from here on.
import numpy as np
import pytest
import safetensors.numpy

from mlit_jax import partitioning
from mlit_jax.models import decoder
from mlit_jax.models.config import RopeScaling
from mlit_jax.models.interchange import huggingface
from mlit_jax.models.interchange.families import FAMILIES
from mlit_jax.models.interchange.family import abstract_params

_COMMON = {
    "architectures": ["X"], "bos_token_id": 1, "eos_token_id": 2,
    "initializer_range": 0.02, "torch_dtype": "bfloat16",
    "transformers_version": "4.40.0", "use_cache": True,
}


def sizes(vocab, width, mlp, layers, heads, kv_heads=None, **more):
  found = {
      "vocab_size": vocab, "hidden_size": width, "intermediate_size": mlp,
      "num_hidden_layers": layers, "num_attention_heads": heads,
  }
  if kv_heads is not None:
    found["num_key_value_heads"] = kv_heads
  return found | more


# Fields as the checkpoints' own config.json have them, and the number of
# parameters that their publishers give.
PUBLISHED = {
    "LLaMA 2 7B": (
        "llama",
        sizes(
            32000, 4096, 11008, 32, 32, 32, hidden_act="silu",
            max_position_embeddings=4096, pretraining_tp=1, rms_norm_eps=1e-5,
            rope_scaling=None, tie_word_embeddings=False,
        ),
        6_738_415_616,
    ),
    "LLaMA 3.1 8B": (
        "llama",
        sizes(
            128256, 4096, 14336, 32, 32, 8, hidden_act="silu",
            attention_bias=False, attention_dropout=0.0, mlp_bias=False,
            max_position_embeddings=131072, pretraining_tp=1,
            rms_norm_eps=1e-5, rope_theta=500000.0, tie_word_embeddings=False,
            rope_scaling={
                "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
        ),
        8_030_261_248,
    ),
    "Mistral 7B v0.1": (
        "mistral",
        sizes(
            32000, 4096, 14336, 32, 32, 8, hidden_act="silu",
            max_position_embeddings=32768, rms_norm_eps=1e-5,
            rope_theta=10000.0, sliding_window=4096, tie_word_embeddings=False,
        ),
        7_241_732_096,
    ),
    "Mixtral 8x7B": (
        "mixtral",
        sizes(
            32000, 4096, 14336, 32, 32, 8, hidden_act="silu",
            attention_dropout=0.0, max_position_embeddings=32768,
            num_experts_per_tok=2, num_local_experts=8,
            output_router_logits=False, rms_norm_eps=1e-5, rope_theta=1e6,
            router_aux_loss_coef=0.02, sliding_window=None,
            tie_word_embeddings=False,
        ),
        46_702_792_704,
    ),
    "Pythia 70M": (
        "gpt_neox",
        sizes(
            50304, 512, 2048, 6, 8, hidden_act="gelu", layer_norm_eps=1e-5,
            max_position_embeddings=2048, rotary_emb_base=10000,
            rotary_pct=0.25, tie_word_embeddings=False,
            use_parallel_residual=True,
        ),
        70_426_624,
    ),
    "BLOOM 560M": (
        "bloom",
        {
            "apply_residual_connection_post_layernorm": False,
            "attention_dropout": 0.0, "attention_softmax_in_fp32": True,
            "bias_dropout_fusion": True, "hidden_dropout": 0.0,
            "layer_norm_epsilon": 1e-5, "masked_softmax_fusion": True,
            "n_embed": 1024, "n_inner": None, "n_layer": 24,
            "num_attention_heads": 16, "offset_alibi": 100, "pad_token_id": 3,
            "pretraining_tp": 1, "skip_bias_add": True,
            "skip_bias_add_qkv": False, "unk_token_id": 0,
            "vocab_size": 250880,
        },
        559_214_592,
    ),
    "Baichuan 2 7B": (
        "baichuan",
        sizes(
            125696, 4096, 11008, 32, 32, hidden_act="silu",
            auto_map={"AutoConfig": "configuration_baichuan.BaichuanConfig"},
            max_position_embeddings=4096, model_max_length=4096,
            pad_token_id=0, rms_norm_eps=1e-6, tie_word_embeddings=False,
            tokenizer_class="BaichuanTokenizer", z_loss_weight=0,
        ),
        7_505_973_248,
    ),
    "Baichuan 2 13B": (
        "baichuan",
        sizes(
            125696, 5120, 13696, 40, 40, hidden_act="silu",
            gradient_checkpointing=False, model_max_length=4096,
            pad_token_id=0, rms_norm_eps=1e-6, tie_word_embeddings=False,
        ),
        13_896_668_160,
    ),
    "Gemma 2B": (
        "gemma",
        sizes(
            256000, 2048, 16384, 18, 8, 1, attention_bias=False,
            attention_dropout=0.0, head_dim=256, hidden_act="gelu",
            hidden_activation=None, max_position_embeddings=8192,
            rms_norm_eps=1e-6, rope_scaling=None, rope_theta=10000.0,
        ),
        2_506_172_416,
    ),
    "Gemma 2 9B": (
        "gemma2",
        sizes(
            256000, 3584, 14336, 42, 16, 8, attention_bias=False,
            attn_logit_softcapping=50.0, cache_implementation="hybrid",
            final_logit_softcapping=30.0, head_dim=256,
            hidden_act="gelu_pytorch_tanh",
            hidden_activation="gelu_pytorch_tanh",
            max_position_embeddings=8192, query_pre_attn_scalar=256,
            rms_norm_eps=1e-6, rope_theta=10000.0, sliding_window=4096,
            sliding_window_size=4096,
        ),
        9_241_705_984,
    ),
    "Gemma 3 1B": (
        "gemma3_text",
        sizes(
            262144, 1152, 6912, 26, 4, 1, attention_bias=False,
            attn_logit_softcapping=None, cache_implementation="hybrid",
            final_logit_softcapping=None, head_dim=256,
            hidden_activation="gelu_pytorch_tanh",
            max_position_embeddings=32768, query_pre_attn_scalar=256,
            rms_norm_eps=1e-6, rope_local_base_freq=10000, rope_scaling=None,
            rope_theta=1000000, sliding_window=512, sliding_window_pattern=6,
        ),
        999_885_952,
    ),
    "Qwen 2.5 7B": (
        "qwen2",
        sizes(
            152064, 3584, 18944, 28, 28, 4, hidden_act="silu",
            attention_dropout=0.0, max_position_embeddings=131072,
            max_window_layers=28, rms_norm_eps=1e-6, rope_theta=1000000.0,
            sliding_window=131072, tie_word_embeddings=False, use_mrope=False,
            use_sliding_window=False,
        ),
        7_615_616_512,
    ),
    "Qwen 3 8B": (
        "qwen3",
        sizes(
            151936, 4096, 12288, 36, 32, 8, attention_bias=False,
            head_dim=128, hidden_act="silu", max_position_embeddings=40960,
            max_window_layers=36, rms_norm_eps=1e-6, rope_scaling=None,
            rope_theta=1000000, sliding_window=None, tie_word_embeddings=False,
            use_sliding_window=False,
        ),
        8_190_735_360,
    ),
}


def read(family, values):
  values = _COMMON | {"model_type": family} | values
  return FAMILIES[family].read_config(values)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_their_number_of_parameters(name):
  family, values, expected = PUBLISHED[name]
  config = read(family, values)
  leaves = jax.tree.leaves(abstract_params(config))
  assert sum(math.prod(leaf.shape) for leaf in leaves) == expected
  # Every parameter has its tensor, and the config goes out as it came.
  paths = [path for group in huggingface.groups(config) for path in group.paths]
  assert len(paths) == len(set(paths)) == len(leaves)
  assert FAMILIES[family].read_config(
      FAMILIES[family].write_config(config)
  ) == config


def test_every_family_is_published_here():
  assert {family for family, _, _ in PUBLISHED.values()} == set(FAMILIES)


def test_the_page_on_porting_has_them_all():
  page = pathlib.Path(__file__).parents[3] / "docs" / "porting.md"
  found = re.findall(r"^\| `(\w+)` \|", page.read_text("utf-8"), re.MULTILINE)
  assert set(FAMILIES) <= set(found)


def test_what_their_fields_say_by_hand():
  def published(name):
    family, values, _ = PUBLISHED[name]
    return read(family, values)

  bloom = published("BLOOM 560M")
  assert (bloom.position, bloom.mlp_dim, bloom.head_dim) == ("alibi", 4096, 64)
  assert bloom.embedding_norm and bloom.tie_embeddings
  pythia = published("Pythia 70M")
  assert (pythia.rotary_dim, pythia.parallel_residual) == (16, True)
  assert published("LLaMA 3.1 8B").rope_scaling == RopeScaling(
      "llama3", 8.0, 8192, 1.0, 4.0
  )
  small, large = published("Baichuan 2 7B"), published("Baichuan 2 13B")
  assert (small.position, large.position) == ("rope", "alibi")
  assert small.normalize_head and large.normalize_head
  assert published("Mistral 7B v0.1").window == 4096
  assert published("Mistral 7B v0.1").windowed_layers is None
  gemma = published("Gemma 2 9B")
  assert gemma.windowed_layers == (True, False) * 21
  gemma = published("Gemma 3 1B")
  assert gemma.windowed_layers == ((True,) * 5 + (False,)) * 4 + (True,) * 2
  assert (gemma.rope_base, gemma.local_rope_base) == (1e6, 1e4)
  assert gemma.tie_embeddings and gemma.qk_norm and gemma.post_norms
  qwen = published("Qwen 2.5 7B")
  assert qwen.window is None and qwen.qkv_bias and not qwen.out_bias


@pytest.mark.torch
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"baichuan"}))
def test_a_field_left_out_has_their_default(family, tmp_path):
  transformers = pytest.importorskip("transformers")
  values = {"model_type": family, "num_hidden_layers": 7, "vocab_size": 30}
  values |= {"hidden_size": 1536, "num_attention_heads": 96}
  if family != "bloom":
    values["intermediate_size"] = 99
  path = tmp_path / huggingface.CONFIG
  path.write_text(json.dumps(values))
  ours = huggingface.load_config(tmp_path)
  theirs = transformers.AutoConfig.from_pretrained(tmp_path)
  # With every field of theirs spelled out, it is the same config.
  theirs.to_json_file(path, use_diff=False)
  assert len(json.loads(path.read_text())) > 25
  assert huggingface.load_config(tmp_path) == ours
  # And so it is when they read what we write.
  path.write_text(json.dumps(FAMILIES[family].write_config(ours)))
  theirs = transformers.AutoConfig.from_pretrained(tmp_path)
  theirs.to_json_file(path, use_diff=False)
  assert huggingface.load_config(tmp_path) == ours


@pytest.mark.parametrize(
    "name, change, message",
    [
        (
            "BLOOM 560M", {"apply_residual_connection_post_layernorm": True},
            "apply_residual_connection_post_layernorm=True is not supported,"
            " only False",
        ),
        (
            "BLOOM 560M", {"hidden_size": 512},
            "n_embed=1024 and hidden_size=512 mean the same; remove one",
        ),
        ("BLOOM 560M", {"n_layer": None}, "no field 'n_layer'; add it"),
        (
            "Pythia 70M", {"rotary_pct": 0.01},
            "0 rotary dimensions (rotary_fraction=0.01 of head_dim=64) must be"
            " even and above 0",
        ),
        (
            "LLaMA 2 7B", {"partial_rotary_factor": 0.5},
            "unknown field 'partial_rotary_factor' (= 0.5): it may change what"
            " the model computes; remove it if it does not",
        ),
        (
            "LLaMA 2 7B", {"quantization_config": {"bits": 4}},
            "unknown field 'quantization_config' (= {'bits': 4}): it may change"
            " what the model computes; remove it if it does not",
        ),
        (
            "Mixtral 8x7B", {"router_jitter_noise": 0.1},
            "router_jitter_noise=0.1 is not supported, only 0.0",
        ),
        (
            "Mixtral 8x7B", {"num_experts_per_tok": 9},
            "experts_per_token=9 exceeds num_experts=8",
        ),
        (
            "Baichuan 2 7B", {"vocab_size": 64000},
            "vocab_size=64000 is Baichuan 1, whose head is another; only"
            " Baichuan 2 is supported",
        ),
        (
            "Baichuan 2 13B", {"max_position_embeddings": 4096},
            "hidden_size=5120 is Baichuan 2 13B, which has no"
            " max_position_embeddings",
        ),
        (
            "Gemma 2B", {"use_bidirectional_attention": True},
            "use_bidirectional_attention=True is not supported, only None",
        ),
        (
            "Gemma 2 9B", {"layer_types": ["chunked_attention"]},
            "layer_types=['chunked_attention'] is not supported, only a list of"
            " 'sliding_attention' and 'full_attention'",
        ),
        (
            "Gemma 2 9B", {"layer_types": ["full_attention"] * 3},
            "layer_types has 3 entries for 42 layers",
        ),
        (
            "Gemma 3 1B", {"attn_logit_softcapping": 50.0},
            "attn_logit_softcapping=50.0 is not supported, only None",
        ),
        (
            "Gemma 3 1B", {"rope_parameters": {"rope_theta": 5.0}},
            "rope_parameters={'rope_theta': 5.0} must hold tables"
            " 'full_attention' and 'sliding_attention', and nothing else",
        ),
        (
            "Gemma 3 1B",
            {
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "linear", "factor": 2.0}
                }
            },
            "rope_parameters: sliding_attention={'rope_type': 'linear',"
            " 'factor': 2.0} is not supported, only a base without scaling",
        ),
        (
            "Gemma 3 1B", {"sliding_window_pattern": 0},
            "sliding_window_pattern must be a positive whole number: 0",
        ),
        (
            "Qwen 2.5 7B", {"use_mrope": True},
            "use_mrope=True is not supported, only False",
        ),
        (
            "Qwen 3 8B", {"use_sliding_window": True, "max_window_layers": 9},
            "windowed_layers needs a window",
        ),
    ],
)
def test_what_is_not_computed_is_named(name, change, message):
  family, values, _ = PUBLISHED[name]
  with pytest.raises(ValueError) as error:
    read(family, values | change)
  assert str(error.value) == message


def test_a_config_that_the_family_cannot_say_is_not_written():
  family, values, _ = PUBLISHED["LLaMA 2 7B"]
  config = dataclasses.replace(
      read(family, values), qk_norm=True, window=5, norm="layer"
  )
  with pytest.raises(ValueError) as error:
    FAMILIES["llama"].write_config(config)
  assert str(error.value) == (
      "a config of family 'llama' cannot say window=5, norm='layer',"
      " qk_norm=True"
  )


def test_yarn_s_attention_factor_by_hand():
  family, values, _ = PUBLISHED["LLaMA 2 7B"]

  def factor(**fields):
    scaling = {"rope_type": "yarn", "factor": 40.0, **fields}
    return read(family, values | {"rope_scaling": scaling}).rope_scaling

  usual = 0.1 * math.log(40) + 1
  assert factor().attention_factor == pytest.approx(usual)
  assert factor(attention_factor=0.5).attention_factor == 0.5
  both = factor(mscale=2.0, mscale_all_dim=0.5).attention_factor
  assert both == pytest.approx((2 * usual - 1) / (usual / 2 + 0.5))
  assert factor().original_length == 4096


def test_dynamic_scaling_lengthens_the_model():
  family, values, _ = PUBLISHED["LLaMA 2 7B"]
  scaling = {"type": "dynamic", "factor": 2.0}
  config = read(family, values | {"rope_scaling": scaling})
  assert config.max_length == 8192
  written = FAMILIES[family].write_config(config)
  assert written["max_position_embeddings"] == 4096


def test_a_checkpoint_of_the_base_model_alone_lacks_the_prefix(
    random_params, tmp_path
):
  values = {"n_embed": 8, "num_attention_heads": 2, "n_layer": 1}
  config = read("bloom", PUBLISHED["BLOOM 560M"][1] | values | {
      "vocab_size": 5,
  })
  params = random_params(config)
  huggingface.write_model(tmp_path, config, params, {})
  path = tmp_path / huggingface.WEIGHTS
  tensors = safetensors.numpy.load_file(path)
  bare = {k.removeprefix("transformer."): v for k, v in tensors.items()}
  assert "h.0.input_layernorm.weight" in bare and len(bare) == len(tensors)
  safetensors.numpy.save_file(bare, path)
  found, loaded = huggingface.load(tmp_path)
  assert found == config
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_loading_over_a_mesh_cuts_every_parameter(random_params, tmp_path):
  config = read("mixtral", sizes(6, 8, 4, 2, 2, 2, num_local_experts=3))
  params = random_params(config)
  huggingface.write_model(tmp_path, config, params, {}, np.dtype("bfloat16"))
  mesh = partitioning.make_mesh()
  _, loaded = huggingface.load(tmp_path, mesh, "bfloat16")
  boxed = jax.eval_shape(lambda: decoder.init_params(config, 0))
  shardings = partitioning.param_shardings(boxed, mesh)

  def equal(found, expected, sharding):
    assert found.sharding == sharding
    expected = expected.astype("bfloat16")
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(found), expected)

  jax.tree.map(equal, loaded, params, shardings)
