"""The further experiments of pinch, beside the page's own figures."""

from collections.abc import Mapping
from typing import Any

from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common

_LEVEL = (50.0, "equal")
_SCORE = "score against each language’s own model"
_ALL = (0.0, 100.0)
# Pinch, section 4.1.
_INTELLIGIBLE = ({"sr", "hr"}, {"sk", "cs"})


def sections(results: Mapping[str, Any]) -> list[spec.Section]:
  """A section per experiment that the results hold."""
  found = results.get("experiments") or {}
  made = [
      make(results, found[name])
      for name, make in (
          ("half", _half), ("number", _number), ("bilingual", _bilingual),
          ("family", _family), ("share", _share),
      )
      if name in found
  ]
  if left_out := common.left_out(results):
    made.append(
        spec.Section("left-out", "What was left out", left_out, ())
    )
  return made


def _half(results, found) -> spec.Section:
  points, seen = found["points"], found["seen"]
  # The first point is the main language's own model.
  main = results["systems"][points[0]["system"]]["language"]
  series = [
      spec.Series(label, [
          spec.estimate(
              f"{p['percent']:g}%", p[key],
              place=_against_own(codes, p["system"]),
          )
          for p in points
      ])
      for label, key, codes in (
          ("main language", "main", [main]),
          ("tuned on", "seen", [x for x in seen if x != main]),
          ("not tuned on", "unseen", found["unseen"]),
      )
  ]
  chart = spec.Chart(
      "half_curve", "Examples spread over half of the languages", spec.LINES,
      series, "share of the examples spread over the seen languages", _SCORE,
      "As the figure above, but only some languages are ever tuned on:"
      f" {common.names(found['seen'])}. {common.names(found['unseen'])} are"
      " never seen in tuning.", common.judged(results, common.points(series)),
      level=_LEVEL, y_range=_ALL,
  )
  return spec.Section(
      "half", "Languages that no mixture holds", (), [chart]
  )


def _number(results, found) -> spec.Section:
  average = spec.Series("all orders", [
      spec.estimate(f"{p['number']}", p["unseen"]) for p in found["average"]
  ])
  series = [average]
  for order in found["orders"]:
    series.append(
        spec.Series(" ".join(order), [
            spec.estimate(
                f"{p['number']}", p["unseen"],
                place=_against_own(found["unseen"], p["system"]),
            )
            for p in found["points"] if p["order"] == order
        ])
    )
  chart = spec.Chart(
      "number_curve", "One language after the other, the budget the same",
      spec.LINES, series, "languages tuned on", _SCORE,
      "The examples are split evenly over the first languages of an order; the"
      f" score is over {common.names(found['unseen'])}, which none holds. Each"
      " order of the languages is a line.",
      common.judged(results, common.points(series)), level=_LEVEL,
      y_range=_ALL,
  )
  return spec.Section("number", "More languages, seen by none", (), [chart])


def _bilingual(results, found) -> spec.Section:
  systems = {
      tuple(v["pair"]): k for k, v in results["systems"].items()
      if "pair" in v
  }

  def bar(row, estimate, system) -> spec.Point:
    place = _against_own(row["others"], system) if system else None
    return spec.estimate(" ".join(row["pair"]), estimate, place=place)

  def alone(row, i) -> spec.Point:
    lang = row["pair"][i]
    return bar(row, row["monolingual"][lang], f"mono-{lang}")

  series = [
      spec.Series("half and half", [
          bar(row, row["bilingual"], systems.get(tuple(row["pair"])))
          for row in found
      ]),
      spec.Series("the first alone", [alone(row, 0) for row in found]),
      spec.Series("the second alone", [alone(row, 1) for row in found]),
  ]
  chart = spec.Chart(
      "bilingual", "Two languages, half of the examples each, elsewhere",
      spec.BARS, series, "pair of languages", _SCORE,
      "The score over all languages but the pair, of the bilingual model and of"
      " the two monolingual ones.",
      common.judged(results, common.points(series)), level=_LEVEL,
      y_range=_ALL,
  )
  return spec.Section("bilingual", "Two languages or one", (), [chart])


def _family(results, found) -> spec.Section:
  codes = found["languages"]
  rows, every = [], []
  for code in codes:
    row = found["heat_map"][f"mono-{code}"]
    cells = [
        spec.cell(row.get(x), _against_own([x], f"mono-{code}"))
        for x in codes
    ]
    every += [spec.estimate("", x) for x in row.values() if x]
    rows.append((common.name(code), cells))
  table = spec.Table(
      "family", "Related languages among themselves",
      [(code, common.name(code)) for code in codes], rows,
      "The paper takes seven Slavic languages. Here stand "
      f"{_families(codes)}. Columns are coloured each on their own scale, the"
      " diagonal is left out.", common.judged(results, every), shaded=True,
  )
  return spec.Section(
      "family", "Does relatedness help?", (),
      [table, _relations(results, codes, found["heat_map"])],
  )


def _relations(results, codes, heat_map) -> spec.Table:
  """The map's cells by how two languages are related."""

  def of(code):
    language = common.language(code)
    return language.subfamily or language.family, language.script

  kinds = {
      "of one branch": lambda a, b: of(a)[0] == of(b)[0],
      "of different branches": lambda a, b: of(a)[0] != of(b)[0],
      "in one script": lambda a, b: of(a)[1] == of(b)[1],
      "in different scripts": lambda a, b: of(a)[1] != of(b)[1],
      "mutually intelligible": lambda a, b: {a, b} in _INTELLIGIBLE,
  }
  rows = []
  for label, holds in kinds.items():
    scores = [
        heat_map[f"mono-{a}"][b]["score"]
        for a in codes for b in codes if a != b and holds(a, b)
    ]
    scores = [x for x in scores if x is not None]
    if scores:
      rows.append((label, [
          spec.Cell(sum(scores) / len(scores)), spec.Cell(len(scores)),
      ]))
  return spec.Table(
      "family_relations", "The same by how two languages are related",
      [("score", "mean of the cells above"), ("cells", "of the table above")],
      rows,
      "A mean over the cells above; mutually intelligible, after the paper, are"
      " Serbian and Croatian, and Slovak and Czech.",
      "n is the number of cells behind a mean. There is no interval, as"
      f" languages are few and cells share models. {common.judge(results)}",
  )


def _against_own(languages, system: str) -> spec.Place:
  """The pairs of a system with each language's own model."""
  return spec.Place(languages, system, spec.OWN)


def _families(codes) -> str:
  groups: dict[str, list[str]] = {}
  for code in codes:
    language = common.language(code)
    family = language.subfamily or language.family
    groups.setdefault(f"{family} ({language.script})", []).append(code)
  return "; ".join(
      f"{family}: {common.names(members)}" for family, members in
      groups.items()
  )


def _share(results, found) -> spec.Section:
  points = [
      spec.Point(
          p["share"], p["transfer"]["score"], *p["transfer"]["ci"],
          p["transfer"]["n"], p["lang"],
          _against_own(
              [x for x in results["languages"] if x != p["lang"]],
              f"mono-{p['lang']}",
          ),
      )
      for p in found["points"]
  ]
  r = found["pearson"]
  said = (
      f"Pearson’s r = {r['r']:.2f}, 95% interval {r['low']:.2f} to"
      f" {r['high']:.2f}, n = {r['n']} languages."
      if r else "No correlation can be computed."
  )
  if found.get("given"):
    said += " The shares are those that the study was given (base_shares)."
  if unknown := found.get("unknown"):
    said += f" Of {common.names(unknown)} the share is not known."
  chart = spec.Chart(
      "share", "Transfer against the share of the pre-training text",
      spec.SCATTER, [spec.Series("", points)],
      "percent of the pre-training text", "mean score in the other languages",
      "A point is a language that a model was tuned on; the main language is"
      f" left out. {said}", common.judged(results, points), fit=True,
  )
  return spec.Section(
      "share", "Does a language read more often give more?", (), [chart]
  )
