"""mlit study --plan, --only, --from: what it says is what is done."""

import json
import math
import re

import pytest

from mlit_jax import main
from mlit_jax.commands import study as command
from mlit_jax.configs.studies import alpaca as alpaca_config
from mlit_jax.configs.studies import pinch as pinch_config
from mlit_jax.data import token_file
from mlit_jax.errors import UsageError
from mlit_jax.models.config import DecoderConfig
from mlit_jax.studies import (
    alpaca,
    loading,
    pinch,
    plan,
    plan_sizes,
    runner,
)
from mlit_jax.studies import study as study_lib
from mlit_jax.training import accelerators, flops


def _pinch(languages=("en", "es"), **change):
  config = pinch_config.get_config("pocket")
  config.languages = languages
  config.experiments = ("percent",)
  config.percents = (10.0,)
  config.num_examples = 100
  config.vocab_size = 1500
  config.update(change)
  pinch.check(config)
  return config


def _costs(config, workdir=None, study=pinch):
  graph = study.graph(config, "pocket", workdir or "nowhere")
  return {c.step: c for c in plan.estimate(graph, config, workdir)}


@pytest.fixture(scope="module")
def costs():
  return _costs(_pinch())


def test_examples_and_questions_are_counted(costs):
  assert costs["data-mono-en"].examples == 100
  assert costs["data-p10"].examples == 100
  # 60 questions in each of two languages; a control has its own only.
  assert costs["decode-base"].examples == 120
  assert costs["decode-control-es"].examples == 60
  # Both orders, and no model against itself.
  assert costs["judge-p10"].calls == 2 * 120
  assert costs["judge-mono-en"].calls == 2 * 60
  assert all(c.is_known for c in costs.values())


def test_operations_are_the_formulas(costs):
  config = _pinch()
  model = DecoderConfig(vocab_size=1500, **config.shape.to_dict())
  cost = costs["model-mono-en"]
  size, length = config.tune.batch_size, config.tune.row_length
  assert cost.flops == cost.steps * flops.train_step(
      model, size, length, config.tune.loss_length
  )
  # By hand: an embedding shared with the head; per layer four maps of
  # 128 x 128, three of 128 x 256, two norms; a last norm.
  layer = 4 * 128 * 128 + 3 * 128 * 256 + 2 * 128
  assert plan_sizes.num_parameters(model) == 1500 * 128 + 2 * layer + 128
  tokens = costs["data-mono-en"].tokens
  assert cost.tokens == tokens * config.tune.epochs
  # Rows are 93 % full, and every epoch's last batch is filled up.
  an_epoch = math.ceil(math.ceil(tokens / (0.93 * length)) / size)
  assert cost.steps == config.tune.epochs * an_epoch


def test_seconds_are_operations_or_memory():
  slices = accelerators.parse("v5litepod-16")
  cost = plan.Cost("x", (), "open", flops=16 * 197e12 * 0.4 * 3600)
  assert cost.seconds(slices, 0.4) == pytest.approx(3600)
  assert cost.seconds(slices, 0.8) == pytest.approx(1800)
  cost = plan.Cost("x", (), "open", memory_bytes=16 * 819e9 * 7)
  assert cost.seconds(slices, 0.4) == pytest.approx(7)


def test_a_judge_that_costs_is_counted_in_tokens(costs, capsys, monkeypatch):
  monkeypatch.setenv("OPENAI_API_KEY", "none")  # and never asked
  assert costs["judge-p10"].judge_input == 0  # the reference judge
  paid = ("--study.judge=openai:some-model", "--study.judging.price=2,10")
  code, out, _ = _mlit(capsys, *_TINY, *paid, "--plan")
  assert code == 0
  totals = dict(
      x.split(": ", 1) for x in out.splitlines() if re.match(r"[a-z ,]+:", x)
  )
  assert totals["judge calls"] == "960 [960]"
  read, written = (
      int(totals[f"judge tokens {x}"].split()[0].replace(",", ""))
      for x in ("read", "written")
  )
  # Every request holds a question and two answers of at most 32 tokens.
  assert 960 * 64 < read < 960 * 1500
  cost = float(totals["cost of the judge, at most"].split()[0][1:])
  assert cost == pytest.approx((2 * read + 10 * written) / 1e6, abs=0.006)


def test_ratings_are_asked_once():
  config = alpaca_config.get_config("pocket")
  config.languages, config.budgets = ("en", "zh"), ("sampled",)
  config.test_languages, config.unseen_languages = ("en", "zh"), ("he",)
  config.other_bases = {}
  cost = _costs(config, study=alpaca)
  assert cost["judge-sampled"].calls == 3 * 60
  assert cost["data-sampled"].examples == config.num_examples


@pytest.mark.long
@pytest.mark.parametrize("name, training_runs", [
    # lucky52: a base and ten models; xllama: tests/studies/test_xllama.py.
    ("lucky52", 11), ("xllama", 39),
])
def test_no_step_goes_without_an_estimate(name, training_runs):
  source, preset, config = command.load(name, ())
  graph = loading.graph(source, config, preset, "nowhere")
  costs = plan.estimate(graph, config, None)
  assert [c.step for c in costs] == [s.name for s in graph]
  assert all(c.is_known for c in costs)
  assert sum(c.steps > 0 for c in costs) == training_runs
  work = ("model", "decode", "score", "vectors")
  assert all(c.flops > 0 for c in costs if c.step.split("-")[0] in work)


def _mlit(capsys, *arguments):
  code = main.main(["study", *arguments])
  out = capsys.readouterr()
  return code, out.out, out.err


_TINY = (
    "pinch", "--study.languages=en,es", "--study.experiments=percent",
    "--study.percents=10", "--study.num_examples=100", "--jobs", "1",
    "--study.vocab_size=1500", "--study.pretrain.documents=200",
)


def test_plan_prints_graph_and_totals(capsys):
  code, out, _ = _mlit(
      capsys, *_TINY, "--plan", "--accelerator", "v5litepod-16", "--price", "2"
  )
  assert code == 0
  lines = out.splitlines()
  (row,) = [x for x in lines if x.startswith("open  model-p10 ")]
  assert row.endswith("data-p10, model-base, vocabulary")
  totals = dict(x.split(": ", 1) for x in lines if re.match(r"[a-z ]+:", x))
  assert totals["training runs"] == "6 [6]"
  # Both orders of 60 questions: base and mixture in two languages, the
  # monolingual models in the other's, the controls in their own.
  assert totals["judge calls"] == "960 [960]"
  assert totals["to translate"] == "nothing"
  assert any(x.startswith("hours on v5litepod-16 (16 chips") for x in lines)
  assert any(x.startswith("cost of that at $2 a chip and hour") for x in lines)
  code, out, _ = _mlit(capsys, *_TINY, "--plan", "--json")
  assert code == 0
  assert len(json.loads(out)) == len([x for x in lines if x[:4] == "open"])


def test_only_some_steps_and_then_a_plan_of_the_rest(capsys, tmp_path):
  workdir = tmp_path / "run"
  at = ("--workdir", str(workdir))
  code, out, error = _mlit(capsys, *_TINY, *at, "--only", "data-mono-*")
  assert code == 0, error
  assert out.startswith("done: 3 of ")
  done = {p.parent.name for p in workdir.glob("steps/*/done.json")}
  assert done == {"vocabulary", "data-mono-en", "data-mono-es"}
  code, out, _ = _mlit(capsys, *_TINY, *at, "--status")
  assert sorted(x for x in out.splitlines() if x.startswith("done")) == [
      "done  data-mono-en", "done  data-mono-es", "done  vocabulary"
  ]
  # What has been built is counted, not estimated.
  config = _pinch(pretrain={"documents": 200})
  costs = _costs(config, workdir)
  built = token_file.read_summary(workdir / "steps" / "data-mono-en")["total"]
  assert costs["data-mono-en"].tokens == built["tokens"]
  assert costs["model-mono-en"].tokens == 4 * built["tokens"]
  # And what has not is estimated with the study's own vocabulary.
  assert costs["data-p10"].tokens == pytest.approx(built["tokens"], rel=0.25)
  # What --from would do again is said, and nothing is touched.
  again = ("--from", "data-mono-en")
  code, out, _ = _mlit(capsys, *_TINY, *at, "--status", *again)
  assert code == 0 and "open  data-mono-en" in out and "done  vocab" in out
  code, out, _ = _mlit(capsys, *_TINY, *at, "--plan", *again)
  states = {x.split()[1]: x.split()[0] for x in out.splitlines() if x[:4] in
            ("done", "open")}
  assert (states["data-mono-en"], states["data-mono-es"]) == ("open", "done")
  assert (workdir / "steps" / "data-mono-en" / "done.json").exists()
  # From the vocabulary on: what was made of the old one goes, too.
  before = (workdir / "steps/vocabulary/done.json").stat().st_mtime_ns
  code, out, error = _mlit(
      capsys, *_TINY, *at, "--from", "vocabulary", "--only", "data-mono-en"
  )
  assert code == 0, error
  assert (workdir / "steps/vocabulary/done.json").stat().st_mtime_ns > before
  assert not (workdir / "steps" / "data-mono-es").exists()


def test_selections_of_a_graph():
  def step(name, *needs):
    return study_lib.Step(name, lambda place, show: None, {}, needs)

  graph = [
      step("a"), step("b-1", "a"), step("b-2", "a"), step("c", "b-1"),
      step("d", "b-2", "c"),
  ]

  def names(steps):
    return [s.name for s in steps]

  assert study_lib.named(graph, ["d", "b-*"]) == ["b-1", "b-2", "d"]
  assert names(study_lib.needed(graph, ["c"])) == ["a", "b-1", "c"]
  assert names(study_lib.dependent(graph, ["b-1"])) == ["b-1", "c", "d"]
  assert study_lib.dependent(graph, []) == []
  with pytest.raises(UsageError, match="no step 'b-3'; did you mean 'b-"):
    study_lib.named(graph, ["b-3"])


def test_a_step_that_was_begun_is_said_to_be(tmp_path):
  graph = [study_lib.Step("a", lambda place, show: None, {})]
  assert runner.states(graph, tmp_path) == {"a": "open"}
  place = tmp_path / "steps" / "a"
  place.mkdir(parents=True)
  mark = json.dumps({"hash": study_lib.hashes(graph)["a"]})
  (place / "started.json").write_text(mark)
  assert runner.states(graph, tmp_path) == {"a": "begun"}
  (place / "done.json").write_text(mark)
  assert runner.states(graph, tmp_path) == {"a": "done"}
  (place / "started.json").write_text(json.dumps({"hash": "of another"}))
  (place / "done.json").unlink()
  assert runner.states(graph, tmp_path) == {"a": "open"}
