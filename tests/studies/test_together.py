"""LoRA runs trained and decoded together are what they are apart."""

import collections
import json
import re

import ml_collections
import numpy as np
import pytest
from safetensors.numpy import load_file

from mlit_jax import main
from mlit_jax.commands import study as command
from mlit_jax.studies import assignment, loading, plan, runner, together
from mlit_jax.studies import study as study_lib
from mlit_jax.studies.progress import Progress

pytestmark = pytest.mark.long

RUNS = ("mono-en", "mono-es", "mono-bn", "partition")


def _graph(spec, *overrides, workdir="nowhere"):
  source, preset, config = command.load(spec, overrides)
  return loading.graph(source, config, preset, workdir), config


def _shared(graph, prefix=together.ADAPTERS):
  """Step -> how many it is shared by."""
  found = collections.Counter(
      step.params.get("taken_from") for step in graph
  )
  return {k: n for k, n in found.items() if k and k.startswith(prefix)}


def test_runs_of_one_size_are_joined_up_to_the_rows_allowed():
  graph, _ = _graph("alpaca:paper")
  study_lib.hashes(graph)  # each stands after those it needs
  # Eleven runs of 51,000 in batches of 128; 512 rows are four of them. The
  # run on everything has nine times their steps, and trains by itself.
  assert _shared(graph) == {
      "adapters-mono-en": 3, "adapters-mono-zh": 4, "adapters-mono-ru": 4,
  }
  assert sorted(_shared(graph, together.ANSWERS).values()) == [3, 4, 4]
  steps = {step.name: step for step in graph}
  assert "options" in steps["model-all"].params
  assert steps["decode-all"].needs == ("model-all",)


@pytest.mark.parametrize("rows, expected", [
    (0, []), (255, []), (256, [2] * 5), (1024, [5, 6]), (10**6, [11]),
])
def test_how_many_is_a_setting(rows, expected):
  graph, _ = _graph("alpaca:paper", f"--study.tune.rows_together={rows}")
  assert sorted(_shared(graph).values()) == expected


def test_full_tuning_is_not_joined():
  for spec in ("alpaca:paper_full", "pinch:pocket", "xllama:pocket"):
    assert not _shared(_graph(spec)[0])


def test_what_waits_for_other_runs_answers_is_not_joined_with_them():
  source, preset, config = command.load("xllama:pocket", ())
  config.tune.lora = ml_collections.ConfigDict({"rank": 2})
  config.tune.rows_together = 10**6
  graph = loading.graph(source, config, preset, "nowhere")
  names = list(study_lib.hashes(graph))  # there is no circle
  taken = {s.name: s.params.get("taken_from") for s in graph}
  # The laws read these answers; and what they decide on is trained later.
  assert taken["model-coit-ar"] == taken["model-coit-hi"]
  # They are of one size, and each is left alone.
  assert taken["model-muit-500-uniform"] is None
  assert taken["model-muit-500-optimised"] is None
  assert names.index("laws") < names.index("model-muit-500-optimised")


def test_the_plan_counts_runs_and_steps_once():
  costs = {}
  for rows in (0, 512):
    graph, config = _graph("alpaca:paper", f"--study.tune.rows_together={rows}")
    costs[rows] = plan.estimate(graph, config, None)
    assert all(c.is_known for c in costs[rows])
    assert sum(c.runs for c in costs[rows]) == 12
  apart, joined = costs[0], costs[512]

  def total(costs, what):
    return sum(getattr(c, what) for c in costs)

  for what in ("tokens", "examples", "calls"):
    assert total(apart, what) == total(joined, what)
  assert total(apart, "flops") == pytest.approx(total(joined, "flops"))
  # 399 batches of 128 over five epochs, for all three parts; and the whole.
  assert total(joined, "steps") == 3 * 399 * 5 + 3586 * 5
  assert total(apart, "steps") == 11 * 399 * 5 + 3586 * 5


def test_runs_that_train_together_go_to_one_slice():
  graph, _ = _graph("alpaca:paper")
  shares = assignment.assign(graph, 3)
  assert sorted(run for share in shares for run in share) == sorted(
      s.name.removeprefix("model-") for s in graph
      if s.name.startswith("model-")
  )
  where = {run: k for k, share in enumerate(shares) for run in share}
  assert len({where[x] for x in ("mono-en", "mono-bg", "mono-cs")}) == 1
  assert len({where[x] for x in ("mono-ru", "mono-es", "partition")}) == 1


def _options(given):
  return (
      f"--study.base={given / 'base'}", "--study.languages=en,es,bn",
      "--study.test_languages=en,es", "--study.unseen_languages=",
      f"--study.sources.alpaca=rows:{given / 'train.jsonl'}",
      f"--study.sources.oasst=rows:{given / 'questions.jsonl'}",
      "--study.num_examples=8", "--study.tune.batch_size=4",
      "--study.tune.held_out=4", "--study.tune.validate_every=2",
      "--study.tune.learning_rate=0.02",
      "--study.tune.row_length=48", "--study.tune.epochs=8",
      "--study.tune.checkpoint_every=5", "--study.max_new_tokens=8",
      "--study.decode_batch_size=4", "--study.judge=reference",
      "--study.budgets=partition", "--study.tune.precision=float32",
  )


class _Killed(Exception):
  """Stands for a kill, at a given step."""


class _Killer(Progress):
  """Ends the run when a training step says that it is at `at`."""

  def __init__(self, at):
    super().__init__()
    self._at = at

  def show(self, name, detail):
    if name.startswith(together.ADAPTERS) and detail.startswith(self._at):
      raise _Killed


def _train(given, workdir, rows, progress=None):
  """Trains the study's models."""
  graph, _ = _graph(
      "alpaca:paper", *_options(given), f"--study.tune.rows_together={rows}",
      workdir=workdir,
  )
  wanted = study_lib.named(graph, ["model-*"])
  with runner.Workdir(workdir, {"study": "", "preset": "", "config": {}}) as w:
    runner.run(study_lib.needed(graph, wanted), w, progress or Progress())
  return workdir / "steps"


@pytest.fixture(scope="module")
def joined(given, tmp_path_factory):
  """Four adapters trained at once."""
  return _train(given, tmp_path_factory.mktemp("joined") / "run", 64)


def _adapter(steps, run):
  return steps / f"model-{run}" / "adapter"


def test_adapters_are_those_of_runs_apart(given, joined, tmp_path):
  apart = _train(given, tmp_path / "run", 0)
  assert not list(apart.glob("adapters-*"))
  assert [x.name for x in joined.glob("adapters-*")] == ["adapters-mono-en"]
  for run in RUNS:
    one, other = (
        load_file(_adapter(x, run) / "adapter_model.safetensors")
        for x in (apart, joined)
    )
    assert one.keys() == other.keys()
    for name, value in one.items():
      np.testing.assert_allclose(other[name], value, rtol=1e-4, atol=1e-5)
    assert any(np.abs(x).max() > 1e-3 for n, x in one.items() if "_B" in n)
    for path in ("adapter/adapter_config.json", "summary.json"):
      one, other = (
          (x / f"model-{run}" / path).read_text() for x in (apart, joined)
      )
      assert one == other
  # Each has a best checkpoint of its own.
  losses = set()
  for run in RUNS:
    chosen = json.loads((joined / f"model-{run}" / "summary.json").read_text())
    assert 2 <= chosen["best_step"] <= chosen["steps"] == 16
    losses.add(chosen["validation_loss"])
  assert len(losses) == len(RUNS)
  made = [_adapter(joined, run) / "adapter_model.safetensors" for run in RUNS]
  assert len({path.read_bytes() for path in made}) == len(RUNS)


def test_killed_and_resumed_they_are_the_same_bytes(given, joined, tmp_path):
  workdir = tmp_path / "run"
  with pytest.raises(_Killed):
    _train(given, workdir, 64, _Killer("step 8/"))
  made = workdir / "steps" / "adapters-mono-en"
  assert (made / "checkpoints" / "5").is_dir()
  assert not (made / "done.json").exists()
  again = _train(given, workdir, 64)
  for run in RUNS:
    for name in ("adapter_model.safetensors", "adapter_config.json"):
      assert (_adapter(again, run) / name).read_bytes() == (
          _adapter(joined, run) / name
      ).read_bytes()


@pytest.mark.slow
def test_answers_and_results_are_those_of_runs_apart(given, tmp_path, capsys):
  for rows in ("0", "64"):
    assert not main.main([
        "study", "alpaca:paper", "--workdir", str(tmp_path / rows), "--jobs",
        "1", *_options(given), f"--study.tune.rows_together={rows}",
    ]), capsys.readouterr().err
  one, other = (tmp_path / rows for rows in ("0", "64"))
  for run in RUNS:
    path = f"steps/decode-{run}/responses.jsonl"
    assert (one / path).read_bytes() == (other / path).read_bytes()
  assert (one / "results.json").read_bytes() == (
      other / "results.json"
  ).read_bytes()
  assert (other / "report.html").stat().st_size > 10_000
  assert re.search(r"\badapters-", capsys.readouterr().err)
