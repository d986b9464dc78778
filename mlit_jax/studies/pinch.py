"""The study of Shaham et al. 2024 (pinch) as a graph of steps.

IF_L(M_D) = SxS(M_{D_L}, M_D) (section 2): how a model tuned on D does on L's
evaluation instructions against the model tuned on L alone; 50 is on a par with
it, 0 loses everywhere.
"""

import math
import pathlib
from collections.abc import Sequence

from mlit_jax.data import counts as counts_lib
from mlit_jax.errors import UsageError
from mlit_jax.studies import (
    asking,
    checks,
    comparisons,
    material,
    pipeline,
    steps,
)
from mlit_jax.studies import systems as systems_lib
from mlit_jax.studies.study import Step
from mlit_jax.studies.systems import BASE, System, mono

NAME = "pinch"
RESULTS_STEP = "results"
# What may be asked for beside the monolingual models, which all need.
PERCENT, HALF, NUMBER, BILINGUAL, FAMILY, SHARE = EXPERIMENTS = (
    "percent", "half", "number", "bilingual", "family", "share",
)


def systems(config) -> list[System]:
  """Every model of the study, each once."""
  languages, asked = tuple(config.languages), experiments(config)
  found = [System(BASE, "base")]
  found += [systems_lib.monolingual(config, lang) for lang in languages]
  if PERCENT in asked:
    found += [
        systems_lib.percent(config, languages, p, f"p{p:g}", "mixture")
        for p in config.percents
    ]
  if config.controls:
    found += [systems_lib.control(config, lang) for lang in languages]
  if HALF in asked:
    found += [
        systems_lib.percent(config, half(config), p, f"half-p{p:g}", HALF)
        for p in config.half_percents
    ]
  if NUMBER in asked:
    found += [s for order in orders(config) for s in _steps(config, order)]
  if BILINGUAL in asked:
    found += [_pair(config, pair) for pair in pairs(config)]
  return systems_lib.distinct(found)


def left_out(config) -> dict[str, str]:
  """Experiment -> why it cannot be made with the study's languages."""
  found, languages = {}, tuple(config.languages)
  if len(half(config)) < 2:
    why = "fewer than two of half_languages are in languages"
    found = {HALF: why, NUMBER: why}
  elif config.main_language not in half(config):
    found[HALF] = "half_languages lack the main language"
  if len(languages) % 2 or len(languages) < 4:
    found[BILINGUAL] = f"{len(languages)} languages do not make pairs"
  if len([x for x in config.family if x in languages]) < 2:
    found[FAMILY] = "fewer than two languages of family are in languages"
  if len([x for x in shares(config) if x != config.main_language]) < 2:
    found[SHARE] = (
        "base_shares has fewer than two of the languages, without the main one"
        if config.base_shares else
        "what a base that is given has read is not known"
        " (--study.base_shares=LANG:PERCENT,... says it)"
    )
  return {k: v for k, v in found.items() if k in config.experiments}


def experiments(config) -> tuple[str, ...]:
  """Those asked for that the languages allow."""
  without = left_out(config)
  return tuple(x for x in config.experiments if x not in without)


def shares(config) -> dict[str, float]:
  """Language of the study -> percent of what the base has read, where known.

  Raises:
    UsageError: base_shares is not LANG:PERCENT,..., each language once.
  """
  found: dict[str, float] = {}
  if not pipeline.adopts(config):
    found = {x: 100 * share for x, share in pipeline.shares(config).items()}
    return {lang: x for lang, x in found.items() if lang in config.languages}
  for entry in filter(None, config.base_shares.split(",")):
    lang, _, number = entry.partition(":")
    try:
      value = float(number)
    except ValueError:
      value = -1.0
    if not 0 <= value <= 100 or lang in found:
      raise UsageError(
          f"base_shares: {entry!r}; write LANG:PERCENT with commas, each"
          " language once"
      )
    found[lang] = value
  if sum(found.values()) > 100.5:  # published figures are rounded
    raise UsageError(
        f"base_shares: {sum(found.values()):g} percent in all is more than 100"
    )
  return {lang: x for lang, x in found.items() if lang in config.languages}


def half(config) -> tuple[str, ...]:
  """The languages of experiments 3 and 4; the study's others are unseen."""
  return tuple(x for x in config.half_languages if x in config.languages)


def orders(config) -> list[tuple[str, ...]]:
  """In which order languages are added (experiment 4)."""
  known = half(config)
  number = min(config.num_orders, math.factorial(len(known)))
  return counts_lib.permutations(known, number, config.seed)


def numbers(config) -> tuple[int, ...]:
  """How many languages of an order are taken (experiment 4)."""
  return tuple(n for n in config.numbers if n <= len(half(config)))


def pairs(config) -> list[tuple[str, str]]:
  """The study's languages two by two (experiment 5)."""
  return counts_lib.pairs(tuple(config.languages), config.seed)


def stepwise(config, order: Sequence[str], number: int) -> str:
  """The name of the model tuned on the first so many languages of an order."""
  if number == 1:
    return mono(order[0])
  return "-".join((NUMBER, *order[:number]))


def _steps(config, order: Sequence[str]) -> list[System]:
  found = []
  for number in numbers(config):
    if number == 1:
      continue  # a monolingual model, of which there is one already
    part = systems_lib.part(
        config.train, "stepwise", languages=list(order[:number]),
        total=config.num_examples,
    )
    found.append(
        System(
            stepwise(config, order, number), NUMBER,
            systems_lib.recipe(config.seed, part),
            about={"order": list(order), "number": number},
        )
    )
  return found


def _pair(config, pair: tuple[str, str]) -> System:
  counts = counts_lib.split_evenly(config.num_examples, pair)
  return System(
      f"pair-{'-'.join(pair)}", BILINGUAL,
      systems_lib.partition(config, counts, pair[0]),
      about={"pair": list(pair)},
  )


def check(config) -> None:
  """Raises UsageError for a config that cannot be run, saying the mend."""
  checks.languages(config)
  checks.names("experiments", config.experiments, EXPERIMENTS)
  if config.base_shares and not pipeline.adopts(config):
    raise UsageError(
        "base_shares is of a base that is given; what the pocket world's has"
        " read is in pretrain.shares"
    )
  shares(config)
  if len(config.languages) < 2:
    raise UsageError("the study compares languages: give at least two")
  if config.main_language not in config.languages:
    raise UsageError(
        f"main_language={config.main_language!r} is not in languages"
    )
  for name in ("percents", "half_percents"):
    if bad := [p for p in config[name] if not 0 < p <= 100]:
      raise UsageError(f"{name}: {bad[0]} does not lie in (0, 100]")
  for name, asked in (("percents", PERCENT), ("half_percents", HALF)):
    for p in config[name] if asked in experiments(config) else ():
      part = config.one_percent if p == 1 else 0
      if not (part or round(config.num_examples * p / 100)):
        raise UsageError(
            f"{name}: {p:g} % of {config.num_examples} is no example; leave it"
            " out, or give more --study.num_examples"
        )
  if bad := [n for n in config.numbers if n < 1]:
    raise UsageError(f"numbers: {bad[0]} is not at least 1")
  checks.budget(config)
  asking.check(config)


def graph(config, preset: str, workdir: pathlib.Path) -> list[Step]:
  """The study's steps, each after those it needs.

  Args:
    config: as configs/studies/pinch.py gives it.
    preset: its preset's name, for the report.
    workdir: where results.json and the report go.
  """
  languages = tuple(config.languages)
  everything = systems(config)
  found = pipeline.base_steps(config)
  for system in everything:
    if system.recipe is not None:
      found += pipeline.tuning_steps(config, system)
  decoded = {}
  for system in everything:
    asked = (system.language,) if system.kind == "control" else languages
    decoded[system.name] = asked
    found.append(pipeline.decode_step(config, system.name, asked))
  for system in everything:
    found.append(_judge_step(config, system, decoded[system.name]))

  from mlit_jax.studies import pinch_results  # reads what the steps wrote

  found.append(
      Step(
          RESULTS_STEP,
          lambda place, show: pinch_results.write(
              place, config, preset, everything, workdir
          ),
          {"config": config.to_dict(), "preset": preset},
          pipeline.everything(everything, ("judge",)),
          (
              pinch_results.RESULTS, pinch_results.ANSWERS,
              pinch_results.JUDGMENTS,
          ),
      )
  )
  found.append(pipeline.report_step(workdir, RESULTS_STEP))
  return found


def _judge_step(config, system: System, languages: Sequence[str]) -> Step:
  """A system against the monolingual model of every language it answered.

  A monolingual model is not judged against itself.
  """
  opponents = {
      lang: mono(lang) for lang in languages if mono(lang) != system.name
  }
  judged, given = tuple(config.languages), pipeline.given(config)

  def work(place, show):
    comparisons.judge_languages(
        config,
        place,
        show,
        judged,
        material.prompts(config.evaluation, tuple(opponents), given),
        place.of(pipeline.decoding(system.name)) / steps.RESPONSES,
        {
            lang: place.of(pipeline.decoding(name)) / steps.RESPONSES
            for lang, name in opponents.items()
        },
    )

  return Step(
      f"judge-{system.name}",
      work,
      {
          "opponents": opponents, "candidates": judged,
          **asking.params(
              config, "side_by_side", config.evaluation, tuple(opponents)
          ),
      },
      tuple(
          pipeline.decoding(name)
          for name in dict.fromkeys([system.name, *opponents.values()])
      ),
      alone=asking.alone(config),
  )
