"""The page that sets two study directories against each other."""

import os
import pathlib
from collections.abc import Iterator, Sequence

import mlit_jax
from mlit_jax import records
from mlit_jax.errors import UsageError
from mlit_jax.studies.report import (
    comparison,
    generic_page,
    rendering,
    spec,
)
from mlit_jax.studies.report.comparison import Difference, Directory
from mlit_jax.studies.report.views import common

PAGE_NAME = "comparison.html"
_TITLES = {
    comparison.EXACT: "Answers equal to the reference, in percent",
    comparison.LANGUAGE: "Answers in the language of the question, in percent",
}
# More systems than this make no chart that can be read.
_MOST_BARS, _MOST_NUMBERS = 24, 60


def write(
    directory: str | os.PathLike, against: str | os.PathLike
) -> pathlib.Path:
  """Writes comparison.html into the first directory, with its files.

  Returns:
    The path of comparison.html.

  Raises:
    UsageError: both are the same directory.
    RecordError: a file is missing or does not fit; nothing has been written.
  """
  paths = [pathlib.Path(directory), pathlib.Path(against)]
  if paths[0].resolve() == paths[1].resolve():
    raise UsageError(f"{directory}: compared with itself; give two directories")
  a, b = (comparison.read(path) for path in paths)
  found = list(comparison.differences(a, b))
  names = _names(paths)
  view = _view(a, b, names, found)
  drawn = generic_page.write_files(a.path, view.sections)
  text = rendering.render(
      "comparison.html",
      version=mlit_jax.__version__, names=names, view=view, drawn=drawn,
      caveats=_caveats(a, b, names, found), **generic_page.tools(view.sections),
  )
  records.write_text(a.path / PAGE_NAME, [text])
  return a.path / PAGE_NAME


def _names(paths: Sequence[pathlib.Path]) -> list[str]:
  """What the page calls them: as little of their paths as sets them apart."""
  parts = [path.resolve().parts[1:] for path in paths]
  for n in range(1, max(map(len, parts)) + 1):
    names = ["/".join(x[-n:]) for x in parts]
    if names[0] != names[1]:
      return names
  return names


def _view(a: Directory, b: Directory, names, found) -> spec.View:
  sections = [_differing(a, b, names)]
  for metric in dict.fromkeys(x.metric for x in found):
    rows = [x for x in found if x.metric == metric]
    sections.append(_metric(f"metric-{len(sections)}", metric, rows, a))
  if not found:
    sections.append(_unpaired(a, b))
  return spec.View(
      question=f"{names[0]} against {names[1]}",
      paper="",
      asked=[
          f"A difference is the number of {names[0]} less that of {names[1]}:"
          " above 0 the first is higher. " + (
              "Both are taken on the same questions, so that what all models"
              " find hard drops out."
              if found else
              "The questions differ, so that a difference is theirs, too."
          )
      ],
      findings=list(_findings(a, b, names, found)),
      sections=sections,
  )


def _findings(a, b, names, found) -> Iterator[tuple[str, str]]:
  ours, theirs = (set(x.results["systems"]) for x in (a, b))
  alone = [
      f"{len(left):,} only in {name}"
      for left, name in ((ours - theirs, names[0]), (theirs - ours, names[1]))
      if left
  ]
  yield (
      f"{len(ours & theirs):,} systems are in both.",
      f"Beside them: {', '.join(alone) or 'none'}.",
  )
  for metric in dict.fromkeys(x.metric for x in found):
    rows = [x for x in found if x.metric == metric and not x.language]
    more = sum(x.low > 0 for x in rows)
    less = sum(x.high < 0 for x in rows)
    mean = sum(x.value for x in rows) / len(rows)
    yield (
        f"{_title(metric)}: {mean:+.1f} on average.",
        f"Of {len(rows):,} systems {more:,} are clearly higher in {names[0]}"
        f" and {less:,} clearly lower: their 95% interval does not hold 0.",
    )
  if not found:
    yield (
        "No question is in both.",
        "So nothing can be compared question by question; below stand the"
        " numbers that both results hold, with wider intervals.",
    )


def _caveats(a, b, names, found) -> list[tuple[str, str]]:
  shared = comparison.num_shared(a, b)
  caveats = [(
      f"{shared:,} questions are in both.",
      f"Of {len(a.prompts):,} here and {len(b.prompts):,} there. Questions with"
      " the same id but other words are not compared.",
  )]
  if a.results.get("study") != b.results.get("study"):
    caveats.append((
        "These are different studies.",
        "A system of the same name may have been made otherwise.",
    ))
  if any(x.metric in a.contests for x in found):
    caveats.append((
        "Opponents are each directory’s own.",
        "A side-by-side score is won against a model of the same directory."
        " Where that model was tuned otherwise, too, a difference is of both.",
    ))
  for name, alone in (
      (names[0], comparison.judged_alone(a, b)),
      (names[1], comparison.judged_alone(b, a)),
  ):
    if alone:
      caveats.append((
          f"Judged only in {name}: {'; '.join(alone)}.",
          "Scores of another judge or protocol are not compared.",
      ))
  if found:
    caveats.append((
        "Many intervals, some wrong by chance.",
        f"Of {len(found):,} intervals at 95%, about {len(found) / 20:.0f} would"
        " not hold 0 even if nothing differed.",
    ))
  caveats.append((
      "One training run each.",
      "An interval says how far a difference could move with other questions,"
      " not with another training run.",
  ))
  return caveats


def _differing(a, b, names) -> spec.Section:
  rows = [
      (key, [spec.Cell(here), spec.Cell(there)])
      for key, here, there in comparison.changed(a, b)
  ]
  ours, theirs = (list(x.results["systems"]) for x in (a, b))
  for label, some, others in (
      ("systems only here", ours, theirs), ("systems only there", theirs, ours)
  ):
    if only := [x for x in some if x not in others]:
      cells = [spec.Cell(", ".join(only)), spec.Cell("–")]
      rows.append((label, cells if some is ours else cells[::-1]))
  if not rows:
    return spec.Section(
        "config", "What was set otherwise", ["Nothing: the configs agree."], ()
    )
  table = spec.Table(
      "comparison_config", "Settings and facts that differ",
      [(name, "") for name in names], rows,
      "What is not listed is the same in both.",
  )
  return spec.Section("config", "What was set otherwise", (), [table])


def _title(metric: str) -> str:
  return _TITLES.get(metric, f"Judged: {metric}")


def _metric(
    id_: str, metric: str, rows: Sequence[Difference], a: Directory
) -> spec.Section:
  codes = list(dict.fromkeys(x.language for x in rows if x.language))
  systems = list(dict.fromkeys(x.system for x in rows))
  cells = {(x.system, x.language): x for x in rows}
  name = "comparison_" + "".join(c if c.isalnum() else "_" for c in metric)
  overall = [cells[system, ""] for system in systems]
  basis = (
      f"n = {spec.n_range(_point(x) for x in overall)} questions a system; 95%"
      " intervals, clustered on the question (adjusted Wald on differences)."
  )
  items: list[spec.Chart | spec.Table] = []
  if len(systems) <= _MOST_BARS:
    items.append(
        spec.Chart(
            f"{name}_overall", f"{_title(metric)}: difference", spec.BARS,
            [spec.Series("", [_point(x) for x in overall])], "system",
            "difference", "Above 0 the first directory is higher.", basis,
            level=(0.0, "equal"),
        )
    )
  items.append(
      spec.Table(
          name, f"{_title(metric)}: difference by language",
          [("all", "all languages"), *((c, common.name(c)) for c in codes)],
          [
              (system, [_cell(cells.get((system, c))) for c in ("", *codes)])
              for system in systems
          ],
          "The first directory less the second; a star marks a difference"
          " whose interval does not hold 0.", basis,
      )
  )
  return spec.Section(id_, _title(metric), (), items)


def _point(x: Difference) -> spec.Point:
  return spec.Point(x.system, x.value, x.low, x.high, x.n)


def _cell(x: Difference | None) -> spec.Cell:
  if x is None:
    return spec.Cell(None)
  return spec.Cell(
      f"{x.value:+.1f}{'*' if x.is_clear else ''}" if x.value else "0",
      f"{x.first:.1f} and {x.second:.1f}; 95% interval of the difference"
      f" {x.low:+.1f} to {x.high:+.1f}, n = {x.n:,}",
      low=x.low, high=x.high, n=x.n,
  )


def _unpaired(a: Directory, b: Directory) -> spec.Section:
  found = sorted(
      comparison.unpaired(a, b),
      key=lambda row: (-max(row[3], -row[4]), row[0]),
  )
  shown = found[:_MOST_NUMBERS]
  table = spec.Table(
      "comparison_numbers", "Numbers that both results hold",
      [
          ("first", ""), ("second", ""), ("difference", ""), ("low", "of 95%"),
          ("high", "of 95%"),
      ],
      [
          (key, [
              spec.Cell(x) for x in (first, second, first - second, low, high)
          ])
          for key, first, second, low, high in shown
      ],
      f"The {len(shown)} of {len(found)} whose intervals lie farthest from 0,"
      " by where they stand in results.json.",
      "Intervals put together from both numbers’ own (Newcombe, method 10).",
      digits=2,
  )
  return spec.Section("numbers", "Numbers of both", (), [table])
