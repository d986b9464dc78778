"""Figures: shades by hand, the same bytes each time, no global state."""

import math

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from mlit_jax.analysis import plots

LINE = plots.Series(
    "Others", (3.0, None, 40.0), ((1.0, 6.0), (None, None), (36.0, 44.0))
)


def _figures():
  return {
      "heat_map": plots.heat_map(
          [[None, 10.0], [20.0, None]], ["English", "Hebrew"], ["en", "he"]
      ),
      "curve": plots.percent_curve([0, 1, 100], [LINE]),
      "maps": plots.maps({
          "layer 0": {"en": [(0, 1), (2, 3)], "he": [(4, 5), (6, 7)]},
          "layer 1": {"en": [(0, 0), (0, 1)], "he": [(1, 0), (1, 1)]},
      }),
      "bars": plots.bars_with_intervals(["en", "he", "sw"], [LINE, LINE]),
  }


def test_shades_run_from_least_to_greatest_in_each_column():
  shades = plots.column_shades(
      [[None, 10.0, 5.0], [20.0, 30.0, 5.0], [30.0, 20.0, None]]
  )
  expected = [[math.nan, 0, 0], [0, 1, 0], [1, 0.5, math.nan]]
  for row, wanted in zip(shades, expected, strict=True):
    assert row == pytest.approx(wanted, nan_ok=True)


def test_values_and_intervals_stand_where_they_should():
  axes = plots.percent_curve([0, 1, 100], [LINE]).axes[0]
  assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "1", "100"]
  (container,) = axes.containers
  line, _, (whiskers,) = container
  assert list(line.get_xdata()) == [0, 1, 2]  # evenly, not to scale
  assert line.get_ydata()[0] == 3 and math.isnan(line.get_ydata()[1])
  segments = [s[:, 1].tolist() for s in whiskers.get_segments() if len(s)]
  assert segments == [[1, 6], [36, 44]]


def test_bars_are_as_long_as_their_values():
  axes = plots.bars_with_intervals(["en", "he", "sw"], [LINE]).axes[0]
  assert [bar.get_width() for bar in axes.patches] == [3, 0, 40]


def test_every_map_has_the_points_of_every_series():
  figure = _figures()["maps"]
  assert [axes.get_title(loc="left") for axes in figure.axes] == [
      "layer 0", "layer 1"
  ]
  lines = [line for axes in figure.axes for line in axes.lines]
  assert [line.get_label() for line in lines] == ["en", "he"] * 2
  assert lines[1].get_xydata().tolist() == [[4, 5], [6, 7]]
  (legend,) = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == ["en", "he"]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
@pytest.mark.parametrize("name", ["heat_map", "curve", "bars", "maps"])
def test_equal_figures_are_equal_bytes(tmp_path, monkeypatch, name, suffix):
  first, second = (tmp_path / f"{x}.{suffix}" for x in "ab")
  plots.save(_figures()[name], first)
  # Neither the date nor a user's own settings reach the file.
  monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
  plots.save(_figures()[name], second)
  assert first.read_bytes() == second.read_bytes()
  assert sorted(tmp_path.iterdir()) == [first, second]


def test_global_settings_are_left_alone(tmp_path):
  before = dict(matplotlib.rcParams)
  for figure in _figures().values():
    plots.save(figure, tmp_path / "a.png")
  assert dict(matplotlib.rcParams) == before


def test_an_unknown_ending_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"a\.jpg: a figure is saved as \.png"):
    plots.save(_figures()["bars"], tmp_path / "a.jpg")


def test_a_scatter_plot_says_which_series_is_which():
  series = [
      plots.Series(name, [1.0, 3.0, 2.0], [(0.5, 2.0), (2.0, 4.0), (1.0, 2.5)],
                   [0.0, 1.0, 2.0], ["", "", ""])
      for name in ("English", "Hindi")
  ]
  (axes,) = plots.chart("scatter", series, []).axes
  names = [t.get_text() for t in axes.get_legend().get_texts()]
  assert names == ["English", "Hindi"]
  # The intervals are drawn: a bar from 0.5 to 2 at the first point.
  bars = axes.containers[0].lines[2][0].get_segments()
  np.testing.assert_allclose(bars[0], [[0, 0.5], [0, 2.0]])


def test_a_fit_is_drawn_with_its_band():
  x, y = [1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0]
  line = plots.Series("", y, [(None, None)] * 4, x, list("abcd"))
  (axes,) = plots.chart("scatter", [line], [], fit=True, y_range=(-9, 9)).axes
  band = axes.collections[-1].get_paths()[0].vertices
  at_one = band[np.isclose(band[:, 0], 1.0)][:, 1]
  # tests/analysis/test_statistics.py has these by hand.
  assert at_one.min() == pytest.approx(1.6 - 4.553501)
  assert at_one.max() == pytest.approx(1.6 + 4.553501)
  (plain,) = plots.chart("scatter", [line], []).axes
  assert len(axes.collections) == len(plain.collections) + 1


@pytest.mark.parametrize("make", [
    lambda title: plots.chart("bars", [], ["a"], title=title),
    lambda title: plots.heat_map([[1.0]], ["a"], ["b"], title=title),
    lambda title: plots.percent_curve([0, 1, 100], [LINE], title=title),
    lambda title: plots.bars_with_intervals([*"abc"], [LINE], title=title),
])
def test_a_long_caption_does_not_make_a_figure_wider(make):
  """All of it stands there, in lines no wider than the drawing."""
  caption = "n = 112 behind each number, and so on. " * 5
  figure = make(f"A title\n{caption}")
  (axes,) = figure.axes
  text = axes.get_title(loc="left")
  assert text.split("\n")[0] == "A title"
  assert text.split() == ["A", "title", *caption.split()]
  (title,) = [t for t in axes.findobj(Text) if t.get_text() == text]
  box = title.get_window_extent(figure.canvas.get_renderer())
  assert box.width < max(5.0, figure.get_figwidth()) * figure.dpi


def test_a_heat_map_shows_as_many_digits_as_asked():
  figure = plots.heat_map([[0.624]], ["a"], ["b"], digits=2)
  assert [t.get_text() for t in figure.axes[0].texts] == ["0.62"]
