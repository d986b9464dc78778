"""The page of xllama: questions, translation, answers across languages."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import languages as languages_lib
from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common, xllama_laws, xllama_maps

_LABELS = {"alpaca-en": "English data alone", "muit": "one model for all"}
_OWN = "its own model"
# Measures of a whole test set: name in results, in files, for people.
_MEASURES = {
    "chrf++": ("chrf", "chrF++"),
    "spbleu_flores101": ("spbleu101", "spBLEU (FLORES-101's pieces)"),
    "spbleu_flores200": ("spbleu200", "spBLEU (FLORES-200's pieces)"),
}
# How the ids of questions about a text begin.
_READING = "reading/"
_BY_TEXT = "clustered on the text that a question is about"


def view(results: Mapping[str, Any]) -> spec.View:
  """What the page shows."""
  goals = results["targets"]
  sections = [_questions(results), _translation(results)]
  sections += xllama_laws.sections(results)
  if "ablation" in results:
    sections.append(_ablation(results))
  sections.append(_contests(results))
  sections += [
      _consistency(results), xllama_maps.section(results),
      common.closing(results),
  ]
  return spec.View(
      "Can a model be extrapolated to other languages by aligning them?",
      "Zhu et al. (2023), Extrapolating Large Language Models to Non-English by"
      " Aligning Languages",
      [
          f"For each of {common.names(goals)} a model is tuned on instructions"
          " in English and in that language and on translation from English"
          " into it (CoIT); one model is tuned on all of that (MuIT). They are"
          " asked to answer questions about a text, to translate unseen"
          " sentences, and unseen instructions.",
          "The scaling law says how translation improves with its data; it"
          " shares a budget of translation data out among languages.",
      ],
      _findings(results), sections,
      [_languages(goals), *results.get("substitutions", ())],
  )


def _languages(goals: Sequence[str]) -> str:
  paper = languages_lib.SETS["xllama"]
  same = [x for x in goals if x in paper]
  others = [x for x in goals if x not in paper]
  text = (
      f"Of the paper's languages ({common.names(paper)}) there"
      f" {'is' if len(same) == 1 else 'are'} {common.names(same)}"
  )
  if not others:
    return f"{text}."
  stand = "stands" if len(others) == 1 else "stand"
  return f"{text}; {common.names(others)} {stand} in."


def _findings(results) -> list[tuple[str, str]]:
  gain = results["gain"]
  if gain["mean"] is None:
    return xllama_laws.findings(results)
  listed = ", ".join(
      f"{common.name(k)} {gain['languages'][k]:+.1f}"
      for k in results["targets"]
  )
  found = [(
      f"Questions about a text: {gain['mean']:+.1f} points on average over"
      " English data alone.",
      f"{common.paired(gain['over_all'], 'text')} Each language's own"
      f" model against the model tuned on English: {listed}. (In the paper:"
      " +27.83 on XQuAD.)",
  )]
  return found + xllama_laws.findings(results)


def _systems(table: Mapping[str, Any]) -> list[str]:
  """Of one for everybody, those that are there."""
  return [name for name in _LABELS if name in table]


def _bars(
    results, table, codes: Sequence[str], name: str, title: str, y_label: str,
    reading: str, basis, asked: str = "",
) -> spec.Chart:
  """A group per language: English alone, its own model, one for all."""
  own = spec.Series(_OWN, [
      _point(code, table, f"coit-{code}", asked) for code in codes
  ])
  others = [
      spec.Series(_LABELS[k], [_point(c, table, k, asked) for c in codes])
      for k in _systems(table)
  ]
  series = [*others[:1], own, *others[1:]]
  return spec.Chart(
      name, title, spec.BARS, series, "language", y_label, reading,
      basis(results, common.points(series)),
  )


def _point(code: str, table, system: str, asked: str) -> spec.Point:
  row = table.get(system, {}).get(code)
  if row is None:
    return spec.Point(common.name(code), None)
  place = spec.Place([code], system, search=asked)
  return spec.estimate(common.name(code), row, place=place)


def _measured(results, points) -> str:
  del results
  return common.measured(points)


def _by_text(results, points) -> str:
  return common.judged(results, points, _BY_TEXT)


def _matched(results, points) -> str:
  del results
  return common.measured(points, _BY_TEXT)


def _judged_if_any(results, points) -> str:
  if any(p.n for p in points):
    return _by_text(results, points)
  return (
      "n = 0: nothing was right in English, so there is no interval."
      f" {common.judge(results)}"
  )


def _questions(results) -> spec.Section:
  table, codes = results["questions"], results["languages"]
  chart = _bars(
      results, table, codes, "questions", "Questions about a text, by language",
      "right answers, percent",
      "English data alone, the language's own model, and one model for all;"
      " English has no model of its own.", _by_text, _READING,
  )
  items = [
      chart,
      _every_model(
          results, table, "questions_all",
          "Right answers of every model, in percent",
          "A model that was not asked in a language has no number there.",
          _by_text,
      ),
  ]
  first = {k: v for k, v in results["questions_first"].items() if v}
  if first:
    items.append(
        _every_model(
            results, first, "questions_first",
            "Right answers to the first hundred questions, in percent",
            "The paper’s judge saw these alone, to save cost.", _by_text,
        )
    )
  for how, title, reading in (
      ("contained", "Answers that hold the reference, in percent",
       "Letter by letter in lower case, as the paper’s code counts; an answer"
       " that copies the text holds it, too, and one in other words does not."),
      ("exact", "Answers that are the reference, in percent",
       "By SQuAD’s rules: lower case, punctuation and English articles out."),
  ):
    matched = {k: v[how] for k, v in results["questions_matched"].items()}
    items.append(
        _every_model(
            results, matched, f"questions_{how}", title, reading, _matched
        )
    )
  return spec.Section("questions", "Questions about a text", (), items)


def _every_model(
    results, table, name: str, title: str, reading: str, basis,
    codes: Sequence[str] = (), asked: str = _READING,
) -> spec.Table:
  """A row a model, a column a language; numbers lead to the questions."""
  codes = codes or results["languages"]
  rows = [
      (system, [
          spec.cell(
              table[system].get(code),
              spec.Place([code], system, search=asked),
          )
          for code in codes
      ])
      for system in common.systems(results) if system in table
  ]
  every = [spec.estimate("", x) for v in table.values() for x in v.values()]
  return spec.Table(
      name, title, [(code, common.name(code)) for code in codes], rows,
      f"{reading} Columns are coloured each on their own scale.",
      basis(results, every), shaded=True,
  )


def _translation(results) -> spec.Section:
  titles = {"into": "from English", "out-of": "into English"}
  items = [
      _bars(
          results, results["translation"][name], results["targets"],
          f"translation_{name.replace('-', '_')}",
          f"Translating unseen sentences {titles[name]}", "chrF",
          "A model of one language and the one for all are tuned on translation"
          " from English alone.", _measured, f"{name}/",
      )
      for name in titles
  ]
  scored = results["translation_whole"]
  for name, title in titles.items():
    for measure, table in scored[name].items():
      file, called = _MEASURES[measure]
      items.append(
          _every_model(
              results, table, f"translation_{name.replace('-', '_')}_{file}",
              f"{called} of all sentences {title}",
              "Of the whole test set, from 0 to 100, as sacreBLEU counts it.",
              _resampled, results["targets"], f"{name}/",
          )
      )
  said = [] if any("spbleu" in x for x in scored["into"]) else [
      "spBLEU is left out: FLORES's SentencePiece model was not there"
      " (docs/evaluation.md says where it belongs)."
  ]
  return spec.Section("translation", "Translation", said, items)


def _resampled(results, points) -> str:
  del results
  return (
      f"n = {spec.n_range(points)} sentences; 95% intervals by bootstrap over"
      " the sentences. No judge takes part."
  )


def _ablation(results) -> spec.Section:
  kinds, rows = ("main", "own", "into", "out_of"), []
  lang = next(
      x["system"].removeprefix("into-") for x in results["ablation"]
      if x["system"].startswith("into-")
  )
  for row in results["ablation"]:
    marks = [spec.Cell("✓" if row["data"][k] else "") for k in kinds]
    place = spec.Place([lang], row["system"], search=_READING)
    rows.append((row["system"], [*marks, spec.cell(row["accuracy"], place)]))
  name = common.name(lang)
  table = spec.Table(
      "ablation", f"What each kind of data is good for: {name}",
      [
          ("English", "general data in English"),
          (name, f"general data in {name}"),
          (f"En→{lang}", f"translation from English into {name}"),
          (f"{lang}→En", f"translation from {name} into English"),
          ("right, %", f"questions about a text in {name}"),
      ],
      rows, "A row is a model, a tick a kind of data that it was tuned on.",
      _by_text(
          results,
          [spec.estimate("", x["accuracy"]) for x in results["ablation"]],
      ),
  )
  return spec.Section("ablation", "Kinds of data", (), [table])


def _contests(results) -> spec.Section:
  rows, every = [], []
  for contest in results["contests"]:
    for code in common.in_order(results, contest["languages"]):
      summary = contest["languages"][code]
      point = spec.estimate("", summary)
      every.append(point)
      counts = (summary[k] for k in ("win", "tie", "loss"))
      rows.append((
          f"{contest['a']} against {contest['b']}, {common.name(code)}",
          [
              spec.cell(
                  summary, spec.Place([code], contest["a"], contest["b"])
              ),
              *map(spec.Cell, counts),
              spec.Cell(
                  None if summary["flip_rate"] is None
                  else 100 * summary["flip_rate"]
              ),
          ],
      ))
  table = spec.Table(
      "instructions", "Following unseen instructions, scored side by side",
      [
          ("score", "discounted-tie score of the first, in percent"),
          ("win", ""), ("tie", ""), ("loss", ""),
          ("flips, %", "pairs whose verdict changed with the order"),
      ],
      rows, "Two answers get 1 to 10 each, in both orders; 50 is equal.",
      common.judged(results, every),
  )
  return spec.Section(
      "instructions", "Following instructions", (), [table]
  )


def _consistency(results) -> spec.Section:
  said = _said_the_same(results) if "consistency" in results else []
  carried = _bars(
      results, results["questions_carried_over"], results["targets"],
      "carried_over",
      "Right in English: right in the other language, too?",
      "percent of the questions right in English",
      "Questions about a text that a model answers rightly in English, asked in"
      " the other language; without any there is no bar.", _judged_if_any,
      _READING,
  )
  return spec.Section(
      "consistency", "Consistency across languages",
      ["Does a model know in another language what it knows in English?"],
      [carried, *said],
  )


def _said_the_same(results) -> list[spec.Chart | spec.Table]:
  """Whether answers mean the same, right or wrong, where that can be read."""
  table, codes = results["consistency"], results["targets"]
  chart = _bars(
      results, table, codes, "consistency",
      "Answers that say what the English answer says", "percent of questions",
      "An answer is read by comparing it with every right answer of the"
      " language; one that is none of them agrees with nothing.", _measured,
  )
  rows = []
  for system in (k for k in common.systems(results) if k in table):
    for code in (x for x in codes if x in table[system]):
      found = table[system][code]
      rows.append((f"{system}, {common.name(code)}", [
          spec.cell(found), spec.Cell(found["chance"]),
          spec.Cell(found["unread"]), spec.Cell(found["n"]),
      ]))
  listing = spec.Table(
      "consistency_all", "The same with what chance would give",
      [
          ("agree, %", "answers to the same question that agree"),
          ("chance, %", "answers to different questions that agree"),
          ("unread, %", "pairs with an answer that is no known one"),
          ("n", "pairs of answers"),
      ],
      rows, "Agreement means something only as far as it is above chance.",
      common.measured([
          spec.estimate("", x) for v in table.values() for x in v.values()
      ]),
  )
  return [chart, listing]
