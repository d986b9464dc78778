"""The study of Chen et al. 2024 (alpaca) as a graph of steps.

A system's score in a language is the sum over the questions of its rating, 1 to
3, where the answer is in the question's language, and 0 where it is not
(section 2.4).
"""

import pathlib
from collections.abc import Mapping

from mlit_jax.errors import UsageError
from mlit_jax.studies import asking, checks, comparisons, pipeline
from mlit_jax.studies import systems as systems_lib
from mlit_jax.studies.study import Step
from mlit_jax.studies.systems import BASE, System

NAME = "alpaca"
MONOLINGUAL = "monolingual"
ALL, SAMPLED, PARTITION = BUDGETS = ("all", "sampled", "partition")


def systems(config) -> list[System]:
  """Every base, and on each: monolingual models and the budgets' others."""
  found = []
  for base in pipeline.bases(config):
    found.append(System(base, "base", about={"size": base}))
    made = {f"mono-{lang}": _one(config, lang) for lang in config.languages}
    for budget in config.budgets:
      made[budget] = _many(config, budget)
    found += [
        System(
            name if base == BASE else f"{base}-{name}",
            MONOLINGUAL if name not in BUDGETS else name,
            recipe, base=base,
            language=name.removeprefix("mono-") if name not in BUDGETS else "",
            about={"size": base},
        )
        for name, recipe in made.items()
    ]
  return found


def _one(config, language: str) -> Mapping:
  counts = {language: config.num_examples}
  return systems_lib.partition(config, counts, language)


def _many(config, budget: str) -> Mapping:
  languages, total = list(config.languages), config.num_examples
  if budget == ALL:
    counts = dict.fromkeys(languages, total)
    part = systems_lib.part(config.train, "parallel", counts=counts)
  elif budget == SAMPLED:
    part = systems_lib.part(
        config.train, "sampled", languages=languages, total=total
    )
  else:
    counts = {"rule": "even", "languages": languages, "total": total}
    part = systems_lib.part(
        config.train, "partition", counts=counts, main=config.main_language
    )
  return systems_lib.recipe(config.seed, part)


def test_languages(config) -> tuple[str, ...]:
  """Those that are rated: seen in tuning, then unseen."""
  return (*config.test_languages, *config.unseen_languages)


def check(config) -> None:
  """Raises UsageError for a config that cannot be run, saying the mend."""
  checks.languages(config, several_bases=True)
  if config.main_language not in config.languages:
    raise UsageError(
        f"main_language={config.main_language!r} is not in languages"
    )
  for lang in config.test_languages:
    if lang not in config.languages:
      raise UsageError(
          f"test_languages: {lang} is not in languages; a language that is not"
          " tuned on goes into unseen_languages"
      )
  for lang in config.unseen_languages:
    if lang in config.languages:
      raise UsageError(f"unseen_languages: {lang} is in languages")
  checks.names("budgets", config.budgets, BUDGETS)
  checks.budget(config)
  asking.check(config)


def graph(config, preset: str, workdir: pathlib.Path) -> list[Step]:
  """The study's steps, each after those it needs."""
  everything = systems(config)
  asked = test_languages(config)
  found = pipeline.base_steps(config)
  for system in everything:
    if system.recipe is not None:
      found += pipeline.tuning_steps(config, system)
  for system in everything:
    found.append(pipeline.decode_step(config, system.name, asked))
    found.append(
        comparisons.score_step(config, system.name, "rating", asked)
    )

  from mlit_jax.studies import alpaca_results

  found.append(
      Step(
          "results",
          lambda place, show: alpaca_results.write(
              place, config, preset, everything, workdir
          ),
          {"config": config.to_dict(), "preset": preset},
          pipeline.everything(everything, ("judge",)),
          (
              alpaca_results.RESULTS, alpaca_results.ANSWERS,
              alpaca_results.JUDGMENTS,
          ),
      )
  )
  found.append(pipeline.report_step(workdir, "results"))
  return found
