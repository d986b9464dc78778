"""The models of xllama: names, recipes, and what they are tuned on."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax.analysis import allocation
from mlit_jax.studies import material
from mlit_jax.studies import systems as systems_lib
from mlit_jax.studies.systems import BASE, System

# What may be asked for beside the models of one language, which all need.
ABLATION, SCALING, MONOLINGUAL, MUIT, ALLOCATION = EXPERIMENTS = (
    "ablation", "scaling", "monolingual", "muit", "allocation",
)
ENGLISH_ONLY, MULTILINGUAL = "alpaca-en", "muit"
LAWS = "laws"  # the step that fits them
UNIFORM, OPTIMISED = KINDS = ("uniform", "optimised")


def targets(config) -> tuple[str, ...]:
  """The languages that models are to learn, all but the main one."""
  return tuple(x for x in config.languages if x != config.main_language)


def experiments(config) -> tuple[str, ...]:
  """Those asked for; sharing a budget out needs the laws first."""
  asked = set(config.experiments)
  if ALLOCATION in asked:
    asked.add(SCALING)
  return tuple(x for x in EXPERIMENTS if x in asked)


def systems(config) -> list[System]:
  """Every model of the study, each once."""
  main, asked = config.main_language, experiments(config)
  found = [
      System(BASE, "base"),
      System(
          ENGLISH_ONLY, "english", _recipe(config, [main]), language=main
      ),
  ]
  found += [
      System(
          coit(lang), "coit",
          _recipe(config, [main, lang], {lang: limits(config)[lang]}),
          language=lang, about={"pairs": limits(config)[lang]},
      )
      for lang in targets(config)
  ]
  if ABLATION in asked:
    found += _ablation(config)
  if SCALING in asked:
    found += [
        System(
            coit(lang, size), "scaling",
            _recipe(config, [main, lang], {lang: size}),
            language=lang, about={"pairs": size},
        )
        for lang in targets(config) for size in config.sizes
    ]
  if MONOLINGUAL in asked:
    lang = config.ablated_language
    found += [_both(config, lang)]
    found += [
        System(
            f"after-{reader(lang, size)}", MONOLINGUAL,
            _recipe(config, [main, lang]), base=reader(lang, size),
            language=lang, about={"documents": size},
        )
        for size in config.document_sizes
    ]
  if MUIT in asked:
    pairs = limits(config)
    found.append(
        System(
            MULTILINGUAL, "muit", _recipe(config, config.languages, pairs),
            about={"pairs": sum(pairs.values())},
        )
    )
  if ALLOCATION in asked:
    found += [
        _allocated(config, budget, kind)
        for budget in config.budgets for kind in KINDS
    ]
  return systems_lib.distinct(found)


def coit(language: str, pairs: int | None = None) -> str:
  """The model of a language; with fewer pairs of sentences, if so many."""
  return f"coit-{language}" + ("" if pairs is None else f"-{pairs}")


def reader(language: str, documents: int) -> str:
  """The base that has read on in a language."""
  return f"read-{language}-{documents}"


def allocated(budget: int, kind: str) -> str:
  return f"muit-{budget}-{kind}"


def broad(config) -> list[str]:
  """The models that are asked in every language."""
  return [ENGLISH_ONLY] + [MULTILINGUAL] * (MUIT in experiments(config))


def judging(system: str) -> str:
  """The step that says whether a system's answers to a text are right."""
  return f"judge-{system}-{material.READING}"


def contest(a: str, b: str) -> str:
  """The step that scores one system's answers beside another's."""
  return f"judge-{a}-against-{b}"


def vectors(system: str) -> str:
  """The step that keeps a system's sentence vectors."""
  return f"vectors-{system}"


def ablations(config) -> dict[str, tuple[bool, bool, bool, bool]]:
  """System -> does it have English, own-language, into, out-of data? (Fig. 6)
  """
  lang = config.ablated_language
  return {
      ENGLISH_ONLY: (True, False, False, False),
      f"alpaca-{lang}": (False, True, False, False),
      f"into-{lang}": (False, False, True, False),
      f"both-{lang}": (True, True, False, False),
      coit(lang): (True, True, True, False),
      f"reverse-{lang}": (True, True, False, True),
  }


def _ablation(config) -> list[System]:
  main, lang = config.main_language, config.ablated_language
  pairs = {lang: limits(config)[lang]}
  return [
      System(
          f"alpaca-{lang}", ABLATION, _recipe(config, [lang]), language=lang
      ),
      System(
          f"into-{lang}", ABLATION, _recipe(config, [], pairs), language=lang
      ),
      _both(config, lang),
      System(
          f"reverse-{lang}", ABLATION,
          _recipe(config, [main, lang], pairs, material.OUT_OF), language=lang,
      ),
  ]


def _both(config, lang: str) -> System:
  """General data in both languages, and no translation."""
  recipe = _recipe(config, [config.main_language, lang])
  return System(f"both-{lang}", ABLATION, recipe, language=lang)


def _allocated(config, budget: int, kind: str) -> System:
  """MuIT with a budget of pairs; the optimised shares come from the laws."""
  recipe = _recipe(config, config.languages)
  if kind == UNIFORM:
    shares = allocation.uniform(targets(config), budget, limits(config))
    recipe = _recipe(config, config.languages, shares)
  return System(
      allocated(budget, kind), ALLOCATION, recipe,
      about={"pairs": budget, "shares": kind},
  )


def limits(config) -> dict[str, int]:
  """The most pairs that a language may be given."""
  return {
      lang: config.most_pairs.get(lang, config.num_pairs)
      for lang in targets(config)
  }


def _recipe(
    config,
    general: Sequence[str],
    pairs: Mapping[str, int] | None = None,
    source: str = material.INTO,
) -> dict[str, Any]:
  parts = []
  if general:
    counts = dict.fromkeys(general, config.num_examples)
    parts.append(systems_lib.part(config.train, "parallel", counts=counts))
  if pairs:
    parts.append(pairs_part(pairs, source))
  return systems_lib.recipe(config.seed, *parts)


def pairs_part(
    counts: Mapping[str, int], source: str = material.INTO
) -> dict[str, Any]:
  """A recipe's pairs of sentences, as instructions to translate."""
  # Languages with fewer pairs have the first of those that others have.
  return systems_lib.part(source, "parallel", counts=dict(counts))
