"""The study of Ji and Chen 2024 (Lucky 52) as a graph of steps.

Model k is tuned on the first k languages of an order, each with the same
number of examples (section 2.2); all are asked multiple-choice questions in
every language and answer by log-likelihood (section 2.3).
"""

import pathlib

from mlit_jax.analysis import similarity
from mlit_jax.errors import UsageError
from mlit_jax.studies import (
    checks,
    material,
    pipeline,
    steps,
    steps_answers,
)
from mlit_jax.studies import systems as systems_lib
from mlit_jax.studies.study import Step
from mlit_jax.studies.systems import BASE, System

NAME = "lucky52"
# What is read from the models, which are the same for all.
NUMBER, EXPOSURE, SIMILARITY = EXPERIMENTS = (
    "number", "exposure", "similarity",
)


def systems(config) -> list[System]:
  """The base, and model k for every k."""
  found = [System(BASE, "base")]
  order = tuple(config.tuned_languages)
  for k in range(1, len(order) + 1):
    counts = dict.fromkeys(order[:k], config.num_examples)
    part = systems_lib.part(config.train, "parallel", counts=counts)
    found.append(
        System(
            model_name(k), "cumulative",
            systems_lib.recipe(config.seed, part),
            about={"number": k, "added": order[k - 1]},
        )
    )
  return found


def model_name(k: int) -> str:
  return f"first-{k:02d}"


def check(config) -> None:
  """Raises UsageError for a config that cannot be run, saying the mend."""
  checks.languages(config)
  order = tuple(config.tuned_languages)
  checks.several("tuned_languages", order)
  if strange := [x for x in order if x not in config.languages]:
    raise UsageError(f"tuned_languages: {strange[0]} is not in languages")
  if config.outlier and config.outlier not in order:
    raise UsageError(
        f"outlier={config.outlier!r} is not one of tuned_languages"
    )
  checks.names("experiments", config.experiments, EXPERIMENTS)
  if SIMILARITY in config.experiments:
    _check_similarity(config)
  checks.several("tests", config.tests)
  checks.names(
      "tests", config.tests,
      (*material.CHOICES, *(x for x in config.sources if x != config.train)),
  )
  for name in config.tests:
    if name not in material.CHOICES:
      material.benchmark(name, pipeline.given(config))
  checks.budget(config)
  if config.judge != "reference":
    raise UsageError(
        f"judge={config.judge!r}: this study compares likelihoods and asks no"
        " judge; leave it out"
    )


def _check_similarity(config) -> None:
  """What is compared is there: URIEL, and all pairs in a table of sounds."""
  compare = similarity.measures(config.sounds).get(similarity.SOUND)
  for lang in config.languages if compare else ():
    try:
      similarity.aggregate(compare, config.tuned_languages, lang)
    except ValueError as e:
      raise UsageError(f"sounds={config.sounds}: {e}") from None


def graph(config, preset: str, workdir: pathlib.Path) -> list[Step]:
  """The study's steps, each after those it needs."""
  everything = systems(config)
  found = pipeline.base_steps(config)
  for system in everything:
    if system.recipe is not None:
      found += pipeline.tuning_steps(config, system)
  found += [_score_step(config, system.name) for system in everything]
  names = [system.name for system in everything]

  from mlit_jax.studies import lucky52_results

  found.append(
      Step(
          "results",
          lambda place, show: lucky52_results.write(
              place, config, preset, everything, workdir
          ),
          {"config": config.to_dict(), "preset": preset},
          (
              pipeline.VOCABULARY,
              *(f"data-{s.name}" for s in everything if s.recipe is not None),
              *(f"model-{name}" for name in names),
              *(scoring(name) for name in names),
          ),
          (lucky52_results.RESULTS, lucky52_results.ANSWERS),
      )
  )
  found.append(pipeline.report_step(workdir, "results"))
  return found


def scoring(system: str) -> str:
  """The step that scores a system's endings."""
  return f"score-{system}"


def _score_step(config, system: str) -> Step:
  languages, tests = tuple(config.languages), tuple(config.tests)
  given = pipeline.given(config)

  def work(place, show):
    steps_answers.score_choices(
        place.directory / steps.SCORES,
        place.of(f"model-{system}") / steps.MODEL,
        {name: material.choices(name, languages, given) for name in tests},
        template=config.template,
        dtype=config.dtype,
        mesh_shape=tuple(config.decode_mesh),
        show=show,
    )

  return Step(
      scoring(system), work,
      {
          "languages": languages, "tests": tests, "template": config.template,
          "sources": {x: given[x] for x in tests if x in given},
          "dtype": config.dtype,
      },
      (f"model-{system}",),
  )
