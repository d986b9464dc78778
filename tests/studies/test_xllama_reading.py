"""Answers to questions about a text: matched, the first hundred, carried over.
"""

import pytest
import small_studies

from mlit_jax import records
from mlit_jax.analysis import statistics
from mlit_jax.studies import material, pipeline, steps, xllama_reading
from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import xllama
from mlit_jax.studies.study import Place


def _prompt(id_, lang, right, context=""):
  return records.Instruction(
      id_, lang, (records.Message("user", "?"),), right,
      extra={"context": context or f"{lang}: of {id_}"},
  )


def test_an_answer_is_the_reference_or_holds_it(tmp_path):
  """Of four: the same but for an article and a stop, held twice, and wrong."""
  texts = ("The Broncos.", "It was the broncos who won", "The Steelers",
           "Broncos, Steelers, and all the others of the text")
  step = tmp_path / pipeline.decoding("muit", material.READING)
  records.write_records(step / steps.RESPONSES, [
      records.Response(f"{i}", "en", "muit", text, "stop", 1)
      for i, text in enumerate(texts)
  ])
  prompts = [
      _prompt(f"{i}", x, "Broncos") for i in range(4) for x in ("en", "zh")
  ]
  place = Place(tmp_path / "results", tmp_path)
  texts = xllama_reading.clusters(prompts)
  found = xllama_reading.matched(place, "muit", prompts, texts)
  assert found["exact"]["en"]["value"] == 25
  assert found["contained"]["en"]["value"] == 75
  assert found["contained"]["en"]["n"] == 4
  assert found["exact"].keys() == {"en"}


def test_the_first_hundred_are_those_of_the_material():
  # Judged in another order than asked; the first hundred are all right.
  right = {
      "zh": [(f"{i}", float(i < 100)) for i in reversed(range(120))],
      "hi": [(f"{i}", 1.0) for i in range(100)],
  }
  prompts = [_prompt(f"{i}", x, "") for i in range(120) for x in ("zh", "hi")
             if x == "zh" or i < 100]
  texts = xllama_reading.clusters(prompts)
  found = xllama_reading.first(right, prompts, texts)
  # Hindi has no more than these.
  assert found.keys() == {"zh"}
  assert (found["zh"]["value"], found["zh"]["n"]) == (100, 100)


def test_what_is_right_in_english_is_looked_for_elsewhere():
  right = {
      "en": [("0", 1.0), ("1", 1.0), ("2", 1.0), ("3", 0.0), ("4", 1.0)],
      # The judge gave no verdict on 4.
      "zh": [("0", 1.0), ("1", 0.0), ("2", 1.0), ("3", 1.0)],
  }
  texts = {f"{i}": i for i in range(5)}
  found = xllama_reading.carried_over(right, "en", texts)
  assert found.keys() == {"zh"}
  assert found["zh"]["n"] == 3
  assert round(found["zh"]["value"], 3) == 66.667
  assert xllama_reading.carried_over(
      {"zh": right["zh"]}, "en", texts
  ) == {}


def test_the_page_draws_what_carried_over():
  results = small_studies.results("xllama")
  row = {"value": 60.0, "ci": [40.0, 75.0], "n": 30}
  results["questions_carried_over"]["muit"]["es"] = row
  section = next(
      x for x in xllama.view(results).sections if x.id == "consistency"
  )
  chart = section.items[0]
  assert isinstance(chart, spec.Chart) and chart.name == "carried_over"
  (point,) = [p for s in chart.series for p in s.points if p.y is not None]
  assert (point.y, point.low, point.n) == (60, 40, 30)
  assert point.place.search == "reading/"
  assert chart.basis.startswith("n = 30 behind each number; 95% intervals")


def test_questions_about_one_text_are_one_observation():
  """Ten texts with twenty questions each say as much as ten questions."""
  prompts = [
      _prompt(f"{text}-{i}", lang, "", context=f"{lang} {text}")
      for text in range(10) for i in range(20) for lang in ("en", "zh")
      # Chinese has lost the text of every first question.
      if lang == "en" or i
  ]
  clusters = xllama_reading.clusters(prompts)
  assert len(set(clusters.values())) == 10
  rows = [(p.id, float(p.id.startswith(("0", "1", "2")))) for p in prompts
          if p.lang == "en"]
  found = xllama_reading.rate(rows, clusters)
  alone = xllama_reading.rate(rows, {id_: id_ for id_, _ in rows})
  assert found["value"] == alone["value"] == 30 and found["n"] == 200
  low, high = statistics.mean_interval([1.0] * 3 + [0.0] * 7, range(10))
  assert found["ci"][0] == pytest.approx(100 * low, abs=3)
  assert found["ci"][1] == pytest.approx(100 * high, abs=3)
  assert alone["ci"][1] - alone["ci"][0] < 15
