"""Conversion: what goes in comes out, whatever the layout; or nothing does."""

import dataclasses
import json
import os

import flax.linen as nn
import jax
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy

from mlit_jax.data import tokenizers
from mlit_jax.models import lora
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import convert, huggingface, peft
from mlit_jax.models.interchange.storage import CheckpointError, TensorFiles
from mlit_jax.training.checkpoint import Checkpoints

CONFIG = DecoderConfig(
    vocab_size=7, num_layers=2, embed_dim=4, num_heads=2, num_kv_heads=1,
    head_dim=6, mlp_dim=3,
)
PIECES = tokenizers.train_sentencepiece(["a b c"], 300).model


@pytest.fixture(scope="module")
def params(random_params):
  return random_params(CONFIG)


@pytest.fixture
def model(params, tmp_path):
  huggingface.save(
      tmp_path / "model", CONFIG, params, PIECES, bos_id=1, eos_id=2
  )
  return tmp_path / "model"


@pytest.fixture
def step(params, tmp_path):
  """The directory of a training checkpoint's step."""
  state = {
      "params": jax.tree.map(jax.numpy.asarray, params),
      "opt_state": optax.adam(1e-3).init(params),
  }
  checkpoints = Checkpoints(tmp_path / "run", every=5)
  checkpoints.save(5, state, {"at": 5})
  checkpoints.close()
  return tmp_path / "run" / "5"


def names(directory):
  return sorted(p.name for p in directory.iterdir())


def test_a_hugging_face_directory_stays_the_same(model, tmp_path):
  (model / "modeling.py").write_text("raise SystemExit")  # code stays behind
  out = tmp_path / "deep" / "out"
  assert convert.convert(model, out) == 3 + 2 * 9
  assert names(out) == [n for n in names(model) if n != "modeling.py"]
  for name in names(out):
    if name.startswith("tokenizer"):
      assert (out / name).read_bytes() == (model / name).read_bytes()
  for name in ("config.json", "generation_config.json"):
    assert json.loads((out / name).read_text()) == json.loads(
        (model / name).read_text()
    )
  old, new = TensorFiles(model), TensorFiles(out)
  assert sorted(old.names()) == sorted(new.names())
  for name in old.names():
    np.testing.assert_array_equal(old.read(name), new.read(name))


def test_another_type_and_several_files(model, tmp_path):
  seen = []
  convert.convert(
      model, tmp_path / "out", dtype="bfloat16", max_shard_bytes=200,
      show=lambda done, total: seen.append((done, total)),
  )
  assert seen == [(i, 21) for i in range(1, 22)]
  old, new = TensorFiles(model), TensorFiles(tmp_path / "out")
  assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 2
  for name in old.names():
    np.testing.assert_array_equal(
        old.read(name).astype(ml_dtypes.bfloat16), new.read(name)
    )
  config = json.loads((tmp_path / "out" / "config.json").read_text())
  assert config["torch_dtype"] == "bfloat16" and "dtype" not in config


def test_a_training_checkpoint_gets_its_config_from_another(
    params, model, step, tmp_path
):
  # The model given is another one, of half precision.
  other = tmp_path / "other"
  convert.convert(model, other, dtype="bfloat16")
  convert.convert(step, tmp_path / "out", like=other)
  config, loaded = huggingface.load(tmp_path / "out")
  assert config == CONFIG
  jax.tree.map(np.testing.assert_array_equal, loaded, params)
  assert names(tmp_path / "out") == names(model)
  config = json.loads((tmp_path / "out" / "config.json").read_text())
  assert config["torch_dtype"] == "float32"


HOW = lora.LoraConfig("attention/(query|out)$", 2, 3.0)


@pytest.fixture(params=[1, 3])
def lora_step(request, tmp_path):
  """A step with so many adapters; the tree, and the step's directory."""
  tree = nn.meta.unbox(lora.init(CONFIG, HOW, 0, request.param))
  tree = jax.tree.map(lambda x: x + 0.1, tree)
  manager = ocp.CheckpointManager(tmp_path / "lora_run")
  manager.save(
      7,
      args=ocp.args.Composite(
          state=ocp.args.StandardSave({"adapters": tree}),
          lora=ocp.args.JsonSave(dataclasses.asdict(HOW)),
      ),
  )
  manager.close()
  return tree, tmp_path / "lora_run" / "7"


def test_adapters_of_a_training_checkpoint(lora_step, model, tmp_path):
  tree, step = lora_step
  count = jax.tree.leaves(tree)[0].shape[1]
  assert convert.convert(step, tmp_path / "out", like=model) == 4 * count
  for k in range(count):
    place = tmp_path / "out" / (str(k) if count > 1 else "")
    found, how = peft.load_adapter(place, CONFIG)
    assert (how.rank, how.scale) == (2, 1.5)
    jax.tree.map(
        lambda a, b, k=k: np.testing.assert_array_equal(a, b[:, k : k + 1]),
        found, tree,
    )
    about = json.loads((place / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(model)
  assert len(names(tmp_path / "out")) == (2 if count == 1 else count)


@pytest.mark.parametrize("lora_step", [1], indirect=True)
def test_adapters_that_cannot_go_out_are_refused(lora_step, model, tmp_path):
  _, step = lora_step
  assert "give --like DIR" in refused(step, tmp_path)
  assert "go out as they are" in refused(
      step, tmp_path, like=model, dtype="bfloat16"
  )
  path = step / "lora" / "metadata"
  fields = json.loads(path.read_text())
  for change, words in (
      ({"rank": 4}, "has shape (2, 1, 2, 6, 2), the config says"),
      ({"rank": 0}, "rank must be a positive whole number"),
      ({"rnak": 4}, "unexpected keyword argument 'rnak'"),
      ({"pattern": "q_proj"}, "matches no linear map"),
  ):
    path.write_text(json.dumps(fields | change))
    message = refused(step, tmp_path, like=model)
    assert message.startswith(str(step)) and words in message
  path.unlink()
  assert "cannot be read: No such file" in refused(step, tmp_path, like=model)


def refused(source, tmp_path, **options):
  """The message; nothing may be left."""
  before = sorted(os.listdir(tmp_path))
  with pytest.raises(CheckpointError) as error:
    convert.convert(source, tmp_path / "out", **options)
  assert sorted(os.listdir(tmp_path)) == before
  message = str(error.value)
  assert "\n" not in message
  return message


def test_what_is_no_checkpoint_is_refused(step, tmp_path):
  layouts = (
      "expected a Hugging Face directory, a T5X checkpoint or the directory"
      " of a training checkpoint's step"
  )
  (tmp_path / "empty").mkdir()
  assert refused(tmp_path / "empty", tmp_path) == (
      f"{tmp_path / 'empty'}: {layouts}"
  )
  assert refused(step.parent, tmp_path) == (
      f"{step.parent}: {layouts}; did you mean {step}?"
  )


def test_like_is_for_training_checkpoints(model, step, tmp_path):
  assert "a training checkpoint has no config.json and no tokenizer; give" in (
      refused(step, tmp_path)
  )
  assert "has a config.json of its own; leave --like out" in (
      refused(model, tmp_path, like=model)
  )


def test_a_training_checkpoint_of_another_shape_is_refused(
    random_params, step, tmp_path
):
  for name, change, words in (
      (
          "deeper", {"num_layers": 3},
          "parameter blocks/attention/key has shape (2, 4, 1, 6), a model like",
      ),
      ("tied", {"tie_embeddings": True}, "head has shape (7, 4), a model like"),
  ):
    config = DecoderConfig(**(vars(CONFIG) | change))
    huggingface.save(
        tmp_path / name, config, random_params(config), PIECES, bos_id=1,
        eos_id=2,
    )
    message = refused(step, tmp_path, like=tmp_path / name)
    assert message.startswith(f"{step}: ") and words in message


def test_a_damaged_source_is_refused(model, tmp_path):
  path = model / "model.safetensors"
  whole = path.read_bytes()
  path.write_bytes(whole[:-1])
  assert "damaged or cut off" in refused(model, tmp_path)
  tensors = safetensors.numpy.load(whole)
  tensors["model.norm.weight"] += 1e6
  safetensors.numpy.save_file(tensors, path)
  assert "'model.norm.weight' has numbers beyond the range" in (
      refused(model, tmp_path, dtype="float16")
  )
  del tensors["lm_head.weight"]
  safetensors.numpy.save_file(tensors, path)
  assert refused(model, tmp_path).endswith("no tensor 'lm_head.weight'")
  (model / "config.json").write_text("{")
  assert "config.json: not JSON" in refused(model, tmp_path)


def test_a_damaged_training_checkpoint_is_refused(model, step, tmp_path):
  for path in (step / "state").rglob("d/*"):
    path.write_bytes(path.read_bytes()[:20])
  message = refused(step, tmp_path, like=model)
  assert message.startswith(f"{step / 'state'}: array 'params.")
  metadata = step / "state" / "_METADATA"
  metadata.write_text(metadata.read_text()[:-20])
  assert refused(step, tmp_path, like=model).startswith(
      f"{step / 'state' / '_METADATA'}: damaged ("
  )


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("tied", [False, True])
def test_transformers_reads_the_same_tensors(tmp_path, kind, tied):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  config = transformers.LlamaConfig(
      vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
      num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
      dtype="bfloat16",
  )
  torch.manual_seed(0)
  source = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
  source.save_pretrained(tmp_path / "in", max_shard_size="3KB")
  assert (tmp_path / "in" / "model.safetensors.index.json").exists()
  if kind == "bin":  # which transformers 5 does not write any more
    shards = sorted((tmp_path / "in").glob("*.safetensors*"))
    for path in shards:
      path.unlink()
    tensors = source.state_dict()
    assert ("lm_head.weight" in tensors)
    first = dict(list(tensors.items())[:5])
    rest = {n: t for n, t in tensors.items() if n not in first}
    torch.save(first, tmp_path / "in" / "a.bin")
    torch.save(rest, tmp_path / "in" / "b.bin")
    places = dict.fromkeys(first, "a.bin") | dict.fromkeys(rest, "b.bin")
    index = tmp_path / "in" / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
  convert.convert(tmp_path / "in", tmp_path / "out", max_shard_bytes=4000)
  found = transformers.LlamaForCausalLM.from_pretrained(
      tmp_path / "out", dtype="auto"
  )
  wanted = source.state_dict()
  assert found.dtype == torch.bfloat16
  assert found.state_dict().keys() == wanted.keys()
  for name, value in found.state_dict().items():
    assert torch.equal(value, wanted[name]), name
