"""Rules that say how many examples each language gets."""

import math
import random
from collections.abc import Mapping, Sequence

from mlit_jax.errors import UsageError


class RecipeError(UsageError):
  """Counts that cannot be met; says which language is short by how many."""


def split_evenly(total: int, languages: Sequence[str]) -> dict[str, int]:
  """`total` over the languages; what is left over goes to the first ones.

  Raises:
    RecipeError: there is no language, or one stands twice.
  """
  if not languages or len(set(languages)) < len(languages):
    raise RecipeError(
        f"languages must be given, each once; they are {list(languages)}"
    )
  share, rest = divmod(total, len(languages))
  return {lang: share + (i < rest) for i, lang in enumerate(languages)}


def split_by_share(total: int, shares: Mapping[str, float]) -> dict[str, int]:
  """`total` over the languages by their shares (largest remainders).

  Args:
    total: number of examples.
    shares: language -> share; they are normalised.

  Raises:
    RecipeError: a share is negative, or there is none above zero.
  """
  whole = sum(shares.values())
  if not whole > 0 or min(shares.values()) < 0:
    raise RecipeError(
        f"shares must not be negative or all zero; they are {dict(shares)}"
    )
  exact = {lang: total * share / whole for lang, share in shares.items()}
  counts = {lang: int(x) for lang, x in exact.items()}
  by_remainder = sorted(exact, key=lambda lang: counts[lang] - exact[lang])
  for lang in by_remainder[: total - sum(counts.values())]:
    counts[lang] += 1
  return counts


def percent(
    languages: Sequence[str],
    percent: float,
    total: int,
    main: str = "en",
    part: int | None = None,
) -> dict[str, int]:
  """P% of a set split over the languages, the rest in the main one.

  (Pinch of Multilinguality, section 4.1.) From P = 10 on the multilingual
  part is split over all languages, the main one included, so that P = 100 is
  uniform; a smaller part goes to the other languages alone.

  Args:
    languages: the set, the main language among them.
    percent: P, 0 to 100.
    total: number of examples.
    main: the language of the rest.
    part: the size of the multilingual part where it is not P% to the nearest
      example: the paper's P = 1 of 4,640 is 40, not 46.

  Raises:
    RecipeError: the percentage or the languages cannot be meant.
  """
  if main not in languages:
    raise RecipeError(f"the main language {main!r} is not in {languages}")
  if not 0 <= percent <= 100:
    raise RecipeError(f"percent must lie between 0 and 100, not {percent}")
  others = [lang for lang in languages if lang != main]
  if not others:
    raise RecipeError(f"a mixture needs more languages than {main!r}")
  if part is None:
    part = round(total * percent / 100)
  if not 0 <= part <= total:
    raise RecipeError(f"a part of {part} does not lie between 0 and {total}")
  counts = split_evenly(part, others if percent < 10 else [*others, main])
  counts[main] = total - sum(counts.get(lang, 0) for lang in others)
  return {lang: n for lang, n in counts.items() if n}


def temperature(
    sizes: Mapping[str, int], total: int, temperature: float
) -> dict[str, int]:
  """Counts in proportion to size^(1/T) (Arivazhagan et al. 2019), no repeats.

  A language whose share exceeds its size gives all it has; the rest is shared
  out anew among the others.

  Args:
    sizes: language -> examples there are.
    total: number of examples.
    temperature: T; 1 is in proportion, large is uniform.

  Raises:
    RecipeError: the temperature is not positive, or there are too few examples.
  """
  if not temperature > 0:
    raise RecipeError(f"temperature must be above 0, not {temperature}")
  if (short := total - sum(sizes.values())) > 0:
    raise RecipeError(
        f"{total} examples were asked for; all languages together are short"
        f" by {short}"
    )
  full: dict[str, int] = {}
  while True:
    left = {lang: n for lang, n in sizes.items() if lang not in full and n}
    largest = max(left.values(), default=1)
    # Relative to the largest: a size to a high power must not overflow.
    shares = {
        lang: (n / largest) ** (1 / temperature) for lang, n in left.items()
    }
    rest = total - sum(full.values())
    counts = split_by_share(rest, shares) if rest else dict.fromkeys(left, 0)
    over = {lang: sizes[lang] for lang, n in counts.items() if n > sizes[lang]}
    if not over:
      found = {**full, **counts}
      return {lang: found.get(lang, 0) for lang in sizes}
    full |= over


def permutations(
    languages: Sequence[str], number: int, seed: int
) -> list[tuple[str, ...]]:
  """Distinct random orders of the languages (pinch, section 4.2)."""
  if not languages or len(set(languages)) < len(languages):
    raise RecipeError(
        f"languages must be given, each once; they are {list(languages)}"
    )
  if number > math.factorial(len(languages)):
    raise RecipeError(
        f"{len(languages)} languages have no {number} different orders"
    )
  rng, found = random.Random(f"permutations:{seed}"), {}
  while len(found) < number:
    order = sorted(languages)
    rng.shuffle(order)
    found.setdefault(tuple(order))
  return list(found)


def pairs(languages: Sequence[str], seed: int) -> list[tuple[str, str]]:
  """The languages split at random into pairs (pinch, section 4.3).

  Raises:
    RecipeError: their number is odd.
  """
  if len(languages) % 2:
    raise RecipeError(f"{len(languages)} languages do not make pairs")
  (order,) = permutations(languages, 1, seed)
  return list(zip(order[::2], order[1::2], strict=True))


def num_updates(
    examples: int, num_languages: int, epochs: int, batch: int, devices: int
) -> int:
  """U = ceil(N L E / (B W)) (Lucky 52).

  Args:
    examples: N, per language.
    num_languages: L.
    epochs: E.
    batch: B, examples per device and update (4 x 4 accumulated = 16).
    devices: W.
  """
  return math.ceil(examples * num_languages * epochs / (batch * devices))
