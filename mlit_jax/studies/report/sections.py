"""The numbers of a study as the page shows them: cells, tables, captions."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from mlit_jax.analysis import plots
from mlit_jax.studies.report import findings, results, spec, tables


@dataclasses.dataclass(frozen=True)
class Cell:
  """A cell of a table.

  Attributes:
    text: what it shows; "–" if there is nothing.
    title: what it means in a sentence, "" if there is nothing to say.
    css: its classes.
    shade: 0 to 1 in a coloured table, else None.
    detail: of a cell that leads to answers, what figures.js needs.
    ends: of its interval, as they stand on paper; "" without one.
  """

  text: str
  title: str = ""
  css: str = ""
  shade: float | None = None
  detail: Mapping[str, object] | None = None
  ends: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
  """A row with its heading; `note` is a second, quieter heading."""

  label: str
  cells: Sequence[Cell]
  note: str = ""
  css: str = ""


@dataclasses.dataclass(frozen=True)
class Grid:
  """A table: column headings as (text, full name)."""

  columns: Sequence[tuple[str, str]]
  rows: Sequence[Row]


_NOTHING = Cell("–", css="none")


def heat_map(study: results.Study) -> Grid | None:
  """Scores by language tuned on (rows) and evaluated on (columns).

  The last row is the untuned base in the same columns: what a model would get
  that took nothing at all from its tuning.
  """
  if not any(study.heat_map.values()):
    return None
  cells = [
      [study.heat_map.get(row, {}).get(column) for column in study.codes]
      for row in study.codes
  ]
  shades = plots.column_shades(
      [[cell and cell.value for cell in row] for row in cells]
  )
  rows = []
  for i, language in enumerate(study.languages):
    drawn = []
    for j, column in enumerate(study.languages):
      if i == j:
        drawn.append(Cell("–", css="diagonal"))
        continue
      drawn.append(
          _score(
              cells[i][j],
              f"{language.name} model on {column.name} questions",
              None if math.isnan(shades[i][j]) else round(shades[i][j], 3),
              _place(study, language.code, column.code),
          )
      )
    average = findings.mean(x for x in cells[i] if x is not None)
    drawn.append(Cell(findings.number(average), css="average"))
    rows.append(Row(language.name, drawn, note=language.code))
  if study.against_base:
    base = [study.against_base.get(code) for code in study.codes]
    base = [score and score.mirrored() for score in base]
    drawn = [
        _score(
            score, f"Untuned base on {column.name} questions", None,
            _place(study, "", column.code),
        )
        for score, column in zip(base, study.languages, strict=True)
    ]
    average = findings.mean(x for x in base if x is not None)
    drawn.append(Cell(findings.number(average), css="average"))
    rows.append(Row("Untuned base", drawn, css="reference"))
  columns = [(x.code, x.name) for x in study.languages]
  return Grid([*columns, ("avg", "Average of the row")], rows)


def curve(study: results.Study) -> Grid | None:
  """The curve's numbers: a row per percentage."""
  if not study.curve:
    return None
  rows = []
  for point in study.curve:
    total = [point.english, point.others, point.average]
    cells = [_estimate(x, bold=True) for x in total]
    for code in study.codes:
      cells.append(_estimate(point.languages.get(code) or results.NOTHING))
    rows.append(Row(f"{point.percent:g}%", cells))
  columns = [(study.main.name, ""), ("Others", "Other languages"), ("All", "")]
  return Grid(
      [*columns, *((x.code, x.name) for x in study.languages)], rows
  )


def rates(
    study: results.Study, values: Mapping[str, Mapping[str, results.Estimate]]
) -> Grid | None:
  """Rates by system and language; the controls share one row.

  A control is only asked in its own language, so that twelve of them fill one
  row and no more.
  """
  if not any(values.values()):
    return None
  rows = []
  control = {
      system.language: values[system.name][system.language]
      for system in study.of_kind("control")
      if system.language in values.get(system.name, {})
  }
  listed = []
  for kind in results.KINDS:
    if kind == "control" and control:
      names = {x.language: x.name for x in study.of_kind("control")}
      listed.append(
          ("Controls", "each in its own language", "", control, names)
      )
    elif kind != "control":
      listed += [
          (
              study.label(x.name), "", x.language, values[x.name],
              dict.fromkeys(study.codes, x.name),
          )
          for x in study.of_kind(kind)
          if values.get(x.name)
      ]
  for label, note, own, row, names in listed:
    cells = []
    for language in study.languages:
      code = language.code
      cell = _estimate(row.get(code, results.NOTHING), bold=code == own)
      if row.get(code, results.NOTHING).value is not None:
        detail = spec.detail(
            f"{label}, {language.name}", [cell.text, cell.title],
            spec.Place([code], names[code]),
        )
        cell = dataclasses.replace(cell, detail=detail)
      cells.append(cell)
    cells.append(
        Cell(findings.number(findings.mean(row.values())), css="average")
    )
    rows.append(Row(label, cells, note=note))
  columns = [(x.code, x.name) for x in study.languages]
  return Grid([*columns, ("avg", "Average of the row")], rows)


def tasks(study: results.Study) -> list[tuple[str, results.Estimate]]:
  """(kind of question, rate of exact answers), the best first."""
  found = study.exact_match_by_task.items()
  return [
      (task.replace("_", " "), rate)
      for task, rate in sorted(
          found, key=lambda item: (-(item[1].value or 0), item[0])
      )
  ]


def counts(study: results.Study) -> Grid | None:
  """Tuning examples per language of every system, and what training took."""
  rows = [
      Row(
          study.label(system.name),
          [
              Cell(f"{system.counts[code]:,}")
              if system.counts.get(code)
              else Cell("0", css="zero")
              for code in study.codes
          ]
          + [
              _whole(sum(system.counts.values())),
              _whole(system.steps),
              _whole(system.tokens),
          ],
          note=system.name,
      )
      for system in study.systems.values()
      if system.counts
  ]
  if not rows:
    return None
  columns = [(x.code, x.name) for x in study.languages]
  return Grid(
      [
          *columns,
          ("sum", "Examples in all"),
          ("steps", "Training steps"),
          ("tokens", "Training tokens"),
      ],
      rows,
  )


def shares(study: results.Study) -> list[tuple[str, str]]:
  """(language, share of the pre-training data) of the base model."""
  names = {language.code: language.name for language in study.languages}
  order = tables.ordered(study.base.shares, study.codes)
  return [
      (names.get(code, code), findings.percentage(share and 100 * share))
      for code, share in ((code, study.base.shares[code]) for code in order)
  ]


def basis(
    study: results.Study,
    estimates: Iterable[results.Estimate],
    where: str = "",
) -> str:
  """n, interval and judge of a figure of scores, for its caption.

  Args:
    study: for its judge.
    estimates: behind the figure.
    where: intervals stand that the figure does not show.
  """
  return (
      f"n = {n_range(estimates)} judged pairs of answers behind each number,"
      f" every pair judged in both orders. Intervals{where}: 95%, clustered on"
      f" the question (adjusted Wald). Judge: {study.judge.spec}"
      f"{'' if study.judge.is_language_model else ', not a language model'}."
  )


def rate_basis(
    rates: Mapping[str, Mapping[str, results.Estimate]],
    intervals: str = "point at one for its 95% interval",
) -> str:
  """n and interval of a table of rates by system and language."""
  every = n_range(x for row in rates.values() for x in row.values())
  return (
      f"n = {every} answers behind each rate; {intervals}. No judge takes part."
  )


def n_range(estimates: Iterable[results.Estimate]) -> str:
  """The numbers of observations: one number, or the least to the most."""
  sizes = {x.n for x in estimates if x.n}
  if not sizes:
    return "0"
  low, high = min(sizes), max(sizes)
  return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def scores(study: results.Study) -> dict[str, list[results.Estimate]]:
  """The numbers behind each figure of scores."""
  return {
      "heat_map": [x for _, _, x in findings.pairs_of_languages(study)],
      "curve": [
          x for point in study.curve for x in point.languages.values() if x
      ],
      "curve_groups": [
          x for point in study.curve for x in (point.others, point.average)
      ],
      "base_and_control": [
          *study.against_base.values(), *study.against_control.values()
      ],
  }


def _place(study: results.Study, row: str, column: str) -> dict[str, object]:
  """Where the answers behind a cell are found; row "" is the untuned base."""
  own = {x.language: x.name for x in study.of_kind("monolingual")}
  return {
      "languages": [column],
      "left": own.get(row, "") if row else study.base.name,
      "right": own.get(column, ""),
  }


def _score(
    score: results.Comparison | None,
    title: str,
    shade: float | None,
    place: dict[str, object],
) -> Cell:
  if score is None or score.value is None:
    failed = score.failed if score is not None else 0
    why = f"not measured ({failed:,} failed)" if failed else "not measured"
    return Cell("–", f"{title}: {why}", "none")
  flips = None if score.flip_rate is None else 100 * score.flip_rate
  parts = [
      f"Score {findings.number(score.value)}",
      f"95% interval {findings.interval(score)}",
      f"n = {score.n:,}",
      f"{score.win} won, {score.tie} tied, {score.loss} lost",
      f"verdict changed with the order: {findings.percentage(flips)}",
  ]
  if score.failed:
    parts.append(f"{score.failed} failed")
  detail = place | {
      "title": title,
      "parts": parts,
      "bar": [score.win, score.tie, score.loss],
  }
  return Cell(
      findings.number(score.value), shade=shade, detail=detail,
      ends=_ends(score),
  )


def _estimate(estimate: results.Estimate, bold: bool = False) -> Cell:
  if estimate.value is None:
    return _NOTHING
  title = (
      f"95% interval {findings.interval(estimate)}, n = {estimate.n:,}"
      if estimate.n
      else "by definition"
  )
  return Cell(
      findings.number(estimate.value), title, "own" if bold else "",
      ends=_ends(estimate),
  )


def _ends(estimate: results.Estimate) -> str:
  if not estimate.n or estimate.low is None:
    return ""
  return findings.interval(estimate)


def _whole(value: int | None) -> Cell:
  return _NOTHING if value is None else Cell(f"{value:,}")
