"""The figures of a study for print, the same numbers as on the page."""

from collections.abc import Iterator

from matplotlib import figure as figure_lib

from mlit_jax.analysis import plots
from mlit_jax.studies.report import results, sections

NAMES = ("heat_map", "percent_curve", "base_and_control")


def build(study: results.Study) -> Iterator[tuple[str, figure_lib.Figure]]:
  """Yields (name, figure) for every figure that has something to show."""
  names = [language.name for language in study.languages]
  scores = sections.scores(study)

  def title(text: str, *keys: str) -> str:
    judge = study.judge.spec
    if not study.judge.is_language_model:
      judge += " (not a language model)"
    n = sections.n_range(x for key in keys for x in scores[key])
    return f"{text}\nn = {n} pairs a number; judge: {judge}"

  if any(study.heat_map.values()):
    yield "heat_map", plots.heat_map(
        [
            [_value(study.heat_map.get(row, {}).get(column))
             for column in study.codes]
            for row in study.codes
        ],
        names,
        study.codes,
        title=title(
            "Score against the model tuned on the column's language; 95%"
            " intervals in its table",
            "heat_map",
        ),
        x_label="Evaluated on (colours compare within a column only)",
        y_label="Tuned on",
    )
  if study.curve:
    yield "percent_curve", plots.percent_curve(
        [point.percent for point in study.curve],
        [
            _series(label, [getattr(point, key) for point in study.curve])
            for label, key in (
                (study.main.name, "english"),
                ("Other languages", "others"),
                ("All languages", "average"),
            )
        ],
        title=title(
            "Score against each language's own model, 95% intervals",
            "curve", "curve_groups",
        ),
        x_label="Percent of the examples spread over the languages"
        " (not to scale)",
        y_label="Score; 50 = equal",
    )
  if study.against_base or study.against_control:
    groups = [
        language
        for language in study.languages
        if language.code in {*study.against_base, *study.against_control}
    ]
    yield "base_and_control", plots.bars_with_intervals(
        [language.name for language in groups],
        [
            _series(label, [_mirrored(scores, x.code) for x in groups])
            for label, scores in (
                ("Untuned base", study.against_base),
                ("Shuffled control", study.against_control),
            )
            if scores
        ],
        title=title(
            "Score against the language's own model, 95% intervals",
            "base_and_control",
        ),
        x_label="Score; 50 = equal",
    )


def _mirrored(scores, code: str) -> results.Estimate:
  return scores[code].mirrored() if code in scores else results.NOTHING


def _value(estimate: results.Estimate | None) -> float | None:
  return None if estimate is None else estimate.value


def _series(label: str, estimates: list[results.Estimate]) -> plots.Series:
  return plots.Series(
      label,
      [x.value for x in estimates],
      [(x.low, x.high) for x in estimates],
  )
