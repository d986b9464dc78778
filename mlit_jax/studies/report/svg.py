"""Charts as inline SVG: every text escaped, nothing that runs."""

import json
import math
from collections.abc import Iterator

import markupsafe
import numpy as np

from mlit_jax.analysis import statistics
from mlit_jax.studies.report import spec

_WIDTH, _HEIGHT = 680.0, 380.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 540.0, 30.0, 316.0
_NUM_TICKS, _ROW, _NUM_COLOURS = 5, 22.0, 8
_BAND = 24  # places at which the band of a line is drawn
# Of bars in parts: one's height, what it takes, and the widest name's room.
_BAR, _PITCH, _NAMES = 18.0, 23.0, 300.0
_WIDE = 26.0  # of a part that holds its own number


def draw(chart: spec.Chart) -> markupsafe.Markup:
  """The chart as an <svg> element that names itself."""
  if chart.kind == spec.STACKED:
    return _stacked(chart)
  legends = [s.label for s in chart.series if s.label]
  height = _HEIGHT + _ROW * math.ceil(len(legends) / 2)
  parts = [_opening(chart, height)]
  scale = _Scale(chart)
  parts += _axes(chart, scale)
  for k, series in enumerate(chart.series):
    # Beyond the colours, the same ones again, but hollow.
    late = " late" if k >= _NUM_COLOURS else ""
    parts.append(f'<g class="series s{k % _NUM_COLOURS}{late}">')
    parts += _series(chart, scale, k, series)
    parts += _legend(k, series.label)
    parts.append("</g>")
  if chart.fit:
    parts += _fit(chart, scale)
  parts.append("</svg>")
  return markupsafe.Markup("\n".join(parts))


def _opening(chart: spec.Chart, height: float) -> str:
  # What holds something to press is no image to a screen reader.
  role = "group" if spec.opens(chart) else "img"
  return (
      f'<svg class="chart" role="{role}" aria-label="{_text(chart.title)}"'
      f' viewBox="0 0 {_WIDTH:g} {height:g}">'
  )


def _stacked(chart: spec.Chart) -> markupsafe.Markup:
  """Bars across in parts: names on the left, the legend below."""
  names = chart.categories
  left = min(_NAMES, 7.0 * max((len(_name(x)) for x in names), default=0) + 12)
  bottom = 10 + _PITCH * len(names)
  height = bottom + 46 + _ROW * math.ceil(len(chart.series) / 2)
  wide = (_WIDTH - 20 - left) / 100
  drawn = [_opening(chart, height)]
  for value in ticks(0, 100):
    x = round(left + wide * value, 2)
    drawn.append(
        f'<line class="rule" x1="{x}" x2="{x}" y1="6" y2="{bottom}"/>'
        f'<text class="tick" x="{x}" y="{bottom + 14}"'
        f' text-anchor="middle">{value:g}</text>'
    )
  drawn.append(
      f'<text class="axis" x="{left}" y="{bottom + 32}">'
      f"{_text(chart.y_label)}</text>"
  )
  for i, name in enumerate(names):
    drawn.append(
        f'<text class="tick" x="{left - 8}" y="{10 + _PITCH * i + _BAR / 2}"'
        f' dy=".35em" text-anchor="end">{_text(_name(name))}</text>'
    )
  ends = dict.fromkeys(names, left)
  last = max(1, len(chart.series) - 1)
  for k, series in enumerate(chart.series):
    shade = round(100 * (1 - k / last))
    drawn.append(
        f'<g class="part{" deep" if shade > 60 else ""}" style="--t:{shade}%">'
    )
    for p in series.points:
      if not p.y:
        continue
      row, width = names.index(p.x), round(wide * p.y, 2)
      x, y = round(ends[p.x], 2), 10 + _PITCH * row
      ends[p.x] += width
      drawn.append(
          f"<g{_placed(row, k, series, p)}>"
          f"<title>{_text(_told(series, p))}</title>"
          f'<rect class="bar" x="{x}" y="{y}" width="{width}"'
          f' height="{_BAR}"/>'
      )
      if width >= _WIDE:
        drawn.append(
            f'<text class="inside" x="{round(x + width / 2, 2)}"'
            f' y="{y + _BAR / 2}" dy=".35em" text-anchor="middle">{p.y:.0f}'
            "</text>"
        )
      drawn.append("</g>")
    drawn += _legend(k, series.label, bottom + 46)
    drawn.append("</g>")
  drawn.append("</svg>")
  return markupsafe.Markup("\n".join(drawn))


class _Scale:
  """From values to places in the drawing."""

  def __init__(self, chart: spec.Chart):
    self.low, self.high = chart.bounds()
    self.numeric = chart.kind == spec.SCATTER
    self.categories = chart.categories
    if self.numeric:
      xs = [p.x for s in chart.series for p in s.points]
      room = 0.06 * ((max(xs) - min(xs)) or 1.0) if xs else 1.0
      self.first = min(xs, default=0.0) - room
      self.last = max(xs, default=1.0) + room

  def y(self, value: float) -> float:
    share = (value - self.low) / ((self.high - self.low) or 1.0)
    share = min(1.0, max(0.0, share))
    return round(_BOTTOM - share * (_BOTTOM - _TOP), 2)

  @property
  def step(self) -> float:
    return (_RIGHT - _LEFT) / max(1, len(self.categories))

  def x(self, value) -> float:
    if self.numeric:
      share = (value - self.first) / ((self.last - self.first) or 1.0)
      return round(_LEFT + share * (_RIGHT - _LEFT), 2)
    place = self.categories.index(value)
    return round(_LEFT + self.step * (place + 0.5), 2)


def ticks(low: float, high: float, number: int = _NUM_TICKS) -> list[float]:
  """Round values between two others, about so many."""
  rough = (high - low) / number or 1.0
  power = 10 ** math.floor(math.log10(rough))
  step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
  first = math.ceil(low / step)
  return [
      round(i * step, 10) for i in range(first, math.floor(high / step) + 1)
  ]


def _axes(chart: spec.Chart, scale: _Scale) -> Iterator[str]:
  for value in ticks(scale.low, scale.high):
    y = scale.y(value)
    yield (
        f'<line class="rule" x1="{_LEFT}" x2="{_RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y}" dy=".35em"'
        f' text-anchor="end">{value:g}</text>'
    )
  if chart.level is not None:
    value, meaning = chart.level
    y = scale.y(value)
    yield (
        f'<line class="rule level" x1="{_LEFT}" x2="{_RIGHT}" y1="{y}"'
        f' y2="{y}"><title>{_text(meaning)}</title></line>'
        f'<text class="tick" x="{_RIGHT + 8}" y="{y}"'
        f' dy=".35em">{_text(meaning)}</text>'
    )
  yield (
      f'<text class="axis" x="{_LEFT}" y="{_TOP - 14}">'
      f"{_text(chart.y_label)}</text>"
      f'<text class="axis" x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 50}"'
      f' text-anchor="middle">{_text(chart.x_label)}</text>'
  )
  marks = (
      [(x, f"{x:g}") for x in ticks(scale.first, scale.last)]
      if scale.numeric else [(x, _name(x)) for x in scale.categories]
  )
  widest = 7 * max((len(text) for _, text in marks), default=0)
  tight = not scale.numeric and widest > scale.step
  for value, text in marks:
    x = scale.x(value)
    turn = f' transform="rotate(-35 {x} {_BOTTOM + 14})"' if tight else ""
    yield (
        f'<text class="tick" x="{x}" y="{_BOTTOM + (14 if tight else 20)}"'
        f' text-anchor="{"end" if tight else "middle"}"{turn}>'
        f"{_text(text)}</text>"
    )


def _series(chart, scale: _Scale, k: int, series) -> Iterator[str]:
  count = len(chart.series)
  if chart.kind == spec.LINES:
    path, pen = [], "M"
    for p in series.points:
      if p.y is None:
        pen = "M"
        continue
      x = scale.x(p.x) + 3.0 * (k - (count - 1) / 2)
      path.append(f"{pen}{x:.1f} {scale.y(p.y)}")
      pen = "L"
    yield f'<path class="line" d="{" ".join(path)}"/>'
  for p in series.points:
    if p.y is None:
      continue
    x, y = scale.x(p.x), scale.y(p.y)
    yield (
        f"<g{_place(scale, k, series, p)}>"
        f"<title>{_text(_told(series, p))}</title>"
    )
    if chart.kind == spec.BARS:
      width = min(26.0, 0.8 * scale.step / count)
      x += width * (k - (count - 1) / 2)
      zero = scale.y(max(scale.low, min(0.0, scale.high)))
      if p.place:  # a bar of no height can be pressed, too
        yield (
            f'<rect class="hit" x="{x - width / 2:.1f}" y="{_TOP}"'
            f' width="{width:.1f}" height="{_BOTTOM - _TOP}"/>'
        )
      yield (
          f'<rect class="bar" x="{x - width / 2 + 0.5:.1f}"'
          f' y="{min(y, zero)}" width="{width - 1:.1f}"'
          f' height="{abs(zero - y):.2f}"/>'
      )
    elif chart.kind == spec.LINES:
      x += 3.0 * (k - (count - 1) / 2)
    if p.low is not None and p.high is not None:
      yield (
          f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}"'
          f' y1="{scale.y(p.low)}" y2="{scale.y(p.high)}"/>'
      )
    if chart.kind != spec.BARS:
      yield f'<circle class="mark" cx="{x:.1f}" cy="{y}" r="4"/>'
      if p.place:
        yield f'<circle class="hit" cx="{x:.1f}" cy="{y}" r="9"/>'
    if chart.kind == spec.SCATTER and p.label:
      yield (
          f'<text class="value" x="{x + 7:.1f}" y="{y - 6}">'
          f"{_text(p.label)}</text>"
      )
    yield "</g>"


def _legend(k: int, label: str, top: float = _HEIGHT) -> Iterator[str]:
  if not label:
    return
  x, y = _LEFT + 310 * (k % 2), top + _ROW * (k // 2)
  yield (
      f'<rect class="key" x="{x}" y="{y}" width="12" height="12"/>'
      f'<text class="legend" x="{x + 18}" y="{y + 6}" dy=".35em">'
      f"{_text(label)}</text>"
  )


def _fit(chart: spec.Chart, scale: _Scale) -> Iterator[str]:
  points = [p for s in chart.series for p in s.points if p.y is not None]
  xs = [p.x for p in points]
  at = np.linspace(min(xs), max(xs), _BAND) if xs else []
  found = statistics.fitted_line(xs, [p.y for p in points], at)
  if found is None:
    return
  places = [scale.x(x) for x in at]
  line, low, high = ([scale.y(v) for v in part] for part in found)
  around = [*zip(places, low, strict=True)]
  around += [*zip(places, high, strict=True)][::-1]
  outline = " ".join(f"{x},{y}" for x, y in around)
  yield (
      f'<polygon class="band" points="{outline}"><title>95% interval of the'
      " line</title></polygon>"
      f'<line class="fit" x1="{places[0]}" x2="{places[-1]}" y1="{line[0]}"'
      f' y2="{line[-1]}"><title>least squares</title></line>'
  )


def _place(scale: _Scale, k: int, series: spec.Series, p: spec.Point) -> str:
  """What makes a mark lead to its answers; the keys go by row and column."""
  column = (
      sorted(q.x for q in series.points).index(p.x) if scale.numeric
      else scale.categories.index(p.x)
  )
  return _placed(k, column, series, p)


def _placed(row: int, column: int, series: spec.Series, p: spec.Point) -> str:
  if p.place is None:
    return ""
  detail = json.dumps(
      spec.detail(_title(series, p), _parts(p), p.place), ensure_ascii=False
  )
  return (
      f' data-row="{row}" data-column="{column}"'
      f' data-cell="{_text(detail)}"'
  )


def _told(series: spec.Series, p: spec.Point) -> str:
  return f"{_title(series, p)}: {', '.join(_parts(p))}"


def _title(series: spec.Series, p: spec.Point) -> str:
  return ", ".join(x for x in (series.label or p.label, _name(p.x)) if x)


def _parts(p: spec.Point) -> list[str]:
  parts = [f"{p.y:.1f}"]
  if p.low is not None:
    parts.append(f"95% interval {p.low:.1f}–{p.high:.1f}")
  if p.n:
    parts.append(f"n = {p.n:,}")
  return parts


def _name(x) -> str:
  return x if isinstance(x, str) else f"{x:g}"


def _text(text: str) -> str:
  return str(markupsafe.escape(text))
