"""Names and types of a config's fields."""

import dataclasses

import pytest

from mlit_jax.errors import UsageError
from mlit_jax.models.config import DecoderConfig, RopeScaling
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.training import config_fields
from mlit_jax.training.config import Run, TrainConfig
from mlit_jax.training.optimizer import OptimizerConfig

_TRAIN = {"learning_rate": 1e-3, "batch_size": 8}
_SHAPE = {
    "vocab_size": 10, "num_layers": 1, "embed_dim": 8, "num_heads": 2,
    "num_kv_heads": 2, "head_dim": 4, "mlp_dim": 8,
}
_MT5 = {
    "family": "mt5", "vocab_size": 10, "num_encoder_layers": 1,
    "num_decoder_layers": 2, "embed_dim": 8, "num_heads": 2, "head_dim": 4,
    "mlp_dim": 8,
}


def _build(**values):
  return config_fields.build(Run, {"name": "x", "train": _TRAIN} | values)


def test_values_become_dataclasses_of_their_types():
  run = _build(
      model=_SHAPE | {"rope_scaling": {"kind": "linear", "factor": 2}},
      data={"directories": ["a"]}, train=_TRAIN | {"z_loss": 0},
  )
  assert run.model == DecoderConfig(
      **_SHAPE, rope_scaling=RopeScaling("linear", 2.0)
  )
  assert run.data.directories == ("a",)
  assert type(run.train.z_loss) is float and run.lora is None
  assert run.train.optimizer_config() == OptimizerConfig(1e-3)


def test_the_family_tells_an_encoder_decoder():
  run = _build(model=_MT5, data={"input_length": 4})
  assert isinstance(run.model, EncoderDecoderConfig)


@pytest.mark.parametrize(("values", "said"), [
    ({"train": _TRAIN | {"learning_rte": 1}}, "did you mean train.learning_ra"),
    ({"learning_rate": 1.0}, "did you mean train.learning_rate"),
    ({"modle": {}}, "unknown config key 'modle'"),
    ({"train": {"learning_rate": 1.0}}, "lacks train.batch_size"),
    ({"train": _TRAIN | {"epochs": 1.5}}, "train.epochs=1.5 is not a whole"),
    ({"train": _TRAIN | {"epochs": True}}, "train.epochs=True is not a whole"),
    ({"train": _TRAIN | {"learning_rate": "1"}}, "='1' is not a number"),
    ({"train": 3}, "train has fields of its own"),
    ({"train": _TRAIN | {"batch_size": 9, "accumulation": 2}}, "multiple"),
    ({"train": _TRAIN | {"precision": "fp16"}}, "is none of float32"),
    ({"train": _TRAIN | {"learning_rate": float("nan")}}, "must be above 0"),
    ({"data": {"directories": "a"}}, "is no tuple of which each is text"),
    ({"data": {"directories": (1,)}}, r"data.directories\[0\]=1 is not text"),
    ({"data": {"directories": ("a", "b")}}, "several are for LoRA"),
    ({"data": {"row_length": 4, "loss_length": 5}}, "exceeds row_length=4"),
    ({"model": _SHAPE | {"num_heads": 3}}, "config.model: num_heads=3"),
    ({"model": _MT5}, "data.input_length"),
])
def test_what_is_wrong_is_said_in_one_line(values, said):
  with pytest.raises(UsageError, match=said) as error:
    _build(**values)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(("key", "text", "value"), [
    ("train.learning_rate", "1e-5", 1e-5),
    ("train.epochs", "3", 3),
    ("data.packing", "False", False),
    ("data.directories", "a,b", ("a", "b")),
    ("model.windowed_layers", "true,false", (True, False)),
    ("model.num_heads", "4", 4),
    ("model.num_encoder_layers", "4", 4),
    ("model.rope_scaling.factor", "2", 2.0),
    ("lora", "none", None),
    ("model.window", "none", None),
    ("base", "none", "none"),
])
def test_text_of_the_command_line(key, text, value):
  found = config_fields.from_text(Run, key, text)
  assert found == value and type(found) is type(value)


@pytest.mark.parametrize(("key", "text", "said"), [
    ("train.epochs", "1.5", "train.epochs='1.5' is not a whole number"),
    ("data.packing", "yes", "is not true or false"),
    ("train.epochs.x", "1", "unknown config key 'train.epochs.x'"),
    ("train", "1", "train has fields of its own"),
    ("lora.rnk", "1", "did you mean lora.rank"),
    ("train.epochs", "none", "is not a whole number"),
])
def test_wrong_text(key, text, said):
  with pytest.raises(UsageError, match=said):
    config_fields.from_text(Run, key, text)


def test_a_config_goes_through_a_mapping_and_back():
  run = _build(model=_SHAPE, lora={"rank": 2})
  assert config_fields.build(Run, config_fields.as_dict(run)) == run
  flat = config_fields.flatten(run)
  assert flat["model.num_heads"] == 2 and flat["lora.rank"] == 2
  assert flat["data.directories"] == []


def test_every_field_says_what_it_is():
  silent = [
      key for key, _, _, said in config_fields.describe(Run) if not said
  ]
  assert silent == []
  fields = {f.name for f in dataclasses.fields(TrainConfig)}
  shown = {key for key, *_ in config_fields.describe(Run)}
  assert {f"train.{name}" for name in fields} <= shown
  assert {"model.num_encoder_layers", "model.rope_scaling.kind"} <= shown
