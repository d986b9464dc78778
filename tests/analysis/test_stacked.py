"""Bars in parts: each as long as its share, one behind the other."""

import pytest

from mlit_jax.analysis import plots, stacked

NAMES = ("base, Hebrew", "all, Hebrew")


def _series(label, values):
  return plots.Series(label, values, [(None, None)] * 2, NAMES)


def test_parts_stand_behind_each_other_and_say_their_shares():
  series = [
      _series("good", (50.0, 0.0)), _series("medium", (46.0, 100.0)),
      _series("poor", (4.0, 0.0)),
  ]
  (axes,) = stacked.bars(NAMES, series, title="A title").axes
  places = [(bar.get_x(), bar.get_width()) for bar in axes.patches]
  assert places == [(0, 50), (0, 0), (50, 46), (0, 100), (96, 4), (100, 0)]
  assert [t.get_text() for t in axes.get_yticklabels()] == list(NAMES)
  # From the top; and a part that is too narrow has no number.
  assert axes.yaxis_inverted()
  assert [t.get_text() for t in axes.texts] == ["50", "46", "100"]
  legend = [t.get_text() for t in axes.get_legend().get_texts()]
  assert legend == ["good", "medium", "poor"]
  shades = [sum(axes.patches[i].get_facecolor()[:3]) for i in (0, 2, 4)]
  assert shades == sorted(shades) and len(set(shades)) == 3


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_equal_figures_are_equal_bytes(tmp_path, suffix):
  paths = [tmp_path / f"{x}.{suffix}" for x in "ab"]
  for path in paths:
    plots.save(stacked.bars(NAMES, [_series("all", (100.0, 100.0))]), path)
  assert paths[0].read_bytes() == paths[1].read_bytes()
