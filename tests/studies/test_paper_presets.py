"""The paper presets: numbers worked out by hand from the papers' texts."""

import json

import pytest

from mlit_jax import main
from mlit_jax.commands import study as command
from mlit_jax.data import recipe_spec
from mlit_jax.models.interchange import huggingface
from mlit_jax.studies import (
    expected,
    loading,
    lucky52_results,
    plan,
    plan_sizes,
    steps_answers,
)


def _planned(spec, *overrides):
  """(systems by name, costs by step, config)."""
  source, preset, config = command.load(spec, overrides)
  graph = loading.graph(source, config, preset, "nowhere")
  costs = {c.step: c for c in plan.estimate(graph, config, None)}
  assert all(c.is_known for c in costs.values())
  systems = loading.study(source).systems(config)
  return {s.name: s for s in systems}, costs, config


def _counts(system):
  """Language -> examples, of a recipe with tables of counts."""
  (part,) = system.recipe["parts"]
  return dict(part["counts"])


def test_pinch():
  systems, costs, config = _planned("pinch:paper")
  # The base; 12 languages; P = 1, 10, 20, ... 100 over twelve and over six;
  # three orders at 2 to 6 languages; six pairs.
  assert len(systems) == 1 + 12 + 11 + 11 + 3 * 5 + 6
  assert config.models == ("gemma_2b", "gemma_7b")
  one = _counts(systems["p1"])
  assert one.pop("en") == 4600
  assert len(one) == 11 and sum(one.values()) == 40
  for system in list(systems.values())[1:]:
    assert sum(recipe_spec.sizes(system.recipe)) == 4640
  # 4,640 = 12 x 386 + 8.
  assert sorted(set(_counts(systems["p100"]).values())) == [386, 387]
  assert set(_counts(systems["half-p100"])) == set("en ar fi it ru sw".split())
  # 617 instructions in twelve languages, in both orders.
  assert costs["decode-base"].examples == 617 * 12
  assert costs["judge-p1"].calls == 2 * 617 * 12
  assert costs["judge-mono-en"].calls == 2 * 617 * 11
  # 72 and a half batches of 64 are 73; three epochs.
  assert costs["model-p1"].steps == 3 * 73


def test_pinch_in_slavic_languages():
  systems, costs, config = _planned("pinch:paper_slavic")
  assert set(systems) == {"base"} | {
      f"mono-{x}" for x in "ru sr hr sl pl sk cs".split()
  }
  assert costs["data-mono-sk"].examples == 4640
  assert costs["judge-mono-cs"].calls == 2 * 617 * 6
  assert config.family == config.languages


def test_alpaca_with_lora():
  systems, costs, config = _planned("alpaca:paper")
  # Nine monolingual models and three that are multilingual.
  assert len(systems) == 1 + 9 + 3
  assert set(config.languages) == set("en bg cs zh de fi fr ru es".split())
  # Of the paper's 52,000 a thousand are held out to choose checkpoints by.
  assert costs["data-mono-fi"].examples == 51_000
  assert costs["data-all"].examples == 9 * 51_000
  assert costs["data-sampled"].examples == 51_000
  assert costs["data-partition"].examples == 51_000
  assert systems["all"].recipe.get("validation") is None
  assert config.tune.held_out == 1000
  # Batches of 128 over 5 epochs: 399 and 3,586 an epoch; four train at once.
  assert costs["adapters-mono-zh"].steps == 399 * 5
  assert costs["adapters-mono-zh"].runs == 4
  assert costs["model-mono-fi"].steps == 0
  assert costs["model-all"].steps == 3586 * 5
  assert config.tune.learning_rate == 3e-4
  assert config.tune.lora.to_dict() == {
      "pattern": "attention/(query|key|value)$", "rank": 8, "alpha": 16.0,
      "dropout": 0.05,
  }
  # An adapter of BLOOM 7.1B: three maps of 4096 x 4096 in 30 layers.
  assert costs["model-all"].disk == 30 * 3 * 8 * 2 * 4096 * (4 + 12)
  # Fifty prompts in six languages that were seen and two that were not.
  assert costs["decode-all"].examples == 50 * 8
  assert config.unseen_languages == ("bn", "no")
  assert costs["judge-all"].calls == 50 * 8


def test_alpaca_in_full():
  _, costs, config = _planned("alpaca:paper_full")
  tune = config.tune
  assert (tune.learning_rate, tune.warmup_ratio) == (2e-5, 0.03)
  assert (tune.batch_size, tune.epochs) == (256, 3)
  assert "lora" not in tune
  assert costs["model-mono-fi"].steps == 200 * 3  # 199.2 batches of 256


@pytest.mark.parametrize("model, parameters", [
    # BLOOM's model card: 559,214,592; Pythia 6.9B's and 12B's cards' totals.
    ("bloom_560m", 559_214_592), ("pythia_6b9", 6_857_302_016),
    ("pythia_12b", 11_846_072_320),
])
def test_model_narrows_to_one_of_the_papers(model, parameters):
  _, _, config = _planned("alpaca:paper_full", f"--study.model={model}")
  assert plan_sizes.num_parameters(expected.shape(config.model)) == parameters


def test_alpaca_on_all_bases_in_both_ways():
  systems, costs, _ = _planned("alpaca:paper_all")
  # Sixteen bases; nine languages and three mixtures, with LoRA and in full.
  assert len(systems) == 16 * (1 + 2 * (9 + 3))
  # An adapter of Pythia 160M: three maps of 768 x 768 in 12 layers.
  assert costs["model-pythia_160m-all"].disk == (
      12 * 3 * 8 * 2 * 768 * (4 + 12)
  )
  assert costs["model-pythia_160m-full-all"].steps == (
      -(-9 * 51_000 // 256) * 3
  )
  assert costs["model-full-all"].disk > 40 * costs[
      "model-pythia_160m-full-all"
  ].disk
  # Another base than the first; none is beside itself.
  few = _planned("alpaca:paper_all", "--study.model=pythia_70m")[0]
  assert "base-full-all" not in few and "pythia_70m" not in few
  assert "full-all" in few and "bloom_7b1" in few
  assert len(few) == len(systems)
  one = _planned("alpaca:paper_all", "--study.experiments=unseen")[0]
  assert len(one) == 1 + 9 + 3


def test_a_base_that_is_expected_is_planned_and_asked_for(capsys, tmp_path):
  other = "--study.other_bases.bloom_560m=expected"
  costs = _planned("alpaca:paper", other)[1]
  # Three maps of 1,024 x 1,024 in 24 layers.
  assert costs["model-bloom_560m-all"].disk == (
      24 * 3 * 8 * 2 * 1024 * (4 + 12)
  )
  assert costs["model-bloom_560m-all"].steps == costs["model-all"].steps
  workdir = tmp_path / "run"
  code, _, error = _mlit(
      capsys, "alpaca:paper", other, "--workdir", str(workdir)
  )
  assert code == 2 and error.count("\n") == 1
  assert "--study.base=DIR (a model directory of bloom_7b1)" in error
  assert "--study.other_bases.NAME=DIR" in error and "bloom_560m)" in error
  assert not workdir.exists()


def test_polyglot():
  systems, costs, config = _planned("polyglot:paper")
  # Five languages alone and two sets in three designs, of three sources.
  assert len(systems) == 1 + 3 * (5 + 2 * 3)
  assert costs["data-many-mono-de"].examples == 64_000
  assert costs["data-many-all-parallel"].examples == 5 * 64_000
  assert costs["data-few-without-parallel"].examples == 4 * 1030
  assert costs["data-curated-all-parallel"].examples == 5 * 1030
  for size, source in (
      ("many", "bactrian_x"), ("few", "bactrian_x"), ("curated", "lima_x")
  ):
    (part,) = systems[f"{size}-all-sampled"].recipe["parts"]
    assert part["source"] == source
  tune = config.tune
  assert (tune.learning_rate, tune.batch_size) == (1e-5, 64)
  assert tune.weight_decay == 0.1
  assert costs["model-many-mono-de"].steps == 1000 * 3
  assert config.models == ("eu24_7b", "mixtral_8x7b")
  # Eighty questions of two turns in five languages.
  assert costs["decode-base"].examples == 80 * 5
  assert costs["judge-base"].calls == 2 * 80 * 5


def test_lucky52():
  systems, costs, config = _planned("lucky52:paper")
  assert len(systems) == 1 + 52
  assert systems["first-01"].about["added"] == "en"
  assert systems["first-25"].about["added"] == "ko" == config.outlier
  assert _counts(systems["first-03"]) == {
      "en": 67_000, "zh": 67_000, "af": 67_000,
  }
  # U = ceil(N L E / (B W)) of batches of 256, with three whole epochs:
  # 261.7 batches of English, 13,609.4 of all 52 languages.
  assert costs["model-first-01"].steps == 262 * 3
  assert costs["model-first-52"].steps == 13_610 * 3
  tune = config.tune
  assert (tune.learning_rate, tune.row_length) == (3e-5, 768)
  # XCOPA and XStoryCloze in eleven languages, XWinograd's 4,449 in six; two
  # endings each.
  assert costs["score-base"].examples == 2 * (500 * 11 + 1511 * 11 + 742 * 6)
  # What BLOOM has read, by its card: none of these.
  assert lucky52_results.exposure(config)["neither"] == ["ht", "qu"]
  assert lucky52_results.exposure(config)["base only"] == ["eu"]
  # What is not as in the paper's section 3 is declared.
  assert "ja" in lucky52_results.exposure(config)["tuning only"]
  said = " ".join(config.substitutions)
  for words in ("Japanese", "Haitian", "1,280", "warm-up", "consonants"):
    assert words in said
  assert tune.batch_size == 256 and tune.warmup_ratio == 0
  assert not tune.packing and "pack" not in said  # as there


def test_xllama():
  systems, costs, config = _planned("xllama:paper")
  assert set(config.languages) == set("en ar el hi tr vi zh".split())
  # English; six languages; four ablations of Chinese; three sizes of six
  # languages; four of documents; all languages; two budgets shared out twice.
  assert len(systems) == 1 + 1 + 6 + 4 + 3 * 6 + 4 + 1 + 2 * 2
  tune = config.tune
  assert (tune.learning_rate, tune.batch_size, tune.epochs) == (2e-5, 128, 3)
  assert (tune.row_length, tune.warmup_ratio) == (512, 0.03)
  pocket = command.load("xllama:pocket", ())[2]
  assert set(config.languages) - set(pocket.languages) == {"el", "tr", "vi"}
  # Table 1: Alpaca in two languages, and all pairs with Chinese, with Hindi.
  assert costs["data-coit-zh"].examples == 2 * 52_000 + 912_500
  assert costs["data-coit-hi"].examples == 2 * 52_000 + 234_300
  assert costs["model-coit-zh"].steps == 7942 * 3
  pairs = 1_097_200 + 620_800 + 234_300 + 477_700 + 1_073_800 + 912_500
  assert costs["data-muit"].examples == 7 * 52_000 + pairs
  # Table 4: 50,000 and 200,000 of each, or so many in all.
  uniform = systems["muit-1200000-uniform"].recipe["parts"][-1]["counts"]
  assert set(uniform.values()) == {200_000}
  for kind in ("uniform", "optimised"):
    step = f"data-muit-300000-{kind}"
    assert costs[step].examples == 7 * 52_000 + 300_000
    # 600 and 300 characters a row.
    characters = 7 * 52_000 * 600 + 300_000 * 300
    assert costs[step].tokens == pytest.approx(characters / 2.5, abs=2)


def _mlit(capsys, *arguments):
  code = main.main(["study", *arguments])
  out = capsys.readouterr()
  return code, out.out, out.err


PAPERS = (
    "pinch:paper", "pinch:paper_slavic", "alpaca:paper", "alpaca:paper_full",
    "alpaca:paper_all",
    "polyglot:paper", "lucky52:paper", "xllama:paper",
)


@pytest.mark.parametrize("spec", PAPERS)
def test_what_is_missing_is_one_line(capsys, tmp_path, spec):
  workdir = tmp_path / "run"
  code, _, error = _mlit(capsys, spec, "--workdir", str(workdir))
  assert code == 2
  assert error.count("\n") == 1
  assert "--study.base=DIR" in error and "--study.sources." in error
  assert not workdir.exists()


def test_only_what_is_wanted_is_missing(capsys, tmp_path):
  code, _, error = _mlit(
      capsys, "polyglot:paper", "--workdir", str(tmp_path / "run"), "--only",
      "data-many-mono-de",
  )
  assert code == 2
  assert "bactrian_x=READER:PATH (up to 64,000 rows a language)" in error
  assert "lima_x" not in error and "mt_bench_x" not in error


def test_a_plan_says_what_it_assumes(capsys):
  code, out, _ = _mlit(
      capsys, "pinch:paper_slavic", "--plan", "--accelerator", "v5p-64",
      "--price", "4", "--study.judging.price=1,4",
  )
  assert code == 0
  (line,) = [x for x in out.splitlines() if x.startswith("not there yet")]
  assert "--study.sources.alpacafarm=READER:PATH (up to 617 rows a" in line
  assert "cost of the judge, at most: $" in out
  assert "hours on v5p-64 (32 chips" in out


@pytest.mark.parametrize("arguments, words", [
    (("alpaca:paper", "--study.model=bloom_7b"), "did you mean 'bloom_7b1'"),
    (("alpaca", "--study.model=large"), "known: base, small"),
    (("alpaca:paper", "--study.other_bases.x=/nowhere"), "--study.base=DIR"),
    (("alpaca:paper", "--study.other_bases.x-y=/nowhere"), "take a word of"),
    (("alpaca", "--study.other_bases.small=/nowhere"), "did you mean"),
    (("pinch", "--study.other_bases.x=/nowhere"), "has one base"),
    (("lucky52:paper", "--study.sources.xcopa=rows:/tmp"),
     "BENCHMARK:DIRECTORY"),
    (("lucky52:paper", "--study.sources.xcopa=xcopa:/nowhere"),
     "BENCHMARK:DIRECTORY"),
    (("alpaca:paper", "--study.sources.alpaca=expected:many:1", "--plan"),
     "write expected:ROWS:CHARACTERS"),
])
def test_wrong_use_is_one_line(capsys, tmp_path, arguments, words):
  code, _, error = _mlit(capsys, *arguments, "--workdir", str(tmp_path / "x"))
  assert code == 2
  assert words in error and error.count("\n") == 1


def test_model_narrows_the_pocket_preset():
  _, costs, _ = _planned("alpaca:pocket", "--study.model=small")
  assert not any(step.startswith("model-small") for step in costs)
  assert "model-mono-en" in costs
  both = _planned("alpaca:pocket")[1]
  assert costs["model-mono-en"].flops == both["model-small-mono-en"].flops


def test_a_plan_with_some_of_the_data(given):
  _, costs, _ = _planned(
      "xllama:paper", "--study.languages=en,es", "--study.ablated_language=es",
      "--study.experiments=", "--study.num_pairs=300000",
      "--study.budgets=1000",
      f"--study.sources.into=rows:{given / 'train.jsonl'}",
  )
  assert costs["data-coit-es"].examples == 2 * 52_000 + 300_000
  # 600 characters of a row are assumed; "uno dos tres 0?", a line's end and
  # "uno dos tres" are 28, and in two of twelve rows one more.
  characters = 2 * 52_000 * 600 + 300_000 * (28 + 2 / 12)
  assert costs["data-coit-es"].tokens == pytest.approx(characters / 2.5)


@pytest.mark.slow
def test_lora_on_ones_own_base_and_rows_to_a_report(given, tmp_path, capsys):
  arguments = (
      "alpaca:paper", "--workdir", str(tmp_path / "run"), "--jobs", "1",
      f"--study.base={given / 'base'}", "--study.languages=en,es",
      "--study.test_languages=en,es", "--study.unseen_languages=bn",
      f"--study.sources.alpaca=rows:{given / 'train.jsonl'}",
      f"--study.sources.oasst=rows:{given / 'questions.jsonl'}",
      "--study.num_examples=12", "--study.tune.batch_size=4",
      "--study.tune.held_out=0", "--study.tune.validate_every=0",
      "--study.tune.row_length=48", "--study.tune.epochs=2",
      "--study.max_new_tokens=8", "--study.decode_batch_size=4",
      "--study.judge=reference", "--study.budgets=all",
  )
  code, _, error = _mlit(capsys, *arguments)
  assert code == 0, error
  run = tmp_path / "run"
  results = json.loads((run / "results.json").read_text())
  assert results["preset"] == "paper"
  assert results["systems"]["all"]["counts"] == {"en": 12, "es": 12}
  assert results["systems"]["all"]["steps"] == 6 * 2
  assert (run / "report.html").stat().st_size > 10_000
  step = run / "steps" / "model-all"
  assert (step / "adapter" / "adapter_model.safetensors").is_file()
  assert (step / "model").resolve() == (given / "base").resolve()
  # The adapter has learnt, and it is what answers.
  base, tuned = (
      (run / "steps" / f"decode-{x}" / "responses.jsonl").read_text()
      for x in ("base", "all")
  )
  assert base.replace('"base"', '"all"') != tuned
  # Merged, it is another model than its base.
  _, params = steps_answers.load(step / "model")
  _, plain = huggingface.load(given / "base")
  query = params["blocks"]["attention"]["query"]
  assert abs(query - plain["blocks"]["attention"]["query"]).max() > 0
  assert (params["embedding"] == plain["embedding"]).all()


@pytest.mark.slow
def test_benchmarks_on_ones_own_base_to_a_report(given, tmp_path, capsys):
  for lang in ("sw", "et"):
    rows = [
        {"premise": f"moja {i}.", "choice1": "One two.", "choice2": "Three.",
         "question": ("cause", "effect")[i % 2], "label": i % 2}
        for i in range(4)
    ]
    (tmp_path / f"test.{lang}.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
  code, _, error = _mlit(
      capsys, "lucky52:paper", "--workdir", str(tmp_path / "run"), "--jobs",
      "1", f"--study.base={given / 'base'}", "--study.tests=xcopa",
      f"--study.sources.xcopa=xcopa:{tmp_path}", "--study.outlier=",
      f"--study.sources.bactrian_x=rows:{given / 'train.jsonl'}",
      "--study.languages=en,es,sw,et", "--study.tuned_languages=en,es",
      "--study.num_examples=12", "--study.tune.batch_size=4",
      "--study.tune.row_length=48", "--study.tune.epochs=1",
  )
  assert code == 0, error
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  found = results["tests"]["xcopa"]
  assert found["languages"] == ["sw", "et"]
  assert found["base"]["n"] == 2 * 4
  # BLOOM has read Swahili, and Estonian nobody has here.
  assert set(found["systems"]["first-02"]["groups"]) == {
      "base only", "neither",
  }
  rows = (tmp_path / "run" / "answers.jsonl").read_text().splitlines()
  assert len(rows) == 2 * 4
  assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_ones_own_translations_and_texts_to_a_report(given, tmp_path, capsys):
  def write(name, rows):
    (tmp_path / name).write_text("".join(f"{row}\n" for row in rows))
    return tmp_path / name

  pairs = write("pairs.jsonl", (
      json.dumps({"id": f"{i}", "lang": "es", "prompt": f"Translate: one {i}",
                  "response": f"uno {i}"}) for i in range(8)
  ))
  reading = write("reading.jsonl", (
      json.dumps({"id": f"{i}", "lang": lang, "response": "two",
                  "prompt": f"one two three {i}\nWhat is second?"})
      for i in range(3) for lang in ("en", "es")
  ))
  texts = tmp_path / "texts"
  texts.mkdir()
  for lang, word in (("en", "one"), ("es", "uno")):
    write(f"texts/{lang}.txt", (f"{word} {word} {i}" for i in range(6)))
  code, _, error = _mlit(
      capsys, "xllama:paper", "--workdir", str(tmp_path / "run"), "--jobs",
      "1", f"--study.base={given / 'base'}", "--study.judge=reference",
      "--study.languages=en,es", "--study.experiments=monolingual",
      "--study.ablated_language=es", "--study.num_examples=8",
      "--study.num_pairs=8", "--study.sizes=4",
      "--study.document_sizes=2,4", "--study.budgets=4",
      f"--study.sources.alpaca=rows:{given / 'train.jsonl'}",
      f"--study.sources.mi_eval=rows:{given / 'questions.jsonl'}",
      f"--study.sources.into=rows:{pairs}",
      f"--study.sources.into-test=rows:{pairs}",
      f"--study.sources.out-of-test=rows:{pairs}",
      f"--study.sources.reading=rows:{reading}",
      f"--study.sources.sentences=text:{texts}",
      f"--study.sources.documents=text:{texts}",
      "--study.tune.batch_size=4", "--study.tune.row_length=64",
      "--study.tune.epochs=1", "--study.reading_on.row_length=32",
      "--study.reading_on.batch_size=1", "--study.max_new_tokens=8",
      "--study.decode_batch_size=4",
  )
  assert code == 0, error
  run = tmp_path / "run"
  results = json.loads((run / "results.json").read_text())
  assert results["systems"]["coit-es"]["counts"] == {"en": 8, "es": 8 + 8}
  assert results["translation"]["into"]["coit-es"]["es"]["n"] == 8
  assert results["questions"]["coit-es"]["es"]["n"] == 3
  assert [p["x"] for p in results["monolingual"]["points"]] == [2, 4]
  assert results["representation"]["base"][0]["n"] == 6
  assert (run / "report.html").stat().st_size > 10_000
