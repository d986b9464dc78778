"""Means over languages: what is drawn together, and how sure they are."""

import csv
import fcntl
import json

import pytest

from mlit_jax import main, records
from mlit_jax.analysis import resampling
from mlit_jax.data.sources.rows import Row
from mlit_jax.errors import UsageError
from mlit_jax.evals import (
  benchmarks,
  comparison,
  multiple_choice,
  outcomes,
  settings,
  tables,
)
from mlit_jax.evals.items import BenchmarkError


def _squad(path, contexts):
  """{context: ids of its questions} as a file of SQuAD's form, or rows."""
  qas = {
      context: [
          {"id": id_, "question": "Q?", "answers": [{"text": "a"}]}
          for id_ in ids
      ]
      for context, ids in contexts.items()
  }
  if path.suffix == ".json":
    path.write_text(json.dumps({"data": [{
        "paragraphs": [
            {"context": context, "qas": asked} for context, asked in qas.items()
        ]
    }]}))
    return
  path.write_text("".join(
      json.dumps({
          "id": one["id"], "context": context, "question": "Q?",
          "answers": {"text": ["a"]},
      }) + "\n"
      for context, asked in qas.items() for one in asked
  ))


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_questions_of_a_text_are_a_cluster_in_every_language(tmp_path, suffix):
  _squad(tmp_path / f"xquad.en.{suffix}", {"one": ["c", "b"], "two": ["d"]})
  _squad(tmp_path / f"xquad.es.{suffix}", {"dos": ["d"], "uno": ["b", "c"]})
  items = benchmarks.BENCHMARKS["xquad"].items
  found = {
      lang: {item.id: item.cluster for item in items(tmp_path, lang)}
      for lang in ("en", "es")
  }
  assert found["en"] == found["es"] == {"b": "b", "c": "b", "d": "d"}


def _results(tmp_path, rows, name="mlqa", metric="exact_match"):
  """Writes rows {lang: [(id, cluster, score)]}; their summaries."""
  results = {}
  for lang, given in rows.items():
    written = [
        {"id": id_, "cluster": cluster, "is_cut": False,
         "scores": {metric: score, "f1": score / 2}}
        for id_, cluster, score in given
    ]
    outcomes.write_rows(tmp_path, name, lang, written)
    results[lang] = outcomes.summary(name, written)
  return results


def test_a_text_whose_first_question_a_language_lacks_is_the_same(tmp_path):
  # MLQA's languages have some of the questions of a text each. en names the
  # text after "a", which de lacks.
  rows = {
      "en": [("a", "a", 1.0), ("b", "a", 0.0), ("x", "x", 1.0)],
      "de": [("b", "b", 0.0), ("c", "b", 0.0), ("x", "x", 1.0)],
  }
  results = _results(tmp_path, rows)
  found = outcomes.macro(tmp_path, "mlqa", ["en", "de"], results)
  want = resampling.macro_interval([
      ([1.0, 0.0, 1.0], ["t", "t", "x"]), ([0.0, 0.0, 1.0], ["t", "t", "x"]),
  ])
  assert found["ci"] == list(want)
  apart = resampling.macro_interval([
      ([1.0, 0.0, 1.0], ["t", "t", "x"]), ([0.0, 0.0, 1.0], ["u", "u", "x"]),
  ])
  assert apart != want
  assert found["score"] == (2 / 3 + 1 / 3) / 2
  assert found["also"]["f1"]["score"] == found["score"] / 2
  low, high = found["also"]["f1"]["ci"]
  assert (2 * low, 2 * high) == pytest.approx(want)


def test_one_language_alone_has_its_own_interval(tmp_path):
  rows = {
      "en": [("a", "a", 0.0), ("b", "b", 0.0)],
      "de": [("a", "a", 0.0), ("b", "b", 0.0)],
  }
  results = _results(tmp_path, rows)
  low, high = results["en"]["ci"]
  assert low == 0 < high  # none right of two is not surely none
  alone = outcomes.macro(tmp_path, "mlqa", ["en"], results)
  assert alone["ci"] == results["en"]["ci"]
  assert alone["also"]["f1"]["ci"] == results["en"]["also"]["f1"]["ci"]
  both = outcomes.macro(tmp_path, "mlqa", ["en", "de"], results)
  assert both["score"] == 0 and both["ci"] is None
  groups = tables.write(tmp_path, {"mlqa": results}, ["en"], None)["mlqa"]
  assert {k: v["languages"] for k, v in groups.items()} == {
      "all": ["en", "de"], "base": ["en"], "not base": ["de"],
  }
  with open(tmp_path / "tables" / "mlqa.csv") as file:
    table = {row["language"]: row for row in csv.DictReader(file)}
  assert table["(base: en)"]["exact_match_high"] == f"{high:.6g}"
  assert table["(base: en)"]["f1"] == "0"
  assert table["(all: en de)"]["exact_match_high"] == ""


@pytest.mark.parametrize(
    "base, tuned, want",
    [
        (["en"], ["es"], {
            "base+tuned": [], "base only": ["en"], "tuned only": ["es"],
            "neither": ["sw"],
        }),
        (["en"], None, {"base": ["en"], "not base": ["es", "sw"]}),
        (None, ["es"], {"tuned": ["es"], "not tuned": ["en", "sw"]}),
        ([], None, {"base": [], "not base": ["en", "es", "sw"]}),
    ],
)
def test_groups_claim_nothing_that_was_not_said(base, tuned, want):
  assert tables.exposure(["en", "es", "sw"], base, tuned) == want


def test_the_two_sentences_of_a_schema_are_a_cluster():
  def row(index, sentence, *options):
    data = {"sentence": sentence, "answer": "1"}
    data |= {f"option{i}": text for i, text in enumerate(options, 1)}
    return Row("x", 1, index, data)

  rows = [
      row(0, "The cup fits the bag: _ is small.", "cup", "bag"),
      row(1, "The cup fits the bag: _ is large.", "bag", "cup"),
      row(2, "The cat sees the dog: _ is glad.", "cat", "dog"),
  ]
  found = list(multiple_choice.xwinograd(rows, "en", True))
  assert [item.cluster for item in found] == ["en/0", "en/0", "en/2"]
  assert len({item.id for item in found}) == 3


@pytest.fixture
def evaluated(tmp_path):
  """Two folders of results."""
  for name in ("one", "two"):
    rows = {"en": [("a", "a", 1.0), ("b", "b", 0.0)]}
    results = _results(tmp_path / name, rows)
    outcomes.write_results(tmp_path / name, {"mlqa": results})
  return tmp_path / "one", tmp_path / "two"


def test_what_cannot_be_compared_is_told(evaluated, tmp_path):
  one, two = evaluated
  assert comparison.compare(one, two)["mlqa"]["en"]["exact_match"]["n"] == 2
  with pytest.raises(BenchmarkError, match="none: has no results.json; give"):
    comparison.compare(one, tmp_path / "none")
  outcomes.rows_path(two, "mlqa", "en").unlink()
  with pytest.raises(BenchmarkError, match=r"en.jsonl: is not there; run mlit"):
    comparison.compare(one, two)
  for text in ("[]", '{"mlqa": 3}', "{"):
    (two / "results.json").write_text(text)
    with pytest.raises(records.RecordError, match="not results of mlit eval"):
      comparison.compare(one, two)


@pytest.mark.long
def test_a_folder_that_another_eval_writes_is_left_alone(tmp_path, capsys):
  random_models = pytest.importorskip("random_models")
  model = random_models.write("llama", tmp_path / "model")
  (tmp_path / "mgsm_sw.tsv").write_text("Moja na mbili?\t3\n")
  out = tmp_path / "out"
  out.mkdir()
  with open(out / ".lock", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    assert main.main([
        "eval", "mgsm:direct", "--model", str(model), "--data", str(tmp_path),
        "--output", str(out),
    ]) == 2
  told = "another mlit is working there; wait for it or choose another --output"
  assert told in capsys.readouterr().err
  assert [p.name for p in out.iterdir()] == [".lock"]


def test_an_edited_template_file_is_another_template(tmp_path):
  (tmp_path / "model").mkdir()
  template, out = tmp_path / "t.toml", tmp_path / "out"
  template.write_text('before = {user = "Q: "}\n')
  before = settings.describe(tmp_path / "model", str(template))
  settings.keep(out, before)
  settings.check(out, settings.describe(tmp_path / "model", str(template)))
  template.write_text('before = {user = "Frage: "}\n')
  with pytest.raises(UsageError, match="of another model, adapter, template"):
    settings.check(out, settings.describe(tmp_path / "model", str(template)))


def test_versions_that_had_a_part_are_noted(tmp_path, monkeypatch):
  (tmp_path / "model").mkdir()
  wanted, out = settings.describe(tmp_path / "model", None), tmp_path / "out"
  for version in ("0.1.0", "0.2.0", "0.2.0"):
    monkeypatch.setattr("mlit_jax.__version__", version)
    settings.check(out, wanted)  # another version may go on
    settings.keep(out, wanted)
  kept = json.loads((out / "settings.json").read_text())
  assert kept.pop("mlit_jax") == ["0.1.0", "0.2.0"] and kept == wanted
  (out / "settings.json").write_text("[]")
  with pytest.raises(records.RecordError, match=r"settings\.json: no settings"):
    settings.check(out, wanted)


@pytest.mark.parametrize("text", ["lucky52:0", "lucky52:53", "lucky52:x"])
def test_a_set_is_cut_within_its_length(text):
  assert len(tables.parse_languages("lucky52:52")) == 52
  assert tables.parse_languages("lucky52:2") == ("en", "zh")
  with pytest.raises(UsageError, match="a number from 1 to 52"):
    tables.parse_languages(text)
