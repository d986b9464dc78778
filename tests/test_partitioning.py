"""Meshes and rules; and that eight devices do what one does."""

import os
import pathlib
import pickle
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import on_eight_devices
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from mlit_jax import partitioning
from mlit_jax.decoding.engine import Engine
from mlit_jax.models import decoder
from mlit_jax.models.config import DecoderConfig
from mlit_jax.training.step import Step, StepConfig

pytestmark = pytest.mark.long

CONFIG = on_eight_devices.CONFIG
EIGHT = [f"device {i}" for i in range(8)]  # enough to be counted


def abstract_mesh(data, fsdp, tensor):
  return AbstractMesh((data, fsdp, tensor, 1, 1, 1), partitioning.MESH_AXES)


@pytest.mark.parametrize(
    "shape, message",
    [
        ((2, 2), "mesh data=2 x fsdp=2 needs 4 devices; there are 8"),
        (
            {"fsdp": 3, "data": -1},
            "mesh fsdp=3 x data=-1 needs a multiple of 3 devices; there are 8",
        ),
        ((-1, -1), "mesh data=-1 x fsdp=-1: sizes must be positive, at most"),
        ((-2, -4), "mesh data=-2 x fsdp=-4: sizes must be positive"),
        ((0, -1), "mesh data=0 x fsdp=-1: sizes must be positive"),
        ((1,) * 7, "mesh (1, 1, 1, 1, 1, 1, 1) has more sizes than the 6 axes"),
        (
            {"model": 8},
            "no mesh axis 'model'; there are data, fsdp, tensor, expert,"
            " sequence, replica",
        ),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(shape, message):
  with pytest.raises(partitioning.PartitionError) as error:
    partitioning.make_mesh(shape, EIGHT)
  assert message in str(error.value)


def test_a_mesh_takes_all_devices_by_default():
  mesh = partitioning.make_mesh()
  assert dict(mesh.shape) == {
      "data": jax.device_count(), "fsdp": 1, "tensor": 1, "expert": 1,
      "sequence": 1, "replica": 1,
  }


def test_tensor_is_innermost_and_replica_outermost():
  mesh = partitioning.make_mesh(
      {"tensor": 2, "replica": 2, "fsdp": -1}, range(8)
  )
  assert mesh.devices.shape == (1, 2, 2, 1, 1, 2)
  #   data fsdp tensor expert sequence replica
  assert mesh.devices[0, 0, :, 0, 0, 0].tolist() == [0, 1]
  assert mesh.devices[0, :, 0, 0, 0, 0].tolist() == [0, 2]
  assert mesh.devices[0, 0, 0, 0, 0, :].tolist() == [0, 4]


def sizes(**changes):
  config = DecoderConfig(**(vars(CONFIG) | changes))
  return jax.eval_shape(lambda: decoder.init_params(config, 0))


def test_the_rules_by_hand():
  mesh, cut = abstract_mesh(2, 4, 2), ("fsdp", "sequence")
  found = partitioning.param_shardings(sizes(), mesh)
  attention, mlp = found["blocks"]["attention"], found["blocks"]["mlp"]
  for sharding, spec in (
      (found["embedding"], ("tensor", cut)),
      (found["head"], ("tensor", cut)),
      (found["final_norm"]["scale"], (cut,)),
      (attention["query"], (None, cut, "tensor", None)),
      (attention["key"], (None, cut, "tensor", None)),
      (attention["out"], (None, "tensor", None, cut)),
      (mlp["gate"], (None, cut, "tensor")),
      (mlp["down"], (None, "tensor", cut)),
  ):
    assert sharding.spec == PartitionSpec(*spec) and sharding.mesh == mesh
  assert partitioning.batch_sharding(mesh).spec == PartitionSpec(
      ("replica", "data", "fsdp", "expert")
  )
  assert partitioning.token_sharding(mesh).spec == PartitionSpec(
      ("replica", "data", "fsdp", "expert"), "sequence"
  )
  assert partitioning.replicated(mesh).spec == PartitionSpec()


@pytest.mark.parametrize(
    "mesh, changes, message",
    [
        (
            (1, 1, 4), {},
            "parameter ['blocks']['attention']['key']: axis 'kv_heads' of size"
            " 2 does not divide over mesh axis 'tensor' of size 4; choose"
            " another mesh shape",
        ),
        (
            (1, 3, 1), {},
            "parameter ['blocks']['attention']['key']: axis 'embed' of size 16"
            " does not divide over mesh axis 'fsdp' of size 3",
        ),
        (
            (1, 1, 2), {"vocab_size": 41},
            "parameter ['embedding']: axis 'vocab' of size 41 does not divide"
            " over mesh axis 'tensor' of size 2",
        ),
        (
            (1, 1, 2), {"mlp_dim": 9},
            "parameter ['blocks']['mlp']['down']: axis 'mlp' of size 9 does not"
            " divide over mesh axis 'tensor' of size 2",
        ),
    ],
)
def test_an_axis_that_does_not_divide_is_named(mesh, changes, message):
  mesh, config = abstract_mesh(*mesh), DecoderConfig(**vars(CONFIG) | changes)
  for make in (
      lambda: partitioning.param_shardings(sizes(**changes), mesh),
      lambda: Step(config, StepConfig(on_eight_devices.OPTIMIZER), mesh),
      lambda: Engine(config, mesh, end_ids=[0], num_slots=6),
  ):
    with pytest.raises(partitioning.PartitionError) as error:
      make()
    assert str(error.value).startswith(message)


def test_a_batch_that_does_not_divide_is_refused():
  mesh = abstract_mesh(2, 3, 4)
  partitioning.check_batch(12, mesh)
  message = (
      "a batch of 10 rows does not divide over data x fsdp = 6 devices; choose"
      " a multiple of 6"
  )
  with pytest.raises(partitioning.PartitionError) as error:
    partitioning.check_batch(10, mesh)
  assert str(error.value) == message
  with pytest.raises(partitioning.PartitionError, match="multiple of 6"):
    Engine(CONFIG, abstract_mesh(2, 3, 1), end_ids=[0], num_slots=10)


def test_constraints_hold_inside_the_context_only():
  spec = ("batch", "length", "vocab")
  with partitioning.activation_rules(partitioning.make_mesh()):
    axes = tuple(nn.logical_to_mesh_axes(spec))
    assert axes == (("replica", "data", "fsdp", "expert"), None, "tensor")
    assert tuple(nn.logical_to_mesh_axes(("embed",))) == (None,)
  assert "tensor" not in tuple(nn.logical_to_mesh_axes(spec))
  with partitioning.activation_rules(partitioning.make_mesh(), training=True):
    assert nn.logical_to_mesh_axes(spec)[1] == "sequence"


@pytest.fixture(
    scope="module",
    params=[
        "2x2x2",
        pytest.param("8x1x1", marks=pytest.mark.slow),
        pytest.param("2x4x1", marks=pytest.mark.slow),
    ],
)
def both(request, made_once):
  """The mesh, what was found on it, and what was found on one device."""
  flags = "--xla_force_host_platform_device_count=8"
  # It is the partitioning that is tested: spare the optimiser's time.
  flags += " --xla_backend_optimization_level=0"
  flags += " --xla_llvm_disable_expensive_passes=true"
  script, mesh = on_eight_devices.__file__, request.param

  def fill(folder):
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, script, folder / "found", mesh, "1x1x1"],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        cwd=pathlib.Path(__file__).parent, capture_output=True, text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr

  sizes = tuple(int(n) for n in mesh.split("x"))
  folder = made_once(f"partitioning-{mesh}", fill)
  found = pickle.loads((folder / "found").read_bytes())
  return sizes, found[request.param], found["1x1x1"]


@pytest.fixture(scope="module")
def eight(both):
  """(mesh, what was found on it)."""
  return both[:2]


@pytest.fixture(scope="module")
def alone(both):
  return both[2]


# The axes that fsdp and tensor cut, of every parameter, by hand.
CUTS = {
    "embedding": (1, 0), "head": (1, 0), "final_norm/scale": (0, None),
    "blocks/attention/query": (1, 2), "blocks/attention/key": (1, 2),
    "blocks/attention/value": (1, 2), "blocks/attention/out": (3, 1),
    "blocks/attention_norm/scale": (1, None),
    "blocks/mlp_norm/scale": (1, None), "blocks/mlp/gate": (1, 2),
    "blocks/mlp/up": (1, 2), "blocks/mlp/down": (2, 1),
}


def test_every_array_is_cut_as_the_rules_say(eight, alone):
  (data, fsdp, tensor), found = eight
  expected = {}
  for name, (shape, pieces) in alone["shards"].items():
    assert pieces == 1
    cut = list(shape)
    for axis, ways in zip(CUTS[name], (fsdp, tensor), strict=True):
      if axis is not None:
        cut[axis] //= ways
        pieces *= ways
    expected[name] = (tuple(cut), pieces)
  # New parameters, loaded ones, and those that a training step gives back.
  assert found["init"] == expected
  assert found["placed"] == expected
  assert found["shards"] == expected
  # No other array was there: Adam's moments are cut as the parameters, and
  # rows of a batch over data and fsdp.
  rows = 8 // (data * fsdp)
  whole = {name: shape for name, (shape, _) in alone["shards"].items()}
  assert found["live"] == {
      *((whole[name], cut) for name, (cut, _) in expected.items()),
      ((8, 12), (rows, 12)), ((8, 6), (rows, 6)),
  }
  assert found["activation"] == (rows, 12, 16)


def test_training_equals_one_device(eight, alone):
  _, found = eight
  assert len(found["losses"]) == 3
  np.testing.assert_allclose(found["losses"], alone["losses"], rtol=1e-5)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
      found["params"], alone["params"],
  )
  # They did move, by more than the tolerance.
  moved = np.abs(found["params"]["head"] - on_eight_devices.params()["head"])
  assert moved.max() > 1e-3


def test_answers_equal_one_device(eight, alone):
  _, found = eight
  assert found["answers"] == alone["answers"]
  assert found["from_numpy"] == alone["from_numpy"]
  # Two threads' collectives would wait for each other.
  assert (found["lanes"], alone["lanes"]) == (1, 2)
  # They say something: not one token again and again.
  assert len(set(sum(found["answers"].values(), ()))) > 5


def test_a_batch_of_another_size_is_refused(eight):
  (data, fsdp, _), found = eight
  axes = "data x fsdp" if fsdp > 1 else "data"
  assert found["odd_batch"] == (
      f"a batch of 6 rows does not divide over {axes} = {data * fsdp}"
      f" devices; choose a multiple of {data * fsdp}"
  )


def test_one_compilation_per_program(eight):
  """Outputs are cut as inputs: a second step needs no second program."""
  _, found = eight
  assert found["compiled"].count("jit(_train_step)") == 1
  for program in ("_read", "_place", "_go_on"):
    assert found["compiled"].count(f"jit({program})") == 1
