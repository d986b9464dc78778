"""Shares of a whole for print: bars across, each in parts."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib import figure as figure_lib

from mlit_jax.analysis import plots

# Of a part that holds its own number, in percent.
_WIDE = 7.0


def bars(
    labels: Sequence[str],
    series: Sequence[plots.Series],
    *,
    title: str = "",
    x_label: str = "",
) -> figure_lib.Figure:
  """Bars across in parts that add up to 100.

  Args:
    labels: of the bars, from the top.
    series: a part each, from the left; a percentage for every place that has
      one. The first is the darkest.
  """
  with matplotlib.rc_context(plots.STYLE):
    figure, axes = plots.new_figure(6.2, 1.1 + 0.3 * len(labels))
    left = np.zeros(len(labels))
    shades = np.linspace(1.0, 0.0, len(series))
    for part, shade in zip(series, shades, strict=True):
      found = dict(zip(part.places, part.values, strict=True))
      widths = np.array([found.get(x) or 0.0 for x in labels])
      axes.barh(
          range(len(labels)), widths, left=left, height=0.75,
          color=plots.SEQUENTIAL(shade), edgecolor=plots.MUTED, linewidth=0.5,
          label=part.label,
      )
      for y, (start, width) in enumerate(zip(left, widths, strict=True)):
        if width >= _WIDE:
          axes.text(
              start + width / 2, y, f"{width:.0f}", ha="center", va="center",
              fontsize=7.5,
          )
      left = left + widths
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 100)
    axes.set(xlabel=x_label, title=plots.wrapped(figure, title))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
