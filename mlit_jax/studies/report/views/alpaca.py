"""The page of alpaca."""

from collections.abc import Mapping
from typing import Any

from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common, model_sizes

_BUDGETS = {
    "base": "untuned base", "monolingual": "its own monolingual model",
    "main": "the main language's model", "all": "one model, all data",
    "sampled": "one model, drawn at random",
    "partition": "one model, each id in one language",
}


def view(results: Mapping[str, Any]) -> spec.View:
  """What the page shows."""
  seen, unseen = (results["test_languages"][k] for k in ("seen", "unseen"))
  return spec.View(
      "One model for each language, or one for all?",
      "Chen et al. (2024), Monolingual or Multilingual Instruction Tuning:"
      " Which Makes a Better Alpaca",
      [
          "With N languages and a budget C for one training run one can tune N"
          " monolingual models (N·C), one model on all the data (N·C), one"
          " model on the main language and use it for everybody (C), or one"
          " model on a sample of all languages of the size of one (C).",
          f"Each answer is rated 1 to 3, and 0 if it is not in the language of"
          f" the question; a score is the sum over {results['num_questions']}"
          f" questions, at most {3 * results['num_questions']}. Asked in"
          f" {common.names(seen)}, which models were tuned on, and in"
          f" {common.names(unseen)}, which no model was tuned on.",
      ],
      _findings(results),
      [
          *(_size(results, base) for base in _bases(results)),
          *_growth(results),
          _robustness(results),
          common.closing(results),
      ],
      results.get("substitutions", ()),
  )


def _findings(results) -> list[tuple[str, str]]:
  found = []
  for base in _bases(results):
    languages = results["budgets"][base]
    seen = results["test_languages"]["seen"]
    sums = {
        budget: sum(languages[lang][budget]["sum"] for lang in seen)
        for budget in languages[seen[0]]
    }
    rated = [languages[lang][budget] for lang in seen for budget in sums]
    if not all(row["n"] for row in rated):
      continue  # a sum over nothing is no score
    best = max(sums, key=sums.get)
    listed = ", ".join(
        f"{_BUDGETS.get(k, k)} {v:.0f}" for k, v in sums.items()
    )
    found.append((
        f"On {base}: {_BUDGETS.get(best, best)} scores most in the seen"
        " languages.",
        f"Sums over {common.names(seen)}: {listed}.",
    ))
    if unseen := results["test_languages"]["unseen"]:
      sums = {
          budget: sum(languages[lang][budget]["sum"] for lang in unseen)
          for budget in languages[unseen[0]]
      }
      listed = ", ".join(
          f"{_BUDGETS.get(k, k)} {v:.0f}" for k, v in sums.items()
      )
      found.append((
          f"On {base}, in the unseen languages",
          f"the sums over {common.names(unseen)} are: {listed}.",
      ))
  return found


def _bases(results) -> list[str]:
  return [k for k, v in common.systems(results).items() if v["kind"] == "base"]


def _size(results, base: str) -> spec.Section:
  languages = results["budgets"][base]
  budgets = [
      b for b in _BUDGETS if any(b in row for row in languages.values())
  ]
  series = [
      spec.Series(
          _BUDGETS.get(budget, budget),
          [
              _point(lang, row[budget]) if budget in row
              else spec.Point(common.name(lang), None)
              for lang, row in ((x, languages[x]) for x in _asked(results))
          ],
      )
      for budget in budgets
  ]
  most = 3 * results["num_questions"]
  chart = spec.Chart(
      f"budgets_{base}", "Scores by budget and language", spec.BARS, series,
      "language of the questions", f"sum of ratings, at most {most}",
      "A group is a language, a bar a way to spend the budget.",
      common.judged(results, common.points(series)), y_range=(0.0, float(most)),
  )
  return spec.Section(
      f"size-{base}", f"Base model “{base}”", (), [chart, _sums(results, base)]
  )


def _growth(results) -> list[spec.Section]:
  """Scores against the model's size, by family (Figures 1 to 3, 5)."""
  bases = [base.name for base in model_sizes.bases(results)]
  if len(bases) < 2:
    return []
  asked, items = results["test_languages"], []
  for group, codes in asked.items():
    means = results["growth"][group]
    if not means:
      continue
    points = {
        label: {
            base: spec.estimate("", means[base][budget]) for base in bases
        }
        for budget, label in _BUDGETS.items() if budget in means[bases[0]]
    }
    where = f"Over {common.names(codes)}, the {group} languages."
    items += [
        model_sizes.chart(
            results, f"sizes_{group}",
            f"Mean rating by the size of the model, {group} languages",
            points, "mean rating, 0 to 3", where,
        ),
        model_sizes.table(
            results, f"bases_{group}",
            f"Mean ratings of every base, {group} languages", points,
            f"{where} In brackets: 95% interval.",
        ),
    ]
  most = 3 * results["num_questions"]
  for lang in _asked(results):
    row = results["budgets"]
    points = {
        label: {base: _point(lang, row[base][lang][budget]) for base in bases}
        for budget, label in _BUDGETS.items() if budget in row[bases[0]][lang]
    }
    name = common.name(lang)
    items.append(
        model_sizes.chart(
            results, f"sizes_{lang}", f"{name} by the size of the model",
            points, f"sum of ratings, at most {most}",
            f"No model was tuned on {name}." if lang in asked["unseen"]
            else f"Models were tuned on {name}.",
        )
    )
  return [spec.Section("sizes", "Larger and smaller models", (), items)]


def _asked(results) -> list[str]:
  asked = results["test_languages"]
  return [*asked["seen"], *asked["unseen"]]


def _point(lang: str, row) -> spec.Point:
  """A sum with the interval of the mean, times n."""
  low, high = (None, None) if row["ci"][0] is None else row["ci"]
  n = row["n"]
  place = spec.Place([lang], row["system"]) if "system" in row else None
  return spec.Point(
      common.name(lang), row["sum"], low and low * n, high and high * n, n,
      place=place,
  )


def _sums(results, base: str) -> spec.Table:
  own = [k for k, v in common.systems(results).items() if v["size"] == base]
  ratings, codes = results["ratings"], _asked(results)
  rows = [
      (system, [
          spec.of_point(
              _point(lang, ratings[system][lang] | {"system": system}),
              f"without the gate {ratings[system][lang]['ungated']['sum']:g}",
          )
          for lang in codes
      ])
      for system in own
  ]
  return spec.Table(
      f"sums_{base}", "Sums of every model",
      [(code, common.name(code)) for code in codes], rows,
      "Columns are coloured each on their own scale.", shaded=True,
      basis=common.judged(
          results,
          [_point(c, ratings[s][c]) for s in own for c in codes],
      ),
  )


def _robustness(results) -> spec.Section:
  seen = results["test_languages"]["seen"]
  lost = [
      spec.estimate(
          system, results["robustness"][system],
          place=spec.Place(seen, system),
      )
      for system in common.systems(results)
  ]
  chart = spec.Chart(
      "robustness", "What answering in another language costs", spec.BARS,
      [spec.Series("", lost)], "system", "points lost",
      "The score without the language gate less that with it, averaged over the"
      " seen languages: high means answers in the wrong language.",
      common.judged(
          results, lost,
          "of what each answer loses, clustered on the question",
      ),
  )
  return spec.Section("robustness", "Language robustness", (), [chart])
