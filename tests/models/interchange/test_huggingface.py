"""Model directories: what is refused and how, and saving all or nothing."""

import ctypes
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

from mlit_jax.data import tokenizers
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface

CONFIG = DecoderConfig(
    vocab_size=7, num_layers=2, embed_dim=4, num_heads=2, num_kv_heads=1,
    head_dim=6, mlp_dim=3, max_length=50, rope_base=77.0, norm_eps=1e-3,
)


PIECES = tokenizers.train_sentencepiece(["a b c"], 300).model


@pytest.fixture(scope="module")
def params(random_params):
  return random_params(CONFIG)


def save(directory, params, config=CONFIG):
  huggingface.save(
      directory, config, params, PIECES, bos_id=1, eos_id=2
  )
  return directory


@pytest.fixture
def model(params, tmp_path):
  return save(tmp_path / "model", params)


def change_config(directory, change=(), remove=()):
  path = directory / huggingface.CONFIG
  values = json.loads(path.read_text()) | dict(change)
  path.write_text(
      json.dumps({k: v for k, v in values.items() if k not in remove})
  )


def change_tensors(directory, change):
  path = directory / huggingface.WEIGHTS
  tensors = safetensors.numpy.load_file(path)
  change(tensors)
  safetensors.numpy.save_file(tensors, path)


def refused(directory):
  """The error's message; it is one line and names the file first."""
  with pytest.raises(huggingface.CheckpointError) as error:
    huggingface.load(directory)
  message = str(error.value)
  assert message.startswith(str(directory)) and "\n" not in message
  return message.removeprefix(f"{directory}{os.sep}")


def test_files(model):
  """What is where; shapes and orientation as transformers has them."""
  assert sorted(p.name for p in model.iterdir()) == [
      "config.json", "generation_config.json", "model.safetensors",
      "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
  ]
  assert (model / "tokenizer.model").read_bytes() == PIECES
  ids = {"bos_token_id": 1, "eos_token_id": 2}
  assert json.loads((model / "generation_config.json").read_text()) == ids
  config = json.loads((model / "config.json").read_text())
  assert config.items() >= {
      **ids, "model_type": "llama", "architectures": ["LlamaForCausalLM"],
      "vocab_size": 7, "hidden_size": 4, "intermediate_size": 3,
      "num_hidden_layers": 2, "num_attention_heads": 2,
      "num_key_value_heads": 1, "head_dim": 6, "rope_theta": 77.0,
      "rms_norm_eps": 1e-3, "max_position_embeddings": 50,
      "tie_word_embeddings": False, "hidden_act": "silu",
  }.items()


def test_tensors_are_turned_by_hand(params, model):
  tensors = safetensors.numpy.load_file(model / huggingface.WEIGHTS)
  assert len(tensors) == 3 + 2 * 9
  attention = params["blocks"]["attention"]
  query = tensors["model.layers.1.self_attn.q_proj.weight"]
  assert query.shape == (12, 4)
  # Row 8 of the 12 is head 1, width 2.
  np.testing.assert_array_equal(query[8], attention["query"][1, :, 1, 2])
  out = tensors["model.layers.0.self_attn.o_proj.weight"]
  assert out.shape == (4, 12)
  np.testing.assert_array_equal(out[:, 8], attention["out"][0, 1, 2])
  down = tensors["model.layers.0.mlp.down_proj.weight"]
  np.testing.assert_array_equal(down, params["blocks"]["mlp"]["down"][0].T)


@pytest.mark.parametrize("tied", [False, True])
def test_saved_and_loaded_is_equal(random_params, tmp_path, tied):
  config = DecoderConfig(**(vars(CONFIG) | {"tie_embeddings": tied}))
  params = random_params(config)
  found, loaded = huggingface.load(save(tmp_path / "m", params, config))
  assert found == config
  assert jax.tree.structure(loaded) == jax.tree.structure(params)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"num_local_experts": 8},
            "config.json: unknown field 'num_local_experts' (= 8): it may"
            " change what the model computes; remove it if it does not",
        ),
        (
            {"model_type": "gpt2"},
            "config.json: model_type='gpt2' is not supported, only one of"
            " baichuan, bloom, gemma, gemma2, gemma3_text, gpt_neox, llama,"
            " mistral, mixtral, mt5, qwen2, qwen3, t5, umt5",
        ),
        (
            {"hidden_act": "relu"},
            "config.json: hidden_act='relu' is not supported, only one of"
            " ('silu', 'swish', 'gelu', 'gelu_pytorch_tanh', 'gelu_new',"
            " 'gelu_fast')",
        ),
        (
            {"attention_dropout": 0.1},
            "config.json: attention_dropout=0.1 is not supported, only 0.0",
        ),
        (
            {"rope_scaling": {"type": "longrope", "factor": 2}},
            "config.json: rope_scaling: rope_type='longrope' is not supported,"
            " only one of ('default', 'linear', 'dynamic', 'llama3', 'yarn')",
        ),
        (
            {"rope_scaling": {"type": "linear", "factor": 2, "beta_fast": 3}},
            "config.json: rope_scaling: unknown field 'beta_fast' (= 3) of"
            " rope_type 'linear'",
        ),
        (
            {"rope_scaling": {"type": "linear", "factor": -1.0}},
            "config.json: rope scaling's factor must be a positive number:"
            " -1.0",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn"}},
            "config.json: rope_parameters: no field 'factor'; add it",
        ),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 2.0}},
            "config.json: rope_scaling: no field 'low_freq_factor'; add it",
        ),
        (
            {
                "rope_scaling": {"type": "linear", "factor": 2},
                "rope_parameters": {"rope_theta": 9.0},
            },
            "config.json: rope_scaling and rope_parameters say the same twice;"
            " remove one",
        ),
        (
            {"rope_parameters": {"partial_rotary_factor": 0.5}},
            "config.json: unknown field 'partial_rotary_factor' (= 0.5): it"
            " may change what the model computes; remove it if it does not",
        ),
        (
            {"rope_parameters": [1]},
            "config.json: rope_parameters=[1] is no table of rotary fields",
        ),
        (
            {"model_type": ["llama"]},
            "config.json: model_type=['llama'] is no name",
        ),
        # What would take more memory than there is, before it does.
        (
            {"num_hidden_layers": 10**9},
            "config.json: num_hidden_layers=1000000000, more than any model"
            " has",
        ),
        (
            {"vocab_size": 10**15},
            "config.json: vocab_size must be below 2**31: 1000000000000000",
        ),
        (
            {"hidden_size": 10**8},
            "model.safetensors: by the config blocks/attention/key has the"
            " shape (2, 100000000, 1, 6), far more than all tensors here"
            " together",
        ),
        (
            {"num_attention_heads": 0, "head_dim": None},
            "config.json: num_heads must be a positive whole number: 0",
        ),
        (
            {"hidden_size": "4", "head_dim": None},
            "config.json: embed_dim must be a positive whole number: '4'",
        ),
        (
            {"num_key_value_heads": 3},
            "config.json: num_heads=2 is not a multiple of num_kv_heads=3",
        ),
        ({"vocab_size": None}, "config.json: no field 'vocab_size'; add it"),
    ],
)
def test_a_config_that_is_not_ours_is_refused(model, change, message):
  change_config(model, change)
  assert refused(model) == message


@pytest.mark.parametrize("name", ["hidden_size", "model_type"])
def test_a_field_left_out_is_named(model, name):
  change_config(model, remove=[name])
  assert refused(model) == f"config.json: no field {name!r}; add it"


def test_rope_parameters_hold_the_base(model):
  rope = {"rope_type": "default", "rope_theta": 12.0}
  change_config(model, {"rope_parameters": rope}, remove=["rope_theta"])
  assert huggingface.load_config(model).rope_base == 12.0


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"vocab_size": 7', "config.json: not JSON (Expecting ',' delimiter:"),
        ("\udcff", "config.json: not JSON ('utf-8' codec can't decode"),
        ("[]", "config.json: expected a JSON object, not []"),
    ],
)
def test_a_config_that_is_not_json_is_refused(model, text, message):
  path = model / huggingface.CONFIG
  path.write_bytes(text.encode(errors="surrogateescape"))
  assert refused(model).startswith(message)


def test_missing_files_are_named(model, tmp_path):
  (model / huggingface.WEIGHTS).unlink()
  assert refused(model).startswith(f"{model}: no weights; expected model.safe")
  assert refused(tmp_path / "nowhere") == (
      "config.json: cannot be read: No such file or directory"
  )


def test_tensors_that_do_not_fit_are_named(params, tmp_path):
  norm, head = "model.layers.1.input_layernorm.weight", "lm_head.weight"
  missing = save(tmp_path / "missing", params)
  change_tensors(missing, lambda tensors: tensors.pop(norm))
  assert refused(missing) == f"model.safetensors: no tensor {norm!r}"
  surplus = save(tmp_path / "surplus", params)
  change_tensors(surplus, lambda tensors: tensors.update(bias=tensors[norm]))
  assert refused(surplus) == "model.safetensors: surplus tensor 'bias'"
  whole = save(tmp_path / "whole", params)
  change_tensors(
      whole, lambda tensors: tensors.update({norm: np.ones(4, np.int8)})
  )
  assert refused(whole) == (
      f"model.safetensors: {norm!r} is of type int8; quantized weights are not"
      " read"
  )
  shape = save(tmp_path / "shape", params)
  change_tensors(
      shape, lambda tensors: tensors.update({head: tensors[head][:5]})
  )
  assert refused(shape) == (
      f"model.safetensors: {head!r} has shape (5, 4), the config says (7, 4)"
  )
  # Turned round it has as many numbers.
  turned = save(tmp_path / "turned", params)
  change_tensors(
      turned,
      lambda tensors: tensors.update({head: tensors[head].T.copy()}),
  )
  assert "shape (4, 7), the config says (7, 4)" in refused(turned)


@pytest.mark.parametrize("kept", [0, 7, 300, -1])
def test_cut_off_weights_are_refused(model, kept):
  path = model / huggingface.WEIGHTS
  whole = path.read_bytes()
  assert len(whole) > 1000
  path.write_bytes(whole[:kept])
  assert refused(model).startswith("model.safetensors: damaged or cut off (")


def test_parameters_that_are_not_the_config_s_are_not_saved(params, model):
  short = params | {
      "blocks": jax.tree.map(lambda x: x[:1], params["blocks"])
  }
  for wrong, message in (
      (short, "has shape (1, 4, 1, 6), the config says (2, 4, 1, 6)"),
      (params | {"head": params["head"].T}, "'head' has shape (4, 7), the"),
  ):
    with pytest.raises(huggingface.CheckpointError) as error:
      save(model, wrong)
    assert message in str(error.value)
  _, loaded = huggingface.load(model)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


_LOADING = """
import sys
from mlit_jax.models.interchange import huggingface
_, params = huggingface.load(sys.argv[1])
print(params["head"].dtype, params["head"][0, :2].tolist())
"""


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_loads_in_a_fresh_process(model, dtype):
  kind = np.dtype(dtype)
  change_tensors(
      model,
      lambda tensors: tensors.update({
          name: (tensor * 0 + 0.3).astype(kind)
          for name, tensor in tensors.items()
      }),
  )
  done = subprocess.run(
      [sys.executable, "-c", _LOADING, model], capture_output=True, text=True
  )
  nearest = {"bfloat16": 0.30078125, "float16": 0.300048828125}[dtype]
  assert done.stdout == f"float32 {[nearest, nearest]}\n", done.stderr


class _Interrupting:
  """A parameter that is interrupted when it is written."""

  shape, dtype = (CONFIG.vocab_size, CONFIG.embed_dim), np.dtype("float32")

  def __getitem__(self, index):
    return self

  def __array__(self, dtype=None, copy=None):
    raise KeyboardInterrupt


def test_an_interrupted_save_leaves_the_old_directory(params, model):
  before = {p.name: p.read_bytes() for p in model.iterdir()}
  # "head" is the last to be read.
  with pytest.raises(KeyboardInterrupt):
    save(model, params | {"head": _Interrupting()})
  assert {p.name: p.read_bytes() for p in model.iterdir()} == before
  assert os.listdir(model.parent) == ["model"]


@pytest.mark.parametrize("renameat2", [True, False])
def test_a_save_replaces_the_directory_and_leaves_nothing_beside(
    params, model, monkeypatch, renameat2
):
  if not renameat2:  # as on a system whose C library has no such call
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
  (model / "of_the_old.txt").write_text("")
  save(model, jax.tree.map(lambda x: x + 1, params))
  assert not (model / "of_the_old.txt").exists()
  _, loaded = huggingface.load(model)
  np.testing.assert_array_equal(loaded["head"], params["head"] + 1)
  assert os.listdir(model.parent) == ["model"]


# Saves a second model over a first and dies at the n-th change of the file
# system that Python announces; a fork per n.
_DYING = """
import os, signal, sys
import numpy as np
import safetensors.numpy
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface

root = sys.argv[1]
config = DecoderConfig(
    vocab_size=7, num_layers=1, embed_dim=4, num_heads=2, num_kv_heads=1,
    head_dim=6, mlp_dim=3,
)
def params(value):
  a = dict(query=(1, 4, 2, 6), key=(1, 4, 1, 6), value=(1, 4, 1, 6),
           out=(1, 2, 6, 4))
  m = dict(gate=(1, 4, 3), up=(1, 4, 3), down=(1, 3, 4))
  make = lambda d: {k: np.full(s, value, np.float32) for k, s in d.items()}
  return dict(
      make(dict(embedding=(7, 4), head=(7, 4))),
      final_norm=make(dict(scale=(4,))),
      blocks=dict(attention=make(a), mlp=make(m),
                  attention_norm=make(dict(scale=(1, 4))),
                  mlp_norm=make(dict(scale=(1, 4)))),
  )
def save(directory, value):
  huggingface.save(directory, config, params(value), b"", bos_id=1, eos_id=2)

EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir",
          "os.chmod", "shutil.rmtree", "ctypes.dlsym")
for n in range(1000):
  directory = f"{root}/{n}/model"
  os.makedirs(f"{root}/{n}")
  save(directory, 1.0)
  if (child := os.fork()) == 0:
    left = n
    def hook(event, args):
      global left
      if event in EVENTS:
        if left == 0:
          os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
    sys.addaudithook(hook)
    save(directory, 2.0)
    os._exit(0)
  _, status = os.waitpid(child, 0)
  _, found = huggingface.load(directory)
  values = {float(v) for v in np.unique(found["blocks"]["mlp"]["down"])}
  values |= {float(v) for v in np.unique(found["head"])}
  print(n, status, *values)
  save(directory, 3.0)
  _, found = huggingface.load(directory)
  assert found["head"][0, 0] == 3 and os.listdir(f"{root}/{n}") == ["model"]
  if status == 0:
    break
"""


def test_a_killed_save_leaves_the_old_or_the_new_directory(tmp_path):
  done = subprocess.run(
      [sys.executable, "-c", _DYING, str(tmp_path)],
      capture_output=True, text=True, timeout=120,
  )
  assert done.returncode == 0, done.stderr
  outcomes = [line.split()[1:] for line in done.stdout.splitlines()]
  # Killed again and again, first with the old model in place, then the new.
  assert len(outcomes) > 12 and outcomes[-1] == ["0", "2.0"]
  values = [value for _, value in outcomes]
  assert values == sorted(values) and set(values) == {"1.0", "2.0"}
  assert {status for status, _ in outcomes[:-1]} == {"9"}
