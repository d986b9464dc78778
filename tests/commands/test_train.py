"""`mlit train`: runs, resumes, exports; wrong use."""

import json
import re

import numpy as np
import pytest
import terminated
import token_directories

from mlit_jax import main

pytestmark = pytest.mark.long

MODEL = {
    "vocab_size": token_directories.VOCAB_SIZE, "num_layers": 1,
    "embed_dim": 16, "num_heads": 2, "num_kv_heads": 2, "head_dim": 8,
    "mlp_dim": 24, "max_length": 64, "tie_embeddings": "true",
}
SHAPE = [f"--config.model.{key}={value}" for key, value in MODEL.items()]
SIZES = [
    "--config.data.row_length=48", "--config.train.batch_size=4",
    "--config.train.num_steps=6", "--config.checkpoint.every=2",
    "--config.logging.tensorboard=false",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  root = tmp_path_factory.mktemp("data")
  english, french = ("en", "add {} and {}: "), ("fr", "ajoute {} à {} : ")
  token_directories.write_texts(root / "both", [english, french], 40)
  token_directories.write_texts(root / "both" / "validation",
                                [english, french], 9)
  token_directories.write_texts(root / "en", [english], 24)
  token_directories.write_texts(root / "fr", [french], 16)
  return root


def train(*argv):
  return main.main(["train", *map(str, argv)])


def _metrics(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def base(data, tmp_path_factory):
  """A run from random parameters, with validation."""
  workdir = tmp_path_factory.mktemp("base") / "run"
  assert train(
      "--config", "tiny", *SHAPE, *SIZES, "--workdir", workdir,
      f"--config.data.directories={data / 'both'}",
      "--config.validation.every=3", "--config.logging.tensorboard=true",
      "--config.checkpoint.keep=3",
  ) == 0
  return workdir


def test_a_run_leaves_a_model_and_its_story(base, data, capsys):
  names = {path.name for path in base.iterdir()}
  assert names >= {
      "model", "checkpoints", "metrics.jsonl", "run.json", "versions.json",
      "result.json", "tensorboard",
  }
  kept = {path.name for path in (base / "checkpoints").iterdir()}
  assert kept == {"2", "4", "6"}
  rows = _metrics(base)
  steps = [row for row in rows if "loss" in row]
  assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
  assert steps[-1]["loss"] < steps[0]["loss"]
  measured = [row for row in rows if "validation/en" in row]
  assert [row["step"] for row in measured] == [3, 6]
  assert {"validation/fr", "validation"} <= measured[0].keys()
  result = json.loads((base / "result.json").read_text())["runs"]["both"]
  assert result["best_step"] == 6 and result["steps"] == 6
  assert result["validation"] == pytest.approx(measured[1]["validation"])
  run = json.loads((base / "run.json").read_text())
  assert run["config"]["train.num_steps"] == 6
  assert run["base"] == {} and run["model"]["num_layers"] == 1
  assert run["mesh"]["data"] == 1
  assert set(run["data"]) == {
      str(data / "both"), str(data / "both" / "validation")
  }
  # The same command again does nothing, another one is refused.
  argv = ["--config", "tiny", *SHAPE, *SIZES, "--workdir", base,
          f"--config.data.directories={data / 'both'}",
          "--config.validation.every=3", "--config.logging.tensorboard=true"]
  assert train(*argv) == 0
  assert "was done before" in capsys.readouterr().out
  assert train(*argv, "--config.train.epochs=3") == 2
  assert "train.epochs=1 (now 3)" in capsys.readouterr().err


def test_the_model_is_the_one_that_was_trained(base):
  """Its loss is the last validation's."""
  import jax.numpy as jnp

  from mlit_jax.data import batches
  from mlit_jax.models import decoder
  from mlit_jax.models.interchange import huggingface
  from mlit_jax.training.loss import cross_entropy

  config, params = huggingface.load(base / "model")
  run = json.loads((base / "run.json").read_text())
  rows = batches.PackedRows(run["config"]["data.directories"][0]
                            + "/validation", 48, 4)
  total = weight = 0.0
  for batch in batches.in_order(rows, 4):
    batch = {k: jnp.asarray(x) for k, x in batch.items()}
    logits, _ = decoder.Decoder(config).apply(
        {"params": params}, batch["inputs"], batch["positions"],
        batch["segment_ids"], logit_positions=batch["loss_positions"],
    )
    loss = cross_entropy(logits, batch["targets"], batch["weights"])
    total += float(jnp.sum(loss.total))
    weight += float(jnp.sum(loss.weight))
  assert total / weight == pytest.approx(
      _metrics(base)[-1]["validation"], rel=1e-5
  )


def _lora(base, data, workdir, names, *more):
  directories = ",".join(str(data / name) for name in names)
  assert train(
      "--config", "tiny:lora", f"--config.base={base / 'model'}", *SHAPE,
      *SIZES, "--workdir", workdir, "--config.train.num_steps=0",
      "--config.train.epochs=2", "--config.data.packing=false",
      f"--config.data.directories={directories}", *more,
  ) == 0


@pytest.mark.slow
def test_adapters_of_one_run_are_those_of_a_run_each(base, data, tmp_path):
  from safetensors.numpy import load_file

  _lora(base, data, tmp_path / "two", ["en", "fr"])
  found = json.loads((tmp_path / "two" / "result.json").read_text())["runs"]
  for name, steps in (("en", 12), ("fr", 8)):
    _lora(base, data, tmp_path / name, [name])
    assert found[name]["steps"] == steps
    alone = json.loads((tmp_path / name / "result.json").read_text())
    alone = alone["runs"][name]
    assert found[name]["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    trees = []
    for place in ("two/adapters/" + name, f"{name}/adapter"):
      trees.append(load_file(tmp_path / place / "adapter_model.safetensors"))
    assert trees[0].keys() == trees[1].keys()
    for key, value in trees[0].items():
      np.testing.assert_allclose(value, trees[1][key], atol=2e-5)
  # The checkpoint holds the same.
  out = tmp_path / "out"
  assert main.main([
      "convert", str(tmp_path / "two" / "checkpoints" / "12"), str(out),
      "--like", str(base / "model"),
  ]) == 0
  name = "adapter_model.safetensors"
  assert (out / "0" / name).read_bytes() == (
      tmp_path / "two" / "adapters" / "en" / name
  ).read_bytes()
  first = _metrics(tmp_path / "two")[0]
  assert {"loss/en", "loss/fr", "grad_norm/fr"} <= first.keys()


@pytest.mark.torch
def test_transformers_and_peft_load_what_comes_out(base, data, tmp_path):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  peft = pytest.importorskip("peft")
  _lora(base, data, tmp_path / "one", ["en"])
  run = json.loads((tmp_path / "one" / "run.json").read_text())
  (place, hashed), = run["base"].items()
  assert place == str(base / "model") and re.fullmatch("[0-9a-f]{64}", hashed)
  # The config says the same of the model that was trained as its base.
  trained = json.loads((base / "run.json").read_text())
  assert run["model"] == trained["model"] and run["mesh"] == trained["mesh"]
  model = transformers.AutoModelForCausalLM.from_pretrained(base / "model")
  ids = torch.tensor([[5, 6, 7]])
  with torch.no_grad():
    before = model(ids).logits
    adapted = peft.PeftModel.from_pretrained(model, tmp_path / "one/adapter")
    assert not torch.allclose(before, adapted(ids).logits, atol=1e-6)


def test_decodes(base, tmp_path):
  prompts = tmp_path / "prompts.jsonl"
  prompts.write_text('{"id": "0", "lang": "en", "prompt": "add 1 and 2: "}\n')
  assert main.main([
      "decode", "--model", str(base / "model"), "--input", str(prompts),
      "--output", str(tmp_path / "out.jsonl"), "--max_new_tokens", "4",
  ]) == 0
  assert json.loads((tmp_path / "out.jsonl").read_text())["model"] == "model"


@pytest.mark.slow
def test_trains_an_encoder_decoder(data, tmp_path):
  shape = {
      "family": "mt5", "vocab_size": token_directories.VOCAB_SIZE,
      "num_encoder_layers": 1, "num_decoder_layers": 1, "embed_dim": 16,
      "num_heads": 2, "head_dim": 8, "mlp_dim": 24,
  }
  path = tmp_path / "tiny_t5.py"
  path.write_text(
      "import ml_collections\nPRESETS = ('full',)\n"
      "def get_config(preset):\n"
      f"  return ml_collections.ConfigDict({{'name': 't5', 'base': 'random',"
      f" 'model': {shape!r}, 'data': {{'input_length': 64}},"
      " 'train': {'learning_rate': 1e-2, 'precision': 'float32'}})\n"
  )
  # FILE.py has its sizes from the line.
  text = path.read_text().replace("'precision'", "'batch_size': 4, 'precision'")
  path.write_text(text)
  assert train("--config", path, *SIZES, "--workdir", tmp_path / "run",
               f"--config.data.directories={data / 'en'}") == 0
  losses = [row["loss"] for row in _metrics(tmp_path / "run")]
  assert losses[-1] < losses[0]
  assert (tmp_path / "run" / "model" / "model.safetensors").exists()
  _adapters_over(tmp_path / "run" / "model", data, tmp_path, losses[-1])


def _adapters_over(base, data, tmp_path, untuned):
  """LoRA over an encoder-decoder: trained, exported, decoded together."""
  assert train(
      "--config", "any_model:lora", f"--config.base={base}", *SIZES,
      "--config.data.input_length=64", "--config.train.learning_rate=0.05",
      "--config.train.precision=float32", "--workdir", tmp_path / "lora",
      f"--config.data.directories={data / 'en'},{data / 'fr'}",
  ) == 0
  rows = _metrics(tmp_path / "lora")
  assert rows[-1]["loss/en"] < untuned and "loss/fr" in rows[-1]
  adapters = tmp_path / "lora" / "adapters"
  places = {name: adapters / name for name in ("en", "fr")}
  about = json.loads((places["en"] / "adapter_config.json").read_text())
  assert about["task_type"] == "SEQ_2_SEQ_LM"
  assert about["target_modules"] == ["k", "q", "v"]
  prompts = tmp_path / "prompts.jsonl"
  prompts.write_text('{"id": "0", "lang": "en", "prompt": "add 1 and 2: "}\n')
  assert main.main([
      "decode", "--model", str(base), "--input", str(prompts), "--output",
      str(tmp_path / "out.jsonl"), "--max_new_tokens", "4", "--logprobs",
      *(f"--adapter={name}={place}" for name, place in places.items()),
  ]) == 0
  lines = (tmp_path / "out.jsonl").read_text().splitlines()
  found = {row["model"]: row["logprobs"] for row in map(json.loads, lines)}
  assert len(found) == 2 and len({tuple(x) for x in found.values()}) == 2


def _until(workdir, data, step):
  """Runs in a process until it has made so many steps; then SIGTERM."""
  metrics = workdir / "metrics.jsonl"
  terminated.run(
      ["train", "--config", "tiny", *SHAPE, *SIZES, "--workdir", workdir,
       "--config.train.num_steps=100000",
       f"--config.data.directories={data / 'en'}", "--config.logging.every=500",
       "--config.checkpoint.every=20"],
      lambda: metrics.exists()
      and len(metrics.read_text().splitlines()) >= step,
      60,
  )
  steps = [row["step"] for row in _metrics(workdir)]
  assert steps == list(range(1, len(steps) + 1))
  return len(steps)


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(data, tmp_path):
  reached = _until(tmp_path, data, 5)
  assert _until(tmp_path, data, reached + 5) > reached
  assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(("argv", "code", "said"), [
    ([], 2, "say where everything goes: --workdir"),
    (["--workdir", "w"], 2, "say which run: --config"),
    (["--workdir", "w", "--config", "tiny"], 2, "--config.data.directories="),
    (["--workdir", "w", "--config", "tiny:lora"], 2, "--config.base=DIR"),
    (["--workdir", "w", "--config", "any_model", "--config.base=random"], 2,
     "takes its model's shape from a base"),
    (["--workdir", "w", "--config", "tiny", "--profile_steps", "5"], 2,
     "write FIRST:LAST"),
    (["--workdir", "w", "--config", "tiny", "--config.data.directories=no"], 1,
     "no/build.json: cannot be read"),
])
def test_wrong_use_is_said_before_anything_is_written(
    argv, code, said, data, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  if "any_model" in argv or "tiny:lora" in argv:
    argv = [*argv, f"--config.data.directories={data / 'en'}"]
  assert train(*argv) == code
  err = capsys.readouterr().err
  assert said in err and err.count("\n") == 1
  assert not (tmp_path / "w").exists()


def test_steps_to_profile_that_never_come_are_said(data, tmp_path, capsys):
  argv = ["--config", "tiny", *SHAPE, *SIZES, "--workdir", tmp_path,
          f"--config.data.directories={data / 'en'}", "--config.base=random"]
  assert train(*argv, "--profile_steps", "7:9") == 2
  assert "7:9: the run has 6 steps" in capsys.readouterr().err
  assert not (tmp_path / "result.json").exists()
  assert train(*argv) == 0
  (tmp_path / "result.json").unlink()
  assert train(*argv, "--profile_steps", "2:3") == 0
  assert "nothing was traced: the run went on behind step 2" in (
      capsys.readouterr().err
  )


def test_a_base_that_does_not_fit_is_said_with_its_fields(
    base, data, tmp_path, capsys
):
  assert train(
      "--config", "tiny:lora", f"--config.base={base / 'model'}",
      f"--config.data.directories={data / 'en'}", "--workdir", tmp_path / "w",
  ) == 2
  assert "vocab_size=259 (config: 4000)" in capsys.readouterr().err


def test_an_encoder_wants_the_length_of_its_rows(data, tmp_path, capsys):
  """Of any base: its config need not say what it is."""
  base = tmp_path / "base"
  pytest.importorskip("transformers").MT5Config(
      vocab_size=token_directories.VOCAB_SIZE, d_model=16, d_kv=8, num_heads=2,
      num_layers=1, d_ff=24,
  ).save_pretrained(base)
  assert train(
      "--config", "any_model:lora", f"--config.base={base}",
      f"--config.data.directories={data / 'en'}", "--workdir", tmp_path / "w",
  ) == 2
  assert capsys.readouterr().err == (
      f"mlit train: {base} is an encoder-decoder: say how many tokens its"
      " encoder's rows have, with --config.data.input_length=N\n"
  )


def test_another_tokenizer_is_refused(base, data, tmp_path, capsys):
  other = token_directories.write_texts(tmp_path / "en", [("en", "{} {}")], 4)
  (other / "tokenizer.json").write_text("{}")
  assert train(
      "--config", "tiny", f"--config.data.directories={other}", "--workdir",
      tmp_path / "w",
  ) == 1
  assert "tokenizer.json" in capsys.readouterr().err
