"""The page of any study that has a view (views/), and its files."""

import contextlib
import dataclasses
import importlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import plots
from mlit_jax.studies.report import browser as browser_lib
from mlit_jax.studies.report import (
    drawing,
    people,
    reading,
    rendering,
    spec,
    svg,
)
from mlit_jax.studies.report.views import common

Viewer = Callable[[Mapping[str, Any]], spec.View]
VIEWS = ("lucky52", "alpaca", "polyglot", "xllama")


def write(directory: pathlib.Path, viewer: Viewer) -> str:
  """Writes figures/ and tables/, and returns the page's text.

  Args:
    directory: of the study.
    viewer: from its results.json to what the page shows.

  Raises:
    RecordError: something in the results is missing; says what.
  """
  results = reading.raw(directory)
  with complete(directory):
    view, caveats = viewer(results), common.caveats(results)
    view = dataclasses.replace(
        view, sections=[*view.sections, *people.sections(directory, results)]
    )
  answers = browser_lib.build(
      directory,
      results["languages"],
      {name: name for name in common.systems(results)},
      _own(results),
      results["base"]["name"],
  )
  drawn = write_files(directory, view.sections)
  return rendering.render(
      "generic.html",
      results=results,
      view=view,
      caveats=caveats,
      answers=answers,
      drawn=drawn,
      **tools(view.sections),
  )


@contextlib.contextmanager
def complete(directory: pathlib.Path) -> Iterator[None]:
  """What a view does not find in results.json becomes a RecordError."""
  try:
    yield
  except (KeyError, TypeError, IndexError, AttributeError) as e:
    raise records.RecordError(
        f"{directory / 'results.json'}: it lacks what the page needs"
        f" ({type(e).__name__}: {e}); run the study again"
    ) from e


def tools(
    sections: Sequence[spec.Section], figures: int = 0, tables: int = 0
) -> dict[str, Any]:
  """What items.html needs to show sections, behind so many figures and tables.
  """
  numbers, counts = {}, {"Figure": figures, "Table": tables}
  for part in sections:
    for item in part.items:
      kind = "Figure" if isinstance(item, spec.Chart) else "Table"
      counts[kind] += 1
      numbers[item.name] = counts[kind]
  return {
      "numbers": numbers, "svg": svg.draw, "shade": _shade, "shown": spec.shown,
      "opens": spec.opens, "cell_detail": _cell_detail, "ends": spec.ends,
      "missing": spec.missing,
      "formats": rendering.FORMATS,
  }


def write_files(
    directory: pathlib.Path, sections: Sequence[spec.Section]
) -> list[str]:
  """Files of figures/ and tables/; returns the drawn ones' names."""
  drawn = []
  for part in sections:
    for item in part.items:
      table = directory / "tables" / item.name
      records.write_text(table.with_suffix(".csv"), [item.to_csv()])
      records.write_text(table.with_suffix(".tex"), [item.to_latex()])
      if isinstance(item, spec.Chart):
        figure = drawing.figure(item)
      elif (figure := drawing.table(item)) is None:
        continue
      drawn.append(item.name)
      for suffix in rendering.FORMATS:
        plots.save(figure, directory / "figures" / f"{item.name}.{suffix}")
  return drawn


def _own(results) -> dict[str, str]:
  """Language -> the first system that was tuned on it alone."""
  found: dict[str, str] = {}
  for name, system in common.systems(results).items():
    if system["kind"] == "monolingual" and "language" in system:
      found.setdefault(system["language"], name)
  return found


def _shade(table: spec.Table, row: int, column: int) -> float:
  """A cell's place between its column's least (0) and greatest (100)."""
  values = [
      cells[column].value for _, cells in table.rows
      if isinstance(cells[column].value, int | float)
  ]
  low, spread = min(values), max(values) - min(values)
  value = table.rows[row][1][column].value
  return round(100 * (value - low) / spread, 1) if spread else 0.0


def _cell_detail(table: spec.Table, row: int, column: int) -> str:
  """What figures.js needs of a cell, as JSON."""
  label, cells = table.rows[row]
  cell, (text, name) = cells[column], table.columns[column]
  said = spec.shown(cell.value, table.digits)
  title, parts = f"{label}, {name or text}", [said, cell.title]
  return json.dumps(spec.detail(title, parts, cell.place), ensure_ascii=False)


def find_view(directory: pathlib.Path) -> Viewer | None:
  """The view of the study that a directory holds; None if it has none."""
  try:
    text = (directory / "results.json").read_text(encoding="utf-8")
    results = json.loads(text)
  except (OSError, ValueError):
    return None  # the reader of pinch's results says what is wrong
  if not isinstance(results, dict) or results.get("study") not in VIEWS:
    return None
  module = importlib.import_module(
      f"mlit_jax.studies.report.views.{results['study']}"
  )
  return module.view
