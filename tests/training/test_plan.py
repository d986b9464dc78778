"""Plans of a small run, compiled for TPUs that are not there."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import pytest
from small_model import MODEL

from mlit_jax.commands import plan as command
from mlit_jax.models.lora import LoraConfig
from mlit_jax.training import accelerators, plan, setup
from mlit_jax.training.config import (
    DataConfig,
    MeshConfig,
    PlanConfig,
    Run,
    TrainConfig,
    ValidationConfig,
)
from mlit_jax.training.step import Step
from mlit_jax.training.validation import Best, Validation

pytestmark = pytest.mark.tpu_compile
# Kernels and norms of the blocks, both tables, the last norm.
BLOCKS = 6 * (4 * 128 * 128 + 3 * 128 * 256 + 2 * 128)
NUMBER = BLOCKS + 2 * 512 * 128 + 128
RUN = Run(
    name="small", model=MODEL, data=DataConfig(row_length=64),
    train=TrainConfig(
        learning_rate=1e-3, batch_size=16, remat="full", precision="bfloat16"
    ),
    mesh=MeshConfig("fsdp"), plan=PlanConfig(price=2.0, examples=1000, runs=3),
)


@pytest.fixture(scope="module")
def slices():
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  return accelerators.parse("v5e-4")


@pytest.fixture(scope="module")
def full(slices):
  return plan.make(RUN, slices)


@pytest.mark.long
def test_memory_by_hand(full):
  memory = full.memory
  # float32, a quarter on each chip; Adam's two moments, and a counter.
  assert memory.params == NUMBER
  assert 0 <= memory.optimizer - 2 * NUMBER <= 64
  assert memory.base == 0
  # Three of 16 rows of 64 whole numbers, and targets, places and weights.
  assert memory.batch == 6 * 4 * 64 * 4
  assert full.mesh == {"fsdp": 4} and full.fits
  assert memory.available == accelerators.CHIPS["v5e"].memory
  # The peak is of the state, what the step makes, and the program.
  assert memory.state < memory.peak < memory.state + memory.temporary + 2**27


@pytest.mark.long
def test_the_best_parameters_take_memory(slices, full):
  """Validation's copy of them lies beside the step."""
  validated = dataclasses.replace(RUN, validation=ValidationConfig(every=10))
  with_best = plan.make(validated, slices).memory
  assert full.memory.best == 0
  assert with_best == dataclasses.replace(
      full.memory, best=NUMBER, peak=full.memory.peak + NUMBER
  )
  # As training keeps it: all of them, on the device.
  step = Step(MODEL, setup.step_config(RUN), setup.mesh(RUN, MODEL)[0])
  best = Best(step, validated.validation)
  state = step.start(step.init(0))
  best.see(Validation(10, {}, (1.0,)), state)
  kept = jax.tree.leaves(best.params)
  assert sum(x.size for x in kept) == NUMBER
  assert {x.sharding for x in kept} == {
      x.sharding for x in jax.tree.leaves(state.params)
  }


@pytest.mark.long
def test_rows_that_are_cut_take_less_memory(slices):
  """Of four rows, one a chip, or one after the other on all chips."""
  run = dataclasses.replace(
      RUN, data=DataConfig(row_length=2048),
      train=dataclasses.replace(RUN.train, batch_size=4),
  )
  cut = dataclasses.replace(
      run, mesh=MeshConfig("fsdp_sequence"),
      train=dataclasses.replace(run.train, accumulation=4),
  )
  whole, parts = plan.make(run, slices), plan.make(cut, slices)
  assert whole.mesh == {"fsdp": 4} and parts.mesh == {"sequence": 4}
  # The state takes as much: sequence cuts it as fsdp does.
  assert whole.memory.state == parts.memory.state
  assert {row.spec[1] for row in parts.layout if row.path.endswith("head")} == {
      "sequence"
  }
  assert parts.memory.temporary < 0.6 * whole.memory.temporary


@pytest.mark.long
def test_splash_on_rows_that_are_cut(slices):
  run = dataclasses.replace(
      RUN, data=DataConfig(row_length=2048), mesh=MeshConfig(sequence=4),
      train=dataclasses.replace(RUN.train, batch_size=1),
  )
  step, _ = plan.step_on(run, slices)
  text = step.lower(step.abstract_batch(1, 2048)).compile().as_text()
  # Forwards, once more for the backward pass, and two backwards.
  assert text.count('custom_call_target="tpu_custom_call"') == 4


def test_what_chips_say(full):
  gathered = full.collectives["all-gather"]["bytes"]
  # The kernels in bfloat16, forwards and backwards, at least.
  kernels = BLOCKS - 6 * 2 * 128
  assert gathered >= 2 * 2 * kernels
  reduced = sum(
      c["bytes"] for kind, c in full.collectives.items() if "reduce" in kind
  )
  assert reduced >= 2 * kernels


def test_times_are_bounds(full):
  times, chip = full.times, full.slices.chip
  assert times.compute == full.device_flops / (4 * chip.flops)
  assert times.network == 0
  assert times.best == max(times.compute, times.memory, times.links)
  assert times.worst == max(times.compute, times.memory) + times.links
  assert full.mfu(times.best) > full.mfu(times.worst)
  # 2 x 4 wires: a link each way of 50 GB/s.
  sent = sum(c["sent"] for c in full.collectives.values())
  assert times.links == pytest.approx(sent / 100e9)


@pytest.mark.parametrize("preset", ["data", "fsdp"])
def test_what_slices_say_to_each_other(slices, preset):
  """Gradients, once a step: of each a chip has a quarter to pass on."""
  two = dataclasses.replace(slices, number=2)
  found = plan.make(dataclasses.replace(RUN, mesh=MeshConfig(preset)), two)
  assert found.mesh == {"replica": 2, preset: 4}
  kind, said = next(iter(found.between_slices.items()))
  assert list(found.between_slices) == ["all-reduce"] == [kind]
  # Kernels and head in bfloat16, the table in float32; then norms and losses.
  kernels = BLOCKS - 6 * 2 * 128
  gradients = (2 * kernels + (2 + 4) * 512 * 128) / 4
  assert gradients <= said["bytes"] <= gradients + 4 * (13 * 128 + 1024)
  assert said["sent"] == said["bytes"]  # there and back, of half each
  # 25 Gbit/s a chip: 6.4 Tbit/s of the 256 chips of a v5e pod.
  assert found.times.network == pytest.approx(said["sent"] / 3.125e9)
  assert found.times.worst >= found.times.network + found.times.links
  lines = "\n".join(command.text(command.describe(found)))
  assert "GB to another slice" in lines and ", between slices 0.000" in lines


@pytest.mark.long
def test_adapters_and_their_optimizer_are_there(slices):
  run = dataclasses.replace(
      RUN, lora=LoraConfig(rank=4, dropout=0.0),
      data=DataConfig(row_length=64, directories=("one", "two")),
  )
  memory = plan.make(run, slices).memory
  # Query, key and value of six layers, two adapters; a is cut along embed.
  adapters = 6 * 3 * 2 * 4 * (128 // 4 + 128)
  assert memory.params == 4 * adapters
  assert 0 <= memory.optimizer - 8 * adapters <= 64
  assert memory.base == 2 * NUMBER // 4  # bfloat16


def test_a_program_without_the_optimizer_is_refused():
  state = {"params": jnp.zeros(1000), "moments": jnp.zeros(2000)}
  compiled = jax.jit(lambda s: s["params"].sum()).lower(state).compile()
  taken = compiled.memory_analysis().argument_size_in_bytes
  with pytest.raises(plan.PlanError, match="takes 4000 bytes of arguments"):
    plan.check_arguments(taken, 12000)
  plan.check_arguments(taken, 4000)


def test_the_mesh_follows_from_the_memory_of_the_chip(slices):
  """A base of 12.6 GiB in bfloat16."""
  del slices
  model = dataclasses.replace(
      MODEL, vocab_size=32000, num_layers=32, embed_dim=4096, num_heads=32,
      num_kv_heads=32, head_dim=128, mlp_dim=11008,
  )
  run = dataclasses.replace(
      RUN, model=model, lora=LoraConfig(), mesh=MeshConfig()
  )
  for name, sizes in (("v5e-8", {"fsdp": 8}), ("v5p-16", {"data": 8})):
    devices = accelerators.parse(name).devices()
    mesh, _ = setup.mesh(run, model, devices)
    assert {a: n for a, n in mesh.shape.items() if n > 1} == sizes


@pytest.mark.parametrize("kept", [("a", "b"), ("a",), ("b",)])
def test_tiles_hide_no_argument_that_was_left_out(slices, kept):
  """Padded to tiles, either argument weighs more than both do."""
  mesh, _ = setup.mesh(RUN, MODEL, slices.devices())
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  state = {
      name: jax.ShapeDtypeStruct((40, 3), dtype, sharding=whole)
      for name, dtype in (("a", jnp.float32), ("b", jnp.bfloat16))
  }
  wanted = 40 * 3 * 4 + 40 * 3 * 2
  program = jax.jit(lambda s: sum(s[n].astype("float32").sum() for n in kept))
  compiled = program.lower(state).compile()
  assert compiled.memory_analysis().argument_size_in_bytes > wanted
  taken = plan.argument_bytes(compiled.as_text())
  assert taken == {"a": 480, "b": 240, "ab": 720}["".join(kept)]
  if len(kept) == 2:
    plan.check_arguments(taken, wanted)
    return
  with pytest.raises(plan.PlanError, match=f"takes {taken} bytes"):
    plan.check_arguments(taken, wanted)


def test_a_filled_up_batch_ends_every_epoch():
  train = dataclasses.replace(RUN.train, epochs=3)
  assert plan.num_steps(dataclasses.replace(RUN, train=train)) == 3 * 63


def test_steps_of_a_study():
  assert plan.num_steps(RUN) == 63  # 1000 examples, 16 at a time
  train = dataclasses.replace(RUN.train, num_steps=7)
  assert plan.num_steps(dataclasses.replace(RUN, train=train)) == 7


def test_the_description(full):
  said = command.describe(full)
  hours = 3 * 63 * full.times.best / 3600
  assert said["study"]["hours"][0] == pytest.approx(hours)
  assert said["study"]["cost"][0] == pytest.approx(4 * 2.0 * hours)
  lines = "\n".join(command.text(said))
  assert "small on v5litepod-4: 4 chips (v5e:2x2)" in lines
  assert "mesh        fsdp=4 (fsdp: as asked)" in lines
  assert "fits: " in lines and "of 15.75 GiB a chip" in lines
  assert "3 runs, 189 steps" in lines and "at 2 a chip-hour" in lines


@pytest.mark.slow
@pytest.mark.alone
def test_compile_time_does_not_grow_with_depth(slices):
  """24 and 48 layers in turn; processor time, to which noise only adds."""
  seconds = {24: [], 48: []}
  for _ in range(5):
    for number, found in seconds.items():
      model = dataclasses.replace(MODEL, num_layers=number)
      began = time.process_time()
      plan.make(dataclasses.replace(RUN, model=model), slices)
      found.append(time.process_time() - began)
    if len(found) > 1 and min(seconds[48]) < 1.2 * min(seconds[24]):
      return
  pytest.fail(f"{seconds}")
