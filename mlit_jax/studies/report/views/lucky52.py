"""The page of Lucky 52."""

from collections.abc import Mapping
from typing import Any

from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common

_TESTS = {
    "endings": "beginnings with two endings",
    "answers": "questions with a right and a wrong answer",
}


def view(results: Mapping[str, Any]) -> spec.View:
  """What the page shows."""
  sections = [
      spec.Section(
          f"test-{test}", f"Choosing: {_TESTS.get(test, test)}", (),
          [make(results, test) for make in (_curve, _groups, _table)],
      )
      for test in results["tests"]
  ]
  groups = {k: v for k, v in results["exposure"].items() if v}
  return spec.View(
      "How many languages does instruction tuning need?",
      "Ji and Chen (2024), Lucky 52: How Many Languages Are Needed to"
      " Instruction Fine-Tune Large Language Models?",
      [
          "Languages are added one after the other, each with the same"
          " examples: model k is tuned on the first k of "
          f"{common.names(results['order']['languages'])}. Every model is"
          " asked to choose between two endings in every language, by which of"
          " them it finds likelier; guessing gives 50 %.",
          "Who has seen what: " + "; ".join(
              f"{group}: {common.names(codes)}" for group, codes in
              groups.items()
          ) + ".",
      ],
      [_finding(results, test) for test in results["tests"]],
      [*sections, _updates(results), common.closing(results)],
  )


def _finding(results, test: str) -> tuple[str, str]:
  found = results["tests"][test]
  first, last = found["points"][0], found["points"][-1]
  base = spec.estimate("", found["base"])
  best = max(found["points"], key=lambda p: p["accuracy"]["value"])
  ends = [spec.estimate("", p["accuracy"]) for p in (first, last)]
  clear = ends[1].low > ends[0].high or ends[0].low > ends[1].high
  return (
      f"{_TESTS.get(test, test).capitalize()}: "
      + ("more languages matter." if clear else "no clear effect of number."),
      f"The base chooses right in {base.y:.1f} %, the model tuned on"
      f" {common.name(first['added'])} alone in {ends[0].y:.1f} %, the one"
      f" tuned on all {last['number']} in {ends[1].y:.1f} %; the highest is"
      f" {best['accuracy']['value']:.1f} % with {best['number']}. An effect is"
      " clear if the intervals of the first and the last do not overlap.",
  )


def _curve(results, test: str) -> spec.Chart:
  found = results["tests"][test]
  series = [
      spec.Series(
          "all languages",
          [spec.estimate(f"{p['number']} {p['added']}", p["accuracy"])
           for p in found["points"]],
      )
  ]
  return spec.Chart(
      f"{test}_curve", "Accuracy by the number of languages tuned on",
      spec.LINES, series, "languages tuned on, and the one added", "percent",
      "Each point is a model; its label names the language that it has and the"
      " one before has not.", common.measured(common.points(series)),
      level=(found["base"]["value"], "untuned base"),
  )


def _groups(results, test: str) -> spec.Chart:
  found = results["tests"][test]
  groups = [k for k, v in results["exposure"].items() if v]
  series = [
      spec.Series(
          group,
          [
              spec.estimate(
                  f"{p['number']}",
                  found["systems"][p["system"]]["groups"][group],
              )
              for p in found["points"]
          ],
      )
      for group in groups
  ]
  return spec.Chart(
      f"{test}_groups", "The same by who has seen the language", spec.LINES,
      series, "languages tuned on", "percent",
      "Languages are grouped by whether the base has read them and whether any"
      " model is tuned on them.", common.measured(common.points(series)),
      level=(50.0, "guessing"),
  )


def _table(results, test: str) -> spec.Table:
  systems = results["tests"][test]["systems"]
  codes = results["languages"]
  order = results["order"]["languages"]
  rows = []
  for system in common.systems(results):
    row, cells = systems[system], []
    for code in codes:
      cell = spec.cell(row["languages"][code])
      number = results["systems"][system].get("number", 0)
      if code in order[:number]:
        cell = spec.Cell(cell.value, f"tuned on; {cell.title}")
      cells.append(cell)
    rows.append((system, [*cells, spec.cell(row["all"])]))
  every = [
      spec.estimate("", cell) for row in systems.values()
      for cell in row["languages"].values()
  ]
  return spec.Table(
      f"{test}_accuracy", "Accuracy by model and language, in percent",
      [*((code, common.name(code)) for code in codes), ("all", "all")], rows,
      "Columns are coloured each on their own scale; point at a number for its"
      " interval and for whether the model was tuned on the language.",
      common.measured(every), shaded=True,
  )


def _updates(results) -> spec.Section:
  table = spec.Table(
      "updates", "Updates by the paper's formula and as done",
      [("formula", "ceil(N L E / (B W))"), ("done", "steps of this run")],
      [
          (f"{row['number']}", [
              spec.Cell(row["formula"]), spec.Cell(row["steps"])
          ])
          for row in results["updates"]
      ],
      "N examples a language, L languages, E epochs, B examples a device and"
      " update, W devices. Here rows are packed with several examples each, so"
      " fewer updates are needed.", digits=0,
  )
  return spec.Section("updates", "How long the models were tuned", (), [table])
