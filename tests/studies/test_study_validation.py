"""What studies hold out: exact, apart from the rest, and only where asked."""

import json

import pytest

from mlit_jax import main
from mlit_jax.commands import study as command
from mlit_jax.data import manifest as manifest_lib
from mlit_jax.data import token_file
from mlit_jax.studies import loading, material, plan, runner, steps
from mlit_jax.studies import study as study_lib
from mlit_jax.studies.progress import Progress

_TINY = (
    "alpaca:pocket_lora", "--study.languages=en,es,zh",
    "--study.test_languages=en", "--study.unseen_languages=",
    "--study.num_examples=90", "--study.tune.held_out=12",
    "--study.vocab_size=1500",
)


def _graph(workdir):
  source, preset, config = command.load(_TINY[0], _TINY[1:])
  return loading.graph(source, config, preset, workdir), config


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """The data of every model, built."""
  workdir = tmp_path_factory.mktemp("held") / "run"
  graph, _ = _graph(workdir)
  names = [
      s.name for s in graph if s.name.startswith("data-") and "base" not in
      s.name
  ]
  with runner.Workdir(workdir, {"study": "", "preset": "", "config": {}}) as w:
    runner.run(study_lib.needed(graph, names), w, Progress())
  return workdir, {name: workdir / "steps" / name for name in names}


def test_what_is_held_out_is_exact_and_apart(built):
  _, data = built
  assert {"data-mono-en", "data-all", "data-sampled"} < data.keys()
  asked = {p.id for p in material.prompts("pocket", ("en", "es", "zh"), {})}
  every = set()
  for name, place in data.items():
    learnt = manifest_lib.read(place)
    held = manifest_lib.read(place / steps.VALIDATION)
    # In each language of the training set, all with the same parallel ids.
    assert held.counts == dict.fromkeys(learnt.counts, 12), name
    ids = {row.id for row in held.rows}
    assert len(ids) == 12
    assert not ids & {row.id for row in learnt.rows}
    assert not ids & asked
    every |= ids
    # It is written with what it was drawn from.
    origin = token_file.read_summary(place / steps.VALIDATION)["origin"]
    assert origin["manifest_sha256"] == held.hash
    assert origin["recipe"]["validation"] == 12
    assert origin["seed"] == held.seed == 0
  # All models of the study are chosen by the same facts.
  assert len(every) == 12
  counts = manifest_lib.read(data["data-all"]).counts
  assert counts == {"en": 90, "es": 90, "zh": 90}


def test_the_plan_counts_validation(built):
  workdir, _ = built
  graph, config = _graph(workdir)
  with_it, without = {}, {}
  for place in (None, workdir):  # nothing is built; all data are
    with_it[place] = plan.estimate(graph, config, place)
  config.tune.validate_every = 0
  graph = loading.graph("alpaca", config, "pocket_lora", workdir)
  for place in (None, workdir):
    without[place] = plan.estimate(graph, config, place)
    more, less = (
        next(c.flops for c in costs[place] if c.step == "model-all")
        for costs in (with_it, without)
    )
    # A forward pass over few rows now and then: more, but not a quarter more.
    assert less < more < 1.25 * less


def test_only_where_a_paper_does_it():
  on = set()
  for name in loading.STUDIES:
    for preset in loading.configs(name).PRESETS:
      tune = loading.configs(name).get_config(preset).tune
      if tune.held_out or tune.validate_every:
        on.add(f"{name}:{preset}")
  assert on == {
      "alpaca:paper", "alpaca:paper_full", "alpaca:paper_all",
      "alpaca:pocket_lora",
  }


@pytest.mark.parametrize("arguments", [
    ("--study.tune.held_out=5",), ("--study.tune.validate_every=5",),
    ("--study.tune.validate_every=-1", "--study.tune.held_out=3"),
])
def test_one_without_the_other_is_wrong_use(capsys, tmp_path, arguments):
  code = main.main([
      "study", "pinch:pocket", "--workdir", str(tmp_path / "x"), *arguments,
  ])
  error = capsys.readouterr().err
  assert code == 2 and error.count("\n") == 1
  assert "held_out" in error and "validate_every" in error


def test_too_few_examples_are_said(capsys, tmp_path):
  code = main.main([
      "study", "pinch:pocket", "--workdir", str(tmp_path / "x"),
      "--study.tune.held_out=1000", "--study.tune.validate_every=5",
  ])
  assert code == 2
  assert "num_examples=1280 must lie between" in capsys.readouterr().err


@pytest.mark.slow
def test_results_say_which_checkpoint_was_kept(given, tmp_path, capsys):
  assert not main.main([
      "study", "alpaca:paper_full", "--workdir", str(tmp_path / "run"),
      "--jobs", "1", f"--study.base={given / 'base'}",
      "--study.languages=en,es", "--study.test_languages=en",
      "--study.unseen_languages=", "--study.budgets=",
      f"--study.sources.alpaca=rows:{given / 'train.jsonl'}",
      f"--study.sources.oasst=rows:{given / 'questions.jsonl'}",
      "--study.num_examples=8", "--study.tune.held_out=4",
      "--study.tune.validate_every=1", "--study.tune.epochs=8",
      "--study.tune.batch_size=4", "--study.tune.row_length=48",
      # Diverges from the first steps on, so that an early one is the best.
      "--study.tune.learning_rate=5.0", "--study.max_new_tokens=8",
      "--study.decode_batch_size=4", "--study.judge=reference",
  ]), capsys.readouterr().err
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  row = results["systems"]["mono-es"]
  assert 1 <= row["best_step"] < row["steps"] == 16
  assert row["validation_loss"] > 0
  assert "best_step" not in results["systems"]["base"]
  page = (tmp_path / "run" / "report.html").read_text()
  assert "kept from the step" in page
