"""The study of Weber et al. 2024 (polyglot) as a graph of steps.

Mixtures over a set of languages, in parallel or at one language's size, at two
sizes of the data; MT-Bench-X scores of two turns, and the parallel models
against the monolingual ones.
"""

import pathlib
from collections.abc import Sequence

from mlit_jax.data.pocket import items
from mlit_jax.errors import UsageError
from mlit_jax.studies import (
    asking,
    checks,
    comparisons,
    material,
    pipeline,
)
from mlit_jax.studies import systems as systems_lib
from mlit_jax.studies.study import Step
from mlit_jax.studies.systems import BASE, System

NAME = "polyglot"
FEW, MANY, CURATED = "few", "many", "curated"
PARALLEL, SAMPLED, PARTITION = DESIGNS = ("parallel", "sampled", "partition")
# All of the languages, and all but the main one.
EVERY, WITHOUT = "all", "without"
# What may be asked for beside the models with many examples of each language
# alone and of all in parallel, which all need.
PAIRWISE = "pairwise"
EXPERIMENTS = (FEW, CURATED, WITHOUT, SAMPLED, PAIRWISE)


def left_out(config) -> dict[str, str]:
  """Experiment -> why it is not done."""
  found = systems_lib.not_asked(config, EXPERIMENTS)
  if CURATED not in found and not config.curated:
    found[CURATED] = "no source of chosen examples is given (curated)"
  if PAIRWISE not in found and PARALLEL not in config.designs:
    found[PAIRWISE] = "no model is tuned in parallel (designs)"
  if SAMPLED not in found and not set(config.designs) - {PARALLEL}:
    found[SAMPLED] = "designs has none at one language's size"
  return found


def sizes(config) -> dict[str, int]:
  """many, few, and few from a curated source: examples of one language."""
  without = left_out(config)
  found = {
      FEW: config.few_examples, MANY: config.num_examples,
      CURATED: config.few_examples,
  }
  return {size: n for size, n in found.items() if size not in without}


def sets(config) -> tuple[str, ...]:
  """Which languages are mixed: all, and all but the main one."""
  return (EVERY,) if WITHOUT in left_out(config) else (EVERY, WITHOUT)


def designs(config) -> tuple[str, ...]:
  """How they are mixed."""
  without = left_out(config)
  return tuple(
      x for x in config.designs if x == PARALLEL or SAMPLED not in without
  )


def _source(config, size: str) -> str:
  return config.curated if size == CURATED else config.train


def systems(config) -> list[System]:
  """The base, and at each size the monolingual models and the mixtures."""
  found, languages = [System(BASE, "base")], list(config.languages)
  others = [x for x in languages if x != config.main_language]
  for size, number in sizes(config).items():
    source = _source(config, size)
    found += [
        System(
            mono(size, lang), "monolingual",
            _recipe(config, source, PARTITION, [lang], number),
            language=lang, about={"size": size, "examples": number},
        )
        for lang in languages
    ]
    members = {EVERY: languages, WITHOUT: others}
    for which, codes in ((x, members[x]) for x in sets(config)):
      for design in designs(config):
        found.append(
            System(
                mixture(size, which, design), "mixture",
                _recipe(config, source, design, codes, number),
                about={
                    "size": size, "examples": number, "design": design,
                    "set": which,
                },
            )
        )
  return found


def mono(size: str, language: str) -> str:
  return f"{size}-mono-{language}"


def mixture(size: str, which: str, design: str) -> str:
  return f"{size}-{which}-{design}"


def _recipe(
    config, source: str, design: str, languages: Sequence[str], number: int
):
  if design == PARALLEL:
    counts = dict.fromkeys(languages, number)
    part = systems_lib.part(source, "parallel", counts=counts)
  elif design == SAMPLED:
    part = systems_lib.part(
        source, "sampled", languages=list(languages), total=number
    )
  else:
    counts = {"rule": "even", "languages": list(languages), "total": number}
    part = systems_lib.part(
        source, "partition", counts=counts, main=languages[0]
    )
  return systems_lib.recipe(config.seed, part)


def contests(config) -> list[tuple[str, str]]:
  """Who is compared: the parallel mixture with each language alone."""
  if PAIRWISE in left_out(config):
    return []
  return [
      (mixture(size, EVERY, PARALLEL), mono(size, lang))
      for size in sizes(config) for lang in config.languages
  ]


def check(config) -> None:
  """Raises UsageError for a config that cannot be run, saying the mend."""
  checks.languages(config)
  if config.main_language not in config.languages:
    raise UsageError(
        f"main_language={config.main_language!r} is not in languages"
    )
  if len(config.languages) < 3:
    raise UsageError(
        "the study mixes all languages but one: give at least three"
    )
  checks.several("designs", config.designs)
  checks.names("designs", config.designs, DESIGNS)
  checks.names("experiments", config.experiments, EXPERIMENTS)
  is_curated = CURATED not in left_out(config)
  if is_curated:
    material.check(config.curated, pipeline.given(config))
  checks.budget(config)
  if not len(config.languages) <= config.few_examples <= config.num_examples:
    raise UsageError(
        f"few_examples={config.few_examples} must lie between"
        f" {len(config.languages)} and num_examples={config.num_examples}"
    )
  chosen = len(items.chosen())
  own = is_curated and config.curated == material.CURATED
  if own and config.few_examples > chosen:
    raise UsageError(
        f"few_examples={config.few_examples}: the pocket world's chosen"
        f" examples are {chosen}; leave curated out of experiments, or give a"
        " source of your own (--study.curated=NAME)"
    )
  asking.check(config)


def graph(config, preset: str, workdir: pathlib.Path) -> list[Step]:
  """The study's steps, each after those it needs."""
  everything, languages = systems(config), tuple(config.languages)
  found = pipeline.base_steps(config)
  for system in everything:
    if system.recipe is not None:
      found += pipeline.tuning_steps(config, system)
  for system in everything:
    found.append(pipeline.decode_step(config, system.name, languages))
    found.append(
        comparisons.score_step(config, system.name, "mt_bench", languages)
    )
  found += [
      comparisons.contest_step(
          config, contest(a, b), "mt_bench_pair", a, b, languages
      )
      for a, b in contests(config)
  ]

  from mlit_jax.studies import polyglot_results

  found.append(
      Step(
          "results",
          lambda place, show: polyglot_results.write(
              place, config, preset, everything, workdir
          ),
          {"config": config.to_dict(), "preset": preset},
          (
              *pipeline.everything(everything, ("judge",)),
              *(contest(a, b) for a, b in contests(config)),
          ),
          (
              polyglot_results.RESULTS, polyglot_results.ANSWERS,
              polyglot_results.JUDGMENTS,
          ),
      )
  )
  found.append(pipeline.report_step(workdir, "results"))
  return found


def contest(a: str, b: str) -> str:
  """The step that judges one system against another."""
  return f"judge-{a}-against-{b}"
