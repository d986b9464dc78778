"""The page of Lucky 52."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common

_TESTS = {
    "endings": "beginnings with two endings",
    "answers": "questions with a right and a wrong answer",
}
_WEIGHTS = (
    "Every question counts the same, so a language with more of them counts"
    " more."
)
_MEASURES = {
    "number": "number of languages", "sound": "correspondence of consonants",
}


def view(results: Mapping[str, Any]) -> spec.View:
  """What the page shows."""
  sections = [
      spec.Section(
          f"test-{test}", f"Choosing: {_TESTS.get(test, test)}", (),
          _items(results, test),
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
          ) + ". The groups are computed from the lists of languages: the paper"
          " has Japanese among those never seen, which its tuning list names.",
      ],
      [_finding(results, test) for test in results["tests"]],
      [*sections, _updates(results), common.closing(results)],
      results.get("substitutions", ()),
  )


def _items(results, test: str) -> list[spec.Chart | spec.Table]:
  """Figures and tables of the experiments that were asked for."""
  without, found = results.get("left_out", {}), []
  if "number" not in without:
    found += [_curve(results, test), *_references(results, test)]
  if "exposure" not in without:
    found += [_groups(results, test), *_unread(results, test)]
  found.append(_table(results, test))
  if "similarity" not in without:
    found.append(_correlations(results, test))
  return found


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
          [
              spec.estimate(
                  f"{p['number']} {p['added']}", p["accuracy"],
                  place=_place(found["languages"], p["system"], test),
              )
              for p in found["points"]
          ],
      )
  ]
  return spec.Chart(
      f"{test}_curve", "Accuracy by the number of languages tuned on",
      spec.LINES, series, "languages tuned on, and the one added", "percent",
      "Each point is a model; its label names the language that it has and the"
      f" one before has not. {_WEIGHTS}",
      common.measured(common.points(series)),
      level=(found["base"]["value"], "untuned base"),
  )


def _groups(results, test: str) -> spec.Chart:
  found = results["tests"][test]
  groups = {
      k: [x for x in v if x in found["languages"]]
      for k, v in results["exposure"].items()
      if k in found["systems"]["base"]["groups"]
  }
  series = [
      spec.Series(
          group,
          [
              spec.estimate(
                  f"{p['number']}",
                  found["systems"][p["system"]]["groups"][group],
                  place=_place(groups[group], p["system"], test),
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
      f" model is tuned on them. {_WEIGHTS}",
      common.measured(common.points(series)),
      level=(50.0, "guessing"),
  )


def _references(results, test: str) -> list[spec.Chart]:
  """The first two languages beside all (Figure 1: English and Chinese)."""
  found = results["tests"][test]
  codes = [
      x for x in results["order"]["languages"][:2] if x in found["languages"]
  ]
  if not codes:
    return []
  series = [
      spec.Series(common.name(code), [
          spec.estimate(
              f"{p['number']} {p['added']}",
              found["systems"][p["system"]]["languages"][code],
              place=_place([code], p["system"], test),
          )
          for p in found["points"]
      ])
      for code in codes
  ]
  series += [
      _level(results, test, code, [p.x for p in series[0].points])
      for code in codes
  ]
  return [spec.Chart(
      f"{test}_references",
      f"Accuracy in {common.names(codes)}, tuned on first", spec.LINES, series,
      "languages tuned on, and the one added", "percent",
      "What becomes of a language as others are added. The flat lines are the"
      " untuned base, measured here, with its interval at the left end: the"
      " paper draws them, but gives no numbers.",
      common.measured(common.points(series)), level=(50.0, "guessing"),
  )]


def _level(results, test: str, code: str, places) -> spec.Series:
  """The base's accuracy in a language, drawn across; its interval once."""
  row = results["tests"][test]["systems"]["base"]["languages"][code]
  place = _place([code], "base", test)
  return spec.Series(f"{common.name(code)}, untuned base", [
      spec.estimate(x, row, place=place) if x == places[0]
      else spec.Point(x, row["value"], place=place)
      for x in places
  ])


def _unread(results, test: str) -> list[spec.Chart]:
  """A chart for each language that the base has not read (Figures 3 and 4)."""
  found, exposure = results["tests"][test], results["exposure"]
  order, charts = results["order"]["languages"], []
  unread = [*exposure["tuning only"], *exposure["neither"]]
  for code in [x for x in unread if x in found["languages"]]:
    enters = order.index(code) + 1 if code in order else len(order) + 1
    parts = {"not yet tuned on": [], "tuned on": []}
    for p in found["points"]:
      row = found["systems"][p["system"]]["languages"][code]
      before = p["number"] < enters
      x = f"{p['number']} {p['added']}"
      place = _place([code], p["system"], test)
      for label, points in parts.items():
        there = before == (label == "not yet tuned on")
        points.append(
            spec.estimate(x, row, place=place) if there
            else spec.Point(x, None)
        )
    series = [
        spec.Series(label, points) for label, points in parts.items()
        if any(p.y is not None for p in points)
    ]
    base = found["systems"]["base"]["languages"][code]["value"]
    name = common.name(code)
    what = (
        f"Model {enters} is the first that is tuned on {name}."
        if code in order else f"No model is tuned on {name}."
    )
    charts.append(
        spec.Chart(
            f"{test}_{code}",
            f"Accuracy in {name}, which the base has not read", spec.LINES,
            series, "languages tuned on, and the one added", "percent", what,
            common.measured(common.points(series)),
            level=(base, "untuned base"),
        )
    )
  return charts


def _place(languages, system: str, test: str) -> spec.Place:
  """The endings that a model finds likelier, of one test."""
  return spec.Place(languages, system, search=f"{test}/")


def _table(results, test: str) -> spec.Table:
  systems = results["tests"][test]["systems"]
  codes = results["tests"][test]["languages"]
  order = results["order"]["languages"]
  rows = []
  for system in common.systems(results):
    row, cells = systems[system], []
    for code in codes:
      place = _place([code], system, test)
      cell = spec.cell(row["languages"][code], place)
      number = results["systems"][system].get("number", 0)
      if code in order[:number]:
        cell = dataclasses.replace(cell, title=f"tuned on; {cell.title}")
      cells.append(cell)
    place = _place(codes, system, test)
    rows.append((system, [*cells, spec.cell(row["all"], place)]))
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


def _correlations(results, test: str) -> spec.Table:
  found = results["tests"][test]["correlations"]
  languages, outlier = found["languages"], found["outlier"]
  codes = common.in_order(results, languages)
  rows = []
  for measure in found["measures"]:
    label = _MEASURES.get(measure, f"URIEL: {measure}")
    kinds = {"everything": label}
    if measure == "number" and outlier:
      kinds["without"] = f"{label}, without {common.name(outlier)}"
    for kind, name in kinds.items():
      rows.append((name, [
          _correlation(languages[code][measure][kind]) for code in codes
      ]))
  why = (
      "named in the config" if found["chosen"]
      else "the one whose absence moves this correlation most"
  )
  n = len(results["tests"][test]["points"])
  return spec.Table(
      f"{test}_correlations",
      "Accuracy against the number of languages and their similarity",
      [(code, common.name(code)) for code in codes], rows,
      "Pearson's correlation over the models. A similarity is the sum of the"
      " similarities of the languages tuned on to the language of the column."
      + (
          f" Left out once: the model to which {common.name(outlier)} was added"
          f" ({why})." if outlier else ""
      ),
      f"n = {n} models for each number ({n - 1} without one); point at a number"
      " for its 95% interval (Fisher). Sums over a growing set all grow, so"
      " that the rows are not independent. No judge takes part.", digits=2,
  )


def _correlation(row: Mapping[str, Any]) -> spec.Cell:
  if row["r"] is None:
    return spec.Cell(None, "all models are equal")
  low, high = row["ci"]
  return spec.Cell(
      row["r"], f"95% interval {low:.2f}–{high:.2f}, n = {row['n']}",
      low=low, high=high, n=row["n"],
  )


def _updates(results) -> spec.Section:
  packed = any(r["steps"] < r["formula"] for r in results["updates"])
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
      " update, W devices. " + (
          "Here rows are packed with several examples each, so fewer updates"
          " are needed." if packed else
          "Here as there an example is a row; every epoch ends with a batch of"
          " its own."
      ), common.COUNTED, digits=0,
  )
  return spec.Section("updates", "How long the models were tuned", (), [table])
