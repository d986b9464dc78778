"""What a study's config must be, whichever study it is of."""

import difflib
from collections.abc import Sequence

from mlit_jax import languages as languages_lib
from mlit_jax.data.pocket import items, world
from mlit_jax.errors import UsageError
from mlit_jax.studies import expected, material, pipeline, steps
from mlit_jax.studies.systems import BASE


def languages(config, several_bases: bool = False) -> None:
  """Codes are known, stand once, and the material has them.

  Args:
    config: of the study.
    several_bases: whether the study compares bases.

  Raises:
    UsageError: says which is wrong.
  """
  given = tuple(config.languages)
  if len(set(given)) != len(given):
    raise UsageError(f"a language stands twice in {given}")
  needed = dict.fromkeys(given)
  if not pipeline.adopts(config):
    needed |= dict.fromkeys(pipeline.base_languages(config))
  in_pocket = any(map(material.is_pocket, (config.train, config.evaluation)))
  known = world.language_codes()
  for code in needed:
    if code in known:
      continue
    try:
      language = languages_lib.get(code)
    except languages_lib.UnknownLanguageError as e:
      raise UsageError(f"language {code!r}: {e}") from None
    if language.code != code:
      raise UsageError(f"language {code!r}: write {language.code!r} for it")
    hint = f"{language.name} is not in the pocket world"
    if in_pocket or not pipeline.adopts(config):
      raise UsageError(f"language {code!r}: {hint}; it has {' '.join(known)}")
  for name in filter(None, (config.train, config.evaluation)):
    material.check(name, pipeline.given(config))
  model(config)
  validation(config.tune)
  if config.base:
    steps.fingerprint(pipeline.base_directory(config))
  other_bases(config, several_bases)
  if pipeline.adopts(config):
    return
  shares = config.pretrain.shares
  if bad := [
      c for c in pipeline.base_languages(config) if not shares.get(c, 0) > 0
  ]:
    raise UsageError(f"pretrain.shares.{bad[0]} must be greater than 0")


def other_bases(config, several: bool) -> None:
  """Model directories beside `base` are there, and their names can be used.

  One that is only expected must be one of the paper's models.

  Args:
    config: of the study.
    several: whether it has any use for them.

  Raises:
    UsageError: says which is wrong.
  """
  for name, place in pipeline.given_bases(config).items():
    if not several:
      raise UsageError(
          f"other_bases.{name}: this study has one base, --study.base=DIR"
      )
    if not name.isidentifier() or name in (BASE, "all"):
      raise UsageError(
          f"other_bases.{name}: its systems are called {name}-…; take a word of"
          f" letters, digits and _ other than {BASE}"
      )
    if str(place) == expected.READER:
      names("other_bases", (name,), tuple(config.models))
      continue
    if not config.base:
      raise UsageError(
          f"other_bases.{name} is a directory beside that of the base: give"
          " --study.base=DIR, too"
      )
    steps.fingerprint(place)


def validation(section) -> None:
  """Validation has something to be done on, and is done.

  Args:
    section: of the config, of a tuning.

  Raises:
    UsageError: only one of `held_out` and `validate_every` is given.
  """
  held, every = (section.get(k, 0) for k in ("held_out", "validate_every"))
  if min(held, every) < 0 or bool(held) != bool(every):
    raise UsageError(
        f"tune.held_out={held} and tune.validate_every={every}: give both, the"
        " examples held out of each source and the steps between two"
        " validations, or 0 for both"
    )


def model(config) -> None:
  """UsageError unless `model` is "" or one of the preset's bases."""
  if not config.model or config.model in config.models:
    return
  if config.models or config.base:
    known = tuple(config.models)
  else:
    known = (BASE, *config.other_bases.to_dict())
  names("model", (config.model,), known)


def several(key: str, given: Sequence[str]) -> None:
  """UsageError unless a list of the config has entries, each once."""
  if not given:
    raise UsageError(f"{key} is empty: give at least one, with commas between")
  for name in given:
    if list(given).count(name) > 1:
      raise UsageError(f"{key}: {name} stands there twice")


def names(key: str, given: Sequence[str], known: Sequence[str]) -> None:
  """UsageError if a list of names in the config has one that is not known."""
  for name in given:
    if name not in known:
      near = difflib.get_close_matches(name, known, n=1)
      hint = f"did you mean {near[0]!r}?" if near else (
          f"known: {', '.join(known)}"
      )
      raise UsageError(f"{key}: no {name!r}; {hint}")


def budget(config) -> None:
  """The pocket world has as many examples as are asked for."""
  if config.train != material.POCKET:
    return
  available = len(items.split()["train"]) - config.tune.get("held_out", 0)
  if not len(config.languages) <= config.num_examples <= available:
    raise UsageError(
        f"num_examples={config.num_examples} must lie between"
        f" {len(config.languages)} and {available}"
    )
