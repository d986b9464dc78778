"""From answers and judgments to results.json and answers.jsonl (pinch)."""

import collections
import pathlib
from collections.abc import Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.analysis import statistics
from mlit_jax.studies import estimates, outcomes, pinch
from mlit_jax.studies import systems as systems_lib
from mlit_jax.studies.outcomes import ANSWERS, JUDGMENTS, RESULTS, Outcomes
from mlit_jax.studies.study import Place
from mlit_jax.studies.systems import BASE, System, mono

__all__ = ["ANSWERS", "JUDGMENTS", "RESULTS", "write"]
_FLOOR = 65.0


def write(
    place: Place,
    config,
    preset: str,
    systems: Sequence[System],
    workdir: pathlib.Path,
) -> None:
  """Writes results.json, answers.jsonl and judgments.jsonl."""
  found = Outcomes(place, config, systems)
  study = _Pinch(found, config)
  against = {"base": study.against(lambda lang: BASE)}
  against["control"] = {}
  if config.controls:
    against["control"] = study.against(lambda lang: f"control-{lang}")
  asked = pinch.experiments(config)
  results = found.head(pinch.NAME, preset) | {
      "heat_map": study.heat_map(found.languages),
      "curve": study.curve() if pinch.PERCENT in asked else [],
      "against_base": against["base"],
      "against_control": against["control"],
      "exact_match": found.rates("exact"),
      "language_consistency": found.rates("consistent"),
      "language_unknown": found.rates("unknown"),
      "exact_match_by_task": study.by_task(),
      "learning": study.learning(against),
      "experiments": study.experiments(),
      "left_out": pinch.left_out(config) | systems_lib.not_asked(
          config, pinch.EXPERIMENTS
      ),
  }
  outcomes.write(workdir, results, found.rows(), found.every_judgment())


class _Pinch:
  """The paper's figures, as numbers."""

  def __init__(self, found: Outcomes, config):
    self._found, self._config = found, config
    self._languages = found.languages

  def heat_map(self, languages: Sequence[str]) -> dict[str, Any]:
    """IF of every monolingual model in every other language (Figure 1)."""
    return {
        mono(trained): {
            lang: self._found.summary(mono(trained), lang)
            for lang in languages
            if lang != trained
        }
        for trained in languages
    }

  def curve(self) -> list[dict[str, Any]]:
    """IF against the percentage of multilingual examples (Figure 3)."""
    main, rows = self._config.main_language, []
    points = [(0.0, mono(main))]
    points += [
        (s.about["percent"], s.name) for s in self._found.of_kind("mixture")
    ]
    for percent, name in points:
      judged = self._found.judgments[name]
      itself = name == mono(main)
      languages = {
          lang: None if itself and lang == main
          else self._found.summary(name, lang)
          for lang in self._languages
      }
      others = [
          j for lang in self._languages if lang != main for j in judged[lang]
      ]
      english = estimates.BY_DEFINITION if itself else _short(languages[main])
      rows.append({
          "percent": percent,
          "system": name,
          "languages": languages,
          "english": english,
          "others": estimates.pooled(others),
          "average": _average(others, judged[main]),
      })
    return rows

  def experiments(self) -> dict[str, Any]:
    """The paper's further experiments, as far as they were asked for."""
    made = {
        pinch.HALF: self._half, pinch.NUMBER: self._number,
        pinch.BILINGUAL: self._bilingual, pinch.FAMILY: self._family,
        pinch.SHARE: self._share,
    }
    asked = pinch.experiments(self._config)
    return {name: made[name]() for name in asked if name in made}

  def _pooled(self, system: str, languages) -> dict[str, Any]:
    judged = self._found.judgments[system]
    return estimates.pooled(j for lang in languages for j in judged[lang])

  def _half(self) -> dict[str, Any]:
    """P% over half of the languages: seen and unseen ones (Figure 4)."""
    seen, main = pinch.half(self._config), self._config.main_language
    unseen = [x for x in self._languages if x not in seen]
    points = [(0.0, mono(main))]
    points += [
        (s.about["percent"], s.name) for s in self._found.of_kind(pinch.HALF)
    ]
    return {
        "seen": list(seen),
        "unseen": unseen,
        "points": [
            {
                "percent": percent,
                "system": name,
                "main": estimates.BY_DEFINITION if name == mono(main)
                else self._pooled(name, [main]),
                "seen": self._pooled(name, [x for x in seen if x != main]),
                "unseen": self._pooled(name, unseen),
                "languages": self._each(name),
            }
            for percent, name in points
        ],
    }

  def _each(self, system: str) -> dict[str, Any]:
    return {
        lang: self._found.summary(system, lang) for lang in self._languages
    }

  def _number(self) -> dict[str, Any]:
    """One to six languages, in the unseen ones (Figure 5)."""
    config = self._config
    seen = pinch.half(config)
    unseen = [x for x in self._languages if x not in seen]
    rows, pooled = [], []
    for number in pinch.numbers(config):
      judged = []
      for order in pinch.orders(config):
        name = pinch.stepwise(config, order, number)
        judged.append(name)
        rows.append({
            "number": number,
            "order": list(order),
            "system": name,
            "unseen": self._pooled(name, unseen),
            "languages": self._each(name),
        })
      pairs = [
          estimates.pair_values(self._found.judgments[name][lang])
          for name in dict.fromkeys(judged) for lang in unseen
      ]
      pooled.append({
          "number": number,
          "unseen": estimates.mean(
              [i for ids, _ in pairs for i in ids],
              [v for _, values in pairs for v in values],
          ),
      })
    return {
        "orders": [list(order) for order in pinch.orders(config)],
        "unseen": unseen,
        "points": rows,
        "average": pooled,
    }

  def _bilingual(self) -> list[dict[str, Any]]:
    """Half and half against each half alone, elsewhere (Figure 6)."""
    rows = []
    for system in self._found.of_kind(pinch.BILINGUAL):
      pair = system.about["pair"]
      others = [x for x in self._languages if x not in pair]
      rows.append({
          "pair": list(pair),
          "others": others,
          "bilingual": self._pooled(system.name, others),
          "monolingual": {
              lang: self._pooled(mono(lang), others) for lang in pair
          },
      })
    return rows

  def _family(self) -> dict[str, Any]:
    """The heat map of related languages (Figure 7)."""
    languages = [x for x in self._config.family if x in self._languages]
    return {"languages": languages, "heat_map": self.heat_map(languages)}

  def _share(self) -> dict[str, Any]:
    """Transfer against the share of the pre-training text (Figure 8)."""
    main = self._config.main_language
    shares = pinch.shares(self._config)
    points = [
        {
            "lang": lang,
            "share": round(shares[lang], estimates.DECIMALS),
            "transfer": self._pooled(
                mono(lang), [x for x in self._languages if x != lang]
            ),
        }
        for lang in self._languages
        if lang != main and lang in shares
    ]
    found: dict[str, Any] = {
        "points": points, "pearson": None,
        "given": bool(self._config.base_shares),
        "unknown": [x for x in self._languages if x not in shares],
    }
    x = [p["share"] for p in points]
    y = [p["transfer"]["score"] for p in points]
    if len(x) > 1 and None not in y and len(set(x)) > 1 and len(set(y)) > 1:
      r = statistics.pearson(x, y)
      found["pearson"] = {
          key: round(value, estimates.DECIMALS)
          for key, value in (("r", r.r), ("low", r.low), ("high", r.high))
      } | {"n": r.n}
    return found

  def against(self, opponent) -> dict[str, Any]:
    """Each monolingual model as `a` against another, in its own language."""
    found = {}
    for lang in self._languages:
      judged = self._found.judgments[opponent(lang)][lang]
      mirrored = [_mirror(j) for j in judged]
      found[lang] = judgments_lib.summarise(mirrored)[lang]
    return found

  def learning(self, against) -> dict[str, Any]:
    """Where the monolingual models have plainly learnt their own language.

    Plainly: the interval's lower end lies above a floor, against the base and
    against the control with shuffled responses.
    """
    own = {
        lang: estimates.rate(
            (id_, answer["exact"])
            for (id_, to), answer in self._found.answers[mono(lang)].items()
            if to == lang
        )
        for lang in self._languages
    }

    def above(scores):
      # Where every judgment failed there is no interval.
      lows = {lang: row["ci"][0] for lang, row in scores.items() if row["n"]}
      return [x for x in self._languages if x in lows and lows[x] > _FLOOR]

    return {
        "against_base_floor": _FLOOR,
        "above_base": above(against["base"]),
        "above_control": above(against["control"]),
        "half_exact": [x for x in self._languages if own[x]["value"] >= 50],
    }

  def by_task(self) -> dict[str, Any]:
    """Exact answers of the monolingual models in their own languages."""
    groups = collections.defaultdict(list)
    for prompt in self._found.prompts:
      answers = self._found.answers[mono(prompt.lang)]
      answer = answers[prompt.id, prompt.lang]
      task = prompt.extra.get("task", "question")
      groups[task].append((prompt.id, answer["exact"]))
    return {task: estimates.rate(groups[task]) for task in sorted(groups)}


def _short(summary) -> dict[str, Any]:
  return {key: summary[key] for key in ("score", "ci", "n")}


def _average(others, main) -> dict[str, Any]:
  """Over all languages; a model against itself counts 50 by definition."""
  ids, values = estimates.pair_values([*others, *main])
  if not main and ids:
    distinct = list(dict.fromkeys(ids))
    ids, values = ids + distinct, values + [0.5] * len(distinct)
  if not main and not others:
    return estimates.BY_DEFINITION
  return estimates.mean(ids, values)


def _mirror(j: records.Judgment) -> records.Judgment:
  """The same judgment with the systems' names exchanged."""
  other = {"a": "b", "b": "a"}
  return records.Judgment(
      id=j.id,
      lang=j.lang,
      protocol=j.protocol,
      judge=j.judge,
      system_a=j.system_b,
      system_b=j.system_a,
      order={"ab": "ba", "ba": "ab"}[j.order],
      raw=j.raw,
      verdict=other.get(j.verdict, j.verdict),
      score=j.score,
      failure=j.failure,
      gate={other[side]: lang for side, lang in j.gate.items()},
  )
