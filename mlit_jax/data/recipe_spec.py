"""A recipe as data: parts, each a design over a source with counted languages.

  {"seed": 0,
   "parts": [
     {"source": "alpaca", "design": "parallel",
      "counts": {"rule": "each", "languages": ["en", "zh"], "examples": 52000}},
     {"source": "wikimatrix", "design": "parallel",
      "counts": {"zh": 250000}}]}

(CoIT of x-LLaMA, say.) `counts` is a table, or a rule of `RULES`. A recipe may
hold out examples for validation (`"validation": 1000`): by id, before anything
is drawn.
"""

import dataclasses
import difflib
import inspect
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from mlit_jax.data import counts as counts_lib
from mlit_jax.data import manifest as manifest_lib
from mlit_jax.data import recipes
from mlit_jax.data.counts import RecipeError

DESIGNS = (
    "partition", "stepwise", "parallel", "sampled", "token_balanced",
)
_PART_REQUIRED = ("source", "design")
_PART_OPTIONAL = (
    "counts", "languages", "total", "main", "seed", "budget", "cross",
)
Pools = Mapping[str, recipes.Pool]
Lengths = Callable[[str, str, str], int]


def _monolingual(language: str, total: int) -> dict[str, int]:
  return {language: total}


def _each(languages, examples: int) -> dict[str, int]:
  return dict.fromkeys(languages, examples)


def _even(languages, total: int) -> dict[str, int]:
  return counts_lib.split_evenly(total, languages)


def _first(languages, number: int, examples: int) -> dict[str, int]:
  """The first so many languages of an order (Lucky 52)."""
  if not 1 <= number <= len(languages):
    raise RecipeError(
        f"number={number} does not lie between 1 and {len(languages)}"
    )
  return dict.fromkeys(languages[:number], examples)


def _shares(shares, total: int) -> dict[str, int]:
  return counts_lib.split_by_share(total, shares)


RULES: dict[str, Callable[..., dict[str, int]]] = {
    "monolingual": _monolingual,
    "each": _each,
    "even": _even,
    "first": _first,
    "percent": counts_lib.percent,
    "shares": _shares,
    "temperature": counts_lib.temperature,
}


@dataclasses.dataclass(frozen=True)
class Made:
  """What a recipe gives.

  Attributes:
    train: the manifest.
    validation: what was held out, in the languages trained on; may be empty.
  """

  train: manifest_lib.Manifest
  validation: manifest_lib.Manifest


def read(path: str | pathlib.Path) -> dict[str, Any]:
  """A recipe from a JSON file.

  Raises:
    RecipeError: it cannot be read, or is not a JSON object.
  """
  try:
    recipe = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except OSError as e:
    raise RecipeError(f"{path}: cannot be read ({e.strerror})") from None
  except ValueError as e:
    raise RecipeError(f"{path}: not JSON ({e})") from None
  if not isinstance(recipe, dict):
    raise RecipeError(f"{path}: a recipe is a JSON object with 'parts'")
  return recipe


def make(
    recipe: Mapping[str, Any], pools: Pools, lengths: Lengths | None = None
) -> Made:
  """Draws a recipe's manifest.

  Args:
    recipe: as this module's text says.
    pools: source -> language -> ids.
    lengths: (source, id, language) -> tokens; token_balanced needs it.

  Raises:
    RecipeError: a key, rule or design is unknown (with the nearest name), or
      the counts cannot be met.
  """
  check(recipe)
  seed, held_out = recipe.get("seed", 0), recipe.get("validation", 0)
  parts = recipe["parts"]
  if held_out:
    pools, held = _hold_out(parts, pools, held_out, seed)
  made = []
  for number, part in enumerate(parts, start=1):
    try:
      made.append(_part(part, pools, lengths, seed))
    except RecipeError as e:
      raise RecipeError(f"part {number}: {e}") from None
  train = manifest_lib.join(made)
  rows: dict[manifest_lib.Row, None] = {}
  if held_out:
    for part, manifest in zip(parts, made, strict=True):
      pool = held[part["source"]]
      for lang in manifest.counts:
        rows |= dict.fromkeys(
            manifest_lib.Row(i, lang, i)
            for i in recipes.ordered(pool[lang], seed)
        )
  validation = manifest_lib.Manifest(tuple(rows), "held out", seed)
  return Made(train, validation)


def check(recipe: Mapping[str, Any]) -> None:
  """Raises RecipeError unless all keys are known and none is missing."""
  _check_keys(recipe, ("parts",), ("seed", "validation"), "a recipe")
  parts = recipe["parts"]
  if not isinstance(parts, list | tuple) or not parts:
    raise RecipeError("'parts' must be a list with at least one part")
  for number, part in enumerate(parts, start=1):
    try:
      _check_keys(part, _PART_REQUIRED, _PART_OPTIONAL, "a part")
    except RecipeError as e:
      raise RecipeError(f"part {number}: {e}") from None


def languages(recipe: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
  """Source -> the languages that a recipe takes of it."""
  found: dict[str, dict[str, None]] = {}
  for part in recipe["parts"]:
    named = found.setdefault(part["source"], {})
    if "counts" in part:
      named |= dict.fromkeys(_counts(part["counts"]))
    named |= dict.fromkeys(part.get("languages", ()))
    if "cross" in part:
      named |= {part["cross"]["to"]: None}
  return {source: tuple(named) for source, named in found.items()}


def sizes(recipe: Mapping[str, Any]) -> list[int]:
  """How many examples each part asks for, without the data.

  Raises:
    RecipeError: a part's size depends on the data (token_balanced).
  """
  found = []
  for part in recipe["parts"]:
    if "counts" in part:
      found.append(sum(_counts(part["counts"]).values()))
    else:
      found.append(_need(part, "total"))
  return found


def _part(part, pools: Pools, lengths, seed: int) -> manifest_lib.Manifest:
  source, design = part["source"], part["design"]
  if source not in pools:
    raise RecipeError(f"no source {source!r}; {_nearest(source, pools)}")
  pool, seed = pools[source], part.get("seed", seed)
  if design in ("partition", "parallel"):
    table = _counts(_need(part, "counts"))
    if design == "parallel":
      manifest = recipes.parallel(pool, table, seed)
    else:
      main = part.get("main", next(iter(table)))
      manifest = recipes.partition(pool, table, main, seed)
  elif design in ("stepwise", "sampled"):
    draw = recipes.stepwise if design == "stepwise" else recipes.sampled
    manifest = draw(pool, _need(part, "languages"), _need(part, "total"), seed)
  elif design == "token_balanced":
    if lengths is None:
      raise RecipeError("token_balanced needs a tokenizer")
    codes = _need(part, "languages")
    tokens = _Tokens(lengths, source)
    manifest = recipes.token_balanced(
        pool, codes, tokens, _need(part, "budget"), seed
    )
  else:
    raise RecipeError(f"no design {design!r}; {_nearest(design, DESIGNS)}")
  if "cross" in part:
    cross = part["cross"]
    _check_keys(cross, ("share", "to"), (), "'cross'")
    manifest = recipes.cross_lingual(
        manifest, pool, cross["share"], cross["to"], seed
    )
  return manifest


class _Tokens(Mapping):
  """Lengths, counted when they are asked for."""

  def __init__(self, lengths: Lengths, source: str):
    self._lengths, self._source = lengths, source

  def __getitem__(self, key: tuple[str, str]) -> int:
    return self._lengths(self._source, *key)

  def __iter__(self):
    raise TypeError("lengths are looked up, not listed")

  def __len__(self) -> int:
    raise TypeError("lengths are looked up, not counted")


def _counts(table) -> dict[str, int]:
  if not isinstance(table, Mapping):
    raise RecipeError(f"'counts' must be an object, not {table!r:.60}")
  if "rule" not in table:
    for lang, n in table.items():
      if type(n) is not int:
        raise RecipeError(f"counts: {lang!r} needs a whole number, not {n!r}")
    return dict(table)
  given = {k: v for k, v in table.items() if k != "rule"}
  name = table["rule"]
  if name not in RULES:
    raise RecipeError(f"no rule {name!r}; {_nearest(name, RULES)}")
  rule = RULES[name]
  accepted = inspect.signature(rule).parameters
  required = [k for k, p in accepted.items() if p.default is p.empty]
  optional = [k for k in accepted if k not in required]
  _check_keys(given, required, optional, f"rule {name!r}")
  try:
    return rule(**given)
  except (TypeError, ValueError, AttributeError) as e:
    if isinstance(e, RecipeError):
      raise
    raise RecipeError(f"rule {name!r}: a value of the wrong kind ({e})") from e


def _hold_out(parts, pools: Pools, number: int, seed: int):
  train, held = dict(pools), {}
  for source, codes in languages({"parts": parts}).items():
    if source in pools:
      pool = {c: pools[source][c] for c in codes if c in pools[source]}
      kept, held[source] = recipes.hold_out(pool, number, seed)
      train[source] = {**pools[source], **kept}
  return train, held


def _need(part, key: str):
  if key not in part:
    raise RecipeError(f"design {part['design']!r} needs {key!r}")
  return part[key]


def _check_keys(given, required, optional, what: str) -> None:
  if not isinstance(given, Mapping):
    raise RecipeError(f"{what} must be an object, not {given!r:.60}")
  if missing := [k for k in required if k not in given]:
    raise RecipeError(f"{what} needs {missing[0]!r}")
  known = (*required, *optional)
  if unknown := [k for k in given if k not in known]:
    raise RecipeError(
        f"{what} has no {unknown[0]!r}; {_nearest(unknown[0], known)}"
    )


def _nearest(word, known) -> str:
  near = difflib.get_close_matches(str(word), list(known), n=1)
  if near:
    return f"did you mean {near[0]!r}?"
  return f"known: {', '.join(sorted(known))}"
