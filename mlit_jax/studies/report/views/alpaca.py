"""The page of alpaca."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common, model_sizes

_BUDGETS = {
    "base": "untuned base", "monolingual": "its own monolingual model",
    "main": "the main language's model", "all": "one model, all data",
    "sampled": "one model, drawn at random",
    "partition": "one model, each id in one language",
}
_METHODS = {"lora": "LoRA", "full": "all parameters tuned"}
_CLEAR = (
    "What is ahead has a mean rating whose 95% interval overlaps no other’s."
)
_MOST_ALONE = 2  # models that have findings of their own
_ON_AXIS = {"lora": "LoRA", "full": "full"}


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
          f" questions, at most {3 * results['num_questions']}; one whose"
          " judgment failed counts as the mean of the others. Asked in"
          f" {common.names(seen)}, which models were tuned on, and in"
          f" {common.names(unseen)}, which no model was tuned on.",
      ],
      _findings(results),
      [
          *(_size(results, label) for label in results["budgets"]),
          *_methods(results),
          *_growth(results),
          *_robustness(results),
          common.closing(results),
      ],
      results.get("substitutions", ()),
  )


def _findings(results) -> list[tuple[str, str]]:
  found = []
  for group, codes in results["test_languages"].items():
    sums = {
        label: sums for label, by_language in results["budgets"].items()
        if (sums := _summed([by_language[lang] for lang in codes]))
    }
    ahead = {
        label: _ahead(results["growth"][group].get(label, {}))
        for label in sums
    }
    if len(sums) > _MOST_ALONE:
      found.append(_together(results, group, codes, ahead))
      continue
    for label, by_budget in sums.items():
      best = ahead[label]
      listed = ", ".join(
          f"{_BUDGETS.get(k, k)} {v:.0f}" for k, v in by_budget.items()
      )
      found.append((
          f"On {_name(results, label)}: {_BUDGETS.get(best, best)} scores most"
          f" in the {group} languages."
          if best else
          f"On {_name(results, label)}: nothing is clearly ahead in the"
          f" {group} languages.",
          f"Sums over {common.names(codes)}: {listed}. {_CLEAR}",
      ))
  return found


def _together(results, group: str, codes, ahead) -> tuple[str, str]:
  """One finding for several models that budgets were spent on."""
  won: dict[str, list[str]] = {}
  for label, best in ahead.items():
    if best:
      won.setdefault(best, []).append(_name(results, label))
  left = len(ahead) - sum(map(len, won.values()))
  means = [results["growth"][group][label] for label in ahead]
  listed = ", ".join(
      f"{_BUDGETS.get(k, k)}"
      f" {sum(x[k]['score'] for x in means) / len(means):.2f}"
      for k in means[0]
  )
  text = (
      f"{_CLEAR} Mean ratings, averaged over the models, asked in"
      f" {common.names(codes)}: {listed}."
  )
  if not won:
    return (
        f"In the {group} languages no way to spend the budget is clearly ahead"
        f" on any of {len(ahead)} models.", text,
    )
  most = max(won, key=lambda budget: len(won[budget]))
  said = [
      f"{_BUDGETS.get(budget, budget)}: {'; '.join(names)}."
      for budget, names in won.items()
  ]
  if left:
    said.append(f"On {left} nothing is ahead.")
  return (
      f"In the {group} languages {_BUDGETS.get(most, most)} scores most on"
      f" {len(won[most])} of {len(ahead)} models.",
      " ".join(["Ahead are", *said, text]),
  )


def _summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Budget -> its sum over languages; {} where some have none."""
  if not rows or any(x["sum"] is None for row in rows for x in row.values()):
    return {}  # a sum over nothing is no score
  return {
      budget: sum(row[budget]["sum"] for row in rows) for budget in rows[0]
  }


def _ahead(means: Mapping[str, Mapping[str, Any]]) -> str:
  """The budget whose interval is above all others'; "" without one."""
  if len(means) < 2 or any(row["score"] is None for row in means.values()):
    return ""
  best = max(means, key=lambda name: means[name]["score"])
  others = [row["ci"][1] for name, row in means.items() if name != best]
  return best if means[best]["ci"][0] > max(others) else ""


def _variant(results, label: str) -> tuple[str, str]:
  """The base of a variant, and how it was tuned; "" if all alike."""
  known = results.get("variants", {}).get(label, {"base": label, "method": ""})
  alike = len(_methods_of(results)) < 2
  return known["base"], "" if alike else known["method"]


def _methods_of(results) -> list[str]:
  """The ways of tuning, in their order."""
  known = results.get("variants", {})
  labels = [x for x in results["budgets"] if x in known]
  return list(dict.fromkeys(known[x]["method"] for x in labels)) or [""]


def _name(results, label: str) -> str:
  base, method = _variant(results, label)
  return f"{base}, {_METHODS[method]}" if method else base


def _size(results, label: str) -> spec.Section:
  languages = results["budgets"][label]
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
      f"budgets_{_file(label)}", "Scores by budget and language", spec.BARS,
      series, "language of the questions", f"sum of ratings, at most {most}",
      "A group is a language, a bar a way to spend the budget.",
      common.judged(results, common.points(series)), y_range=(0.0, float(most)),
  )
  base, method = _variant(results, label)
  title = f"Base model “{base}”"
  return spec.Section(
      f"size-{label}", f"{title}, {_METHODS[method]}" if method else title, (),
      [chart, _sums(results, label)],
  )


def _short(results, label: str) -> str:
  """A variant as a figure's axis names it."""
  base, method = _variant(results, label)
  return f"{base} {_ON_AXIS[method]}"


def _file(label: str) -> str:
  return label.replace("-", "_")


def _methods(results) -> list[spec.Section]:
  """Ways of tuning beside each other (section 3.1)."""
  if len(_methods_of(results)) < 2:
    return []
  charts = []
  for group, codes in results["test_languages"].items():
    means = results["growth"][group]
    budgets = [
        b for b in _BUDGETS if means and b in next(iter(means.values()))
    ]
    if not budgets:
      continue
    series = [
        spec.Series(_BUDGETS[budget], [
            spec.estimate(_short(results, label), row[budget])
            for label, row in means.items()
        ])
        for budget in budgets
    ]
    charts.append(
        spec.Chart(
            f"methods_{group}",
            f"Mean rating by way of tuning, {group} languages", spec.BARS,
            series, "base, and how it is tuned", "mean rating, 0 to 3",
            f"Over {common.names(codes)}. A bar is a way to spend the budget;"
            " the untuned base is the same for both ways of tuning.",
            common.judged(results, common.points(series)), y_range=(0.0, 3.0),
        )
    )
  return [spec.Section("methods", "LoRA and full tuning", (), charts)]


def _growth(results) -> list[spec.Section]:
  """Scores against the model's size, by family (Figures 1 to 3, 5)."""
  if len(model_sizes.bases(results)) < 2:
    return []
  items = [
      item for method in _methods_of(results)
      for item in _growth_of(results, method)
  ]
  return [spec.Section("sizes", "Larger and smaller models", (), items)]


def _labels(results, method: str) -> dict[str, str]:
  """Base -> its variant that is tuned in a way."""
  known = results.get("variants", {})
  return {
      base.name: next(
          (
              label for label, x in known.items()
              if (x["base"], x["method"]) == (base.name, method)
          ),
          base.name,
      )
      for base in model_sizes.bases(results)
  }


def _growth_of(results, method: str) -> list[spec.Chart | spec.Table]:
  labels = _labels(results, method)
  several = len(_methods_of(results)) > 1
  tail = f"_{method}" if several else ""
  how = f", {_METHODS[method]}" if several else ""
  asked, items = results["test_languages"], []
  for group, codes in asked.items():
    means = results["growth"][group]
    if not means:
      continue
    first = means[next(iter(labels.values()))]
    points = {
        name: {
            base: spec.estimate("", means[label][budget])
            for base, label in labels.items()
        }
        for budget, name in _BUDGETS.items() if budget in first
    }
    where = f"Over {common.names(codes)}, the {group} languages."
    items += [
        model_sizes.chart(
            results, f"sizes_{group}{tail}",
            f"Mean rating by the size of the model, {group} languages{how}",
            points, "mean rating, 0 to 3", where,
        ),
        model_sizes.table(
            results, f"bases_{group}{tail}",
            f"Mean ratings of every base, {group} languages{how}", points,
            f"{where} In brackets: 95% interval.",
        ),
    ]
  most = 3 * results["num_questions"]
  for lang in _asked(results):
    rows = {
        base: results["budgets"][label][lang] for base, label in labels.items()
    }
    points = {
        name: {base: _point(lang, row[budget]) for base, row in rows.items()}
        for budget, name in _BUDGETS.items()
        if all(budget in row for row in rows.values())
    }
    name = common.name(lang)
    items.append(
        model_sizes.chart(
            results, f"sizes_{lang}{tail}",
            f"{name} by the size of the model{how}",
            points, f"sum of ratings, at most {most}",
            f"No model was tuned on {name}." if lang in asked["unseen"]
            else f"Models were tuned on {name}.",
        )
    )
  return items


def _asked(results) -> list[str]:
  asked = results["test_languages"]
  return [*asked["seen"], *asked["unseen"]]


def _point(lang: str, row) -> spec.Point:
  """A sum with the interval of the mean, times the questions."""
  low, high = (None, None) if row["ci"][0] is None else row["ci"]
  asked = row["n"] + row.get("failed", 0)
  place = spec.Place([lang], row["system"]) if "system" in row else None
  return spec.Point(
      common.name(lang), row["sum"], low and low * asked, high and high * asked,
      row["n"], place=place,
  )


def _sums(results, label: str) -> spec.Table:
  base, method = _variant(results, label)
  own = [
      k for k, v in common.systems(results).items()
      if v["size"] == base and (not method or v.get("method", method) == method)
  ]
  ratings, codes = results["ratings"], _asked(results)
  rows = [
      (system, [
          spec.of_point(
              _point(lang, ratings[system][lang] | {"system": system}),
              _ungated(ratings[system][lang]),
          )
          for lang in codes
      ])
      for system in own
  ]
  return spec.Table(
      f"sums_{_file(label)}", "Sums of every model",
      [(code, common.name(code)) for code in codes], rows,
      "Columns are coloured each on their own scale.", shaded=True,
      basis=common.judged(
          results,
          [_point(c, ratings[s][c]) for s in own for c in codes],
      ),
  )


def _ungated(row) -> str:
  found = row["ungated"]["sum"]
  return "" if found is None else f"without the gate {found:g}"


def _robustness(results) -> list[spec.Section]:
  if "robustness" not in results:
    return []
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
      _what_is_lost(results, lost),
  )
  return [
      spec.Section(
          "robustness", "Language robustness", (), [chart, *_change(results)]
      )
  ]


def _change(results) -> list[spec.Chart]:
  """The same against the size of the model (Figure 4)."""
  change, charts = results.get("change", {}), []
  if not change or len(model_sizes.bases(results)) < 2:
    return []
  methods = _methods_of(results)
  for method in methods:
    labels = _labels(results, method)
    points = {
        name: {
            base: spec.estimate("", change[label][budget])
            for base, label in labels.items()
        }
        for budget, name in _BUDGETS.items()
        if budget in change[next(iter(labels.values()))]
    }
    several = len(methods) > 1
    how = f", {_METHODS[method]}" if several else ""
    chart = model_sizes.chart(
        results, f"robustness_sizes_{method}" if several else
        "robustness_sizes", f"The same by the size of the model{how}", points,
        "points lost",
        "A line is a way to spend the budget, each language answered by the"
        " model that the way has for it.",
    )
    every = [p for of_one in points.values() for p in of_one.values()]
    basis = _what_is_lost(results, every)
    charts.append(dataclasses.replace(chart, basis=basis))
  return charts


def _what_is_lost(results, points: Sequence[spec.Point]) -> str:
  return common.judged(
      results, points, "of what each answer loses, clustered on the question"
  )
