"""Who trains what: every run once, balanced, the same for everyone."""

import importlib
import pathlib
import random
import subprocess
import sys
import time

import pytest

from mlit_jax.commands import study as study_command
from mlit_jax.errors import UsageError
from mlit_jax.studies import assignment
from mlit_jax.studies.study import Step

ASSIGN = pathlib.Path(__file__).parents[2] / "launch" / "assign"


def model(name, *needs, alone=False):
  return Step(
      f"model-{name}", lambda place, show: None, {}, tuple(needs), alone=alone
  )


@pytest.fixture(scope="module")
def pinch():
  name, preset, config = study_command.load("pinch:pocket", [])
  module = importlib.import_module(f"mlit_jax.studies.{name}")
  return module.graph(config, preset, pathlib.Path("runs"))


@pytest.mark.parametrize("num_slices", [1, 3, 4, 7, 100])
def test_every_run_stands_once_and_the_load_is_level(pinch, num_slices):
  shares = assignment.assign(pinch, num_slices)
  runs = [run for share in shares for run in share]
  trained = {
      step.name for step in pinch
      if step.name.startswith("model-") and not step.alone
  }
  assert sorted(runs) == sorted(name[len("model-"):] for name in trained)
  assert len(runs) > 30 and "base" not in runs
  assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_costs_are_levelled():
  steps = [model(name) for name in "abcdefg"]
  costs = dict(a=7, b=6, c=5, d=4, e=4, f=3, g=1)
  # Dearest first, by hand: loads 7 6 5 -> c+d 9, b+e 10, a+f 10, then g to 9.
  assert assignment.assign(steps, 3, costs) == [
      ["a", "f"], ["b", "e"], ["c", "d", "g"]
  ]


def test_the_order_of_the_graph_and_of_the_costs_does_not_matter():
  names = [f"run-{i}" for i in range(40)]
  costs = {name: sum(map(ord, name)) % 7 + 1 for name in names}
  expected = assignment.assign([model(n) for n in names], 6, costs)
  for seed in range(5):
    random.Random(seed).shuffle(names)
    assert assignment.assign(
        [model(n) for n in names], 6, {n: costs[n] for n in names}
    ) == expected


def test_a_run_follows_the_one_it_needs():
  steps = [
      model("base", alone=True), model("a", "model-base"),
      model("b", "model-base"), model("c", "model-base"),
      model("a2", "model-a"), model("a3", "model-a2"),
      model("bc", "model-b", "model-c"),
  ]
  assert assignment.assign(steps, 2) == [["a", "a2", "a3"], ["b", "c", "bc"]]


@pytest.mark.parametrize("num_slices, costs, message", [
    (0, None, "0 slices: give at least 1"),
    (2, {"a": 1}, "the study's 2 runs; wrong or missing: b"),
    (2, {"a": 1, "b": 1, "x": 2}, "wrong or missing: x"),
    (2, {"a": 1, "b": -1}, "the cost of b is -1"),
    (2, {"a": 1, "b": float("nan")}, "the cost of b is nan"),
])
def test_wrong_use(num_slices, costs, message):
  with pytest.raises(UsageError, match=message):
    assignment.assign([model("a"), model("b")], num_slices, costs)


def assign(*arguments):
  return subprocess.run(
      [sys.executable, ASSIGN, *arguments], capture_output=True, text=True
  )


def test_the_script_does_a_slice_s_runs(pinch):
  echo = (sys.executable, "-c", "import sys; print(sys.argv[1:])", "r={run}")
  done = assign("pinch:pocket", "--slices=9", "--slice", "2", "--", *echo)
  share = assignment.assign(pinch, 9)[2]
  assert done.stdout.splitlines() == [str([f"r={run}"]) for run in share]
  saved = assign("pinch:pocket", "--slices=9", "--slice=2", "--",
                 sys.executable, "-c", "print('one'); exit(75)")
  assert saved.returncode == 75 and saved.stdout == "one\n"


def test_the_script_s_wrong_use_is_one_line():
  for arguments, message in (
      (["pinch:pocket", "--slices=2", "--slice=2"], "--slice 2: give 0 to 1"),
      (["pinch:pocket", "--slices=2", "--", "x"], "a command needs --slice"),
      (["pinsh", "--slices=2"], "unknown study 'pinsh'"),
  ):
    done = assign(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1


_SAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("ready", flush=True)
time.sleep(60)
"""


def test_sigterm_goes_on_to_the_run_and_its_status_comes_back():
  began = time.monotonic()
  process = subprocess.Popen(
      [sys.executable, ASSIGN, "pinch:pocket", "--slices=9", "--slice", "2",
       "--", sys.executable, "-c", _SAVES],
      stdout=subprocess.PIPE, text=True,
  )
  assert process.stdout.readline() == "ready\n"
  process.terminate()
  # The pipe closes when the run has ended, too: nothing is left of it.
  assert process.stdout.read() == "" and process.wait() == 75
  assert time.monotonic() - began < 50
