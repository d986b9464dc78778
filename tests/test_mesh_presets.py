"""Presets by hand, and that each of them computes what one device does."""

import os
import pathlib
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import presets_on_eight_devices
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mlit_jax import mesh_presets, partitioning
from mlit_jax.mesh_presets import Case, choose
from mlit_jax.models import decoder
from mlit_jax.models.config import DecoderConfig

pytestmark = pytest.mark.long

GIB = 1 << 30
LLAMA_7B = {
    "embed": frozenset({4096}), "heads": frozenset({32}),
    "kv_heads": frozenset({32}), "mlp": frozenset({11008}),
    "vocab": frozenset({32000}), "layers": frozenset({32}),
}
ROWS = {"length": frozenset({2048, 512})}
MIXTRAL = LLAMA_7B | {
    "kv_heads": frozenset({8}), "mlp": frozenset({14336}),
    "expert": frozenset({8}),
}


@pytest.mark.parametrize(
    "preset, case, shape",
    [
        ("data", Case(LLAMA_7B, 8), {"data": 8}),
        ("fsdp", Case(LLAMA_7B, 64), {"fsdp": 64}),
        ("fsdp", Case({"embed": frozenset({96})}, 64), {"fsdp": 32, "data": 2}),
        ("fsdp_tensor", Case(LLAMA_7B, 64), {"fsdp": 32, "tensor": 2}),
        # 16 rows for 64 devices: four devices share each.
        (
            "fsdp_tensor", Case(LLAMA_7B, 64, rows=16),
            {"fsdp": 16, "tensor": 4},
        ),
        (
            "fsdp_sequence", Case(LLAMA_7B | ROWS, 8),
            {"fsdp": 4, "sequence": 2},
        ),
        # Two rows for 64 devices, in 512 places with a loss.
        (
            "fsdp_sequence", Case(LLAMA_7B | ROWS, 64, rows=2),
            {"fsdp": 2, "sequence": 32},
        ),
        (
            "fsdp_sequence",
            Case(LLAMA_7B | {"length": frozenset({2048, 12})}, 64, rows=2),
            {"fsdp": 16, "sequence": 4},
        ),
        (
            "fsdp_sequence", Case(ROWS | {"embed": frozenset({12})}, 16),
            {"fsdp": 2, "data": 4, "sequence": 2},
        ),
        ("expert", Case(MIXTRAL, 64), {"fsdp": 8, "expert": 8}),
        ("expert", Case(MIXTRAL, 4), {"expert": 4}),
        (
            "fsdp", Case(LLAMA_7B, 512, num_slices=2),
            {"fsdp": 256, "replica": 2},
        ),
        ("data", Case(LLAMA_7B, 1), {"data": 1}),
        # Full tuning of 7B with Adam: 16 bytes a parameter.
        ("auto", Case(LLAMA_7B, 8, state_bytes=101 * GIB), {"fsdp": 8}),
        ("auto", Case(LLAMA_7B, 8, state_bytes=2 * GIB), {"data": 8}),
        (
            "auto", Case(LLAMA_7B, 8, rows=4, state_bytes=101 * GIB),
            {"fsdp": 4, "tensor": 2},
        ),
        (
            "auto", Case(MIXTRAL, 64, state_bytes=700 * GIB),
            {"fsdp": 8, "expert": 8},
        ),
    ],
)
def test_sizes_by_hand(preset, case, shape):
  found, reason = choose(preset, case)
  assert found == shape
  if preset != "auto":
    assert reason == f"{preset}: as asked"


@pytest.mark.parametrize(
    "preset, case, message",
    [
        (
            "fdsp", Case(LLAMA_7B, 8),
            "no partitioning preset 'fdsp'; there are auto, data, fsdp,",
        ),
        ("expert", Case(LLAMA_7B, 8), "'expert' is for models with experts"),
        (
            "fsdp", Case(LLAMA_7B, 9, num_slices=2),
            "9 devices do not share out over 2 slices",
        ),
    ],
)
def test_what_cannot_be_is_refused(preset, case, message):
  with pytest.raises(partitioning.PartitionError, match=message):
    choose(preset, case)


def test_logical_axes_of_a_model():
  config = DecoderConfig(
      vocab_size=40, num_layers=3, embed_dim=16, num_heads=4, num_kv_heads=2,
      head_dim=6, mlp_dim=24, num_experts=5, experts_per_token=2,
  )
  shapes = jax.eval_shape(lambda: decoder.init_params(config, 0))
  assert mesh_presets.logical_axes(shapes) == {
      "vocab": {40}, "layers": {3}, "embed": {16}, "heads": {4},
      "kv_heads": {2}, "kv": {6}, "mlp": {24}, "expert": {5},
  }


def test_the_table_of_arrays():
  mesh = jax.sharding.AbstractMesh(
      (2, 4, 1, 1, 1, 1), partitioning.MESH_AXES
  )

  def array(shape, dtype, *spec):
    place = NamedSharding(mesh, PartitionSpec(*spec))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

  tree = {
      "head": array((10, 16), jnp.bfloat16, "tensor", "fsdp"),
      "inputs": array((8, 3), jnp.int32, partitioning.BATCH),
      "step": array((), jnp.float32),
  }
  rows = partitioning.layout(tree)
  assert rows[0] == ("head", (10, 16), "bfloat16", (None, "fsdp"), 80)
  assert rows[1].spec == (("data", "fsdp"), None)
  assert [row.bytes_per_device for row in rows] == [80, 12, 4]
  assert partitioning.layout_table(rows) == """\
array   shape  type      cut along    bytes/device
head    10x16  bfloat16  fsdp:1                 80
inputs  8x3    int32     data+fsdp:0            12
step    -      float32   -                       4
all                                             96"""


@pytest.fixture(scope="module")
def found(made_once):
  flags = "--xla_force_host_platform_device_count=8"
  flags += " --xla_backend_optimization_level=0"
  flags += " --xla_llvm_disable_expensive_passes=true"

  def fill(folder):
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, presets_on_eight_devices.__file__, folder / "found"],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        cwd=pathlib.Path(__file__).parent, capture_output=True, text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr

  folder = made_once("mesh-presets", fill)
  return pickle.loads((folder / "found").read_bytes())


@pytest.mark.parametrize("case", presets_on_eight_devices.CASES)
def test_a_preset_computes_what_one_device_does(found, case):
  one, eight = found[case[0], "alone"], found[case]
  assert eight["shape"] == presets_on_eight_devices.CASES[case]
  for name in ("logits", "gradients"):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        eight[name], one[name],
    )
  # Constraints are active: logits lie on the mesh as the rules say.
  ways = dict.fromkeys(partitioning.MESH_AXES, 1) | eight["shape"]
  rows = 8 // (ways["data"] * ways["fsdp"] * ways["expert"] * ways["replica"])
  places = 12 // ways["sequence"]
  assert eight["logits_shard"] == (rows, places, 40 // ways["tensor"])
  assert eight["head_shard"] == (
      40 // ways["tensor"], 16 // ways["fsdp"] // ways["sequence"]
  )
