"""`mlit plan` from the command line."""

import dataclasses
import json
import subprocess
import sys

import pytest
import token_directories

from mlit_jax import main
from mlit_jax.commands import plan_decode
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.lora import LoraConfig
from mlit_jax.training import accelerators, flops
from mlit_jax.training.config import DataConfig, Run, TrainConfig


def run(*arguments):
  return main.main(["plan", *arguments])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("--config", "tiny", "--topology", "v5e-7"),
            "mlit plan: no accelerator 'v5e-7'; there are v5e-1, v5e-4,",
        ),
        (
            ("--config", "tiny", "--topology", "v5e-8,h100"),
            "mlit plan: no accelerator 'h100'; write e.g. v5litepod-16",
        ),
        (("--config", "tinny"), "mlit plan: no config 'tinny'; did you mean"),
        (("--topology", "v5e-8"), "mlit plan: say which run: --config FILE"),
        (
            ("--config", "tiny", "--config.train.remat=al"),
            "mlit plan: config.train: remat='al' is none of none, full,",
        ),
        (
            ("--config", "tiny", "--json", "/nowhere/plan.json"),
            "mlit plan: --json /nowhere/plan.json: no directory /nowhere",
        ),
    ],
)
def test_wrong_use_is_one_line(capsys, arguments, message):
  assert run(*arguments) == main.WRONG_USE
  said = capsys.readouterr().err
  assert said.startswith(message) and said.count("\n") == 1


def test_without_libtpu_the_extra_is_named():
  code = (
      "import sys; sys.modules['libtpu'] = None;"
      " from mlit_jax import main;"
      " sys.exit(main.main(['plan', '--config', 'tiny']))"
  )
  done = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert done.returncode == main.FAILED
  assert done.stderr.splitlines()[-1] == (
      "mlit plan: compiling for TPUs needs libtpu: install the extra `tpu`"
      ' (pip install "mlit-jax[tpu]")'
  )


@pytest.mark.long
@pytest.mark.tpu_compile
def test_a_plan_is_printed_and_written(tmp_path, capfd):
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  out = tmp_path / "plan.json"
  code = run(
      "--config", "tiny", "--topology", "v6e-1", "--json", str(out),
      "--layout", "--config.plan.price=2", "--decode", "2",
  )
  assert code == 0
  said = capfd.readouterr().out
  assert said.startswith("tiny on v6e-1: 1 chip (v6e:1x1)\n")
  assert "mesh        1 chip (data: one device a slice)" in said
  assert "params/embedding" in said and "opt_state" in said
  plan, = json.loads(out.read_text())["plans"]
  assert plan["fits"] and plan["chips"] == 1 and plan["collectives"] == {}
  assert plan["study"]["steps"] == 20  # the config's
  hours = plan["study"]["hours"]
  assert plan["study"]["cost"] == [2 * h for h in hours]
  assert "2 answers together, prompt and answer of 80 tokens" in said
  decode = plan["decode"]
  assert decode["fits"] and 0 < decode["params"] < decode["peak"]


@pytest.mark.tpu_compile
def test_what_chips_say_while_they_decode():
  """One answer on two slices of four chips: every layer's maps are cut."""
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  layers, width = 3, 128
  model = DecoderConfig(
      vocab_size=512, num_layers=layers, embed_dim=width, num_heads=4,
      num_kv_heads=4, head_dim=32, mlp_dim=256,
  )
  decoded = Run(
      name="small", model=model, data=DataConfig(row_length=64),
      train=TrainConfig(learning_rate=1e-3, batch_size=4),
  )
  slices = accelerators.parse("2xv5e-4")
  # Too large for a chip of a MiB, and fewer answers than chips.
  small = dataclasses.replace(slices.chip, memory=1 << 20)
  said = plan_decode.plan(
      decoded, dataclasses.replace(slices, chip=small), num_slots=2
  )
  assert said["mesh"] == {"tensor": 4, "replica": 2}
  summed = said["collectives"]["all-reduce"]
  # A token of [1 width] in bfloat16 after attention and MLP of each layer; the
  # embedding's and the choice of a token beside them.
  assert 2 * layers < summed["count"] <= 2 * layers + 5
  assert 2 * layers * width * 2 < summed["bytes"] < 4 * layers * width * 2
  # What the slices tell each other does not grow with the model.
  assert said["between_slices"]["all-reduce"]["sent"] <= 512
  assert said["tokens_per_second"] <= 2 / (summed["sent"] / 100e9)
  # Two answers' tokens, of 64 and half of them read before.
  assert said["operations"] == flops.decode_step(model, 2, 32, 32)
  lines = "\n".join(plan_decode.text(said))
  assert f"{summed['count']:g} a token" in lines
  assert "GB to another slice" in lines


@pytest.mark.long
@pytest.mark.tpu_compile
def test_a_slice_that_cannot_be_planned_spares_the_others(tmp_path, capfd):
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  out = tmp_path / "plan.json"
  assert run(
      "--config", "tiny", "--topology", "v6e-1,v5e-4", "--no_search",
      "--config.mesh.data=1", "--json", str(out),
  ) == 1
  good, bad = json.loads(out.read_text())["plans"]
  assert good["accelerator"] == "v6e-1" and good["fits"]
  assert bad["accelerator"] == "v5litepod-4" and not bad["fits"]
  assert "mesh" in bad["failure"]
  assert f"tiny on v5litepod-4: NO PLAN: {bad['failure']}" in (
      capfd.readouterr().out
  )


@pytest.mark.long
@pytest.mark.tpu_compile
def test_adapters_that_learn_together_are_paid_once(tmp_path):
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  out = tmp_path / "plan.json"

  def steps(*more):
    assert run(
        "--config", "tiny:lora", "--topology", "v6e-1", "--no_search",
        "--json", str(out), "--config.plan.examples=160",
        "--config.train.num_steps=0", "--config.train.epochs=3", *more,
    ) == 0
    (found,) = json.loads(out.read_text())["plans"]
    return found["batch"]["rows"], found["study"]["steps"]

  assert steps("--config.plan.runs=5") == (8, 5 * 60)
  # Two adapters a program: three programs.
  assert steps(
      "--config.plan.runs=5", "--config.data.directories=a,b"
  ) == (16, 3 * 60)


@pytest.mark.long
@pytest.mark.parametrize("packing", [True, False])
def test_steps_are_those_of_the_data_that_are_there(tmp_path, packing):
  """As training counts them; without the data nobody knows."""
  from mlit_jax.commands import train_data

  place = token_directories.write_texts(
      tmp_path / "data", [("en", "{} and {}"), ("fr", "{} et {}")], 21
  )
  made = Run(
      name="x", train=TrainConfig(learning_rate=1e-3, batch_size=4, epochs=3),
      data=DataConfig(
          row_length=64, packing=packing, directories=(str(place),)
      ),
  )
  found = train_data.num_steps(made)
  assert found == train_data.load(made, False, (0, 1)).num_steps[0]
  if not packing:
    assert found == 18  # six batches of four an epoch
  gone = dataclasses.replace(
      made.data, directories=(str(place), str(tmp_path / "none"))
  )
  lora = dataclasses.replace(made, data=gone, lora=LoraConfig())
  assert train_data.num_steps(lora) is None
