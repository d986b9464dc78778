"""The runs' configs: of papers, of gin files, of the command line."""

import argparse
import importlib
import math

import jax
import pytest

from mlit_jax.commands import train_config
from mlit_jax.errors import UsageError
from mlit_jax.models.interchange.families import FAMILIES
from mlit_jax.models.interchange.family import abstract_params

# What the publishers say: from the models' papers, cards and weight indices.
PARAMETERS = {
    "bloom_560m": 559_214_592, "bloom_1b1": 1_065_314_304,
    "bloom_1b7": 1_722_408_960, "bloom_3b": 3_002_557_440,
    "bloom_7b1": 7_069_016_064,
    "pythia_70m": 70_426_624, "pythia_160m": 162_322_944,
    "pythia_410m": 405_334_016, "pythia_1b": 1_011_781_632,
    "pythia_1b4": 1_414_647_808, "pythia_2b8": 2_775_208_960,
    "pythia_6b9": 6_857_302_016, "pythia_12b": 11_846_072_320,
    "llama_7b": 6_738_415_616, "llama_13b": 13_015_864_320,
    "llama2_7b": 6_738_415_616, "llama2_13b": 13_015_864_320,
    "openllama_7b": 6_738_415_616, "baichuan2_7b": 7_505_973_248,
    "mixtral_8x7b": 46_702_792_704,
    "gemma_2b": 2_506_172_416, "gemma_7b": 8_537_680_896,
    "mt5_small": 300_176_768, "mt5_base": 582_401_280,
    "mt5_large": 1_229_581_312, "mt5_xl": 3_742_619_648,
    "mt5_xxl": 12_921_057_280,
}
WITHOUT_SHAPE = {"any_model", "eu24_7b"}
_RUN_OF = {
    "bloom_7b1": "lucky52", "llama_7b": "xllama", "llama_13b": "xllama",
    "llama2_7b": "xllama", "llama2_13b": "xllama", "mixtral_8x7b": "polyglot",
    "gemma_2b": "pinch", "gemma_7b": "pinch", "eu24_7b": "polyglot",
}
CONFIGS = [
    (name, preset)
    for name in train_config.names()
    for preset in importlib.import_module(
        f"mlit_jax.configs.train.{name}"
    ).PRESETS
]


def load(*argv):
  parser = argparse.ArgumentParser(allow_abbrev=False)
  train_config.add_arguments(parser)
  args, args.overrides = parser.parse_known_args(argv)
  return train_config.load(args)


def _run_in_gin(name, preset):
  if preset == "lora":
    return "alpaca_lora"
  if preset == "full" and name.startswith("mt5"):
    return "t5x"
  return _RUN_OF.get(name, "alpaca_full") if preset == "full" else "alpaca_full"


@pytest.mark.parametrize(("name", "preset"), CONFIGS)
def test_gin_files_give_what_the_config_gives(name, preset):
  if name == "tiny":
    files = ["tiny" if preset == "full" else "tiny_lora"]
  else:
    files = [f"models/{name}", f"papers/{_run_in_gin(name, preset)}"]
  argv = [x for file in files for x in ("--gin_file", file)]
  assert load(*argv) == load("--config", f"{name}:{preset}")


@pytest.mark.parametrize("name", PARAMETERS)
def test_shapes_have_the_published_number_of_parameters(name):
  config = load("--config", name).model
  leaves = jax.tree.leaves(abstract_params(config))
  assert sum(math.prod(leaf.shape) for leaf in leaves) == PARAMETERS[name]
  # A shape that the family's checkpoints can have.
  if config.family in FAMILIES:
    family = FAMILIES[config.family]
    assert family.read_config(family.write_config(config)) == config


def test_every_config_is_counted():
  assert set(train_config.names()) == {"tiny", *PARAMETERS, *WITHOUT_SHAPE}


@pytest.mark.parametrize("name", sorted({name for name, _ in CONFIGS}))
def test_docstrings_have_paper_command_presets_cost(name):
  module = importlib.import_module(f"mlit_jax.configs.train.{name}")
  for text in (f"mlit train --config {name}", "Cost: ", "Expect", *(
      f"\n  {preset}: " for preset in module.PRESETS
  )):
    assert text in module.__doc__
  for preset in module.PRESETS:
    config = load("--config", f"{name}:{preset}")
    assert config.name == name
    assert (config.lora is not None) == (preset == "lora")


def test_hyper_parameters_of_the_papers():
  lora = load("--config", "llama_7b:lora")
  assert (lora.lora.rank, lora.lora.alpha, lora.lora.dropout) == (8, 16, 0.05)
  assert (lora.train.learning_rate, lora.train.batch_size) == (3e-4, 128)
  full = load("--config", "bloom_7b1:full")
  assert (full.train.learning_rate, full.data.row_length) == (3e-5, 768)
  # Lucky 52: U = ceil(N L E / (B W)) of the first two models, on 16 devices.
  assert math.ceil(67_000 * 3 / full.train.batch_size) == 786
  xllama = load("--config", "llama_7b")
  assert (xllama.train.learning_rate, xllama.train.epochs) == (2e-5, 3)
  polyglot = load("--config", "mixtral_8x7b").train
  assert (polyglot.learning_rate, polyglot.weight_decay) == (1e-5, 0.1)
  assert polyglot.batch_size == 64


def test_the_line_holds_over_gin_over_the_config():
  run = load(
      "--config", "tiny", "--gin_bindings", "RATE = 1e-5",
      "--gin_bindings", "train.learning_rate = %RATE",
      "--gin_bindings", "train.epochs = 7", "--config.train.epochs=9",
      "--config.lora.rank=3", "--config.base=m",
  )
  assert run.train.learning_rate == 1e-5 and run.train.epochs == 9
  assert run.lora.rank == 3 and run.base == "m"
  assert run.model == load("--config", "tiny").model
  # Nothing of one call is left to the next.
  assert load("--config", "tiny").train.learning_rate == 3e-3


def test_a_model_in_gin_takes_the_whole_models_place(tmp_path):
  """A mixture of two models' fields is neither."""
  llama = load("--config", "llama_7b:lora")
  mixed = load("--config", "mixtral_8x7b:full", "--gin_file", "models/llama_7b")
  assert mixed.model == llama.model and mixed.name == "llama_7b"
  twice = ["--gin_file", "models/mixtral_8x7b", "--gin_file", "models/llama_7b"]
  assert load(*twice, "--gin_file", "papers/alpaca_lora").model == llama.model
  # Single fields go over the model that is there.
  (tmp_path / "short.gin").write_text("model.num_layers = 2\n")
  short = load("--config", "mixtral_8x7b", "--gin_file",
               str(tmp_path / "short.gin")).model
  assert (short.num_layers, short.num_experts) == (2, 8)


def test_a_file_of_ones_own(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(
      "from mlit_jax.configs.train import papers, bloom_1b1\n"
      "PRESETS = ('a', 'b')\n"
      "def get_config(preset):\n"
      "  c = papers.alpaca('mine', bloom_1b1.SHAPE, 'lora')\n"
      "  c.seed = PRESETS.index(preset)\n"
      "  return c\n"
  )
  assert load("--config", f"{path}").seed == 0
  assert load("--config", f"{path}:b").seed == 1
  gin = tmp_path / "mine.gin"
  gin.write_text(
      "include 'mlit_jax/configs/gin/papers/alpaca_lora.gin'\n"
      "LEARNING_RATE = 1e-6\n"
  )
  run = load("--gin_file", "models/bloom_1b1", "--gin_file", str(gin))
  assert run.train.learning_rate == 1e-6 and run.lora.rank == 8


@pytest.mark.parametrize(("text", "said"), [
    ("PRESETS = ('a',)\ndef get_config(p): raise KeyError('x')",
     "get_config('a') gives no ConfigDict: KeyError: 'x'"),
    ("PRESETS = ('a',)\ndef get_config(): pass", "TypeError: get_config() tak"),
    ("PRESETS = ('a',)\ndef get_config(p): return {}", "AttributeError: 'dict"),
    ("PRESETS = ()\ndef get_config(p): pass", "PRESETS, a sequence of names"),
    ("PRESETS = ('a',)\nget_config = 3", "a function get_config(preset)"),
])
def test_a_file_that_is_no_config(tmp_path, text, said):
  (tmp_path / "mine.py").write_text(text)
  with pytest.raises(UsageError) as e:
    load("--config", str(tmp_path / "mine.py"))
  assert said in str(e.value)


@pytest.mark.parametrize(("argv", "said"), [
    ([], "say which run: --config"),
    (["--config", "bloom_7b2"], "did you mean bloom_7b1"),
    (["--config", "none.py"], "none.py: no such file"),
    (["--config", "tiny:x"], "no preset 'x'; there are full, lora"),
    (["--config", "tiny", "--config.train.x=1"], "unknown config key 'train.x"),
    (["--config", "tiny", "--steps", "3"], "unknown argument '--steps'"),
    (["--config", "tiny", "--gin_file", "tin"], "did you mean tiny.gin"),
    (["--gin_file", "models/bloom_3b"], "lacks train"),
    (["--config", "tiny", "--gin_bindings", "trian.x = 1"], "mean train?"),
    (["--config", "tiny", "--gin_bindings", "train.epoch = 1"],
     "did you mean train.epochs"),
    (["--config", "tiny", "--gin_bindings", "train.epochs = 'x'"],
     "is not a whole number"),
    (["--config", "tiny", "--gin_bindings", "train.epochs ="], "parse value"),
    (["--config", "tiny", "--gin_bindings", "train.epochs = %X"],
     "no value for the macro X"),
    (["--config", "tiny", "--gin_bindings", "LEARNING_RATE = 1e-4"],
     "nothing uses the macro LEARNING_RATE; write SECTION.FIELD"),
    (["--gin_file", "papers/alpaca_lora", "--gin_bindings", "LEARNIG_RATE = 1"],
     "nothing uses the macro LEARNIG_RATE; did you mean LEARNING_RATE?"),
    (["--config", "tiny", "--gin_bindings", "mine/train.epochs = 2"],
     "mine/train: there is one train and it has no scope"),
    (["--config", "tiny", "--gin_bindings", "train = 5"],
     "nothing uses the macro train; did you mean train.FIELD?"),
    (["--config", "tiny", "--gin_bindings", "train.epochs = @train()"],
     "a value stands for itself"),
    (["--config", "tiny", "--gin_bindings", "data.directories = ('a',"],
     "EOF in multi-line statement"),
    (["--config", "tiny", "--config.train.clip_norm=-1"],
     "clip_norm=-1.0 must be a number from 0 up"),
    (["--config", "tiny", "--config.train.weight_decay=nan"],
     "weight_decay=nan must be a number from 0 up"),
    (["--config", "tiny", "--config.train.b1=1.5"], "b1=1.5 must lie in [0, 1"),
    (["--config", "tiny", "--config.train.b2=1"], "b2=1.0 must lie in [0, 1)"),
    (["--config", "tiny", "--config.train.eps=-1"], "must be a number above 0"),
    (["--config", "tiny", "--config.train.final_ratio=-3"],
     "final_ratio=-3.0 must lie in [0, 1]"),
    (["--config", "tiny", "--config.validation.every=0",
      "--config.validation.patience=3"], "patience: nothing is validated"),
    (["--config", "tiny", "--config.checkpoint.every=0",
      "--config.watch.on_bad_step=rollback"], "nothing to roll back to"),
    (["--config", "tiny", "--config.train.num_steps=6",
      "--config.train.warmup_steps=6"], "would never leave its warm-up"),
])
def test_wrong_use(argv, said):
  with pytest.raises(UsageError) as error:
    load(*argv)
  assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "said"), [
    ("x = ", "SyntaxError"),
    ("raise RuntimeError('no disk')", "RuntimeError: no disk"),
    ("PRESETS = ('a',)", "PRESETS and get_config"),
])
def test_a_wrong_file_of_ones_own(tmp_path, text, said):
  path = tmp_path / "wrong.py"
  path.write_text(text)
  with pytest.raises(UsageError) as error:
    load("--config", str(path))
  assert said in str(error.value)


def test_help_has_every_field(capsys):
  train_config.print_help()
  out = capsys.readouterr().out
  assert "--config.train.learning_rate  (float, required)" in out
  assert "--config.data.packing  (bool, true)" in out
  assert "--config.model.num_encoder_layers" in out
