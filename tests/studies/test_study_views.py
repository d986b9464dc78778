"""Figures of the studies' pages that group what was measured."""

import pytest
import small_studies

from mlit_jax.studies import polyglot_results
from mlit_jax.studies.report import drawing, svg
from mlit_jax.studies.report.views import (
    alpaca,
    common,
    lucky52,
    pinch,
    polyglot,
)


def _rate(value):
  return {"value": value, "n": 60, "ci": [value - 5, value + 5]}


def test_a_language_the_base_has_not_read_has_a_curve_with_a_break():
  order = ["en", "zh", "et"]
  systems = {"base": {"languages": {"et": _rate(50), "sw": _rate(40)}}}
  for k in (1, 2, 3):
    systems[f"first-{k:02d}"] = {
        "languages": {"et": _rate(50 + k), "sw": _rate(40 + k)}
    }
  results = {
      "order": {"languages": order},
      "exposure": {"tuning only": ["et"], "neither": ["sw"]},
      "tests": {"answers": {
          "languages": ["et", "sw"],
          "systems": systems,
          "points": [
              {"number": k, "added": order[k - 1], "system": f"first-{k:02d}"}
              for k in (1, 2, 3)
          ],
      }},
  }
  et, sw = lucky52._unread(results, "answers")
  assert [s.label for s in et.series] == ["not yet tuned on", "tuned on"]
  assert [p.y for p in et.series[0].points] == [51, 52, None]
  assert [p.y for p in et.series[1].points] == [None, None, 53]
  assert "Model 3 is the first" in et.reading and et.level[0] == 50
  assert [s.label for s in sw.series] == ["not yet tuned on"]
  assert "No model is tuned on Swahili" in sw.reading


def test_scores_stand_against_the_models_size_by_family():
  def row(total, n=60):
    return {
        "sum": total, "score": total / 60, "ci": [total / 60 - 0.1, 3.0],
        "n": n,
    }

  sizes = {"base": 700_000, "small": 300_000, "other": 1_100_000_000}
  ratio = {"base": 2, "small": 1, "other": 3}
  results = {
      "judge": {"spec": "reference", "is_language_model": False},
      "sizes": sizes,
      "families": {"base": "llama", "small": "llama", "other": "bloom"},
      "num_questions": 60,
      "test_languages": {"seen": ["en"], "unseen": ["sw"]},
      "budgets": {
          base: {
              "en": {"base": row(10 * k), "monolingual": row(60 * k)},
              "sw": {"base": row(20 * k)},
          }
          for base, k in ratio.items()
      },
      "growth": {
          "seen": {
              base: {"base": row(6 * k), "monolingual": row(30 * k)}
              for base, k in ratio.items()
          },
          "unseen": {base: {"base": row(3 * k)} for base, k in ratio.items()},
      },
  }
  (section,) = alpaca._growth(results)
  seen, table, unseen, _, english, swahili = section.items
  for figure in (seen, english):
    # Smallest first, whichever family is drawn first.
    assert figure.categories == ["300,000", "700,000", "1.1B"]
    assert "Judge: reference, not a language model." in figure.basis
    assert "95% intervals" in figure.basis
  assert {
      s.label: [(p.x, p.y) for p in s.points] for s in english.series
  } == {
      "llama: untuned base": [("300,000", 10), ("700,000", 20)],
      "bloom: untuned base": [("1.1B", 30)],
      "llama: its own monolingual model": [("300,000", 60), ("700,000", 120)],
      "bloom: its own monolingual model": [("1.1B", 180)],
  }
  assert [p.y for s in seen.series for p in s.points] == pytest.approx(
      [0.1, 0.2, 0.3, 0.5, 1.0, 1.5]
  )
  assert [(label, [c.value for c in cells]) for label, cells in table.rows] == [
      ("bloom: other", ["1,100,000,000", "0.30 [0.20, 3.00]",
                        "1.50 [1.40, 3.00]"]),
      ("llama: small", ["300,000", "0.10 [0.00, 3.00]", "0.50 [0.40, 3.00]"]),
      ("llama: base", ["700,000", "0.20 [0.10, 3.00]", "1.00 [0.90, 3.00]"]),
  ]
  assert "Judge: reference" in table.basis and "n = 60" in table.basis
  assert next(p.y for s in unseen.series for p in s.points) == 0.05
  assert "No model was tuned on Swahili" in swahili.reading
  # It is drawn, on the page and for print, with a line past what it lacks.
  assert str(svg.draw(seen)).count('class="mark"') == 6
  figure = drawing.figure(seen)
  names = [t.get_text() for t in figure.axes[0].get_xticklabels()]
  assert names == ["300,000", "700,000", "1.1B"]
  one = {"base": 700_000}
  assert alpaca._growth(results | {"sizes": one}) == []


def _variants(ways):
  """results.json of two bases, each tuned in some ways."""
  labels = {
      base if way == ways[0] else f"{base}-{way}": (base, way)
      for base in ("base", "small") for way in ways
  }
  score = {
      label: 1 + (base == "base") + 0.5 * (way == "lora")
      for label, (base, way) in labels.items()
  }
  row = {
      label: {
          budget: {"score": x, "ci": [x - 0.1, x + 0.1], "n": 60}
          for budget, x in (("base", 0.1), ("all", value))
      }
      for label, value in score.items()
  }
  return {
      "judge": {"spec": "reference", "is_language_model": False},
      "sizes": {"base": 700_000, "small": 300_000},
      "families": {"base": "llama", "small": "llama"},
      "variants": {
          label: {"base": base, "method": way}
          for label, (base, way) in labels.items()
      },
      "num_questions": 60,
      "test_languages": {"seen": ["en"], "unseen": []},
      "budgets": {
          label: {"en": {
              b: {"sum": 60 * x["score"], **x} for b, x in by_budget.items()
          }}
          for label, by_budget in row.items()
      },
      "growth": {"seen": row, "unseen": {}},
      "order": {"systems": []}, "systems": {}, "robustness": {},
      "change": {
          label: {
              budget: {"value": x, "ci": [x - 1, x + 1], "n": 60}
              for budget, x in (("base", 0.0), ("all", 10 * value))
          }
          for label, value in score.items()
      },
  }


def test_ways_of_tuning_stand_beside_each_other_at_every_size():
  results = _variants(["full", "lora"])
  (section,) = alpaca._methods(results)
  (chart,) = section.items
  untuned, every = chart.series
  assert {p.y for p in untuned.points} == {0.1}
  assert {p.x: p.y for p in every.points} == {
      "base full": 2, "base LoRA": 2.5, "small full": 1, "small LoRA": 1.5,
  }
  (section,) = alpaca._growth(results)
  charts = {x.name: x for x in section.items}
  assert set(charts) == {
      f"{kind}_{tail}" for kind in ("sizes_seen", "bases_seen", "sizes_en")
      for tail in ("full", "lora")
  }
  (_, best) = charts["sizes_seen_lora"].series
  assert [(p.x, p.y) for p in best.points] == [
      ("300,000", 1.5), ("700,000", 2.5)
  ]
  (_, best) = charts["sizes_en_full"].series
  assert [p.y for p in best.points] == [60, 120]
  (section,) = alpaca._robustness(results)
  _, full, lora = section.items
  assert [p.y for p in full.series[1].points] == [10, 20]
  assert [p.y for p in lora.series[1].points] == [15, 25]
  assert "LoRA" in lora.title and "95% interval" in lora.basis
  assert (lora.series[1].points[0].low, lora.series[1].points[0].n) == (14, 60)


def test_one_way_of_tuning_is_not_named():
  results = _variants(["lora"])
  assert alpaca._methods(results) == []
  (section,) = alpaca._growth(results)
  assert [x.name for x in section.items] == [
      "sizes_seen", "bases_seen", "sizes_en"
  ]
  results["sizes"] = {"base": 700_000}
  del results["variants"]["small"], results["budgets"]["small"]
  assert alpaca._growth(results) == []
  (section,) = alpaca._robustness(results)
  assert len(section.items) == 1
  del results["robustness"]
  assert alpaca._robustness(results) == []


def _judged(score):
  return {"score": score, "n": 50, "ci": [score - 5, score + 5]}


def test_related_languages_are_read_against_branch_script_and_intelligibility():
  """Serbian and Croatian: one branch, two scripts, and intelligible."""
  codes = ["ru", "sr", "hr"]
  scores = {"ru": {"sr": 40, "hr": 10}, "sr": {"ru": 30, "hr": 60},
            "hr": {"ru": 20, "sr": 70}}
  results = {"judge": {"spec": "reference", "is_language_model": False}}
  heat_map = {
      f"mono-{a}": {b: _judged(v) for b, v in row.items()} | {a: None}
      for a, row in scores.items()
  }
  section = pinch._family(results, {"languages": codes, "heat_map": heat_map})
  table, relations = section.items
  assert (
      "Slavic-East (Cyrl): Russian; Slavic-South (Cyrl): Serbian; Slavic-South"
      " (Latn): Croatian" in table.reading
  )
  found = {k: [c.value for c in cells] for k, cells in relations.rows}
  assert found == {
      "of one branch": [65, 2], "of different branches": [25, 4],
      "in one script": [35, 2], "in different scripts": [40, 4],
      "mutually intelligible": [65, 2],
  }


def test_a_gain_is_a_ratio_of_means():
  ids = [f"{i}" for i in range(20)]
  ours, own = [6.0, 9.0] * 10, [5.0, 5.0] * 10
  found = polyglot_results.gain((ours, ids), [(own, ids), ([7.0] * 20, ids)])
  # 7.5 over the mean of 5 and 7.
  assert (found["value"], found["n"]) == (25.0, 20)
  low, high = found["ci"]
  assert 10 < low < 25 < high < 40
  nothing = {"value": None, "ci": [None, None], "n": 0}
  assert polyglot_results.gain((ours, ids), [([], [])]) == nothing
  assert polyglot_results.gain(([], []), [(own, ids)]) == nothing


def test_the_first_languages_have_a_curve_of_their_own():
  order = ["en", "zh", "et"]
  systems = {
      f"first-{k:02d}": {
          "languages": {"en": _rate(60 + k), "zh": _rate(50 - k)}
      }
      for k in (1, 2, 3)
  }
  systems["base"] = {"languages": {"en": _rate(55), "zh": _rate(40)}}
  results = {
      "order": {"languages": order},
      "tests": {"answers": {
          "languages": ["en", "zh"], "systems": systems,
          "points": [
              {"number": k, "added": order[k - 1], "system": f"first-{k:02d}"}
              for k in (1, 2, 3)
          ],
      }},
  }
  (chart,) = lucky52._references(results, "answers")
  assert {s.label: [p.y for p in s.points] for s in chart.series} == {
      "English": [61, 62, 63], "Chinese": [49, 48, 47],
      # The base's level, flat; its interval once, and no number of the paper.
      "English, untuned base": [55, 55, 55],
      "Chinese, untuned base": [40, 40, 40],
  }
  flat = chart.series[2].points
  assert [p.low is None for p in flat] == [False, True, True]
  assert [p.x for p in flat] == [p.x for p in chart.series[0].points]
  assert flat[0].place.left == "base"
  assert "measured here" in chart.reading and "no numbers" in chart.reading
  results["tests"]["answers"]["languages"] = ["et"]
  assert lucky52._references(results, "answers") == []


@pytest.mark.parametrize("steps, words", [
    (2, "rows are packed"), (5, "an example is a row"),
    (6, "a batch of its own"),
])
def test_updates_say_whether_rows_were_packed(steps, words):
  rows = [{"number": 1, "formula": 5, "steps": steps}]
  (table,) = lucky52._updates({"updates": rows}).items
  assert words in table.reading


@pytest.mark.parametrize(
    "failures, title, text",
    [
        ({}, "No failures.", "Each of the 1,200 judgments gave a verdict."),
        (
            {"unparsable": 7, "refusal": 3}, "Failures: 10 of 1,200 judgments.",
            "They gave no verdict (refusal 3, unparsable 7).",
        ),
    ],
)
def test_what_failed_is_said_before_the_figures(failures, title, text):
  results = {
      "judge": {"spec": "gemini", "is_language_model": True},
      "base": {"parameters": 7_000_000_000}, "seed": 0,
      "judgments": 1200, "failures": failures,
  }
  found = dict(common.caveats(results))
  assert found[title].startswith(text)
  # Where nothing was judged there is nothing to say of it.
  assert len(common.caveats(results | {"judgments": 0})) == len(found) - 1


def test_where_nothing_was_judged_no_judge_is_named():
  results = small_studies.results("lucky52")
  assert results["judgments"] == 0 and not results["judge"]["is_language_model"]
  titles = [title for title, _ in common.caveats(results)]
  assert not any("judge" in title for title in titles)
  made = " ".join(common.closing(results).paragraphs)
  assert made.endswith("No judge takes part.") and "reference" not in made
  judged = small_studies.results("alpaca")
  assert any("judge" in title for title, _ in common.caveats(judged))
  assert "Judge: reference" in " ".join(common.closing(judged).paragraphs)


def test_languages_stand_in_the_studys_order():
  """Files sort their keys; a reader compares figures with each other."""
  results = small_studies.results("polyglot")
  assert results["languages"] == ["en", "it", "es"]
  sections = {s.id: s.items for s in polyglot.view(results).sections}
  assert sections["gains"][0].categories == ["English", "Italian", "Spanish"]
  for table in (*sections["made"], *sections["scores-few"]):
    codes = [code for code, _ in table.columns]
    assert codes[:3] == ["en", "it", "es"], table.name
  assert common.in_order(results, ["sw", "es", "ar", "en"]) == [
      "en", "es", "ar", "sw"
  ]


def test_polyglot_with_single_questions_has_a_page():
  """Of one's own questions, say; the paper's have two turns."""
  results = small_studies.results("polyglot")
  assert "conversations of two questions" in polyglot.view(results).asked[0]
  for by_language in results["scores"].values():
    for row in by_language.values():
      del row["turns"]
  view = polyglot.view(results)
  assert "single questions, not the paper's two turns" in view.asked[0]
  (table,) = next(s.items for s in view.sections if s.id == "scores-few")
  assert table.title == "Mean score, 1 to 10"
  details = [c.title for _, cells in table.rows for c in cells]
  assert all(x.startswith("95% interval") and "turn" not in x for x in details)
