"""What `mlit study --plan` says of translation, judging and disk."""

import json
import re

import pytest

from mlit_jax import main
from mlit_jax.commands import study as command
from mlit_jax.studies import loading, plan, plan_translation

# Characters a row as the presets assume them, rows and languages as the papers
# have them: source -> characters to send.
PAPERS = {
    # 4,640 pairs and 617 instructions in eleven languages beside English.
    "pinch:paper": {
        "lima_oasst": 4640 * 1600 * 11, "alpacafarm": 617 * 150 * 11,
    },
    "pinch:paper_slavic": {
        "lima_oasst": 4640 * 1600 * 7, "alpacafarm": 617 * 150 * 7,
    },
    # Bactrian-X and the benchmarks come in their languages.
    "lucky52:paper": {},
    # Eight languages are tuned on beside English; people translated the fifty
    # prompts, into languages that are not all among them.
    "alpaca:paper": {"alpaca": 52_000 * 600 * 8},
    "alpaca:paper_full": {"alpaca": 52_000 * 600 * 8},
    "polyglot:paper": {
        "lima_x": 1030 * 2500 * 4, "mt_bench_x": 80 * 400 * 4,
    },
    "xllama:paper": {"alpaca": 52_000 * 600 * 6, "mi_eval": 600 * 150 * 6},
}
POCKETS = (
    "pinch:pocket", "lucky52:pocket", "alpaca:pocket", "alpaca:pocket_lora",
    "polyglot:pocket", "xllama:pocket",
)


def _loaded(spec, *overrides):
  source, preset, config = command.load(spec, overrides)
  return loading.graph(source, config, preset, "nowhere"), config


def _mlit(capsys, *arguments):
  code = main.main(["study", *arguments])
  out = capsys.readouterr()
  return code, out.out, out.err


@pytest.mark.parametrize("spec", PAPERS)
def test_a_paper_is_planned_on_a_bare_machine(capsys, tmp_path, spec):
  code, out, error = _mlit(
      capsys, spec, "--plan", "--accelerator", "v5p-64", "--price", "4",
      "--study.judging.price=1,4", "--study.translation.price=10",
  )
  assert code == 0, error
  wanted = PAPERS[spec]
  rows = {
      name: (int(characters.replace(",", "")), float(cost.replace(",", "")))
      for name, characters, cost in re.findall(
          r"^  (\w+), its size assumed: .* ([\d,]+) characters, \$([\d.,]+)$",
          out, re.MULTILINE,
      )
  }
  assert rows == {
      name: (number, pytest.approx(number * 10 / 1e6, abs=0.006))
      for name, number in wanted.items()
  }
  total = sum(wanted.values())
  assert (
      f"to translate first (mlit translate): {total:,} characters,"
      f" ${total * 10 / 1e6:,.2f} at $10 a million" if wanted
      else "to translate: nothing"
  ) in out
  assert re.search(r"^cost of that at \$4 a chip and hour: \$\d", out, re.M)
  assert re.search(r"^disk: [\d.]+[GT]B", out, re.M)
  asks = "lucky52" not in spec
  assert asks == ("cost of the judge, at most: $" in out)
  assert "its size assumed; before it begins give --study.base=DIR" in out


@pytest.mark.parametrize("spec", POCKETS)
def test_a_pocket_study_needs_no_translation_and_no_money(capsys, spec):
  code, out, error = _mlit(capsys, spec, "--plan")
  assert code == 0, error
  assert out.endswith("to translate: nothing\n")
  assert re.search(r"^disk: [\d.]+MB", out, re.M)
  assert ("lucky52" in spec) == ("cost of the judge: none" not in out)


@pytest.mark.parametrize("spec", ["polyglot:pocket", "xllama:pocket"])
def test_a_judge_that_is_paid_for_reads_the_pocket_world(
    capsys, monkeypatch, spec
):
  monkeypatch.setenv("OPENAI_API_KEY", "none")  # and never asked
  code, out, error = _mlit(
      capsys, spec, "--plan", "--study.judge=openai:some-model",
      "--study.judging.price=1,4",
  )
  assert code == 0, error
  assert "cost of the judge, at most: $" in out


@pytest.fixture(scope="module")
def english(tmp_path_factory):
  """Ten rows to learn from and four questions, in English alone."""
  directory = tmp_path_factory.mktemp("english")
  for name, number in (("train", 10), ("test", 4)):
    (directory / f"{name}.jsonl").write_text("".join(
        json.dumps({"id": f"{i}", "lang": "en", "prompt": "12345",
                    "response": "1234"}) + "\n"
        for i in range(number)
    ))
  return (
      f"--study.sources.train=rows:{directory / 'train.jsonl'}",
      f"--study.sources.test=rows:{directory / 'test.jsonl'}",
      "--study.languages=en,es,he", "--study.num_examples=10",
  )


def test_rows_of_ones_own_that_are_in_one_language(english):
  graph, config = _loaded("pinch:own", *english)
  train, test = plan_translation.translations(graph, config)
  assert (train.source, train.origin, train.rows) == ("train", "en", 10)
  assert train.languages == test.languages == ("es", "he")
  # Five and four characters and a line's end, in two languages.
  assert train.characters == 2 * 10 * 10
  assert test.characters == 2 * 4 * 10
  assert not train.is_assumed
  # What is asked and learnt after that is counted as it will be.
  costs = {c.step: c for c in plan.estimate(graph, config, None)}
  assert costs["data-mono-he"].examples == 10
  assert costs["data-mono-he"].tokens == costs["data-mono-en"].tokens == 40
  assert costs["decode-base"].examples == 3 * 4
  judged = costs["judge-base"]
  assert judged.calls == 2 * 3 * 4
  assert judged.judge_input == 3 * costs["judge-control-he"].judge_input > 0


def test_only_languages_that_are_tuned_on_or_asked_in_count(english):
  """Alpaca is tuned on some languages and asked in others."""
  train, test, *_ = english
  graph, config = _loaded(
      "alpaca:paper", train.replace("train=", "alpaca="),
      test.replace("test=", "oasst="), "--study.languages=en,cs,es",
      "--study.test_languages=en,es", "--study.unseen_languages=no",
      "--study.num_examples=5", "--study.tune.held_out=0",
      "--study.tune.validate_every=0",
  )
  found = {
      x.source: x.languages
      for x in plan_translation.translations(graph, config)
  }
  assert found == {"alpaca": ("cs", "es"), "oasst": ("es", "no")}


def test_what_is_not_translated_yet_is_not_begun(english, given, tmp_path,
                                                 capsys):
  code, _, error = _mlit(
      capsys, "pinch:own", *english, "--workdir", str(tmp_path / "run"),
      f"--study.base={given / 'base'}", "--study.judge=reference",
  )
  assert code == 2 and error.count("\n") == 1
  assert "has no questions in Spanish, Hebrew: translate them first" in error
  assert not (tmp_path / "run").exists()


def test_a_price_below_nothing_is_one_line(capsys):
  code, _, error = _mlit(
      capsys, "pinch:paper", "--plan", "--study.translation.price=-1"
  )
  assert code == 2 and error.count("\n") == 1
  assert "--study.translation.price -1: give 0 or more" in error
