"""The part of xllama's page on scaling laws and shares of a budget."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax.analysis.scaling_law import Law
from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common


def sections(results: Mapping[str, Any]) -> list[spec.Section]:
  """Those that the results have something for."""
  found = []
  if "fits" in results:
    charts = [_law(results, lang) for lang in results["targets"]]
    found.append(
        spec.Section(
            "laws", "How translation grows with its data",
            ["S(X) = 100 − α(γX)^β, fitted for each language by least squares."
             " γ is the language's similarity to English; within one language"
             " it moves α and not the curve."],
            [*charts, _parameters(results)],
        )
    )
  if "monolingual" in results:
    found.append(_monolingual(results))
  if items := _allocations(results):
    found.append(spec.Section("allocation", "Sharing a budget out", (), items))
  return found


def findings(results: Mapping[str, Any]) -> list[tuple[str, str]]:
  """What the laws and the shares came to."""
  found = []
  for budget, row in results.get("allocations", {}).items():
    if "gain" not in row:
      continue
    expected = row["predicted"]["optimised"] - row["predicted"]["uniform"]
    gained = row["gain"]
    clear = gained["p"] < 0.05
    found.append((
        f"{int(budget):,} pairs shared out by the laws: {gained['score']:+.2f}"
        " chrF against equal shares"
        + ("." if clear else ", which could be chance."),
        f"{common.paired(gained, 'sentence')} The laws promised"
        f" {expected:+.2f}; they were fitted to models of one language each.",
    ))
  return found


def _law(results, lang: str) -> spec.Chart:
  return _chart(
      f"law_{lang}", f"Translation into {common.name(lang)}",
      {"pairs of sentences": (results["points"][lang], results["fits"][lang])},
      "pairs of sentences tuned on",
  )


def _chart(name, title, laws, x_label, level=None) -> spec.Chart:
  """Points and the law through them, on the sizes of all of them."""
  sizes = sorted({p["x"] for points, _ in laws.values() for p in points})
  series = []
  for label, (points, fit) in laws.items():
    at = {p["x"]: p for p in points}
    law = Law(fit["alpha"], fit["beta"], fit["gamma"])
    series += [
        spec.Series(label, [
            spec.estimate(f"{x:,}", at[x]) if x in at
            else spec.Point(f"{x:,}", None) for x in sizes
        ]),
        spec.Series(f"law of {label}", [
            spec.Point(f"{x:,}", law.score(x)) for x in sizes
        ]),
    ]
  measured = [p for s in series for p in s.points if p.n]
  return spec.Chart(
      name, title, spec.LINES, series, x_label, "chrF",
      "Measured, and the fitted law at the same sizes; a law of one kind of"
      " data is also drawn where only the other was measured.",
      common.measured(measured), level=level,
  )


def _parameters(results) -> spec.Table:
  fits = {common.name(k): results["fits"][k] for k in results["targets"]}
  if "monolingual" in results:
    found = results["monolingual"]
    fits[f"{common.name(found['language'])}, monolingual text"] = found["fit"]
  rows = []
  for label, fit in fits.items():
    rows.append((label, [
        _with_error(fit, "alpha"), _with_error(fit, "beta"),
        spec.Cell(fit["gamma"]), spec.Cell(fit["r_squared"]),
        spec.Cell(fit["residual"]), spec.Cell(fit["n"]),
    ]))
  return spec.Table(
      "laws", "The fitted laws",
      [
          ("α", "above 0"), ("β", "between −1 and 0"),
          ("γ", "similarity to English"), ("R²", "variance accounted for"),
          ("residual", "root of the mean squared residual, in chrF"),
          ("n", "points"),
      ],
      rows,
      "Point at α or β for its standard error and interval. A β at its bound"
      " of 0 says that more data did not help; it has no error.",
      "n is the number of points; 95% intervals by Student's t with n − 2"
      " degrees of freedom. They say how far points lie from the law, not how"
      " another training run would come out. No judge takes part.", digits=3,
  )


def _with_error(fit, name: str) -> spec.Cell:
  if fit["at_bound"]:
    return spec.Cell(fit[name], f"β ended at its bound of {fit['at_bound']}")
  if fit[f"{name}_se"] is None:
    return spec.Cell(fit[name], "too few points for an error")
  low, high = fit[f"{name}_ci"]
  return spec.Cell(
      fit[name],
      f"standard error {fit[f'{name}_se']:.3g}, 95% interval {low:.3g} to"
      f" {high:.3g}", low=low, high=high,
  )


def _monolingual(results) -> spec.Section:
  found = results["monolingual"]
  lang, laws = found["language"], {}
  if "fits" in results:
    laws["pairs of sentences"] = (
        results["points"][lang], results["fits"][lang]
    )
  laws["documents read before"] = (found["points"], found["fit"])
  chart = _chart(
      "monolingual", f"Translation data or text in {common.name(lang)}?", laws,
      "pairs of sentences, or documents",
      (found["without"]["score"], "neither"),
  )
  return spec.Section(
      "monolingual", "Parallel data beside monolingual text",
      ["Translation data is tuned on together with general instructions; text"
       " is read before, in continued pre-training, and the same general"
       " instructions are tuned on after it."], [chart],
  )


def _measured(results, budget: str) -> dict[str, dict[str, Any]]:
  """Kind of shares -> mean score and each language's, as measured."""
  table, found = results["translation"]["into"], {}
  for kind in ("uniform", "optimised"):
    row = table.get(f"muit-{budget}-{kind}")
    if row is None:
      return {}
    scores = [row[x]["score"] for x in results["targets"]]
    found[kind] = {"languages": row, "mean": sum(scores) / len(scores)}
  return found


def _allocations(results) -> Sequence[spec.Table]:
  codes = results["targets"]
  counts, scores, every = [], [], []
  residuals = []
  for budget, row in results.get("allocations", {}).items():
    measured = _measured(results, budget)
    if not measured:
      continue
    residuals.append(row["kkt_residual"])
    for kind, found in measured.items():
      label = f"{int(budget):,}, {kind}"
      given = results["systems"][f"muit-{budget}-{kind}"]["pairs_by_language"]
      counts.append((label, [spec.Cell(given.get(x, 0)) for x in codes]))
      every += [spec.estimate("", found["languages"][x]) for x in codes]
      scores.append((label, [
          *(spec.cell(found["languages"][x]) for x in codes),
          spec.Cell(found["mean"]), spec.Cell(row["predicted"][kind]),
      ]))
  if not counts:
    return []
  columns = [(code, common.name(code)) for code in codes]
  return [
      spec.Table(
          "shares", "Pairs of sentences by language", columns, counts,
          "Uniform: the budget in equal parts. Optimised: where the laws"
          " promise the highest mean, in whole pairs that sum to the budget.",
          "The optimality conditions (Karush-Kuhn-Tucker) are met to within"
          f" {max(residuals):.0e} before rounding. {common.COUNTED}",
          digits=0,
      ),
      spec.Table(
          "shares_scores", "What the shares came to, in chrF",
          [
              *columns, ("mean", "over the languages"),
              ("promised", "mean by the laws of models of one language"),
          ],
          scores, "Models tuned on all languages with these pairs.",
          common.measured(every), digits=2,
      ),
  ]
