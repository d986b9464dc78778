"""Figures for print: plain numbers in, a matplotlib Figure out.

Nothing here knows of studies. The object API and the Agg canvas are used
throughout, so no display, window or global state is touched, and `save` writes
the same bytes for the same figure. Labels are English names and codes: the
font is DejaVu Sans, which comes with matplotlib.
"""

import dataclasses
import os
import pathlib
import tempfile
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import colors
from matplotlib import figure as figure_lib
from matplotlib.backends import backend_agg

from mlit_jax.analysis import statistics

Interval = tuple[float | None, float | None]

INK = "#1d1d1b"
MUTED = "#5c5a55"
RULE = "#d9d5cb"
# Apart in hue and in lightness, so that they survive a grey printer.
PALETTE = (
    "#1f4e6b", "#c0562b", "#6b6963", "#8a7a2f", "#5b3a6e", "#2f6f4f", "#9c2f4a",
    "#3b7d8c",
)
# Of a title: letters on an inch, and on the shortest line.
_CHARACTERS, _FEWEST = 11.5, 50
_MARKERS = "osD^"
_DASHES = ("-", "-", (0, (4, 2)), (0, (1, 1.5)))
SEQUENTIAL = colors.LinearSegmentedColormap.from_list(
    "paper", ["#f8f4ea", "#b9d3d6", "#5d9cb8"]
)
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titlepad": 12,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    # Text stays text in PDF and SVG.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "mlit-jax",
}
# What would differ between two runs or two versions of matplotlib.
_METADATA = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}


@dataclasses.dataclass(frozen=True)
class Series:
  """Values under one name, None where there is none.

  Attributes:
    intervals: (low, high) of each value; (None, None) for no interval.
    places: where each value stands: a category, or a number in a scatter plot.
    names: of the values, in a scatter plot.
  """

  label: str
  values: Sequence[float | None]
  intervals: Sequence[Interval]
  places: Sequence[float | str] = ()
  names: Sequence[str] = ()


def heat_map(
    values: Sequence[Sequence[float | None]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    digits: int = 1,
) -> figure_lib.Figure:
  """Numbers in a grid, each column coloured on its own scale.

  Args:
    values: `[rows][columns]`, None where the cell is left out.
    digits: behind the point.
  """
  with matplotlib.rc_context(STYLE):
    rows, columns = len(row_labels), len(column_labels)
    figure, axes = new_figure(2.0 + 0.5 * columns, 1.3 + 0.36 * rows)
    axes.imshow(
        np.ma.masked_invalid(column_shades(values)), cmap=SEQUENTIAL, vmin=0,
        vmax=1, aspect="auto",
    )
    for i, row in enumerate(values):
      for j, value in enumerate(row):
        text = "–" if value is None else f"{value:.{digits}f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=7.5)
    axes.set_xticks(range(columns), column_labels)
    axes.set_yticks(range(rows), row_labels)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # White lines between the cells.
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel=x_label, ylabel=y_label, title=wrapped(figure, title))
    return figure


def wrapped(figure: figure_lib.Figure, title: str) -> str:
  """A title in lines that are no wider than the drawing."""
  width = max(_FEWEST, round(figure.get_figwidth() * _CHARACTERS))
  return "\n".join(textwrap.fill(x, width) for x in title.split("\n"))


def column_shades(
    values: Sequence[Sequence[float | None]],
) -> list[list[float]]:
  """Each value's place between its column's least (0) and greatest (1).

  NaN where there is no value; 0 throughout a column without spread.
  """
  grid = np.array(
      [[np.nan if x is None else x for x in row] for row in values], np.float64
  )
  shades = np.full_like(grid, np.nan)
  for j in range(grid.shape[1] if grid.ndim == 2 else 0):
    column = grid[:, j]
    known = column[~np.isnan(column)]
    if known.size:
      low, spread = known.min(), np.ptp(known)
      shades[:, j] = (column - low) / (spread or 1.0)
  return shades.tolist()


def percent_curve(
    percents: Sequence[float],
    series: Sequence[Series],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    level: float | None = 50,
) -> figure_lib.Figure:
  """Scores over percentages, which stand at equal distances from each other.

  Args:
    series: one line each, one value per percentage.
    level: where to draw a line across, None for nowhere.
  """
  with matplotlib.rc_context(STYLE):
    figure, axes = new_figure(6.2, 3.6)
    if level is not None:
      axes.axhline(level, color=MUTED, linewidth=0.8)
    for k, line in enumerate(series):
      x = np.arange(len(percents)) + 0.07 * (k - (len(series) - 1) / 2)
      y = _floats(line.values)
      axes.errorbar(
          x, y, yerr=_errors(line), label=line.label, color=_colour(k),
          linestyle=_DASHES[k % len(_DASHES)], linewidth=1.5,
          marker=_MARKERS[k % len(_MARKERS)], markersize=4.5,
          elinewidth=0.9, clip_on=False,
      )
    axes.set_xticks(range(len(percents)), [f"{p:g}" for p in percents])
    axes.set_xlim(-0.3, len(percents) - 0.7)
    axes.set_ylim(0, 100)
    axes.set(xlabel=x_label, ylabel=y_label, title=wrapped(figure, title))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def bars_with_intervals(
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    title: str = "",
    x_label: str = "",
    level: float | None = 50,
) -> figure_lib.Figure:
  """Horizontal bars from 0 to 100, one a series in each group.

  Args:
    labels: of the groups, from the top.
    series: one value per group.
    level: where to draw a line across, None for nowhere.
  """
  with matplotlib.rc_context(STYLE):
    figure, axes = new_figure(6.2, 1.1 + 0.42 * len(labels))
    height = 0.7 / max(1, len(series))
    for k, bars in enumerate(series):
      y = np.arange(len(labels)) + height * (k - (len(series) - 1) / 2)
      axes.barh(
          y, np.nan_to_num(_floats(bars.values)), height=height * 0.85,
          label=bars.label, color=_colour(k), alpha=0.8,
      )
      axes.errorbar(
          _floats(bars.values), y, xerr=_errors(bars), linestyle="none",
          color=INK, elinewidth=0.9,
      )
    if level is not None:
      axes.axvline(level, color=MUTED, linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 100)
    axes.set(xlabel=x_label, title=wrapped(figure, title))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def chart(
    kind: str,
    series: Sequence[Series],
    categories: Sequence[float | str],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    level: float | None = None,
    y_range: tuple[float, float] = (0, 100),
    fit: bool = False,
) -> figure_lib.Figure:
  """Lines or bars over categories, or a scatter plot.

  Args:
    kind: lines, bars or scatter.
    series: with a place for every value.
    categories: every place, in order; not used by a scatter plot.
    level: where to draw a line across, None for nowhere.
    y_range: of the axis.
    fit: whether to draw the least-squares line of a scatter plot.
  """
  with matplotlib.rc_context(STYLE):
    figure, axes = new_figure(6.6, 3.8)
    if level is not None:
      axes.axhline(level, color=MUTED, linewidth=0.8)
    where = {x: i for i, x in enumerate(categories)}
    width = 0.8 / max(1, len(series))
    for k, line in enumerate(series):
      apart = k - (len(series) - 1) / 2
      colour = _colour(k)
      y = _floats(line.values)
      if kind == "scatter":
        x = np.array(line.places, np.float64)
        axes.errorbar(
            x, y, yerr=_errors(line), linestyle="none", color=colour,
            marker=_MARKERS[k // len(PALETTE) % len(_MARKERS)], elinewidth=0.9,
            label=line.label,
        )
        for name, *at in zip(line.names, x, y, strict=True):
          axes.annotate(name, at, xytext=(4, 4), textcoords="offset points")
        if fit:
          _draw_fit(axes, x, y, y_range)
        continue
      x = np.array([where[place] for place in line.places], np.float64)
      if kind == "bars":
        x = x + width * apart
        axes.bar(
            x, np.nan_to_num(y), width=width * 0.9, color=colour, alpha=0.8,
            label=line.label,
            # Beyond the colours, the same ones again, but hatched.
            hatch="///" if k >= len(PALETTE) else None, edgecolor="white",
        )
        axes.errorbar(
            x, y, yerr=_errors(line), linestyle="none", color=INK,
            elinewidth=0.9,
        )
        continue
      axes.errorbar(
          x + 0.05 * apart, y, yerr=_errors(line), label=line.label,
          color=colour, linestyle=_DASHES[k % len(_DASHES)], linewidth=1.4,
          marker=_MARKERS[k % len(_MARKERS)], markersize=4, elinewidth=0.9,
      )
    if kind != "scatter":
      names = [x if isinstance(x, str) else f"{x:g}" for x in categories]
      turned = sum(map(len, names)) > 60
      axes.set_xticks(
          range(len(names)), names, rotation=35 if turned else 0,
          ha="right" if turned else "center",
      )
    if any(line.label for line in series):
      axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.set_ylim(*y_range)
    axes.set(xlabel=x_label, ylabel=y_label, title=wrapped(figure, title))
    return figure


def _draw_fit(axes, x, y, y_range: tuple[float, float]) -> None:
  """The least-squares line with its 95% band."""
  there = np.isfinite(y)
  x, y = x[there], y[there]
  at = np.linspace(x.min(), x.max(), 50) if x.size else x
  if (found := statistics.fitted_line(x, y, at)) is None:
    return
  line, low, high = (np.clip(part, *y_range) for part in found)
  axes.fill_between(at, low, high, color=MUTED, alpha=0.2, linewidth=0)
  axes.plot(at, line, color=MUTED)


def maps(
    panels: Mapping[str, Mapping[str, np.ndarray]], columns: int = 4
) -> figure_lib.Figure:
  """Small maps side by side: points of the plane, coloured by series.

  Args:
    panels: title -> series -> points [n, 2]; the same series in all.
    columns: maps in a row.
  """
  rows = -(-len(panels) // columns)
  with matplotlib.rc_context(STYLE):
    figure = figure_lib.Figure(figsize=(2.1 * columns, 2.2 * rows))
    backend_agg.FigureCanvasAgg(figure)
    for place, (title, series) in enumerate(panels.items(), start=1):
      axes = figure.add_subplot(rows, columns, place)
      for k, (name, points) in enumerate(series.items()):
        axes.plot(
            *np.asarray(points).T, linestyle="none", color=_colour(k),
            marker=_MARKERS[k // len(PALETTE) % len(_MARKERS)], markersize=1.5,
            alpha=0.6, label=name,
        )
      axes.set(title=title, xticks=[], yticks=[])
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="upper center", ncols=12, markerscale=3,
        bbox_to_anchor=(0.5, 0),
    )
    figure.tight_layout()
    return figure


def save(figure: figure_lib.Figure, path: str | os.PathLike) -> None:
  """Writes a .png, .pdf or .svg file, all or nothing, without a date in it.

  Raises:
    ValueError: another ending.
  """
  path = pathlib.Path(path)
  if path.suffix not in _METADATA:
    raise ValueError(f"{path}: a figure is saved as {', '.join(_METADATA)}")
  path.parent.mkdir(parents=True, exist_ok=True)
  # A private folder beside the target: the file in it gets ordinary
  # permissions, and nothing is left behind if drawing fails.
  with tempfile.TemporaryDirectory(dir=path.parent, prefix=".figure-") as part:
    unfinished = pathlib.Path(part) / path.name
    with matplotlib.rc_context(STYLE):
      figure.savefig(
          unfinished, dpi=200, bbox_inches="tight", pad_inches=0.1,
          metadata=_METADATA[path.suffix],
      )
    os.replace(unfinished, path)


def new_figure(width: float, height: float):
  """A figure of that many inches and its only axes."""
  figure = figure_lib.Figure(figsize=(width, height))
  backend_agg.FigureCanvasAgg(figure)
  return figure, figure.add_subplot()


def _colour(k: int) -> str:
  return PALETTE[k % len(PALETTE)]


def _floats(values: Sequence[float | None]) -> np.ndarray:
  return np.array([np.nan if x is None else x for x in values], np.float64)


def _errors(series: Series) -> np.ndarray:
  """[2, n] distances from the value down and up to its interval's ends."""
  value = _floats(series.values)
  low = _floats([low for low, _ in series.intervals])
  high = _floats([high for _, high in series.intervals])
  # The interval of a mean near 0 or 100 need not hold the mean itself.
  return np.nan_to_num(np.maximum([value - low, high - value], 0))
