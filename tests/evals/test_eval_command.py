"""mlit eval from files to results, with a small random model."""

import csv
import json

import pytest

from mlit_jax import languages, main
from mlit_jax.evals import outcomes, tables

pytest.importorskip("sacrebleu")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.long]

import small_tokenizers  # noqa: E402

LINES = small_tokenizers.DOORS


def _model(place, seed):
  small_tokenizers.write("llama", place, LINES)
  tokenizer = transformers.AutoTokenizer.from_pretrained(place)
  torch.manual_seed(seed)
  config = transformers.LlamaConfig(
      vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48,
      num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
      max_position_embeddings=128, bos_token_id=tokenizer.bos_token_id,
      eos_token_id=tokenizer.eos_token_id,
  )
  model = transformers.AutoModelForCausalLM.from_config(config)
  with torch.no_grad():
    for weight in model.parameters():
      weight.add_(0.2 * torch.randn_like(weight))
  model.save_pretrained(place)
  return str(place)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
  folder = tmp_path_factory.mktemp("models")
  return [_model(folder / name, i) for i, name in enumerate("ab")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """Six XCOPA items in two languages, questions, sentences, a sum."""
  place = tmp_path_factory.mktemp("data")
  for lang, line in (("et", LINES[1]), ("sw", LINES[2])):
    rows = [
        {"premise": line[: 20 + i] + ".", "choice1": line[-9 - i :],
         "choice2": LINES[i % 4][:12], "question": ("cause", "effect")[i % 2],
         "label": i % 2, "idx": i}
        for i in range(6)
    ]
    _write(place / f"xcopa/test.{lang}.jsonl", map(json.dumps, rows))
  paragraphs = [
      {"context": line * (1 + 6 * n), "qas": [
          {"id": f"{n}{i}", "question": "?", "answers": [{"text": line[:4]}]}
          for i in range(2)
      ]}
      for n, line in enumerate(LINES[:2])
  ]
  (place / "xquad.en.json").write_text(
      json.dumps({"data": [{"paragraphs": paragraphs}]})
  )
  for code, line in (("eng_Latn", LINES[0]), ("est_Latn", LINES[1])):
    _write(place / f"flores/devtest/{code}.devtest", [line, line[:20]])
  _write(place / "mgsm_sw.tsv", ["Moja na mbili?\t3"])
  example = {"question": "1 + 1?", "answer": "2.", "answer_number": 2}
  _write(place / "exemplars_sw.jsonl", [json.dumps(example)] * 2)
  sentence = {"sentence": "A _ b.", "option1": "c", "option2": "d"}
  _write(place / "en.jsonl", [json.dumps(sentence | {"answer": "1"})])
  return str(place)


def _write(path, lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(line + "\n" for line in lines))


def _run(model, data, output, *rest, tasks="xcopa"):
  return main.main([
      "eval", tasks, "--model", model, "--data", data, "--output", str(output),
      "--batch_size", "4", *rest,
  ])


@pytest.fixture(scope="module")
def output(models, data, tmp_path_factory):
  """Two models' results on all of it."""
  folder = tmp_path_factory.mktemp("out")
  groups = ("--seen_by_base", "bloom", "--tuned_on", "lucky52:11")
  for model, name, tasks in (
      (models[0], "a", "xcopa,xquad,flores,mgsm"),
      (models[1], "b", "xcopa,flores:to_en"),
  ):
    assert _run(model, data, folder / name, *groups, tasks=tasks) == 0
  assert _run(
      models[0], data, folder / "shots", "--shots", "2", tasks="mgsm:direct"
  ) == 0
  return folder


def test_results_hold_task_language_metric(output):
  results = json.loads((output / "a" / "results.json").read_text())
  assert {task: list(by_lang) for task, by_lang in results.items()} == {
      "flores:from_en": ["et"], "flores:to_en": ["et"], "mgsm": ["sw"],
      "mgsm:direct": ["sw"], "xcopa": ["et", "sw"],
      "xcopa:corrected": ["et", "sw"], "xquad": ["en"],
  }
  for task, by_lang in results.items():
    for lang, entry in by_lang.items():
      low, high = entry["ci"]
      assert low <= entry["score"] <= high, task
      rows = outcomes.read_rows(output / "a", task, lang)
      assert entry["n"] == len(rows)
      if entry["metric"] != "chrf++":
        values = [row["scores"][entry["metric"]] for row in rows]
        assert entry["score"] == sum(values) / len(values)
  assert results["xquad"]["en"]["also"].keys() == {"f1", "contains"}
  # 128 tokens are read at once, and the texts are longer.
  assert results["xquad"]["en"]["cut"] == 2
  with open(output / "a" / "tables" / "xcopa.csv") as file:
    table = {row["language"]: row for row in csv.DictReader(file)}
  assert float(table["sw"]["accuracy"]) == pytest.approx(
      results["xcopa"]["sw"]["score"], rel=1e-5
  )
  assert "(tuned only: et)" in table


def test_rows_say_what_was_asked_and_answered(output):
  (first, *_) = outcomes.read_rows(output / "a", "xcopa", "sw")
  best = first["logprobs"].index(max(first["logprobs"]))
  assert first["scores"] == {"accuracy": float(best == first["right"])}
  assert first["options"][0][0].endswith("kwa sababu")
  (row, _) = outcomes.read_rows(output / "a", "flores:from_en", "et")
  assert row["source"] == LINES[0]
  assert row["references"] == [LINES[1]]
  assert "\n" not in row["answer"]


def test_examples_stand_before_the_question_and_in_the_results(
    output, models, data, capsys
):
  results = json.loads((output / "shots" / "results.json").read_text())
  assert results["mgsm:direct"]["sw"]["shots"] == 2
  (row,) = outcomes.read_rows(output / "shots", "mgsm:direct", "sw")
  assert row["prompt"] == (
      "Swali: 1 + 1?\nAnswer: 2\n\n" * 2 + "Swali: Moja na mbili?\nAnswer:"
  )
  (row,) = outcomes.read_rows(output / "a", "mgsm:direct", "sw")
  assert row["prompt"] == "Swali: Moja na mbili?\nAnswer:"
  # Numbers with and without examples do not mix in a folder.
  assert _run(models[0], data, output / "shots", tasks="mgsm") == 2
  assert "--shots or --dtype" in capsys.readouterr().err


def test_groups_are_means_over_languages(output):
  groups = json.loads((output / "a" / "groups.json").read_text())["xcopa"]
  results = json.loads((output / "a" / "results.json").read_text())["xcopa"]
  assert {g: v["languages"] for g, v in groups.items()} == {
      "all": ["et", "sw"], "base+tuned": [], "base only": ["sw"],
      "tuned only": ["et"], "neither": [],
  }
  assert groups["all"]["score"] == pytest.approx(
      (results["et"]["score"] + results["sw"]["score"]) / 2
  )
  assert groups["tuned only"]["score"] == results["et"]["score"]


def test_the_papers_exposure_groups_come_out_of_the_sets():
  # lucky52, section 3.2; Haitian is not among BLOOM's languages, and Japanese
  # is among the fifty-two, whatever the paper's groups say.
  found = {
      name: tables.exposure(
          languages.SETS[name], languages.SETS["bloom"],
          tables.parse_languages("lucky52"),
      )
      for name in ("xcopa", "xstorycloze", "xwinograd")
  }
  assert {
      name: [" ".join(langs) for langs in groups.values()]
      for name, groups in found.items()
  } == {
      "xcopa": ["id sw ta vi zh", "", "et it th tr", "ht qu"],
      "xstorycloze": ["ar en es hi id sw te zh", "eu", "my ru", ""],
      "xwinograd": ["en fr pt zh", "", "ja ru", ""],
  }


def test_a_second_run_asks_nothing_again(output, models, data, monkeypatch):
  from mlit_jax.evals import scoring

  def refuse(*args, **options):
    raise AssertionError("asked again")

  folder = output / "a"
  before = (folder / "results.json").read_bytes()
  monkeypatch.setattr(scoring.LanguageModel, "score", refuse)
  monkeypatch.setattr(scoring.LanguageModel, "generate", refuse)
  assert _run(models[0], data, folder, tasks="xcopa,flores,xquad,mgsm") == 0
  assert (folder / "results.json").read_bytes() == before
  with pytest.raises(AssertionError, match="asked again"):
    _run(models[0], data, folder, tasks="xwinograd")


def test_only_items_that_are_new_are_asked(
    models, data, tmp_path, monkeypatch
):
  from mlit_jax.evals import scoring

  command = (models[0], data, tmp_path / "out", "--languages", "sw")
  assert _run(*command, "--limit", "2", tasks="xcopa:corrected") == 0
  asked, score = [], scoring.LanguageModel.score
  monkeypatch.setattr(
      scoring.LanguageModel, "score",
      lambda self, rows, **options: (
          asked.extend(rows), score(self, rows, **options)
      )[1],
  )
  assert _run(*command, "--limit", "5", tasks="xcopa:corrected") == 0
  rows = outcomes.read_rows(tmp_path / "out", "xcopa:corrected", "sw")
  assert asked == [tuple(o) for row in rows[2:] for o in row["options"]]
  results = json.loads((tmp_path / "out/results.json").read_text())
  assert results["xcopa:corrected"]["sw"]["n"] == len(rows) == 5


def test_an_output_that_is_no_folder_is_said_at_once(models, data, capsys):
  assert _run(models[0], data, f"{models[0]}/config.json") == 2
  line = capsys.readouterr().err
  assert "cannot be a folder" in line and line.count("\n") == 1


def test_two_models_are_compared_item_by_item(output, tmp_path, capsys):
  folders = [str(output / name) for name in "ab"]
  command = ["eval", "--output", str(tmp_path), "--compare"]
  assert main.main([*command, *folders]) == 0
  found = json.loads((tmp_path / "comparison.json").read_text())
  rows = [outcomes.read_rows(f, "xcopa", "et") for f in folders]
  sums = [sum(r["scores"]["accuracy"] for r in side) for side in rows]
  entry = found["xcopa"]["et"]["accuracy"]
  assert entry["difference"] == pytest.approx((sums[1] - sums[0]) / 6)
  assert entry["p"] <= entry["p_holm"] <= 1
  assert found["flores:to_en"]["et"]["chrf++"]["n"] == 2
  assert "xcopa et accuracy" in capsys.readouterr().out
  assert main.main([*command, folders[0], folders[0]]) == 0
  same = json.loads((tmp_path / "comparison.json").read_text())
  for by_lang in same.values():
    for metrics in by_lang.values():
      for entry in metrics.values():
        assert (entry["difference"], entry["p"]) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ("xcopa --data DATA", 2, "name the tasks and --model"),
        ("xcopo --model MODEL", 2, "no benchmark 'xcopo'; there are xcopa,"),
        (
            "xcopa --model MODEL --data DATA --languages zh", 1,
            "no file for xcopa in zh; put xcopa/test.zh.jsonl",
        ),
        (
            "xstorycloze --model MODEL --data DATA", 1,
            "put xstorycloze/spring2016.val.ar.tsv.split_20_80_eval.tsv",
        ),
        ("mgsm --model MODEL --data DATA --languages et", 2, "it is in bn de"),
        ("mgsm --model MODEL --data DATA --languages xx", 2, "unknown lang"),
        ("mgsm --model MODEL --tuned_on lucky52:x", 2, "stands a number"),
        ("mgsm --model MODEL --data DATA --shots -1", 2, "from 0 up"),
        (
            "mgsm --model MODEL --data DATA --shots 3", 2,
            "mgsm has 2 examples in sw, fewer than --shots 3",
        ),
        ("xcopa --model MODEL --data DATA --shots 1", 2, "has no examples"),
        (
            "flores --model MODEL --data DATA --comet none.ckpt", 2,
            "download COMET's .ckpt file",
        ),
        ("xcopa --model MODEL --data DATA --limit 0", 2, "at least 1"),
        (
            "xcopa --model MODEL --data DATA --template nope", 2, "nope",
        ),
        (
            "xcopa --model NONE --data DATA", 2,
            "--model NONE: there is no such directory",
        ),
        (
            "xcopa --model MODEL --data DATA --comet none.ckpt", 2,
            "--comet and --bleurt are for flores",
        ),
        ("xcopa --compare A B", 2, "takes two folders and no task"),
        ("--compare none1 none2", 1, "none1: has no results.json; give a fold"),
    ],
)
def test_wrong_use_is_one_line(
    arguments, code, told, models, data, tmp_path, capsys
):
  words = arguments.replace("MODEL", models[0]).replace("DATA", data).split()
  folder = tmp_path / "out"
  assert main.main(["eval", *words, "--output", str(folder)]) == code
  line = capsys.readouterr().err
  assert told in line
  assert line.count("\n") == 1
  assert not folder.exists()


def test_a_folder_holds_one_models_results(output, models, data, capsys):
  assert _run(models[1], data, output / "a") == 2
  told = "another model, adapter, template, --shots or --dtype"
  assert told in capsys.readouterr().err


def test_an_option_that_cannot_be_scored_is_counted(models, tmp_path, capsys):
  # The end is longer than all that the model reads.
  rows = [
      {"premise": "A.", "choice1": text, "choice2": "c", "question": "cause",
       "label": 0}
      for text in ("b", "word " * 200)
  ]
  _write(tmp_path / "test.et.jsonl", map(json.dumps, rows))
  assert _run(models[0], str(tmp_path), tmp_path / "out") == 1
  (entry,) = json.loads((tmp_path / "out/results.json").read_text())[
      "xcopa"
  ].values()
  assert (entry["n"], entry["failed"]) == (1, 1)
  assert "2 items could not be scored" in capsys.readouterr().out
  (_, row) = outcomes.read_rows(tmp_path / "out", "xcopa", "et")
  assert "shorten it" in row["failure"]
  assert "scores" not in row
