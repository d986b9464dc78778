"""Geometry of the page's drawings; template.html turns it into inline SVG.

Everything is in the drawing's own units, y downwards, scores from 0 to 100.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from mlit_jax.studies.report import findings, results, spec

_TICKS = (0, 25, 50, 75, 100)


@dataclasses.dataclass(frozen=True)
class Tick:
  """A mark on an axis: its text and where it stands."""

  text: str
  at: float


@dataclasses.dataclass(frozen=True)
class Mark:
  """A value with its interval; `text` is what a reader is told of it.

  In a curve x is fixed and low and high are heights; in bars y is fixed and
  they are widths. low and high are None where there is no interval. Of a mark
  that leads to answers, `detail` is what figures.js needs (spec.detail), and
  the arrow keys go by row and column.
  """

  x: float
  y: float
  low: float | None
  high: float | None
  text: str
  label: str = ""
  row: int = 0
  column: int = 0
  detail: Mapping[str, object] | None = None


@dataclasses.dataclass(frozen=True)
class Line:
  """A line through marks; `path` is SVG path data, with gaps."""

  label: str
  css: str
  marks: Sequence[Mark]
  path: str
  label_x: float = 0.0
  label_y: float = 0.0


@dataclasses.dataclass(frozen=True)
class Group:
  """The bars of one language."""

  label: str
  y: float
  bars: Sequence[tuple[str, Mark]]


@dataclasses.dataclass(frozen=True)
class Chart:
  """A drawing; left, right, top and bottom bound its plot."""

  width: float
  height: float
  left: float
  right: float
  top: float
  bottom: float
  level: float
  ticks: Sequence[Tick]
  categories: Sequence[Tick] = ()
  lines: Sequence[Line] = ()
  faint: Sequence[Line] = ()
  groups: Sequence[Group] = ()
  legend: Sequence[tuple[str, str]] = ()


def curve(study: results.Study) -> Chart | None:
  """Scores over P%: three lines, and a faint one for each language."""
  points = study.curve
  if not points:
    return None
  left, right, top, bottom = 46.0, 560.0, 34.0, 336.0
  step = (right - left - 60) / max(1, len(points) - 1)
  xs = [left + 30 + step * i for i in range(len(points))]

  def height(value):
    return bottom - (bottom - top) * value / 100

  def line(label, css, estimates, shift=0.0, row=0, codes=()):
    marks, path, pen = [], [], "M"
    for i, (point, x, estimate) in enumerate(
        zip(points, xs, estimates, strict=True)
    ):
      if estimate is None or estimate.value is None:
        pen = "M"
        continue
      x, y = round(x + shift, 2), round(height(estimate.value), 2)
      # By definition, not by measurement: no interval to draw.
      bounded = estimate.n > 0 and estimate.low is not None
      marks.append(
          Mark(
              x, y,
              round(height(estimate.low), 2) if bounded else None,
              round(height(estimate.high), 2) if bounded else None,
              f"{label} at {point.percent:g}%: {_say(estimate)}",
              row=row, column=i,
              detail=spec.detail(
                  f"{label} at {point.percent:g}%", [_say(estimate)],
                  spec.Place(codes, point.system, spec.OWN),
              ),
          )
      )
      path.append(f"{pen}{x} {y}")
      pen = "L"
    last = marks[-1] if marks else None
    return Line(
        label, css, marks, " ".join(path), right + 2, last.y if last else 0.0
    )

  main = study.main.code
  others = [code for code in study.codes if code != main]
  lines = [
      line(label, key, [getattr(point, key) for point in points], shift, i, x)
      for i, (label, key, shift, x) in enumerate((
          (study.main.name, "english", 0.0, [main]),
          ("Other languages", "others", -5.0, others),
          ("All languages", "average", 5.0, study.codes),
      ))
  ]
  faint = [
      line(x.name, "faint", [point.languages.get(x.code) for point in points])
      for x in study.languages
      if x.code != study.main.code
  ]
  return Chart(
      width=690, height=392, left=left, right=right, top=top, bottom=bottom,
      level=height(50),
      ticks=[Tick(str(t), round(height(t), 2)) for t in _TICKS],
      categories=[
          Tick(f"{point.percent:g}%", round(x, 2))
          for point, x in zip(points, xs, strict=True)
      ],
      lines=_spread([x for x in lines if x.marks], top, bottom),
      faint=[x for x in faint if x.marks],
  )


def base_and_control(study: results.Study) -> Chart | None:
  """Bars of the base's and the control's score in each language."""
  controls = {x.language: x.name for x in study.of_kind("control")}
  bases = dict.fromkeys(study.codes, study.base.name)
  series = [
      (label, css, scores, systems)
      for label, css, scores, systems in (
          ("Untuned base", "base", study.against_base, bases),
          (
              "Control, shuffled answers", "control", study.against_control,
              controls,
          ),
      )
      if scores
  ]
  languages = [
      language
      for language in study.languages
      if any(language.code in scores for _, _, scores, _ in series)
  ]
  if not languages:
    return None
  left, right, top = 92.0, 560.0, 14.0
  pitch, bar = 17.0 * len(series) + 10, 17.0
  bottom = top + pitch * len(languages)

  def width(value):
    return round(left + (right - left) * value / 100, 2)

  groups = []
  for i, language in enumerate(languages):
    start = top + pitch * i + 5
    bars = []
    for k, (label, css, scores, systems) in enumerate(series):
      if language.code not in scores:
        continue
      score = scores[language.code].mirrored()
      known = score.value is not None and score.low is not None
      bars.append((
          css,
          Mark(
              width(score.value or 0) if known else left,
              start + bar * k,
              width(score.low) if known else None,
              width(score.high) if known else None,
              f"{label}, {language.name}: {_say(score)}",
              f"{findings.number(score.value)} [{findings.interval(score)}]"
              if known
              else "–",
              row=2 * i + k,
              detail=spec.detail(
                  f"{label}, {language.name}", [_say(score)],
                  spec.Place(
                      [language.code], systems.get(language.code, ""), spec.OWN
                  ),
              ),
          ),
      ))
    groups.append(Group(language.name, start + bar * len(series) / 2, bars))
  return Chart(
      width=690, height=bottom + 48, left=left, right=right, top=top,
      bottom=bottom, level=width(50),
      ticks=[Tick(str(t), width(t)) for t in _TICKS],
      groups=groups, legend=[(css, label) for label, css, *_ in series],
  )


def _say(estimate: results.Estimate) -> str:
  if estimate.value is None:
    return "not measured"
  if not estimate.n:
    return f"{findings.number(estimate.value)}, by definition"
  return (
      f"{findings.number(estimate.value)}, 95% interval"
      f" {findings.interval(estimate)}, n = {estimate.n:,}"
  )


def _spread(
    lines: Sequence[Line], top: float, bottom: float, gap: float = 19.0
) -> list[Line]:
  """Moves the lines' labels apart, keeping their order from the top."""
  ordered = sorted(lines, key=lambda line: line.label_y)
  at = []
  for line in ordered:
    at.append(max(line.label_y, at[-1] + gap if at else top + 6))
  # What ran out at the bottom is pushed back up.
  limit = bottom - 6
  for i in reversed(range(len(at))):
    at[i] = min(at[i], limit)
    limit = at[i] - gap
  moved = {
      line.label: dataclasses.replace(line, label_y=round(y, 2))
      for line, y in zip(ordered, at, strict=True)
  }
  return [moved[line.label] for line in lines]
