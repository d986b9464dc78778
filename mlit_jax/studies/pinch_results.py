"""From answers and judgments to results.json and answers.jsonl (pinch)."""

import collections
import json
import pathlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mlit_jax
from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.analysis import statistics
from mlit_jax.data import tokenizers
from mlit_jax.judging import pairs as pairs_lib
from mlit_jax.studies import comparisons, pinch, steps
from mlit_jax.studies.study import Place

RESULTS, ANSWERS = "results.json", "answers.jsonl"
_DECIMALS = 6
_FLOOR = 65.0


def write(
    place: Place,
    config,
    preset: str,
    systems: Sequence[pinch.System],
    workdir: pathlib.Path,
) -> None:
  """Writes results.json and answers.jsonl into the working directory.

  results.json holds no times and no paths: equal runs give equal bytes.
  """
  study = _Study(place, config, systems)
  against = {
      "base": study.against(lambda lang: pinch.BASE),
      "control": study.against(lambda lang: f"control-{lang}"),
  }
  results = {
      "study": pinch.NAME,
      "preset": preset,
      "seed": config.seed,
      "version": mlit_jax.__version__,
      "judge": {
          "spec": config.judge,
          # As yet there is no judge but the reference judge.
          "is_language_model": config.judge != "reference",
          "note": comparisons.REFERENCE_NOTE,
      },
      "languages": list(config.languages),
      "base": study.base(),
      "systems": study.systems(),
      "heat_map": study.heat_map(),
      "curve": study.curve(),
      "against_base": against["base"],
      "against_control": against["control"],
      "exact_match": study.rates("exact"),
      "language_consistency": study.rates("consistent"),
      "exact_match_by_task": study.by_task(),
      "learning": study.learning(against),
  }
  lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in study.rows())
  records.write_text(workdir / ANSWERS, lines)
  records.write_json(workdir / RESULTS, results)


class _Study:
  """Everything the steps wrote, read once."""

  def __init__(self, place: Place, config, systems: Sequence[pinch.System]):
    self._config, self._systems, self._place = config, systems, place
    self._languages = tuple(config.languages)
    self._prompts = pinch.prompts(self._languages)
    gate = comparisons.pocket_gate(self._languages)
    references = {(p.id, p.lang): p.response for p in self._prompts}
    self._answers: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    self._judgments = {}
    for system in systems:
      path = place.of(f"decode-{system.name}") / steps.RESPONSES
      found = self._answers[system.name] = {}
      for r in records.read_records(path, records.Response):
        lang = gate.identify(r.response, self._languages).lang
        found[r.id, r.lang] = {
            "text": r.response,
            "found": lang,
            "exact": _plain(r.response) == _plain(references[r.id, r.lang]),
            "consistent": lang == r.lang,
        }
      path = place.of(f"judge-{system.name}") / comparisons.JUDGMENTS
      groups = collections.defaultdict(list)
      for j in records.read_records(path, records.Judgment):
        groups[j.lang].append(j)
      self._judgments[system.name] = groups

  def _summary(self, system: str, lang: str) -> dict[str, Any]:
    return judgments_lib.summarise(self._judgments[system][lang])[lang]

  def base(self) -> dict[str, Any]:
    config, summary = self._config, self._training(pinch.BASE)
    path = self._place.of("vocabulary")
    tokenizer = tokenizers.SentencePieceTokenizer.from_directory(path)
    return {
        "name": pinch.BASE,
        "parameters": summary["parameters"],
        "vocab_size": tokenizer.vocab_size,
        "num_layers": config.model.num_layers,
        "embed_dim": config.model.embed_dim,
        "tokens_seen": summary["tokens_seen"],
        "steps": summary["steps"],
        "final_loss": summary["final_loss"],
        "shares": {
            lang: round(share, _DECIMALS)
            for lang, share in pinch.shares(config).items()
        },
    }

  def _training(self, system: str) -> dict[str, Any]:
    path = self._place.of(f"model-{system}") / steps.SUMMARY
    return json.loads(path.read_text(encoding="utf-8"))

  def systems(self) -> dict[str, Any]:
    found = {}
    for system in self._systems:
      training = self._training(system.name)
      found[system.name] = system.describe() | {
          "steps": training["steps"],
          "tokens": training["tokens_seen"],
          "final_loss": training["final_loss"],
      }
    return found

  def heat_map(self) -> dict[str, Any]:
    """IF of every monolingual model in every other language (Figure 1)."""
    return {
        pinch.mono(trained): {
            lang: self._summary(pinch.mono(trained), lang)
            for lang in self._languages
            if lang != trained
        }
        for trained in self._languages
    }

  def curve(self) -> list[dict[str, Any]]:
    """IF against the percentage of multilingual examples (Figure 3)."""
    main, rows = self._config.main_language, []
    if main not in self._languages:
      return rows
    points = [(0.0, pinch.mono(main))]
    points += [
        (s.percent, s.name) for s in self._systems if s.kind == "mixture"
    ]
    for percent, name in points:
      judged = self._judgments[name]
      itself = name == pinch.mono(main)
      languages = {
          lang: None if itself and lang == main else self._summary(name, lang)
          for lang in self._languages
      }
      others = [
          j for lang in self._languages if lang != main for j in judged[lang]
      ]
      if itself:
        english = {"score": 50.0, "ci": [50.0, 50.0], "n": 0}
      else:
        english = _short(languages[main])
      rows.append({
          "percent": percent,
          "system": name,
          "languages": languages,
          "english": english,
          "others": _pooled(others),
          "average": _average(others, judged[main]),
      })
    return rows

  def against(self, opponent) -> dict[str, Any]:
    """Each monolingual model as `a` against another, in its own language."""
    found = {}
    for lang in self._languages:
      judged = self._judgments[opponent(lang)][lang]
      mirrored = [_mirror(j) for j in judged]
      found[lang] = judgments_lib.summarise(mirrored)[lang]
    return found

  def rates(self, key: str) -> dict[str, Any]:
    """System -> language -> share of its answers for which `key` holds."""
    found = {}
    for system, answers in self._answers.items():
      groups = collections.defaultdict(list)
      for (id_, lang), answer in answers.items():
        groups[lang].append((id_, answer[key]))
      found[system] = {lang: _rate(groups[lang]) for lang in groups}
    return found

  def learning(self, against) -> dict[str, Any]:
    """Where the monolingual models have plainly learnt their own language.

    Plainly: the interval's lower end lies above a floor, against the base and
    against the control with shuffled responses.
    """
    own = {
        lang: _rate([
            (id_, answer["exact"])
            for (id_, to), answer in self._answers[pinch.mono(lang)].items()
            if to == lang
        ])
        for lang in self._languages
    }
    return {
        "against_base_floor": _FLOOR,
        "above_base": [
            lang
            for lang in self._languages
            if against["base"][lang]["ci"][0] > _FLOOR
        ],
        "above_control": [
            lang
            for lang in self._languages
            if against["control"][lang]["ci"][0] > _FLOOR
        ],
        "half_exact": [x for x in self._languages if own[x]["value"] >= 50],
    }

  def by_task(self) -> dict[str, Any]:
    """Exact answers of the monolingual models in their own languages."""
    groups = collections.defaultdict(list)
    for prompt in self._prompts:
      answer = self._answers[pinch.mono(prompt.lang)][prompt.id, prompt.lang]
      groups[prompt.extra["task"]].append((prompt.id, answer["exact"]))
    return {task: _rate(groups[task]) for task in sorted(groups)}

  def rows(self) -> Iterable[dict[str, Any]]:
    """One row per evaluation item with every system's answer."""
    for prompt in self._prompts:
      key = prompt.id, prompt.lang
      yield {
          "id": prompt.id,
          "lang": prompt.lang,
          "prompt": prompt.prompt,
          "reference": prompt.response,
          "answers": {
              system: {k: answers[key][k] for k in ("text", "found", "exact")}
              for system, answers in self._answers.items()
              if key in answers
          },
      }


def _plain(text: str) -> str:
  return " ".join(unicodedata.normalize("NFC", text).split())


def _short(summary: Mapping[str, Any]) -> dict[str, Any]:
  return {key: summary[key] for key in ("score", "ci", "n")}


def _pooled(judgments) -> dict[str, Any]:
  """Score over several opponents, one per language, clustered on the id."""
  if not judgments:
    return {"score": None, "ci": [None, None], "n": 0}
  return _values(*_pair_values(judgments))


def _average(others, main) -> dict[str, Any]:
  """Over all languages; a model against itself counts 50 by definition."""
  ids, values = _pair_values([*others, *main])
  if not main and ids:
    distinct = list(dict.fromkeys(ids))
    ids, values = ids + distinct, values + [0.5] * len(distinct)
  if not ids:
    return {"score": 50.0, "ci": [50.0, 50.0], "n": 0}
  return _values(ids, values)


def _pair_values(judgments) -> tuple[list[str], list[float]]:
  groups = collections.defaultdict(list)
  for j in judgments:
    groups[j.lang].append(j)
  ids, values = [], []
  for group in groups.values():
    for pair in pairs_lib.pair_up(group):
      if not pair.failed:
        ids.append(pair.ab.id)
        values.append(pair.value)
  return ids, values


def _values(ids: list[str], values: list[float]) -> dict[str, Any]:
  low, high = statistics.mean_interval(values, ids)
  return {
      "score": round(100 * sum(values) / len(values), _DECIMALS),
      "ci": [round(100 * low, _DECIMALS), round(100 * high, _DECIMALS)],
      "n": len(values),
  }


def _rate(rows: list[tuple[str, bool]]) -> dict[str, Any]:
  ids, values = zip(*rows, strict=True)
  found = _values(list(ids), [float(v) for v in values])
  return {"value": found["score"], "n": found["n"], "ci": found["ci"]}


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
