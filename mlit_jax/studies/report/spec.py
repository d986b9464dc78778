"""What a page shows, whatever the study: sections of charts and tables."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlit_jax.studies.report import latex

LINES, BARS, SCATTER = "lines", "bars", "scatter"
# Bars across, each in parts that add up to 100.
STACKED = "stacked"
# In a place: not one system, but the model tuned on the question's language.
OWN = "*"


@dataclasses.dataclass(frozen=True)
class Place:
  """Where the answers behind a number are found: a click there lists them.

  Attributes:
    languages: of the questions.
    left: the system that the number is of.
    right: what it is compared with, OWN for each language's own model; "" for
      whatever the page likes to set beside it.
    search: what to look for among them, as a reader would: of a material's
      questions the beginning of their ids.
  """

  languages: Sequence[str]
  left: str
  right: str = ""
  search: str = ""


@dataclasses.dataclass(frozen=True)
class Point:
  """A value with its interval; None where nothing was measured.

  Attributes:
    x: where it stands: a number, or a category.
    y: the value.
    low, high: of its 95% interval; None without one.
    n: observations behind it; None where that means nothing.
    label: what it is called, in a scatter plot.
    place: where the answers behind it are; None where there are none.
  """

  x: float | str
  y: float | None
  low: float | None = None
  high: float | None = None
  n: int | None = None
  label: str = ""
  place: Place | None = None


@dataclasses.dataclass(frozen=True)
class Series:
  """Points under one name."""

  label: str
  points: Sequence[Point]


@dataclasses.dataclass(frozen=True)
class Chart:
  """A drawing, on the page and as files.

  Attributes:
    name: of its files.
    title: beside its number.
    kind: lines, bars (a group per x), stacked (a bar per x, from the top,
      with a part of each series, the first being the best) or scatter.
    series: what is drawn.
    x_label, y_label: of the axes.
    reading: how to read it, in a sentence or two.
    basis: n, interval and judge, in a sentence.
    level: where a line is drawn across, and what it means.
    y_range: of the axis; None: as the values need.
    fit: whether a scatter plot gets a straight line through its points.
    order: of the x, unless it is that of appearance; a series may then lack
      some, and its line goes on past them.
  """

  name: str
  title: str
  kind: str
  series: Sequence[Series]
  x_label: str
  y_label: str
  reading: str
  basis: str
  level: tuple[float, str] | None = None
  y_range: tuple[float, float] | None = None
  fit: bool = False
  order: Sequence[float | str] = ()

  @property
  def categories(self) -> list[float | str]:
    """Every x, in order."""
    found = (p.x for s in self.series for p in s.points)
    return list(self.order) or list(dict.fromkeys(found))

  def bounds(self) -> tuple[float, float]:
    """Lowest and highest value of the y axis."""
    if self.y_range is not None:
      return self.y_range
    values = [
        v for s in self.series for p in s.points for v in (p.y, p.low, p.high)
        if v is not None
    ]
    if self.level is not None:
      values.append(self.level[0])
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.08 * ((high - low) or 1.0)
    return low - room, high + room

  def to_csv(self) -> str:
    rows = [
        (s.label, p.x, p.label, p.y, p.low, p.high, p.n)
        for s in self.series for p in s.points
    ]
    header = ("series", "x", "label", "value", "ci_low", "ci_high", "n")
    return _csv(header, rows)

  def to_latex(self) -> str:
    """A row for each x (each point of a scatter plot), a column a series."""
    caption = f"{self.title} ({self.y_label}). {self.basis}"
    if self.kind == SCATTER:
      return latex.table(
          self.name, caption, [self.x_label, self.y_label],
          [
              (
                  ", ".join(x for x in (s.label, p.label) if x),
                  [shown(p.x, 1), _bounded(p)],
              )
              for s in self.series for p in s.points
          ],
      )
    found = [{p.x: p for p in s.points} for s in self.series]
    return latex.table(
        self.name, caption, [s.label for s in self.series],
        [
            (shown(x, 1), [_bounded(points.get(x)) for points in found])
            for x in self.categories
        ],
    )


@dataclasses.dataclass(frozen=True)
class Cell:
  """A number in a table (None: not measured), and what is said of it.

  Attributes:
    place: where the answers behind it are; None where there are none.
    low, high: of its 95% interval; None without one.
    n: observations behind it; None where that means nothing.
  """

  value: float | int | str | None
  title: str = ""
  place: Place | None = None
  low: float | None = None
  high: float | None = None
  n: int | None = None


@dataclasses.dataclass(frozen=True)
class Table:
  """A table, on the page and as a file.

  Attributes:
    name: of its file.
    title: beside its number.
    columns: headings; (text, full name).
    rows: heading and cells.
    reading: how to read it.
    basis: n, interval and judge; may be empty.
    shaded: whether columns are coloured, each on its own scale.
    digits: behind the point.
  """

  name: str
  title: str
  columns: Sequence[tuple[str, str]]
  rows: Sequence[tuple[str, Sequence[Cell]]]
  reading: str
  basis: str = ""
  shaded: bool = False
  digits: int = 1

  def to_csv(self) -> str:
    """A column's intervals and n stand beside it, where it has any."""
    more = [
        any(cells[k].n or cells[k].low is not None for _, cells in self.rows)
        for k in range(len(self.columns))
    ]

    def spread(texts, values):
      return [
          x for text, parts, wide in zip(texts, values, more, strict=True)
          for x in ((text, *parts) if wide else (text,))
      ]

    names = [text for text, _ in self.columns]
    header = spread(
        names, [[f"{x} {y}" for y in ("ci_low", "ci_high", "n")] for x in names]
    )
    return _csv(
        ("", *header),
        [
            (label, *spread(
                [c.value for c in cells], [(c.low, c.high, c.n) for c in cells]
            ))
            for label, cells in self.rows
        ],
    )

  def to_latex(self) -> str:
    return latex.table(
        self.name, f"{self.title}. {self.basis}",
        [text for text, _ in self.columns],
        [
            (label, [_with_interval(c, self.digits) for c in cells])
            for label, cells in self.rows
        ],
    )


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the page."""

  id: str
  title: str
  paragraphs: Sequence[str]
  items: Sequence[Chart | Table]


@dataclasses.dataclass(frozen=True)
class View:
  """A study's page.

  Attributes:
    question: the headline.
    paper: who asked it first, and where.
    asked: paragraphs: what was done, and what the numbers mean.
    findings: (heading, sentence), computed from the results.
    sections: the figures.
    substitutions: what stands in for what the paper had.
  """

  question: str
  paper: str
  asked: Sequence[str]
  findings: Sequence[tuple[str, str]]
  sections: Sequence[Section]
  substitutions: Sequence[str] = ()


def estimate(
    x: float | str,
    row: Mapping[str, Any],
    label: str = "",
    place: Place | None = None,
) -> Point:
  """A point from a score or rate of results.json."""
  value = row["score"] if "score" in row else row["value"]
  low, high = row["ci"] if row["n"] else (None, None)
  return Point(x, value, low, high, row["n"] or None, label, place)


def cell(row: Mapping[str, Any] | None, place: Place | None = None) -> Cell:
  """A cell from a score or rate of results.json."""
  if row is None:
    return Cell(None)
  return of_point(estimate("", row, place=place))


def of_point(point: Point, more: str = "", digits: int = 1) -> Cell:
  """A cell from a point; its title says the interval, and `more`."""
  parts = [more] if more else []
  if point.y is not None and point.low is not None:
    parts.insert(
        0,
        f"95% interval {point.low:.{digits}f}–{point.high:.{digits}f},"
        f" n = {point.n:,}",
    )
  return Cell(
      point.y, "; ".join(parts), point.place, point.low, point.high, point.n
  )


def opens(item: "Chart | Table") -> bool:
  """Whether something in it leads to answers."""
  if isinstance(item, Chart):
    return any(p.place for s in item.series for p in s.points)
  return any(c.place for _, cells in item.rows for c in cells)


def ends(cell: Cell, digits: int) -> str:
  """A cell's interval in few letters, for paper; "" without one."""
  if cell.value is None or cell.low is None or cell.high is None:
    return ""
  return f"{cell.low:.{digits}f}–{cell.high:.{digits}f}"


def missing(item: Table) -> list[str]:
  """Why cells of a table are empty, in the order of the first of each."""
  return list(dict.fromkeys(
      c.title for _, cells in item.rows for c in cells
      if c.value is None and c.title
  ))


def detail(
    title: str, parts: Sequence[str], place: Place
) -> dict[str, Any]:
  """What figures.js needs of a cell or a mark: its words, and its place."""
  return {
      "title": title,
      "parts": [part for part in parts if part],
      "languages": list(place.languages),
      "left": place.left,
      "right": place.right,
      "search": place.search,
  }


def shown(value: float | int | str | None, digits: int) -> str:
  """A value for a reader; a dash for None."""
  if value is None:
    return "–"
  if isinstance(value, str):
    return value
  if isinstance(value, int):
    return f"{value:,}"
  return f"{value:,.{digits}f}"


def _bounded(point: Point | None) -> str:
  """A value with its interval."""
  if point is None:
    return "–"
  return _with_interval(Cell(point.y, low=point.low, high=point.high), 1)


def _with_interval(cell: Cell, digits: int) -> str:
  text = shown(cell.value, digits)
  if cell.value is None or cell.low is None or cell.high is None:
    return text
  return f"{text} [{cell.low:.{digits}f}–{cell.high:.{digits}f}]"


def n_range(points: Iterable[Point]) -> str:
  """The numbers of observations: one, or the least to the most."""
  sizes = {p.n for p in points if p.n}
  if not sizes:
    return "0"
  low, high = min(sizes), max(sizes)
  return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _csv(header, rows) -> str:
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(header)
  writer.writerows(rows)
  return text.getvalue()
