"""Writes the report of a study directory."""

import os
import pathlib
from collections.abc import Sequence

from mlit_jax import records
from mlit_jax.analysis import plots
from mlit_jax.studies.report import answers as answers_lib
from mlit_jax.studies.report import (
    charts,
    findings,
    generic_page,
    reading,
    rendering,
    results,
    sections,
    spec,
)
from mlit_jax.studies.report import figures as figures_lib
from mlit_jax.studies.report import tables as tables_lib
from mlit_jax.studies.report.views import pinch as views_pinch

PAGE_NAME = "report.html"
# What template.html numbers itself.
_OWN_FIGURES, _OWN_TABLES = 3, 4


def write_report(directory: str | os.PathLike) -> pathlib.Path:
  """Writes the report of a study from its JSON files alone.

  Reads results.json and, if it is there, answers.jsonl. Writes figures/*.png
  and *.pdf, tables/*.csv and report.html, one file that opens from a disk and
  loads nothing. Equal input gives equal bytes. A figure for which the results
  hold nothing is not written, and one left by an earlier report is removed.

  Args:
    directory: of a study that has run.

  Returns:
    The path of report.html.

  Raises:
    RecordError: a file is missing or does not fit; nothing has been written.
  """
  directory = pathlib.Path(directory)
  if (found := generic_page.read(directory)) is not None:
    path = directory / PAGE_NAME
    records.write_text(path, [generic_page.write(directory, found)])
    return path
  study = reading.read(directory)
  answers = answers_lib.read(directory, study.codes, list(study.systems))
  tables = tables_lib.build(study)
  drawn = _write_figures(directory, study)
  for table in tables:
    records.write_text(
        directory / "tables" / f"{table.name}.csv", [table.to_csv()]
    )
  more = views_pinch.sections(reading.raw(directory))
  drawn += generic_page.write_files(directory, more)
  page = render(study, answers, [table.name for table in tables], drawn, more)
  path = directory / PAGE_NAME
  records.write_text(path, [page])
  return path


def render(
    study: results.Study,
    answers: answers_lib.Answers,
    tables: list[str],
    figures: list[str],
    more: Sequence[spec.Section] = (),
) -> str:
  """The page as text.

  Args:
    more: sections beside the page's own.
    tables, figures: names of the files beside the page, without endings.
  """
  scores = sections.scores(study)
  return rendering.render(
      "template.html",
      study=study,
      findings=findings.findings(study),
      caveats=findings.caveats(study),
      basis={key: sections.basis(study, x) for key, x in scores.items()},
      group_n=sections.n_range(scores["curve_groups"]),
      rate_basis=sections.rate_basis(
          x for row in study.exact_match.values() for x in row.values()
      ),
      heat_map=sections.heat_map(study),
      curve_chart=charts.curve(study),
      curve=sections.curve(study),
      bars=charts.base_and_control(study),
      exact_match=sections.rates(study, study.exact_match),
      tasks=sections.tasks(study),
      consistency=sections.rates(study, study.language_consistency),
      counts=sections.counts(study),
      shares=sections.shares(study),
      answers=_answers(study, answers),
      tables=tables,
      figures=figures,
      more=more,
      drawn=figures,
      **generic_page.tools(more, _OWN_FIGURES, _OWN_TABLES),
      interval=findings.interval,
      percentage=findings.percentage,
  )


def _answers(study: results.Study, answers: answers_lib.Answers) -> dict:
  """What the page's script needs, and the rows of each language apart.

  One block a language, so that only the language looked at is parsed.
  """
  own = {x.language: x.name for x in study.of_kind("monolingual")}
  index = {
      "systems": [[name, study.label(name)] for name in answers.systems],
      "languages": {
          code: {
              "name": language.name,
              "autonym": language.autonym,
              "dir": "rtl" if language.is_rtl else "ltr",
              "own": own.get(code, ""),
          }
          for code, language in sorted(answers.languages.items())
      },
      "base": study.base.name,
  }
  return {
      "count": sum(map(len, answers.rows.values())),
      "languages": [answers.languages[code] for code in answers.rows],
      "index": answers_lib.embed(index),
      "blocks": [
          (code, answers_lib.embed(rows)) for code, rows in answers.rows.items()
      ],
  }


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
