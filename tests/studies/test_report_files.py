"""Files beside the page: LaTeX, CSV and drawings."""

import csv
import re

import generic_study
import pytest

from mlit_jax.studies.report import latex, page, spec, svg

HOSTILE = r"a_b & 50% of $x^2$ {~} #1 <script> \input{/etc/passwd}"


def _rows(text):
  """The cells of a LaTeX table, as set."""
  body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
  lines = [
      x for x in body.splitlines() if x.strip() and r"\midrule" not in x
  ]
  assert all(x.endswith(r" \\") for x in lines)
  return [
      [cell.strip() for cell in re.split(r"(?<!\\)&", x[:-2])] for x in lines
  ]


def test_latex_takes_no_command_from_a_text():
  text = latex.escape(HOSTILE)
  assert text == (
      r"a\_b \& 50\% of \$x\textasciicircum{}2\$ \{\textasciitilde{}\} \#1"
      r" \textless{}script\textgreater{}"
      r" \textbackslash{}input\{/etc/passwd\}"
  )
  table = latex.table("a_b", HOSTILE, [HOSTILE], [(HOSTILE, ["–"])])
  assert _rows(table) == [["", text], [text, "--"]]
  assert table.count("{") == table.count("}")
  assert r"\label{tab:a-b}" in table and r"\input" not in table


def test_charts_and_tables_as_latex():
  chart = spec.Chart(
      "bars", "Bars", spec.BARS,
      [
          spec.Series("one", [
              spec.Point("en", 1.25, 0.5, 2.0, 7), spec.Point("he", None),
          ]),
          spec.Series("two", [spec.Point("he", 3.0)]),
      ],
      "x", "y", "", "Basis.",
  )
  assert _rows(chart.to_latex()) == [
      ["", "one", "two"], ["en", "1.2 [0.5--2.0]", "--"], ["he", "--", "3.0"]
  ]
  dots = spec.Chart(
      "dots", "Dots", spec.SCATTER,
      [spec.Series("", [spec.Point(0.5, 2.0, label="en")])], "share", "score",
      "", "",
  )
  assert _rows(dots.to_latex()) == [
      ["", "share", "score"], ["en", "0.5", "2.0"]
  ]
  table = spec.Table(
      "t", "T", [("a", ""), ("b", "")],
      [("r", [spec.Cell(1234), spec.Cell(0.125)])], "", digits=2,
  )
  assert _rows(table.to_latex()) == [["", "a", "b"], ["r", "1,234", "0.12"]]


def test_pinch_writes_its_tables_as_the_page_shows_them(make_study):
  directory = make_study(codes=("en", "he", "sw"))
  page.write_report(directory)
  read = {
      path.stem: _rows(path.read_text())
      for path in (directory / "tables").glob("*.tex")
  }
  assert read.keys() == {
      path.stem for path in (directory / "tables").glob("*.csv")
  }
  assert read["heat_map"][0] == ["", "en", "he", "sw", "avg"]
  with open(directory / "tables" / "heat_map.csv", newline="") as file:
    scores = {
        (r["trained_on"], r["evaluated_on"]): float(r["score"])
        for r in csv.DictReader(file)
    }
  english = read["heat_map"][1]
  assert english[:2] == ["English", "--"]
  assert english[2] == f"{scores['en', 'he']:.1f}"
  bounded = r"\d+\.\d \[\d+\.\d--\d+\.\d\]"
  for row in read["base_and_control"][1:]:
    assert all(re.fullmatch(bounded, cell) for cell in row[1:])


def test_a_generic_page_links_every_file_that_is_there(tmp_path):
  directory = generic_study.write(tmp_path / "study")
  text = page.write_report(directory).read_text()
  linked = set(re.findall(r'href="((?:figures|tables)/[^"]+)"', text))
  there = {
      str(path.relative_to(directory))
      for folder in ("figures", "tables")
      for path in (directory / folder).iterdir()
  }
  assert linked == there
  endings = {name.rpartition(".")[2] for name in there}
  assert endings == {"png", "pdf", "svg", "csv", "tex"}
  # Figures for print hold no time of day: equal results, equal bytes.
  (drawing,) = (directory / "figures").glob("robustness.svg")
  first = drawing.read_bytes()
  page.write_report(directory)
  assert drawing.read_bytes() == first


@pytest.mark.parametrize("number, hollow", [(8, 0), (12, 4)])
def test_more_series_than_colours_stay_apart(number, hollow):
  chart = spec.Chart(
      "many", "Many", spec.BARS,
      [spec.Series(f"s{i}", [spec.Point("x", 1.0)]) for i in range(number)],
      "", "", "", "",
  )
  classes = re.findall(r'class="series ([^"]+)"', svg.draw(chart))
  assert len(set(classes)) == number
  assert sum("late" in x for x in classes) == hollow


def test_a_tables_intervals_stand_beside_its_numbers():
  row = {"score": 62.5, "ci": [50.0, 75.0], "n": 40}
  found = spec.Table(
      "t", "T", [("en", "English"), ("steps", "")],
      [("a", [spec.cell(row), spec.Cell(7)]), ("b", [spec.Cell(None),
                                                   spec.Cell(8)])],
      "", "n = 40.",
  )
  assert found.to_csv().splitlines() == [
      ",en,en ci_low,en ci_high,en n,steps", "a,62.5,50.0,75.0,40,7",
      "b,,,,,8",
  ]
  assert _rows(found.to_latex()) == [
      ["", "en", "steps"], ["a", "62.5 [50.0--75.0]", "7"], ["b", "--", "8"],
  ]


def test_a_scatter_plot_as_latex_names_series_and_points():
  chart = spec.Chart(
      "map", "Map", spec.SCATTER, [
          spec.Series("English", [spec.Point(1.0, 2.0)]),
          spec.Series("", [spec.Point(3.0, 4.0, label="fi")]),
      ], "x", "y", "", "",
  )
  assert _rows(chart.to_latex()) == [
      ["", "x", "y"], ["English", "1.0", "2.0"], ["fi", "3.0", "4.0"],
  ]


def test_a_fit_has_its_band_on_the_page():
  points = [spec.Point(x, y) for x, y in ((1, 2), (2, 1), (3, 4), (4, 3))]
  chart = spec.Chart(
      "share", "Share", spec.SCATTER, [spec.Series("", points)], "x", "y", "",
      "", y_range=(-4.0, 8.0), fit=True,
  )
  drawn = str(svg.draw(chart))
  (outline,) = re.findall(r'class="band" points="([^"]*)"', drawn)
  heights = [float(pair.split(",")[1]) for pair in outline.split()]
  # At the first point the band reaches from 1.6 - 4.5535 to 1.6 + 4.5535, which
  # are 1.046 and 10.154 of 12 units above the axis.
  bottom, units = svg._BOTTOM, (svg._BOTTOM - svg._TOP) / 12
  assert heights[0] == pytest.approx(bottom - 1.0465 * units, abs=0.1)
  assert heights[-1] == pytest.approx(bottom - 10.1535 * units, abs=0.1)
