"""The tables of pinch's page as LaTeX, in the shape that the page shows."""

from collections.abc import Iterator

from mlit_jax.studies.report import findings, latex, results, sections
from mlit_jax.studies.report.views import common


def build(study: results.Study) -> Iterator[tuple[str, str]]:
  """Yields (name of the file without its ending, LaTeX), of what there is."""
  scores = sections.scores(study)
  basis = {
      key: sections.basis(
          study, x, "" if key == "base_and_control" else " (in the CSV file)"
      )
      for key, x in scores.items()
  }
  def rates(values) -> str:
    basis = sections.rate_basis(values, "95% intervals are in the CSV file")
    return f"Percent, by system and language of the question. {basis}"

  for name, caption, grid in (
      (
          "heat_map",
          "Score by language tuned on (rows) and asked in (columns) against the"
          f" column's own model; 50 is equal. {basis['heat_map']}",
          sections.heat_map(study),
      ),
      (
          "curve",
          "Score by share of the examples spread over the languages, against"
          f" each language's own model; 50 is equal. {basis['curve']}",
          sections.curve(study),
      ),
      (
          "exact_match",
          f"Answers equal to the reference. {rates(study.exact_match)}",
          sections.rates(study, study.exact_match),
      ),
      (
          "language_consistency",
          "Answers in the language of the question."
          f" {rates(study.language_consistency)}",
          sections.rates(study, study.language_consistency),
      ),
      (
          "counts",
          f"Examples that each system was tuned on, by language."
          f" {common.COUNTED}",
          sections.counts(study),
      ),
  ):
    if grid is not None:
      yield name, latex.table(
          name, caption, [text for text, _ in grid.columns],
          [(row.label, [c.text for c in row.cells]) for row in grid.rows],
      )
  if study.against_base or study.against_control:
    yield "base_and_control", latex.table(
        "base_and_control",
        "Score of the untuned base and of the control against each language's"
        f" own model; 50 is equal. {basis['base_and_control']}",
        ["untuned base", "control"],
        [
            (language.name, [
                _score(scores.get(language.code))
                for scores in (study.against_base, study.against_control)
            ])
            for language in study.languages
        ],
    )
  if tasks := sections.tasks(study):
    yield "exact_match_by_task", latex.table(
        "exact_match_by_task",
        "Percent of exact answers by kind of question, with 95% intervals. No"
        " judge takes part.", ["percent", "n"],
        [(task, [_bounded(rate), f"{rate.n:,}"]) for task, rate in tasks],
    )


def _score(score: results.Comparison | None) -> str:
  return "–" if score is None else _bounded(score.mirrored())


def _bounded(x: results.Estimate) -> str:
  """A value with its interval."""
  value = findings.number(x.value)
  return value if x.low is None else f"{value} [{findings.interval(x)}]"
