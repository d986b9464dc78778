"""The page of any study that has a view (views/), and its files."""

import importlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import languages as languages_lib
from mlit_jax import records
from mlit_jax.analysis import plots
from mlit_jax.studies.report import answers as answers_lib
from mlit_jax.studies.report import drawing, rendering, spec, svg
from mlit_jax.studies.report.views import common

VIEWS = ("lucky52", "alpaca", "polyglot")


def write(directory: pathlib.Path, results: Mapping[str, Any]) -> str:
  """Writes figures/ and tables/, and returns the page's text.

  Args:
    directory: of the study.
    results: what its results.json says.

  Raises:
    RecordError: something in the results is missing; says what.
  """
  module = importlib.import_module(
      f"mlit_jax.studies.report.views.{results['study']}"
  )
  try:
    view = module.view(results)
    caveats = common.caveats(results)
  except (KeyError, TypeError, IndexError, AttributeError) as e:
    raise records.RecordError(
        f"{directory / 'results.json'}: it lacks what the page needs"
        f" ({type(e).__name__}: {e}); run the study again"
    ) from e
  found = answers_lib.read(
      directory, list(results["languages"]), list(results["systems"])
  )
  drawn = write_files(directory, view.sections)
  return rendering.render(
      "generic.html",
      results=results,
      view=view,
      caveats=caveats,
      answers=_answers(results, found),
      drawn=drawn,
      **tools(view.sections),
  )


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
      "numbers": numbers, "svg": svg.draw, "shade": _shade, "shown": _shown,
      "formats": rendering.FORMATS,
  }


def write_files(
    directory: pathlib.Path, sections: Sequence[spec.Section]
) -> list[str]:
  """figures/*.pdf, *.png and tables/*.csv; returns the drawn ones' names."""
  drawn = []
  for part in sections:
    for item in part.items:
      records.write_text(
          directory / "tables" / f"{item.name}.csv", [item.to_csv()]
      )
      if isinstance(item, spec.Chart):
        figure = drawing.figure(item)
      elif (figure := drawing.table(item)) is None:
        continue
      drawn.append(item.name)
      for suffix in rendering.FORMATS:
        plots.save(figure, directory / "figures" / f"{item.name}.{suffix}")
  return drawn


def _answers(results, found: answers_lib.Answers) -> dict[str, Any]:
  own = {
      v["language"]: k for k, v in results["systems"].items()
      if v["kind"] == "monolingual" and "language" in v
  }
  index = {
      "systems": [[name, name] for name in found.systems],
      "languages": {
          code: {
              "name": language.name,
              "autonym": language.autonym,
              "dir": "rtl" if language.is_rtl else "ltr",
              "own": own.get(code, ""),
          }
          for code, language in sorted(found.languages.items())
      },
      "base": results["base"]["name"],
  }
  return {
      "count": sum(map(len, found.rows.values())),
      "languages": [languages_lib.get(code) for code in found.rows],
      "index": answers_lib.embed(index),
      "blocks": [
          (code, answers_lib.embed(rows)) for code, rows in found.rows.items()
      ],
  }


def _shade(table: spec.Table, row: int, column: int) -> float:
  """A cell's place between its column's least (0) and greatest (100)."""
  values = [
      cells[column].value for _, cells in table.rows
      if isinstance(cells[column].value, int | float)
  ]
  low, spread = min(values), max(values) - min(values)
  value = table.rows[row][1][column].value
  return round(100 * (value - low) / spread, 1) if spread else 0.0


def _shown(value, digits: int) -> str:
  if value is None:
    return "–"
  if isinstance(value, str):
    return value
  if isinstance(value, int):
    return f"{value:,}"
  return f"{value:,.{digits}f}"


def read(directory: pathlib.Path) -> dict[str, Any] | None:
  """results.json of a study with a view; None if it is not such a study's."""
  try:
    text = (directory / "results.json").read_text(encoding="utf-8")
    results = json.loads(text)
  except (OSError, ValueError):
    return None  # the reader of pinch's results says what is wrong
  if not isinstance(results, dict) or results.get("study") not in VIEWS:
    return None
  return results
