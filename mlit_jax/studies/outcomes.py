"""What a study's steps wrote, read once for its results."""

import collections
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mlit_jax
from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.data import token_file, tokenizers
from mlit_jax.studies import (
    asking,
    comparisons,
    estimates,
    material,
    pipeline,
    steps,
)
from mlit_jax.studies.study import Place
from mlit_jax.studies.systems import BASE, System

RESULTS, ANSWERS = "results.json", "answers.jsonl"
JUDGMENTS = "judgments.jsonl"
# Of a training whose best checkpoint was chosen: at which step, by which loss.
_VALIDATED = ("best_step", "validation_loss")


class Outcomes:
  """Answers, judgments and training of every system.

  Attributes:
    languages: of the study.
    prompts: what was asked, with references.
    answers: system -> (id, lang) -> text, language found, whether exact.
    judgments: system -> language -> what was judged with it as `a`.
  """

  def __init__(
      self,
      place: Place,
      config,
      systems: Sequence[System],
      asked: Sequence[str] = (),
  ):
    """Reads them.

    Args:
      place: of the results' step.
      config: of the study.
      systems: all of the study's.
      asked: the languages of the questions; default: the study's.
    """
    self._config, self._place = config, place
    self.languages = tuple(asked or config.languages)
    self._candidates = tuple(dict.fromkeys([*config.languages, *asked]))
    self.systems = {system.name: system for system in systems}
    self.prompts = material.prompts(
        config.evaluation, self.languages, pipeline.given(config)
    ) if config.evaluation else []
    self.answers = self._read_answers()
    self.judgments: dict[str, dict[str, list[records.Judgment]]] = {}
    for name in self.systems:
      path = place.of(f"judge-{name}") / comparisons.JUDGMENTS
      groups = self.judgments[name] = collections.defaultdict(list)
      if path.exists():
        for j in records.read_records(path, records.Judgment):
          groups[j.lang].append(j)

  def _read_answers(self) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    references = {(p.id, p.lang): p.response for p in self.prompts}
    found = {}
    for name in self.systems:
      path = self._place.of(pipeline.decoding(name)) / steps.RESPONSES
      # Without answers a study compares likelihoods.
      if path.exists():
        found[name] = self._read(path, references)
    return found

  def _read(
      self, path, references, asked: str = ""
  ) -> dict[tuple[str, str], dict[str, Any]]:
    gate = asking.gate(self._config, self._candidates, asked)
    found = {}
    for r in records.read_records(path, records.Response):
      lang = gate.identify(r.response, self._candidates).lang
      found[r.id, r.lang] = {
          "text": r.response,
          "found": lang,
          "exact": plain(r.response) == plain(references[r.id, r.lang]),
          "consistent": lang == r.lang,
          "unknown": not lang,
      }
    return found

  def of_kind(self, kind: str) -> list[System]:
    return [s for s in self.systems.values() if s.kind == kind]

  def summary(self, system: str, lang: str) -> dict[str, Any] | None:
    """A system's side-by-side score in a language; None if never judged."""
    judged = self.judgments[system][lang]
    return judgments_lib.summarise(judged)[lang] if judged else None

  def head(self, name: str, preset: str) -> dict[str, Any]:
    """What every study's results begin with."""
    config = self._config
    return {
        "study": name,
        "preset": preset,
        "seed": config.seed,
        "version": mlit_jax.__version__,
        "judge": asking.about(config),
        "languages": list(self._config.languages),
        "substitutions": list(config.substitutions),
        "base": self.base(),
        "systems": self.describe(),
        # Files hold their keys in alphabetical order.
        "order": {"systems": list(self.systems)},
    }

  def base(self) -> dict[str, Any]:
    """The untuned model's shape and what it has read."""
    summary, config = self.training(BASE), self._config
    found = {
        "name": BASE,
        "parameters": summary["parameters"],
        "vocab_size": tokenizers.load(
            self._place.of(pipeline.VOCABULARY)
        ).vocab_size,
        "num_layers": summary["num_layers"],
        "embed_dim": summary["embed_dim"],
        "shares": {},
    }
    if config.base:
      return found
    shares = pipeline.shares(config)
    return found | {
        "tokens_seen": summary["tokens_seen"],
        "steps": summary["steps"],
        "final_loss": summary["final_loss"],
        "shares": {
            lang: round(share, estimates.DECIMALS)
            for lang, share in shares.items()
        },
    }

  def training(self, system: str) -> dict[str, Any]:
    path = self._place.of(f"model-{system}") / steps.SUMMARY
    return json.loads(path.read_text(encoding="utf-8"))

  def counts(self, system: str) -> dict[str, int]:
    """Language -> examples that a system was really tuned on."""
    built = token_file.read_summary(self._place.of(f"data-{system}"))
    return {
        lang: row["examples"] for lang, row in built["languages"].items()
    }

  def describe(self) -> dict[str, Any]:
    """Every system: what it is, what it was tuned on, what that took."""
    found = {}
    for name, system in self.systems.items():
      row, training = system.describe(), self.training(name)
      if system.recipe is not None:
        row["counts"] = self.counts(name)
      found[name] = row | {
          "steps": training.get("steps"),
          "tokens": training.get("tokens_seen"),
          "final_loss": training.get("final_loss"),
          **{key: training[key] for key in _VALIDATED if key in training},
      }
    return found

  def rates(self, key: str) -> dict[str, Any]:
    """System -> language -> share of its answers for which `key` holds."""
    found = {}
    for system, answers in self.answers.items():
      groups = collections.defaultdict(list)
      for (id_, lang), answer in answers.items():
        groups[lang].append((id_, answer[key]))
      found[system] = {lang: estimates.rate(groups[lang]) for lang in groups}
    return found

  def every_judgment(self) -> Iterable[records.Judgment]:
    """All of them, system by system."""
    for groups in self.judgments.values():
      for judged in groups.values():
        yield from judged

  def rows(self) -> Iterable[dict[str, Any]]:
    """One row per question with every system's answer."""
    return _rows(self.prompts, self.answers)

  def more_rows(
      self, name: str, asked: Mapping[str, Sequence[str]]
  ) -> Iterable[dict[str, Any]]:
    """Rows of another material; its name goes before their ids.

    Args:
      name: of the material.
      asked: system -> the languages that it was asked in.
    """
    languages = tuple(dict.fromkeys(x for y in asked.values() for x in y))
    prompts = material.prompts(
        name, languages, pipeline.given(self._config)
    )
    references = {(p.id, p.lang): p.response for p in prompts}
    answers = {
        system: self._read(
            self._place.of(pipeline.decoding(system, name)) / steps.RESPONSES,
            references, name,
        )
        for system in self.systems if system in asked
    }
    for row in _rows(prompts, answers):
      yield row | {"id": f"{name}/{row['id']}"}


def _rows(prompts, answers) -> Iterable[dict[str, Any]]:
  for prompt in prompts:
    key = prompt.id, prompt.lang
    yield {
        "id": prompt.id,
        "lang": prompt.lang,
        "prompt": prompt.prompt,
        "reference": prompt.response,
        "answers": {
            system: {k: given[key][k] for k in ("text", "found", "exact")}
            for system, given in answers.items() if key in given
        },
    }


def write(
    workdir,
    results: Mapping[str, Any],
    rows: Iterable[Mapping],
    judgments: Iterable[records.Judgment] = (),
) -> None:
  """Writes results.json, answers.jsonl and judgments.jsonl.

  results.json holds no times and no paths: equal runs give equal bytes. It says
  how many judgments there are, and how many failed in which way.

  Args:
    workdir: where they go.
    results: the numbers.
    rows: of answers.jsonl, a question each with every system's answer.
    judgments: what the judge said of them, in its own words.
  """
  lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
  judgments = list(judgments)
  failures = collections.Counter(j.failure for j in judgments if j.failure)
  records.write_text(workdir / ANSWERS, lines)
  records.write_records(workdir / JUDGMENTS, judgments)
  records.write_json(workdir / RESULTS, {
      **results, "judgments": len(judgments), "failures": dict(failures),
  })


def plain(text: str) -> str:
  """A text by which answers are compared for being the same."""
  return " ".join(unicodedata.normalize("NFC", text).split())
