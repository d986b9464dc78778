"""The study of Chen et al. 2024 (alpaca) as a graph of steps.

A system's score in a language is the sum over the questions of its rating, 1 to
3, where the answer is in the question's language, and 0 where it is not
(section 2.4).
"""

import dataclasses
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
# What may be asked for beside the budgets on one base, tuned in one way and
# asked in the languages it was tuned on.
UNSEEN, SIZES, METHODS, ROBUSTNESS = EXPERIMENTS = (
    "unseen", "sizes", "methods", "robustness",
)
LORA, FULL = "lora", "full"
TUNE, OTHER = "tune", "other_tune"  # sections of the config


@dataclasses.dataclass(frozen=True)
class Variant:
  """A base, tuned in one way.

  Attributes:
    base: its name.
    method: lora or full.
    tuning: the section of the config that says how.
    label: of results and figures; of the first way it is the base's name.
  """

  base: str
  method: str
  tuning: str
  label: str

  def system(self, name: str) -> str:
    """The name of one of its models."""
    base = [self.base] if self.base != BASE else []
    way = [self.method] if self.tuning == OTHER else []
    return "-".join([*base, *way, name])


def left_out(config) -> dict[str, str]:
  """Experiment -> why it is not done."""
  found = systems_lib.not_asked(config, EXPERIMENTS)
  reasons = {
      UNSEEN: (config.unseen_languages, "unseen_languages has none"),
      SIZES: (
          len(pipeline.bases(config)) > 1,
          "there is one base alone",
      ),
      METHODS: (
          OTHER in config, "the preset tunes in one way; paper_all in both"
      ),
  }
  return found | {
      name: why for name, (there, why) in reasons.items()
      if not there and name not in found
  }


def bases(config) -> tuple[str, ...]:
  """The bases' names."""
  found = tuple(pipeline.bases(config))
  return found[:1] if SIZES in left_out(config) else found


def variants(config) -> list[Variant]:
  """Every base in every way of tuning."""
  sections = [TUNE] if METHODS in left_out(config) else [TUNE, OTHER]
  return [
      Variant(
          base, method(config, section), section,
          base if section == TUNE else f"{base}-{method(config, section)}",
      )
      for base in bases(config) for section in sections
  ]


def method(config, section: str) -> str:
  """How a section of the config tunes."""
  return LORA if "lora" in config[section] else FULL


def systems(config) -> list[System]:
  """Every base, and on each: monolingual models and the budgets' others."""
  found = []
  for variant in variants(config):
    if variant.tuning == TUNE:
      found.append(System(variant.base, "base", about={"size": variant.base}))
    made = {f"mono-{lang}": _one(config, lang) for lang in config.languages}
    for budget in config.budgets:
      made[budget] = _many(config, budget)
    found += [
        System(
            variant.system(name),
            MONOLINGUAL if name not in BUDGETS else name,
            recipe, base=variant.base, tuning=variant.tuning,
            language=name.removeprefix("mono-") if name not in BUDGETS else "",
            about={"size": variant.base, "method": variant.method},
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
  return (*config.test_languages, *unseen(config))


def unseen(config) -> tuple[str, ...]:
  """Those that are rated and that no model is tuned on."""
  return () if UNSEEN in left_out(config) else tuple(config.unseen_languages)


def check(config) -> None:
  """Raises UsageError for a config that cannot be run, saying the mend."""
  checks.languages(config, several_bases=True)
  if config.main_language not in config.languages:
    raise UsageError(
        f"main_language={config.main_language!r} is not in languages"
    )
  checks.several("test_languages", config.test_languages)
  if config.unseen_languages:
    checks.several("unseen_languages", config.unseen_languages)
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
  checks.names("experiments", config.experiments, EXPERIMENTS)
  if named := {LORA, FULL}.intersection(pipeline.bases(config)):
    raise UsageError(
        f"other_bases.{named.pop()}: models of the base are called so that are"
        " tuned in that way; take another word"
    )
  if OTHER in config:
    checks.validation(config[OTHER])
    if method(config, TUNE) == method(config, OTHER):
      raise UsageError(
          f"{TUNE} and {OTHER} are both {method(config, TUNE)} tuning: only one"
          " of them may have a section lora"
      )
  checks.budget(config)
  asking.check(config)


def graph(config, preset: str, workdir: pathlib.Path) -> list[Step]:
  """The study's steps, each after those it needs."""
  everything = systems(config)
  asked = test_languages(config)
  found = pipeline.base_steps(config, bases(config))
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
