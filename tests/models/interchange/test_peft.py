"""PEFT's files by hand: what they mean, and what is refused.

Parity with `peft` itself is in ../test_peft_parity.py.
"""

import json
import pickle

import numpy as np
import pytest
import safetensors.numpy

from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import convert, huggingface, peft
from mlit_jax.models.interchange.storage import CheckpointError
from mlit_jax.models.lora import LoraConfig

LLAMA = DecoderConfig(
    vocab_size=7, num_layers=2, embed_dim=4, num_heads=2, num_kv_heads=1,
    head_dim=2, mlp_dim=3,
)
BAICHUAN = DecoderConfig(
    vocab_size=7, num_layers=1, embed_dim=4, num_heads=2, num_kv_heads=2,
    head_dim=2, mlp_dim=3, family="baichuan", normalize_head=True,
)
MIXTRAL = DecoderConfig(
    vocab_size=7, num_layers=1, embed_dim=4, num_heads=2, num_kv_heads=2,
    head_dim=2, mlp_dim=3, family="mixtral", num_experts=2,
    experts_per_token=1,
)
ABOUT = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 8,
    "target_modules": ["q_proj"], "lora_dropout": 0.1,
}


def numbers(*shape):
  return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def llama_tensors():
  """A query's adapter: 4 inputs, rank 2, 4 outputs; layer 1's is twice 0's."""
  return {
      f"base_model.model.model.layers.{i}.self_attn.q_proj.lora_{x}.weight": (
          (1 + i) * numbers(*shape)
      )
      for i in range(2)
      for x, shape in (("A", (2, 4)), ("B", (4, 2)))
  }


def write(directory, about, tensors):
  directory.mkdir(exist_ok=True)
  (directory / "adapter_config.json").write_text(json.dumps(about))
  safetensors.numpy.save_file(
      tensors, directory / "adapter_model.safetensors"
  )
  return directory


def test_axes_scale_and_pattern(tmp_path):
  adapters, how = peft.load_adapter(
      write(tmp_path / "x", ABOUT, llama_tensors()), LLAMA
  )
  assert how == LoraConfig("^(blocks/attention/query)$", 2, 8.0, 0.1)
  query = adapters["blocks"]["attention"].pop("query")
  assert adapters == {"blocks": {"attention": {}}}
  # Layers, adapters, inputs, rank; layers, adapters, rank, heads, width.
  a = [[1, 5], [2, 6], [3, 7], [4, 8]]
  b = [[[1, 3], [5, 7]], [[2, 4], [6, 8]]]
  np.testing.assert_array_equal(query["a"], [[a], [np.multiply(a, 2)]])
  np.testing.assert_array_equal(query["b"], [[b], [np.multiply(b, 2)]])


def test_other_ranks_scales_and_layers_become_one(tmp_path):
  name = "base_model.model.model.layers.{}.self_attn.{}_proj.lora_{}.weight"
  tensors = {
      name.format(1, "q", "A"): numbers(4, 4),
      name.format(1, "q", "B"): numbers(4, 4),
      name.format(1, "v", "A"): numbers(1, 4),
      name.format(1, "v", "B"): numbers(2, 1),
  }
  about = ABOUT | {
      "use_rslora": True, "target_modules": ["q_proj", "v_proj"], "r": 4,
      "layers_to_transform": [1], "rank_pattern": {"self_attn.v_proj": 1},
      "alpha_pattern": {r"model\.layers\.1\.self_attn\.v_proj": 2},
  }
  path = write(tmp_path / "x", about, tensors)
  adapters, how = peft.load_adapter(path, LLAMA)
  assert (how.rank, how.scale) == (4, 4.0)  # 8 / sqrt(4)
  attention = adapters["blocks"]["attention"]
  for part in ("query", "value"):
    for x in attention[part].values():
      assert not x[0].any() and x[1].any()
  value = attention["value"]
  np.testing.assert_array_equal(value["a"][1, 0, :, 0], [1, 2, 3, 4])
  assert not value["a"][1, 0, :, 1:].any()
  np.testing.assert_array_equal(value["b"][1, 0, 0], [[0.5, 1]])  # 2 / 4


def test_a_fused_map_goes_out_in_blocks(tmp_path):
  how = LoraConfig(rank=1, alpha=3.0, dropout=0.25)
  adapters = {
      "blocks": {
          "attention": {
              name: {
                  "a": np.full((1, 1, 4, 1), i, np.float32),
                  "b": np.full((1, 1, 1, 2, 2), 10 * i, np.float32),
              }
              for i, name in enumerate(("query", "key", "value"), start=1)
          }
      }
  }
  peft.save_adapter(tmp_path / "x", BAICHUAN, how, adapters, base_name="base")
  tensors = safetensors.numpy.load_file(
      tmp_path / "x" / "adapter_model.safetensors"
  )
  name = "base_model.model.model.layers.0.self_attn.W_pack.lora_{}.weight"
  assert sorted(tensors) == [name.format("A"), name.format("B")]
  np.testing.assert_array_equal(
      tensors[name.format("A")], [[1] * 4, [2] * 4, [3] * 4]
  )
  np.testing.assert_array_equal(
      tensors[name.format("B")],
      [[10, 0, 0]] * 4 + [[0, 20, 0]] * 4 + [[0, 0, 30]] * 4,
  )
  about = json.loads((tmp_path / "x" / "adapter_config.json").read_text())
  wanted = {
      "r": 3, "lora_alpha": 9, "lora_dropout": 0.25, "rank_pattern": {},
      "target_modules": ["W_pack"], "base_model_name_or_path": "base",
  }
  assert wanted.items() <= about.items()
  _, again = peft.load_adapter(tmp_path / "x", BAICHUAN)
  assert again == how


def test_experts_of_one_kind_take_their_partner_along(tmp_path):
  how = LoraConfig("mlp/up$", 1, 1.0)
  adapters = {
      "blocks": {
          "mlp": {
              "up": {
                  "a": np.ones((1, 1, 2, 4, 1), np.float32),
                  "b": np.ones((1, 1, 2, 1, 3), np.float32),
              }
          }
      }
  }
  peft.save_adapter(tmp_path / "x", MIXTRAL, how, adapters)
  tensors = safetensors.numpy.load_file(
      tmp_path / "x" / "adapter_model.safetensors"
  )
  assert len(tensors) == 2 * 2 * 2
  for name, value in tensors.items():
    assert value.any() == (".w3." in name)
  about = json.loads((tmp_path / "x" / "adapter_config.json").read_text())
  assert about["lora_dropout"] == 0  # PEFT refuses another


def refused(directory, config=LLAMA):
  with pytest.raises(CheckpointError) as error:
    peft.load_adapter(directory, config)
  message = str(error.value)
  assert "\n" not in message and message.startswith(str(directory))
  return message


@pytest.mark.parametrize(
    "change, message",
    [
        ({"use_dora": True}, "use_dora=True is not supported, only False"),
        ({"bias": "all"}, "bias='all' is not supported, only 'none'"),
        (
            {"modules_to_save": ["lm_head"]},
            "modules_to_save=['lm_head'] is not supported, only []",
        ),
        ({"peft_type": "IA3"}, "peft_type='IA3' is not supported, only 'LORA'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' is not"),
        ({"fan_in_fan_out": 0}, "fan_in_fan_out=0 is not supported"),
        (
            {"next_years_field": 3},
            "unknown field 'next_years_field' (= 3): it may change what the"
            " adapter does; remove it if it does not",
        ),
        ({"r": 0}, "r must be a positive whole number: 0"),
        ({"r": 3}, "lora_A.weight' has shape (2, 4); adapter_config.json and"),
        ({"lora_alpha": True}, "lora_alpha must be a positive number: True"),
        ({"lora_dropout": 1.0}, "lora_dropout must be in [0, 1): 1.0"),
        ({"use_rslora": 1}, "use_rslora must be true or false: 1"),
        (
            {"rank_pattern": {"(a*)*": 1}},
            "rank_pattern: '(a*)*' is a regular expression; only names of",
        ),
        ({"alpha_pattern": [1]}, "alpha_pattern=[1] is no JSON object"),
        ({"target_modules": [1]}, "target_modules=[1] is no list of str"),
        (
            {"target_modules": ["q_proj", "v_proj"]},
            "no tensor 'base_model.model.model.layers.0.self_attn.v_proj.lora_",
        ),
    ],
)
def test_what_is_no_plain_lora_is_named(tmp_path, change, message):
  path = write(tmp_path / "x", ABOUT | change, llama_tensors())
  assert message in refused(path)


def test_tensors_that_do_not_fit_are_named(tmp_path):
  path, tensors = tmp_path / "x", llama_tensors()
  a, b = list(tensors)[:2]

  def message(changed, config=LLAMA):
    return refused(write(path, ABOUT, changed), config)

  less = {k: v for k, v in tensors.items() if k != b}
  assert f"no tensor {b!r}" in message(less)
  assert f"no tensor {a!r}" in message({})
  head = "base_model.model.lm_head.lora_A.weight"
  assert f"tensor {head!r} is of no linear map of this model's blocks" in (
      message(tensors | {head: numbers(2, 4)})
  )
  wide, whole = {a: numbers(2, 5)}, {a: np.ones((2, 4), int)}
  assert f"{a!r} has shape (2, 5); adapter_config.json and the base say" in (
      message(tensors | wide)
  )
  assert f"{a!r} is of type int64" in message(tensors | whole)
  assert "is of no linear map of this model's blocks (baichuan)" in refused(
      write(path, ABOUT | {"target_modules": ".*q_proj"}, tensors), BAICHUAN
  )
  experts = "base_model.model.model.layers.0.mlp.experts.lora_A.weight"
  assert f"no tensor {experts.replace('_A', '_B')!r}" in (
      message({experts: numbers(4, 4)}, MIXTRAL)
  )
  both = {experts: numbers(4, 4), experts.replace("_A", "_B"): numbers(5, 4)}
  assert "they fit no adapter of 2 experts" in message(both, MIXTRAL)


def test_damaged_files_are_named_and_nothing_is_run(tmp_path):
  path = write(tmp_path / "x", ABOUT, llama_tensors())
  weights = path / "adapter_model.safetensors"
  weights.write_bytes(weights.read_bytes()[:-1])
  assert "damaged or cut off" in refused(path)
  weights.unlink()
  assert refused(path).endswith(
      "no weights; expected adapter_model.safetensors or adapter_model.bin"
  )

  class Evil:

    def __reduce__(self):
      return exec, ("raise SystemExit",)

  (path / "adapter_model.bin").write_bytes(pickle.dumps(Evil()))
  assert "adapter_model.bin" in refused(path)
  (path / "adapter_config.json").write_text('{"r": 1, "r": 2}')
  assert "not JSON ('r' stands there twice)" in refused(path)
  (path / "adapter_config.json").unlink()
  assert "adapter_config.json: cannot be read" in refused(path)


@pytest.mark.torch
def test_a_bin_file_of_torch_is_read(tmp_path):
  torch = pytest.importorskip("torch")
  path = write(tmp_path / "x", ABOUT, llama_tensors())
  expected, _ = peft.load_adapter(path, LLAMA)
  (path / "adapter_model.safetensors").unlink()
  tensors = {
      k: torch.tensor(v, dtype=torch.bfloat16)
      for k, v in llama_tensors().items()
  }
  torch.save(tensors, path / "adapter_model.bin")
  found, _ = peft.load_adapter(path, LLAMA)
  query = found["blocks"]["attention"]["query"]
  for part, value in query.items():
    np.testing.assert_array_equal(
        value, expected["blocks"]["attention"]["query"][part]
    )


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_merging_rounds_once(family, random_params, tmp_path):
  """BLOOM's checkpoints lack the prefix of their base model."""
  config, name = LLAMA, "model.layers.0.self_attn.q_proj"
  if family == "bloom":
    config = DecoderConfig(**vars(LLAMA) | {
        "family": "bloom", "position": "alibi", "norm": "layer",
        "embedding_norm": True, "gated_mlp": False, "activation": "gelu_tanh",
        "qkv_bias": True, "out_bias": True, "mlp_bias": True,
        "tie_embeddings": True, "num_kv_heads": 2, "mlp_dim": 16,
    })
    name = "transformer.h.0.self_attention.dense"
  (tmp_path / "base").mkdir()
  huggingface.write_model(
      tmp_path / "base", config, random_params(config), {}, "bfloat16"
  )
  path = tmp_path / "base" / "model.safetensors"
  base = safetensors.numpy.load_file(path)
  if family == "bloom":
    base = {k.removeprefix("transformer."): v for k, v in base.items()}
    safetensors.numpy.save_file(base, path)
  part = ".lora_{}.weight"
  tensors = {
      f"base_model.model.{name}{part.format(x)}": numbers(*shape) / 7
      for x, shape in (("A", (2, 4)), ("B", (4, 2)))
  }
  about = ABOUT | {
      "target_modules": [name.rpartition(".")[-1]], "layers_to_transform": [0]
  }
  adapter = write(tmp_path / "adapter", about, tensors)
  name = f"{name}.weight".removeprefix("transformer.")
  change = 4 * (numbers(4, 2) / 7) @ (numbers(2, 4) / 7)
  expected = base[name].astype(np.float32) + change
  for dtype in (None, "float32"):
    out = tmp_path / f"out {dtype}"
    convert.convert(tmp_path / "base", out, adapter=adapter, dtype=dtype)
    found = safetensors.numpy.load_file(out / "model.safetensors")
    assert found.keys() == base.keys()
    for other in found.keys() - {name}:
      np.testing.assert_array_equal(found[other], base[other])
    if dtype is None:
      expected_here = expected.astype(base[name].dtype)
      assert found[name].dtype == base[name].dtype
      np.testing.assert_array_equal(found[name], expected_here)
    else:
      np.testing.assert_allclose(found[name], expected, rtol=1e-6)


def test_adapters_of_another_shape_are_not_written(tmp_path):
  adapters, how = peft.load_adapter(
      write(tmp_path / "x", ABOUT, llama_tensors()), LLAMA
  )
  for lora, number, message in (
      (how, 1, "(2, 'K', 4, 2) with K above 1"),
      (LoraConfig(how.pattern, 3), 0, "query/a has shape (2, 1, 4, 2)"),
      (LoraConfig("key$", 2), 0, "key/a has shape ()"),
  ):
    with pytest.raises(CheckpointError) as error:
      peft.save_adapter(tmp_path / "out", LLAMA, lora, adapters, number)
    assert message in str(error.value)
  assert not (tmp_path / "out").exists()
