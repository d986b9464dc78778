"""The study of Shaham et al. 2024 (pinch) as a graph of steps.

IF_L(M_D) = SxS(M_{D_L}, M_D) (section 2): how a model tuned on D does on L's
evaluation instructions against the model tuned on L alone; 50 is on a par with
it, 0 loses everywhere.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import languages as languages_lib
from mlit_jax import records
from mlit_jax.data import counts as counts_lib
from mlit_jax.data import sources
from mlit_jax.data.pocket import items, world
from mlit_jax.errors import UsageError
from mlit_jax.studies import comparisons, steps
from mlit_jax.studies.study import Step

NAME = "pinch"
BASE = "base"
RESULTS_STEP, REPORT_STEP = "results", "report"


@dataclasses.dataclass(frozen=True)
class System:
  """A model of the study.

  Attributes:
    name: e.g. `mono-en`.
    kind: base, monolingual, mixture or control.
    counts: language -> training examples; {} for the base.
    language: of a monolingual model or a control.
    percent: of a mixture.
  """

  name: str
  kind: str
  counts: Mapping[str, int]
  language: str = ""
  percent: float | None = None

  def describe(self) -> dict[str, Any]:
    row = {"kind": self.kind}
    if self.counts:
      row["counts"] = dict(self.counts)
    if self.language:
      row["language"] = self.language
    if self.percent is not None:
      row["percent"] = self.percent
    return row


def systems(config) -> list[System]:
  """Every model of the study: base, monolingual, mixtures, controls."""
  total, languages = config.num_examples, tuple(config.languages)
  found = [System(BASE, "base", {})]
  for lang in languages:
    counts = {lang: total}
    found.append(System(mono(lang), "monolingual", counts, lang))
  if config.main_language in languages:
    for percent in config.percents:
      counts = counts_lib.percent(
          languages, percent, total, config.main_language
      )
      name = f"p{percent:g}"
      found.append(System(name, "mixture", counts, percent=percent))
  for lang in languages:
    counts = {lang: total}
    found.append(System(f"control-{lang}", "control", counts, lang))
  return found


def mono(language: str) -> str:
  return f"mono-{language}"


def check(config) -> None:
  """Raises UsageError for a config that cannot be run, saying the mend."""
  known = world.language_codes()
  if unknown := [c for c in config.languages if c not in known]:
    try:
      name = languages_lib.get(unknown[0]).name
      hint = f"{name} is not in the pocket world"
    except languages_lib.UnknownLanguageError as e:
      hint = str(e)
    raise UsageError(
        f"language {unknown[0]!r}: {hint}; it has {' '.join(known)}"
    )
  if len(set(config.languages)) != len(config.languages):
    raise UsageError(f"a language stands twice in {config.languages}")
  if len(config.languages) < 2:
    raise UsageError("the study compares languages: give at least two")
  if config.main_language not in config.languages:
    raise UsageError(
        f"main_language={config.main_language!r} is not in languages"
    )
  if bad := [c for c in config.languages if config.pretrain.shares[c] <= 0]:
    raise UsageError(f"pretrain.shares.{bad[0]} must be greater than 0")
  if bad := [p for p in config.percents if not 0 < p <= 100]:
    raise UsageError(f"percents: {bad[0]} does not lie in (0, 100]")
  available = len(items.split()["train"])
  if not len(config.languages) <= config.num_examples <= available:
    raise UsageError(
        f"num_examples={config.num_examples} must lie between"
        f" {len(config.languages)} and {available}"
    )
  comparisons.check_judge(config.judge)


def graph(config, preset: str, workdir: pathlib.Path) -> list[Step]:
  """The study's steps, each after those it needs.

  Args:
    config: as configs/studies/pinch.py gives it.
    preset: its preset's name, for the report.
    workdir: where results.json and the report go.
  """
  languages = tuple(config.languages)
  everything = systems(config)
  graph_steps = [_vocabulary_step(config), *_base_steps(config)]
  for system in everything:
    if system.counts:
      graph_steps += _tuning_steps(config, system)
  decoded = {}
  for system in everything:
    asked = (system.language,) if system.kind == "control" else languages
    decoded[system.name] = asked
    graph_steps.append(_decode_step(config, system, asked))
  for system in everything:
    graph_steps.append(_judge_step(config, system, decoded[system.name]))
  answers = [f"decode-{s.name}" for s in everything]
  trained = [f"model-{s.name}" for s in everything]
  verdicts = [f"judge-{s.name}" for s in everything]

  from mlit_jax.studies import pinch_results  # reads what the steps wrote

  plain = config.to_dict()
  graph_steps.append(
      Step(
          RESULTS_STEP,
          lambda place, show: pinch_results.write(
              place, config, preset, everything, workdir
          ),
          {"config": plain, "preset": preset},
          ("vocabulary", *trained, *answers, *verdicts),
          (pinch_results.RESULTS, pinch_results.ANSWERS),
      )
  )
  graph_steps.append(
      Step(
          REPORT_STEP,
          lambda place, show: _report(workdir),
          {},
          (RESULTS_STEP,),
          ("report.html",),
      )
  )
  return graph_steps


def prompts(languages: Sequence[str]) -> list[records.Instruction]:
  """The evaluation instructions with their references."""
  return list(sources.pocket_instructions(languages, "eval").values())


def _vocabulary_step(config) -> Step:
  languages, size = tuple(config.languages), config.vocab_size
  return Step(
      "vocabulary",
      lambda place, show: steps.train_vocabulary(
          place.directory, languages, size
      ),
      # Everything else needs the vocabulary, and so depends on the world too.
      {
          "languages": languages,
          "vocab_size": size,
          "world": world.digest(languages),
      },
  )


def shares(config) -> dict[str, float]:
  """Language -> its share of the running text; they sum to one."""
  given = {lang: config.pretrain.shares[lang] for lang in config.languages}
  return {lang: share / sum(given.values()) for lang, share in given.items()}


def _base_steps(config) -> list[Step]:
  options = _options(config.pretrain)
  share, total = shares(config), config.pretrain.documents
  model = config.model.to_dict()
  data_params = {"shares": share, "documents": total, "seed": config.seed}
  return [
      Step(
          "data-base",
          lambda place, show: steps.build_documents(
              place.directory, place.of("vocabulary"), share, total,
              config.seed,
          ),
          data_params,
          ("vocabulary",),
      ),
      Step(
          f"model-{BASE}",
          lambda place, show: steps.train(
              place.directory,
              place.of("data-base"),
              place.of("vocabulary"),
              base=None,
              model=model,
              options=options,
              seed=config.seed,
              show=show,
          ),
          {"model": model, "options": options, "seed": config.seed},
          ("data-base", "vocabulary"),
      ),
  ]


def _tuning_steps(config, system: System) -> list[Step]:
  data, options = f"data-{system.name}", _options(config.tune)
  model = config.model.to_dict()
  build = functools.partial(
      steps.build_instructions,
      main=config.main_language,
      template=config.template,
      seed=config.seed,
      shuffle_responses=system.kind == "control",
  )
  return [
      Step(
          data,
          lambda place, show: build(
              place.directory, place.of("vocabulary"), system.counts
          ),
          {
              "counts": dict(system.counts),
              "kind": system.kind,
              "main": config.main_language,
              "template": config.template,
              "seed": config.seed,
          },
          ("vocabulary",),
      ),
      Step(
          f"model-{system.name}",
          lambda place, show: steps.train(
              place.directory,
              place.of(data),
              place.of("vocabulary"),
              base=place.of(f"model-{BASE}") / steps.MODEL,
              model=model,
              options=options,
              seed=config.seed,
              show=show,
          ),
          {"model": model, "options": options, "seed": config.seed},
          (data, f"model-{BASE}", "vocabulary"),
      ),
  ]


def _options(section) -> dict[str, Any]:
  """The options of steps.train from a section of the config."""
  keys = (
      "row_length", "loss_length", "batch_size", "epochs", "checkpoint_every",
  )
  return {
      **{key: section[key] for key in keys},
      "optimizer": {"learning_rate": section.learning_rate},
  }


def _decode_step(config, system: System, languages: Sequence[str]) -> Step:
  params = {
      "languages": tuple(languages),
      "template": config.template,
      "max_new_tokens": config.max_new_tokens,
      "batch_size": config.decode_batch_size,
  }
  return Step(
      f"decode-{system.name}",
      lambda place, show: steps.decode(
          place.directory / steps.RESPONSES,
          place.of(f"model-{system.name}") / steps.MODEL,
          system.name,
          prompts(languages),
          template=config.template,
          max_new_tokens=config.max_new_tokens,
          batch_size=config.decode_batch_size,
          show=show,
      ),
      params,
      (f"model-{system.name}",),
  )


def _judge_step(config, system: System, languages: Sequence[str]) -> Step:
  """A system against the monolingual model of every language it answered.

  A monolingual model is not judged against itself.
  """
  opponents = {
      lang: mono(lang) for lang in languages if mono(lang) != system.name
  }
  judged = tuple(config.languages)

  def work(place, show):
    del show
    comparisons.judge_languages(
        place.directory,
        config.judge,
        judged,
        prompts(tuple(opponents)),
        place.of(f"decode-{system.name}") / steps.RESPONSES,
        {
            lang: place.of(f"decode-{name}") / steps.RESPONSES
            for lang, name in opponents.items()
        },
    )

  return Step(
      f"judge-{system.name}",
      work,
      {"judge": config.judge, "opponents": opponents, "candidates": judged},
      tuple(
          f"decode-{name}"
          for name in dict.fromkeys([system.name, *opponents.values()])
      ),
  )


def _report(workdir: pathlib.Path) -> None:
  from mlit_jax.studies.report import page

  page.write_report(workdir)
