"""Lucky 52's correlation tables, on accuracies made up to have some."""

import json

import pytest

from mlit_jax import records
from mlit_jax.analysis import similarity
from mlit_jax.commands import study as command
from mlit_jax.errors import UsageError
from mlit_jax.studies import lucky52, lucky52_results, material
from mlit_jax.studies.report.views import lucky52 as view

ORDER = ("en", "fi", "zh", "et", "es")


def _config(*overrides):
  return command.load("lucky52", [
      "--study.languages=en,fi,zh,et,es,sw",
      f"--study.tuned_languages={','.join(ORDER)}", *overrides,
  ])[2]


def _rows(accuracy):
  """Accuracies by system as results.json holds them."""
  rows = {}
  for k in range(1, len(ORDER) + 1):
    values = {x: {"value": accuracy(x, k)} for x in (*ORDER, "sw")}
    mean = sum(v["value"] for v in values.values()) / len(values)
    rows[lucky52.model_name(k)] = {"languages": values, "all": {"value": mean}}
  return rows


def test_accuracy_made_of_a_similarity_correlates_with_it_alone():
  genetic = similarity.uriel("genetic")
  rows = _rows(
      lambda lang, k: 50 + 9 * similarity.aggregate(genetic, ORDER[:k], lang)
  )
  found = lucky52_results._correlations(rows, _config())
  for lang in ("en", "fi", "et", "es"):
    table = found["languages"][lang]
    assert table["genetic"]["everything"]["r"] == 1
    assert table["number"]["everything"]["r"] < 0.97
  # No language of the order is of Swahili's family.
  assert found["languages"]["sw"]["genetic"]["everything"]["r"] is None


def test_choices_of_one_cluster_are_counted_together(tmp_path):
  """A schema's twins, as in XWinograd, stand or fall together."""
  (tmp_path / "xwinograd").mkdir()
  records.write_text(tmp_path / "xwinograd" / "en.jsonl", [
      json.dumps({
          "sentence": f"The {thing} misses the door, as _ is too {how}.",
          "option1": f"the {thing}", "option2": "the door", "answer": answer,
      }) + "\n"
      for thing in ("box", "bed", "car")
      for how, answer in (("large", "1"), ("small", "2"))
  ])
  choices = material.choices(
      "xwinograd", ("en",), {"xwinograd": f"xwinograd:{tmp_path}"}
  )
  rows = [
      {"test": "xwinograd", "id": x.id, "lang": "en", "right": 0,
       "logprobs": [-1.0, -2.0] if i < 4 else [-2.0, -1.0]}
      for i, x in enumerate(choices)
  ]
  lines = [json.dumps(row) + "\n" for row in rows]
  records.write_text(tmp_path / "scores.jsonl", lines)
  twins = {("xwinograd", x.id, "en"): x.cluster for x in choices}
  found = lucky52_results._values(tmp_path / "scores.jsonl", twins)
  names, values = zip(*found["xwinograd"]["en"], strict=True)
  assert values == (1, 1, 1, 1, 0, 0)
  assert names[::2] == names[1::2] and len(set(names)) == 3
  del twins["xwinograd", rows[2]["id"], "en"]
  with pytest.raises(records.RecordError, match=r"any more; do .*score-\*"):
    lucky52_results._values(tmp_path / "scores.jsonl", twins)


def test_the_checkpoint_that_matters_most_is_left_out():
  rows = _rows(lambda lang, k: 10.0 if k == 4 else 50.0 + k)
  found = lucky52_results._correlations(rows, _config())
  assert found["outlier"] == "et" and not found["chosen"]
  assert found["languages"]["en"]["number"]["without"]["r"] == 1
  named = lucky52_results._correlations(rows, _config("--study.outlier=en"))
  assert named["outlier"] == "en" and named["chosen"]
  table = view._correlations(
      {"tests": {"answers": {"correlations": found, "points": [0] * 5}},
       "languages": [*ORDER, "sw"]}, "answers",
  )
  assert table.rows[1][0] == "number of languages, without Estonian"
  assert [c.value for c in table.rows[1][1]] == [1] * 6
  assert len(table.rows) == 8


def test_a_table_of_sounds_is_the_seventh_measure(tmp_path):
  path = tmp_path / "sounds.csv"
  codes = [*ORDER, "sw"]
  lines = [
      f"{a},{b},0.{i}" for i, a in enumerate(codes, 1) for b in codes[i:]
  ]
  path.write_text("\n".join(["a,b,similarity", *lines]))
  rows = _rows(lambda lang, k: 50.0 + k)
  found = lucky52_results._correlations(
      rows, _config(f"--study.sounds={path}")
  )
  assert found["measures"][-1] == "sound" and len(found["measures"]) == 8
  path.write_text("\n".join(["a,b,similarity", *lines[:-1]]))
  with pytest.raises(UsageError, match="no similarity of es and sw"):
    _config(f"--study.sounds={path}")
