"""The steps that every study has: vocabulary, bases, tuned models, answers.

A study is a list of systems (systems.py) and what they are asked; this makes
the graph's steps from it.
"""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from mlit_jax.data.pocket import world
from mlit_jax.studies import material, steps
from mlit_jax.studies.study import Step
from mlit_jax.studies.systems import BASE, System

VOCABULARY = "vocabulary"


def given(config) -> dict[str, str]:
  """The study's own sources: name -> READER:PATH."""
  return dict(config.sources.to_dict())


def bases(config) -> dict[str, dict[str, Any]]:
  """Name of a base model -> its shape; {} where it comes from a directory."""
  shape = config.model.to_dict()
  others = {
      name: shape | change
      for name, change in config.other_bases.to_dict().items()
  }
  return {BASE: {} if config.base else shape, **others}


def base_languages(config) -> tuple[str, ...]:
  """What the bases are pre-trained on: the study's languages by default."""
  named = tuple(config.base_languages.replace(",", " ").split())
  return named or tuple(config.languages)


def base_directory(config) -> pathlib.Path:
  """The model directory that is the study's base, if it is given one."""
  return pathlib.Path(config.base)


def shares(config) -> dict[str, float]:
  """Language -> its share of the bases' running text; they sum to one."""
  languages = base_languages(config)
  given = {lang: config.pretrain.shares[lang] for lang in languages}
  return {lang: share / sum(given.values()) for lang, share in given.items()}


def base_steps(config) -> list[Step]:
  """The vocabulary and the untuned models."""
  if config.base:
    return [_adopted_vocabulary(config), _adopted_base(config)]
  options = tuning_options(config.pretrain)
  share, total = shares(config), config.pretrain.documents
  found = [
      _vocabulary(config),
      Step(
          f"data-{BASE}",
          lambda place, show: steps.build_documents(
              place.directory, place.of(VOCABULARY), share, total, config.seed
          ),
          {"shares": share, "documents": total, "seed": config.seed},
          (VOCABULARY,),
      ),
  ]
  for name, model in bases(config).items():
    work = functools.partial(
        _train, data=f"data-{BASE}", base=None, model=model, options=options,
        seed=config.seed,
    )
    found.append(
        Step(
            f"model-{name}", work,
            {"model": model, "options": options, "seed": config.seed},
            (f"data-{BASE}", VOCABULARY),
            # The longest step, and everything waits for it.
            alone=True,
        )
    )
  return found


def tuning_steps(config, system: System) -> list[Step]:
  """A system's data and model."""
  data = f"data-{system.name}"
  options = tuning_options(config[system.tuning])
  model = bases(config).get(system.base, {})
  sources = given(config)
  named = [part["source"] for part in system.recipe["parts"]]

  def build(place, show):
    del show
    steps.build_instructions(
        place.directory, place.of(VOCABULARY), system.recipe, sources,
        template=config.template, shuffle_responses=system.shuffled,
    )

  work = functools.partial(
      _train, data=data, base=system.base, model=model, options=options,
      seed=config.seed,
  )
  return [
      Step(
          data, build,
          {
              "recipe": system.recipe,
              "sources": {n: sources[n] for n in named if n in sources},
              "shuffled": system.shuffled,
              "template": config.template,
          },
          (VOCABULARY,),
      ),
      Step(
          f"model-{system.name}", work,
          {"model": model, "options": options, "seed": config.seed},
          (data, f"model-{system.base}", VOCABULARY),
      ),
  ]


def decode_step(
    config,
    system: str,
    languages: Sequence[str],
    prompts: str = "",
    max_new_tokens: int = 0,
) -> Step:
  """A system's answers to a material's prompts (default: the study's own)."""
  languages = tuple(languages)
  asked = prompts or config.evaluation
  sources = given(config)
  new = max_new_tokens or config.max_new_tokens
  params = {
      "languages": languages,
      "prompts": [asked, sources.get(asked, "")],
      "template": config.template,
      "max_new_tokens": new,
      "batch_size": config.decode_batch_size,
  }

  def work(place, show):
    steps.decode(
        place.directory / steps.RESPONSES,
        place.of(f"model-{system}") / steps.MODEL,
        system,
        material.prompts(asked, languages, sources),
        template=config.template,
        max_new_tokens=new,
        batch_size=config.decode_batch_size,
        show=show,
    )

  return Step(decoding(system, prompts), work, params, (f"model-{system}",))


def decoding(system: str, prompts: str = "") -> str:
  """The name of the step that decodes a system's answers to some prompts."""
  return f"decode-{system}" + (f"-{prompts}" if prompts else "")


def everything(
    systems: Sequence[System], kinds: Sequence[str]
) -> tuple[str, ...]:
  """The steps that a study's results read: all of its systems' steps.

  Args:
    systems: the study's.
    kinds: of the steps beside data, models and answers, `judge` for instance.
  """
  return (
      VOCABULARY,
      *(f"data-{s.name}" for s in systems if s.recipe is not None),
      *(
          f"{kind}-{s.name}"
          for kind in ("model", "decode", *kinds) for s in systems
      ),
  )


def tuning_options(section) -> dict[str, Any]:
  """The options of steps.train from a section of the config."""
  keys = (
      "row_length", "loss_length", "batch_size", "epochs", "checkpoint_every",
  )
  return {
      **{key: section[key] for key in keys},
      "optimizer": {"learning_rate": section.learning_rate},
  }


def report_step(workdir: pathlib.Path, needs: str) -> Step:
  """The report, made from results.json and answers.jsonl."""

  def work(place, show):
    del place, show
    from mlit_jax.studies.report import page

    page.write_report(workdir)

  return Step("report", work, {}, (needs,), ("report.html",))


def _train(place, show, *, data, base, model, options, seed) -> None:
  steps.train(
      place.directory,
      place.of(data),
      place.of(VOCABULARY),
      base=place.of(f"model-{base}") / steps.MODEL if base else None,
      model=model,
      options=options,
      seed=seed,
      show=show,
  )


def _vocabulary(config) -> Step:
  # It is trained on what bases read and on what systems are tuned on.
  languages = tuple(
      dict.fromkeys([*config.languages, *base_languages(config)])
  )
  size = config.vocab_size
  return Step(
      VOCABULARY,
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


def _adopted_vocabulary(config) -> Step:
  base = base_directory(config)
  return Step(
      VOCABULARY,
      lambda place, show: steps.adopt_tokenizer(place.directory, base),
      {"base": str(base), "files": steps.fingerprint(base)},
  )


def _adopted_base(config) -> Step:
  base = base_directory(config)
  return Step(
      f"model-{BASE}",
      lambda place, show: steps.adopt_model(place.directory, base),
      {"base": str(base), "files": steps.fingerprint(base)},
      (VOCABULARY,),
  )
