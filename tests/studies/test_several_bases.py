"""Bases of two families and sizes in one study, from directories."""

import json

import pytest

from mlit_jax import main
from mlit_jax.commands import study as command
from mlit_jax.studies import loading, pipeline, plan
from mlit_jax.studies import study as study_lib


@pytest.fixture(scope="module")
def other(save_base, tmp_path_factory):
  """A base of another family and size, with a vocabulary of its own."""
  words = ["one two three", "uno dos tres", "four five six seven"]
  place = tmp_path_factory.mktemp("other") / "base"
  save_base(
      place, words * 9, 310, num_layers=2, mlp_dim=32, family="qwen2",
      qkv_bias=True,
  )
  return place


def _options(given, other):
  return (
      f"--study.base={given / 'base'}", f"--study.other_bases.second={other}",
      "--study.languages=en,es", "--study.test_languages=en,es",
      "--study.unseen_languages=", "--study.budgets=partition",
      f"--study.sources.alpaca=rows:{given / 'train.jsonl'}",
      f"--study.sources.oasst=rows:{given / 'questions.jsonl'}",
      "--study.num_examples=8", "--study.tune.held_out=0",
      "--study.tune.validate_every=0", "--study.tune.batch_size=4",
      "--study.tune.row_length=48", "--study.tune.epochs=1",
      "--study.max_new_tokens=8", "--study.decode_batch_size=4",
      "--study.judge=reference",
  )


def test_each_base_has_its_tokenizer_and_its_adapters(given, other):
  source, preset, config = command.load(
      "alpaca:paper", _options(given, other)
  )
  graph = loading.graph(source, config, preset, "nowhere")
  study_lib.hashes(graph)
  steps = {step.name: step for step in graph}
  assert pipeline.bases(config).keys() == {"base", "second"}
  assert steps["data-mono-en"].needs == ("vocabulary",)
  assert steps["data-second-mono-en"].needs == ("vocabulary-second",)
  assert set(steps["adapters-second-mono-en"].needs[-2:]) == {
      "model-second", "vocabulary-second",
  }
  assert steps["adapters-mono-en"].params["runs"] == [
      "mono-en", "mono-es", "partition",
  ]
  costs = {c.step: c for c in plan.estimate(graph, config, None)}
  assert all(c.is_known for c in costs.values())
  # Twice the layers, and more than that of the rest.
  assert costs["adapters-second-mono-en"].flops > (
      1.5 * costs["adapters-mono-en"].flops
  )


@pytest.mark.slow
def test_two_bases_to_a_report(given, other, tmp_path, capsys):
  run = tmp_path / "run"
  assert not main.main([
      "study", "alpaca:paper", "--workdir", str(run), "--jobs", "1",
      *_options(given, other),
  ]), capsys.readouterr().err
  results = json.loads((run / "results.json").read_text())
  assert results["families"] == {"base": "llama", "second": "qwen2"}
  assert results["sizes"]["second"] > results["sizes"]["base"]
  growth = results["growth"]["seen"]
  assert growth["second"]["monolingual"]["n"] == 3 * 2
  assert results["growth"]["unseen"] == {}
  page = (run / "report.html").read_text()
  assert "Mean rating by the size of the model, seen languages" in page
  assert "qwen2: one model, each id in one language" in page
  for path in ("figures/sizes_seen.pdf", "tables/bases_seen.csv"):
    assert (run / path).stat().st_size > 20
  rows = (run / "tables" / "bases_seen.csv").read_text().splitlines()
  assert rows[1].startswith("llama: base,") and len(rows) == 3
