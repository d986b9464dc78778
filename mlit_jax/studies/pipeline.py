"""The steps that every study has: vocabulary, bases, tuned models, answers.

A study is a list of systems (systems.py) and what they are asked; this makes
the graph's steps from it.
"""

import functools
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from mlit_jax.data.pocket import world
from mlit_jax.studies import expected, material, steps, work
from mlit_jax.studies.study import Step
from mlit_jax.studies.systems import BASE, System

VOCABULARY = "vocabulary"
# What a section of the config may say of the optimizer, and beyond.
_OPTIMIZER = (
    "learning_rate", "schedule", "warmup_ratio", "b1", "b2", "weight_decay",
    "clip_norm",
)
_MORE = (
    "truncate", "packing", "precision", "remat", "accumulation", "mesh",
)
_UNLESS_ZERO = ("rows_together", "validate_every")


def given(config) -> dict[str, str]:
  """The study's own sources: name -> READER:PATH."""
  return dict(config.sources.to_dict())


def origin(config, source: str) -> str:
  """The language that a source's rows come in before they are translated."""
  return config.translation.sources.get(source, "") or config.main_language


def adopts(config) -> bool:
  """Whether the base is a model directory, there or still to be given."""
  return bool(config.base or config.models)


def bases(config) -> dict[str, dict[str, Any]]:
  """Name of a base model -> its shape; {} where it comes from a directory.

  All of the preset's, or the one that `model` names.
  """
  if adopts(config):
    return {BASE: {}, **{name: {} for name in given_bases(config)}}
  shape = config.shape.to_dict()
  others = {
      name: shape | change
      for name, change in config.other_bases.to_dict().items()
  }
  found = {BASE: shape, **others}
  return {BASE: found[config.model]} if config.model else found


def given_bases(config) -> dict[str, pathlib.Path]:
  """Model directories beside `base`, by the names that `other_bases` gives.

  One that is `expected` is still to be given (studies/expected.py); the base
  itself does not stand beside itself.
  """
  return {
      name: pathlib.Path(value)
      for name, value in config.get("other_bases", {}).items()
      if isinstance(value, str)
      and not (value == expected.READER and name == config.model)
  }


def vocabulary(config, base: str) -> str:
  """The step that has a base's tokenizer: given bases have their own."""
  own = adopts(config) and base in given_bases(config)
  return f"{VOCABULARY}-{base}" if own else VOCABULARY


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


def base_steps(config, only: Collection[str] = ()) -> list[Step]:
  """The vocabulary and the untuned models.

  Args:
    config: of the study.
    only: the bases to be made; default: all.
  """
  only = only or tuple(bases(config))
  if adopts(config):
    found = _adopted(config)
    for name, place in given_bases(config).items():
      if name in only:
        found += _adopt(
            name, place, vocabulary(config, name), _files_of(name, place)
        )
    return found
  options = tuning_options(config.pretrain)
  documents = config.pretrain.documents
  found = [
      _vocabulary(config),
      _documents(BASE, shares(config), documents, config.seed, {}),
  ]
  # The longest step, and everything waits for it: alone.
  return found + [
      _train(
          config, name, f"data-{BASE}", None, model, options, alone=True
      )
      for name, model in bases(config).items() if name in only
  ]


def reading_steps(
    config, name: str, shares: dict[str, float], documents: int, options
) -> list[Step]:
  """A base that reads on: continued pre-training on other documents.

  Args:
    config: of the study.
    name: of the model that comes out.
    shares: language -> its share of the documents.
    documents: how many; drawn apart from those of pre-training.
    options: of the training, as tuning_options gives them.
  """
  data = f"data-{name}"
  return [
      _documents(name, shares, documents, config.seed + 1, given(config)),
      _train(config, name, data, BASE, bases(config)[BASE], options),
  ]


def tuning_steps(config, system: System) -> list[Step]:
  """A system's data and model."""
  data = f"data-{system.name}"
  options = tuning_options(config[system.tuning])
  longest = options["row_length"] if options.get("truncate") else 0
  model = bases(config).get(system.base, {})
  sources = given(config)
  named = [part["source"] for part in system.recipe["parts"]]
  recipe, tokenizer = dict(system.recipe), vocabulary(config, system.base)
  if held_out := config[system.tuning].get("held_out"):
    recipe["validation"] = held_out
  build = functools.partial(
      work.build, vocabulary=tokenizer, recipe=recipe, sources=sources,
      template=config.template, shuffled=system.shuffled, max_length=longest,
  )
  return [
      Step(
          data, build,
          {
              "recipe": recipe,
              "sources": {n: sources[n] for n in named if n in sources},
              "shuffled": system.shuffled,
              "template": config.template,
              "max_length": longest,
          },
          (tokenizer,),
      ),
      _train(config, system.name, data, system.base, model, options),
  ]


def _train(
    config, name: str, data: str, base: str | None, model, options,
    alone: bool = False,
) -> Step:
  """The step that trains a model, from a base or from scratch."""
  params = {"model": model, "options": options, "seed": config.seed}
  tokenizer = vocabulary(config, base or name)
  return Step(
      f"model-{name}",
      functools.partial(
          work.train, data=data, vocabulary=tokenizer, base=base, **params
      ),
      params, (data, *([f"model-{base}"] if base else ()), tokenizer),
      alone=alone,
  )


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
  source = material.asked(asked, sources)
  params = {
      "languages": languages,
      "prompts": [source, sources.get(source, "")],
      "template": config.template,
      "max_new_tokens": new,
      "batch_size": config.decode_batch_size,
      "dtype": config.dtype,
  }
  return Step(
      decoding(system, prompts),
      functools.partial(
          work.decode, systems=[system], asked=asked, languages=languages,
          sources=sources, template=config.template, max_new_tokens=new,
          batch_size=config.decode_batch_size, dtype=config.dtype,
          mesh_shape=tuple(config.decode_mesh),
      ),
      params, (f"model-{system}",),
  )


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
  """The options of steps_training.train from a section of the config."""
  keys = (
      "row_length", "loss_length", "batch_size", "epochs", "checkpoint_every",
  )
  found = {
      **{key: section[key] for key in keys},
      "optimizer": {key: section[key] for key in _OPTIMIZER if key in section},
  }
  found |= {key: section[key] for key in _MORE if key in section}
  found |= {key: section[key] for key in _UNLESS_ZERO if section.get(key)}
  if "lora" in section:
    found["lora"] = section.lora.to_dict()
  return found


def report_step(
    workdir: pathlib.Path,
    needs: str,
    view: Callable[[Mapping[str, Any]], Any] | None = None,
) -> Step:
  """The report, made from results.json and what stands beside it.

  Args:
    workdir: where they are.
    needs: the step that writes them.
    view: of a study of one's own: from results.json to a report's spec.View.
  """

  def write(place, show):
    del place, show
    from mlit_jax.studies.report import page

    page.write_report(workdir, view)

  return Step("report", write, {}, (needs,), ("report.html",))


def _documents(
    name: str,
    shares: dict[str, float],
    total: int,
    seed: int,
    sources: Mapping[str, str],
) -> Step:
  held = {k: v for k, v in sources.items() if k == material.DOCUMENTS}
  params = {"shares": shares, "documents": total, "seed": seed}
  return Step(
      f"data-{name}",
      lambda place, show: steps.build_documents(
          place.directory, place.of(VOCABULARY), shares, total, seed, held
      ),
      params | ({"sources": held} if held else {}),
      (VOCABULARY,),
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


def _adopted(config) -> list[Step]:
  """The study's base and its tokenizer, there or still to be given."""
  params = _files(base_directory(config)) if config.base else {
      "base": "", "expected": config.model
  }
  return _adopt(BASE, base_directory(config), VOCABULARY, params)


def _adopt(
    name: str, place: pathlib.Path, vocabulary: str, params: dict[str, Any]
) -> list[Step]:
  """A base from a model directory, and its tokenizer."""
  return [
      Step(
          vocabulary,
          lambda at, show: steps.adopt_tokenizer(at.directory, place),
          params,
      ),
      Step(
          f"model-{name}",
          lambda at, show: steps.adopt_model(at.directory, place),
          params, (vocabulary,),
      ),
  ]


def _files_of(name: str, place: pathlib.Path) -> dict[str, Any]:
  """What stands for a base beside the study's."""
  if str(place) == expected.READER:
    return {"base": "", "expected": name}
  return _files(place)


def _files(base: pathlib.Path) -> dict[str, Any]:
  """What stands for a base that is given."""
  return {"base": str(base), "files": steps.fingerprint(base)}
