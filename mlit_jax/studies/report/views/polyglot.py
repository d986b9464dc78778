"""The page of polyglot."""

from collections.abc import Mapping
from typing import Any

from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common

_ASKED = {
    True: "Every model has conversations of two questions",
    False: "Every model is asked single questions, not the paper's two turns",
}


def view(results: Mapping[str, Any]) -> spec.View:
  """What the page shows."""
  sizes = list(dict.fromkeys(
      v["size"] for v in common.systems(results).values() if "size" in v
  ))
  return spec.View(
      "Do polyglot models need multilingual instructions?",
      "Weber et al. (2024), Investigating Multilingual Instruction-Tuning: Do"
      " Polyglot Models Demand for Multilingual Instructions?",
      [
          "One multilingual base is tuned on each language alone, on all in"
          " parallel, on all but the main one, and on both sets cut to the size"
          " of one language; with few examples, with few that were chosen with"
          f" care, and with many. {_ASKED[_has_turns(results)]}; each answer is"
          " scored 1 to 10.",
          "A gain is what a mixture scores more than a monolingual model, in"
          " percent: over the language's own model, or over the mean of the"
          " models of the other languages (cross-lingual).",
      ],
      _findings(results),
      [
          *(_scores(results, size) for size in sizes),
          _gains(results), *_contests(results), common.closing(results),
      ],
      results.get("substitutions", ()),
  )


def _has_turns(results) -> bool:
  """Whether the conversations have several turns, as the paper's do."""
  return any(
      "turns" in row for by_language in results["scores"].values()
      for row in by_language.values()
  )


def _findings(results) -> list[tuple[str, str]]:
  found = []
  for row in results["gains"]:
    if not row["system"].endswith("all-parallel"):
      continue
    cross = {k: v["cross"]["value"] for k, v in row["languages"].items()}
    if None in cross.values():
      continue  # the judge gave no verdict on some
    best = max(cross, key=cross.get)
    about = results["systems"][row["system"]]
    size = about["examples"]
    mean = sum(cross.values()) / len(cross)
    found.append((
        f"In parallel, with {size}{_source(about)} examples a language:"
        f" {mean:+.1f} % on"
        " average across languages.",
        f"Over the mean of the other languages' models the parallel mixture"
        f" scores between {min(cross.values()):+.1f} % and {cross[best]:+.1f} %"
        f" ({common.name(best)}). It has as many times the examples as there"
        " are languages; the sampled and partitioned mixtures have as many as"
        " one.",
    ))
  return found


def _source(about: Mapping[str, Any]) -> str:
  return " curated" if about["size"] == "curated" else ""


def _scores(results, size: str) -> spec.Section:
  own = {
      k: v for k, v in common.systems(results).items() if v.get("size") == size
  }
  codes = results["languages"]
  first = next(iter(own.values()))
  examples = f"{first['examples']}{_source(first)}"
  rows, every = [], []
  for system in ("base", *own):
    cells = []
    for code in codes:
      row = results["scores"][system][code]
      every.append(spec.estimate("", row))
      cells.append(
          spec.Cell(
              row["score"], _details(row), spec.Place([code], system),
              *(row["ci"] if row["n"] else (None, None)), row["n"],
          )
      )
    rows.append((system, cells))
  table = spec.Table(
      f"scores_{size}",
      f"Mean score{' of two turns' if _has_turns(results) else ''}, 1 to 10",
      [(code, common.name(code)) for code in codes], rows,
      "A row is a model, a column the language of the conversation; columns are"
      " coloured each on their own scale.", common.judged(results, every),
      shaded=True, digits=2,
  )
  return spec.Section(
      f"scores-{size}", f"With {examples} examples a language", (), [table]
  )


def _details(row) -> str:
  if not row["n"]:
    return "no verdict"
  low, high = row["ci"]
  turns = [
      f"turn {t} {v:.2f}" for t, v in row.get("turns", {}).items()
      if v is not None
  ]
  return "; ".join([f"95% interval {low:.2f}–{high:.2f}", *turns])


def _gains(results) -> spec.Section:
  charts = []
  for kind, title in (
      ("cross", "Gain over the other languages' monolingual models"),
      ("own", "Gain over the language's own monolingual model"),
  ):
    series = [
        spec.Series(row["system"], [
            spec.estimate(
                common.name(code), v[kind],
                place=spec.Place([code], row["system"]),
            )
            for code, v in (
                (x, row["languages"][x]) for x in results["languages"]
            )
        ])
        for row in results["gains"]
    ]
    charts.append(
        spec.Chart(
            f"gains_{kind}", title, spec.BARS, series,
            "language of the conversation", "percent",
            "Above 0 the mixture is better.",
            common.judged(
                results, common.points(series),
                "by bootstrap over the conversations, the same ones for all"
                " models of a gain",
            ),
            level=(0.0, "equal"),
        )
    )
  return spec.Section("gains", "What mixing gains", (), charts)


def _contests(results) -> list[spec.Section]:
  if not results["contests"]:
    return []
  rows, every = [], []
  for contest in results["contests"]:
    for turn, by_language in contest["turns"].items():
      overall = by_language["overall"]
      every.append(spec.estimate("", overall))
      place = spec.Place(results["languages"], contest["a"], contest["b"])
      rows.append((f"{contest['a']} against {contest['b']}, turn {turn}", [
          spec.cell(overall, place), spec.Cell(overall["win"]),
          spec.Cell(overall["tie"]), spec.Cell(overall["loss"]),
          *(
              spec.Cell(None if overall[x] is None else 100 * overall[x])
              for x in ("flip_rate", "first_position_rate")
          ),
      ]))
  table = spec.Table(
      "contests", "The parallel mixture against each language alone",
      [
          ("score", "discounted-tie score of the first, in percent"),
          ("win", ""), ("tie", ""), ("loss", ""),
          ("flips, %", "pairs whose verdict changed with the order"),
          ("first, %", "decided verdicts for the answer shown first"),
      ],
      rows,
      "Over all languages; 50 is equal. A judge without a preference for a"
      " position gives 50 in the last column.", common.judged(results, every),
  )
  return [spec.Section(
      "contests", "Side by side, and the judge's positional bias", (), [table]
  )]
