"""The same charts for print, through analysis/plots."""

from matplotlib import figure as figure_lib

from mlit_jax.analysis import plots, stacked
from mlit_jax.studies.report import spec


def figure(chart: spec.Chart) -> figure_lib.Figure:
  """The chart as a matplotlib figure."""
  series = [
      plots.Series(
          s.label,
          [p.y for p in s.points],
          [(p.low, p.high) for p in s.points],
          [p.x for p in s.points],
          [p.label for p in s.points],
      )
      for s in chart.series
  ]
  title = f"{chart.title}\n{chart.basis}"
  if chart.kind == spec.STACKED:
    return stacked.bars(
        chart.categories, series, title=title, x_label=chart.y_label
    )
  return plots.chart(
      chart.kind,
      series,
      chart.categories,
      title=title,
      x_label=chart.x_label,
      y_label=chart.y_label,
      level=chart.level and chart.level[0],
      y_range=chart.bounds(),
      fit=chart.fit,
  )


def table(found: spec.Table) -> figure_lib.Figure | None:
  """A shaded table as a heat map; None for any other."""
  if not found.shaded:
    return None
  bounded = any(c.low is not None for _, cells in found.rows for c in cells)
  elsewhere = " The intervals are in its table." if bounded else ""
  return plots.heat_map(
      [
          [c.value if isinstance(c.value, int | float) else None for c in cells]
          for _, cells in found.rows
      ],
      [label for label, _ in found.rows],
      [text for text, _ in found.columns],
      title=f"{found.title}\n{found.basis}{elsewhere}",
      digits=found.digits,
  )
