"""Writes the report of a study directory."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import plots
from mlit_jax.studies.report import browser as browser_lib
from mlit_jax.studies.report import (
    charts,
    findings,
    generic_page,
    people,
    pinch_latex,
    reading,
    rendering,
    results,
    sections,
    spec,
)
from mlit_jax.studies.report import figures as figures_lib
from mlit_jax.studies.report import tables as tables_lib
from mlit_jax.studies.report.views import common
from mlit_jax.studies.report.views import pinch as views_pinch

PAGE_NAME = "report.html"
# What template.html numbers itself.
_OWN_FIGURES, _OWN_TABLES = 3, 4


def write_report(
    directory: str | os.PathLike,
    view: Callable[[Mapping[str, Any]], spec.View] | None = None,
) -> pathlib.Path:
  """Writes the report of a study from its JSON files alone.

  Reads results.json and, if they are there, answers.jsonl and judgments.jsonl.
  Writes figures/*.png, *.pdf and *.svg, tables/*.csv and *.tex, and
  report.html, one file that opens from a disk and loads nothing. Equal input
  gives equal bytes. A figure or LaTeX table for which the results hold nothing
  is not written, and one left by an earlier report is removed.

  Args:
    directory: of a study that has run.
    view: of a study of one's own: from results.json to what its page shows.

  Returns:
    The path of report.html.

  Raises:
    RecordError: a file is missing or does not fit; nothing has been written.
  """
  directory = pathlib.Path(directory)
  if view is None:
    view = generic_page.find_view(directory)
  if view is not None:
    path = directory / PAGE_NAME
    records.write_text(path, [generic_page.write(directory, view)])
    return path
  study = reading.read(directory)
  answers = browser_lib.build(
      directory,
      study.codes,
      {name: study.label(name) for name in study.systems},
      {x.language: x.name for x in study.of_kind("monolingual")},
      study.base.name,
  )
  found = reading.raw(directory)
  with generic_page.complete(directory):
    more = views_pinch.sections(found) + people.sections(directory, found)
  tables = tables_lib.build(study)
  drawn = _write_figures(directory, study)
  files = {}
  for table in tables:
    path = directory / "tables" / table.name
    records.write_text(path.with_suffix(".csv"), [table.to_csv()])
    path.with_suffix(".tex").unlink(missing_ok=True)
    files[table.name] = ["csv"]
  for name, text in pinch_latex.build(study):
    records.write_text(directory / "tables" / f"{name}.tex", [text])
    files[name].append("tex")
  drawn += generic_page.write_files(directory, more)
  page = render(
      study, answers, files, drawn, more, found.get("substitutions", ())
  )
  path = directory / PAGE_NAME
  records.write_text(path, [page])
  return path


def render(
    study: results.Study,
    answers: browser_lib.Browser,
    tables: Mapping[str, Sequence[str]],
    figures: Sequence[str],
    more: Sequence[spec.Section] = (),
    substitutions: Sequence[str] = (),
) -> str:
  """The page as text.

  Args:
    tables: names of the files beside the page -> their endings.
    figures: names of the files beside the page, without endings.
    more: sections beside the page's own.
    substitutions: what stands in for what the paper had.
  """
  scores = sections.scores(study)
  return rendering.render(
      "template.html",
      study=study,
      findings=findings.findings(study),
      caveats=(
          findings.caveats(study)
          + findings.empty_answers(study, answers.empty)
      ),
      substitutions=substitutions,
      basis={key: sections.basis(study, x) for key, x in scores.items()},
      group_n=sections.n_range(scores["curve_groups"]),
      rate_basis=sections.rate_basis(study.exact_match),
      consistency_basis=sections.rate_basis(study.language_consistency),
      counted=common.COUNTED,
      heat_map=sections.heat_map(study),
      curve_chart=charts.curve(study),
      curve=sections.curve(study),
      bars=charts.base_and_control(study),
      exact_match=sections.rates(study, study.exact_match),
      tasks=sections.tasks(study),
      consistency=sections.rates(study, study.language_consistency),
      counts=sections.counts(study),
      shares=sections.shares(study),
      answers=answers,
      tables=tables,
      figures=figures,
      more=more,
      drawn=figures,
      **generic_page.tools(more, _OWN_FIGURES, _OWN_TABLES),
      interval=findings.interval,
      percentage=findings.percentage,
  )


def _write_figures(
    directory: pathlib.Path, study: results.Study
) -> list[str]:
  drawn = []
  for name, figure in figures_lib.build(study):
    for suffix in rendering.FORMATS:
      plots.save(figure, directory / "figures" / f"{name}.{suffix}")
    drawn.append(name)
  for name in set(figures_lib.NAMES).difference(drawn):
    for suffix in rendering.FORMATS:
      path = directory / "figures" / f"{name}.{suffix}"
      path.unlink(missing_ok=True)
  return drawn
