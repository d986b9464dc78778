"""The study of Zhu et al. 2023 (x-LLaMA, m-LLaMA) as a graph of steps.

CoIT tunes one model for one language: general data in English and in that
language, and translation into it (section 3.1). MuIT tunes one model on all of
that (section 3.3). Models with less translation data give the scaling law,
which shares out a budget of it (xllama_laws.py).
"""

import dataclasses
import pathlib

from mlit_jax.data.pocket import world
from mlit_jax.errors import UsageError
from mlit_jax.studies import (
    asking,
    checks,
    comparisons,
    material,
    pipeline,
    representing,
    steps,
    xllama_laws,
)
from mlit_jax.studies import xllama_systems as models
from mlit_jax.studies.study import Step
from mlit_jax.studies.systems import BASE, System
from mlit_jax.studies.xllama_systems import systems

NAME = "xllama"


def asked(config) -> list[tuple[str, str, tuple[str, ...]]]:
  """(system, material, languages) of everything that is answered.

  The material is "" for instructions to follow (MI-Eval's part).
  """
  main, goals = config.main_language, models.targets(config)
  every, wanted = tuple(config.languages), models.experiments(config)
  found: dict[tuple[str, str], tuple[str, ...]] = {}

  def ask(system, languages, *materials):
    for name in materials:
      had = found.get((system, name), ())
      found[system, name] = tuple(dict.fromkeys([*had, *languages]))

  for system in models.broad(config):
    ask(system, every, "", material.READING)
    ask(system, goals, material.INTO, material.OUT_OF)
  for lang in goals:
    ask(models.coit(lang), (main, lang), "", material.READING)
    ask(models.coit(lang), (lang,), material.INTO, material.OUT_OF)
  lang = config.ablated_language
  if models.ABLATION in wanted:
    for system in models.ablations(config):
      ask(system, (lang,), material.READING)
  if models.SCALING in wanted:
    for goal in goals:
      for size in config.sizes:
        ask(models.coit(goal, size), (goal,), material.INTO)
  if models.MONOLINGUAL in wanted:
    ask(f"both-{lang}", (lang,), material.INTO)
    for size in config.document_sizes:
      ask(f"after-{models.reader(lang, size)}", (lang,), material.INTO)
  if models.ALLOCATION in wanted:
    for budget in config.budgets:
      for kind in models.KINDS:
        ask(models.allocated(budget, kind), goals, material.INTO)
  return [(system, name, codes) for (system, name), codes in found.items()]


def contests(config) -> list[tuple[str, str, tuple[str, ...]]]:
  """Whose answers are scored side by side, and in which languages."""
  english, goals = models.ENGLISH_ONLY, models.targets(config)
  if models.MUIT not in models.experiments(config):
    main = config.main_language
    return [(models.coit(lang), english, (main, lang)) for lang in goals]
  every = models.MULTILINGUAL
  return [
      (every, english, tuple(config.languages)),
      *((every, models.coit(lang), (lang,)) for lang in goals),
  ]


def check(config) -> None:
  """Raises UsageError for a config that cannot be run, saying the mend."""
  checks.languages(config)
  main = config.main_language
  if main != "en":
    raise UsageError(
        f"main_language={main!r}: the material to translate is between English"
        " and other languages; give en"
    )
  known = world.language_codes()
  own = {
      material.INTO, material.OUT_OF, material.READING, material.SENTENCES,
  } <= set(config.sources)
  if strange := [x for x in config.languages if x not in known and not own]:
    raise UsageError(
        f"language {strange[0]!r}: what is translated and read about is the"
        f" pocket world's, which has {' '.join(known)}"
    )
  if main not in config.languages or len(config.languages) < 2:
    raise UsageError("languages must have en and at least one other")
  if config.ablated_language not in models.targets(config):
    raise UsageError(
        f"ablated_language={config.ablated_language!r} is not one of"
        f" {' '.join(models.targets(config))}"
    )
  checks.names("experiments", config.experiments, models.EXPERIMENTS)
  checks.budget(config)
  available = config.num_pairs
  if material.INTO not in config.sources:
    first = models.targets(config)[:1]
    available = len(material.instructions(material.INTO, first, {}))
  if not 0 < config.num_pairs <= available:
    raise UsageError(
        f"num_pairs={config.num_pairs} must lie between 1 and {available}"
    )
  fewest = min(models.limits(config).values())
  sizes = tuple(config.sizes)
  if sorted(set(sizes)) != list(sizes) or not (
      sizes and sizes[0] > 0 and sizes[-1] < fewest
  ):
    raise UsageError(
        f"sizes={sizes} must grow from above 0 to below num_pairs"
        f" ({fewest})"
    )
  documents = tuple(config.document_sizes)
  if len(set(documents)) < 2 or min(documents) < 1:
    raise UsageError("document_sizes: give at least two, each above 0")
  goals, most = len(models.targets(config)), sum(models.limits(config).values())
  for budget in config.budgets:
    if not goals <= budget <= most:
      raise UsageError(
          f"budgets: {budget} must lie between {goals} (one pair a language)"
          f" and {most} (all there are)"
      )
  asking.check(config)


def graph(config, preset: str, workdir: pathlib.Path) -> list[Step]:
  """The study's steps, each after those it needs."""
  from mlit_jax.studies import xllama_results

  everything, wanted = systems(config), models.experiments(config)
  found = pipeline.base_steps(config)
  if models.MONOLINGUAL in wanted:
    for size in config.document_sizes:
      found += pipeline.reading_steps(
          config, models.reader(config.ablated_language, size),
          {config.ablated_language: 1.0}, size,
          pipeline.tuning_options(config.reading_on),
      )
  # The models that the laws are read from come before those they decide on.
  late = {
      s.name for s in everything if s.about.get("shares") == models.OPTIMISED
  }
  for system in everything:
    if system.recipe is not None and system.name not in late:
      found += pipeline.tuning_steps(config, system)
  answers = asked(config)
  found += _answer_steps(config, [x for x in answers if x[0] not in late])
  found += [
      _vectors_step(config, name) for name in (BASE, *models.broad(config))
  ]
  if models.SCALING in wanted:
    found.append(xllama_laws.step(config))
  for system in everything:
    if system.name in late:
      found += _optimised_steps(config, system, xllama_laws.shares)
  found += _answer_steps(config, [x for x in answers if x[0] in late])
  found += [
      comparisons.contest_step(
          config, models.contest(a, b), "score_pair", a, b, codes
      )
      for a, b, codes in contests(config)
  ]
  found.append(
      Step(
          "results",
          lambda place, show: xllama_results.write(
              place, config, preset, everything, workdir
          ),
          {"config": config.to_dict(), "preset": preset},
          tuple(step.name for step in found),
          (
              xllama_results.RESULTS, xllama_results.ANSWERS,
              xllama_results.JUDGMENTS,
          ),
      )
  )
  found.append(pipeline.report_step(workdir, "results"))
  return found


def _answer_steps(config, answers) -> list[Step]:
  found = []
  for system, name, codes in answers:
    found.append(pipeline.decode_step(config, system, codes, name))
    if name == material.READING:
      found.append(
          comparisons.score_step(config, system, "correctness", codes, name)
      )
  return found


def _optimised_steps(config, system: System, shares) -> list[Step]:
  """As any other's, but that its recipe waits for the laws."""
  data, model = pipeline.tuning_steps(config, system)
  budget = system.about["pairs"]

  def build(place, show):
    counts = shares(place.of(models.LAWS), budget)
    parts = [*system.recipe["parts"], models.pairs_part(counts)]
    data.work(place, show, recipe={**data.params["recipe"], "parts": parts})

  needs = (*data.needs, models.LAWS)
  return [
      dataclasses.replace(
          data, work=build, needs=needs, params={**data.params, "of": budget}
      ),
      model,
  ]


def _vectors_step(config, system: str) -> Step:
  languages, given = tuple(config.languages), pipeline.given(config)
  held = {k: v for k, v in given.items() if k == material.SENTENCES}

  def work(place, show):
    texts = material.parallel_sentences(languages, given)
    model = place.of(f"model-{system}") / steps.MODEL
    found = representing.represent(model, texts, show)
    representing.write(place.directory / representing.VECTORS, found)

  return Step(
      models.vectors(system), work,
      {"languages": languages} | ({"sources": held} if held else {}),
      (f"model-{system}",),
  )
