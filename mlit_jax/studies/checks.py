"""What a study's config must be, whichever study it is of."""

import difflib
from collections.abc import Sequence

from mlit_jax import languages as languages_lib
from mlit_jax.data.pocket import items, world
from mlit_jax.errors import UsageError
from mlit_jax.studies import material, pipeline, steps


def languages(config) -> None:
  """Codes are known, stand once, and the material has them.

  Raises:
    UsageError: says which is wrong.
  """
  given = tuple(config.languages)
  if len(set(given)) != len(given):
    raise UsageError(f"a language stands twice in {given}")
  needed = dict.fromkeys(given)
  if not config.base:
    needed |= dict.fromkeys(pipeline.base_languages(config))
  in_pocket = any(map(material.is_pocket, (config.train, config.evaluation)))
  known = world.language_codes()
  for code in needed:
    if code in known:
      continue
    try:
      name = languages_lib.get(code).name
      hint = f"{name} is not in the pocket world"
    except languages_lib.UnknownLanguageError as e:
      raise UsageError(f"language {code!r}: {e}") from None
    if in_pocket or not config.base:
      raise UsageError(f"language {code!r}: {hint}; it has {' '.join(known)}")
  for name in (config.train, config.evaluation):
    material.check(name, pipeline.given(config))
  if config.base:
    steps.fingerprint(pipeline.base_directory(config))
    return
  shares = config.pretrain.shares
  if bad := [
      c for c in pipeline.base_languages(config) if not shares.get(c, 0) > 0
  ]:
    raise UsageError(f"pretrain.shares.{bad[0]} must be greater than 0")


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
  available = len(items.split()["train"])
  if not len(config.languages) <= config.num_examples <= available:
    raise UsageError(
        f"num_examples={config.num_examples} must lie between"
        f" {len(config.languages)} and {available}"
    )
