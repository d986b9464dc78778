"""Recipes: which example is trained on in which language, exactly.

A recipe turns parallel ids and a table {language: count} into a manifest: an
ordered list of (id, language). Rate-based mixing cannot give "13 of 1,280";
a manifest can be counted, hashed and compared.
"""

import collections
import dataclasses
import hashlib
import itertools
import json
import random
from collections.abc import Mapping, Sequence

from mlit_jax.errors import UsageError


class RecipeError(UsageError):
  """Counts that cannot be met; says which language is short by how many."""


@dataclasses.dataclass(frozen=True)
class Row:
  """One training example.

  Attributes:
    id: the parallel id of the instruction.
    lang: its language.
    response_id: the id whose response is paired with it; the same id but in a
      control with shuffled responses.
  """

  id: str
  lang: str
  response_id: str


@dataclasses.dataclass(frozen=True)
class Manifest:
  """An ordered list of training examples.

  Attributes:
    rows: the examples in order.
    design: how ids meet languages, e.g. `partition`: each id in one language.
    seed: what the choice was drawn with.
  """

  rows: tuple[Row, ...]
  design: str
  seed: int

  @property
  def counts(self) -> dict[str, int]:
    """Examples per language, in alphabetical order of the codes."""
    return dict(sorted(collections.Counter(r.lang for r in self.rows).items()))

  @property
  def hash(self) -> str:
    """SHA-256 of the rows in order: equal on every machine."""
    digest = hashlib.sha256()
    for row in self.rows:
      fields = [row.id, row.lang, row.response_id]
      digest.update(json.dumps(fields, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


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


def monolingual_counts(language: str, total: int) -> dict[str, int]:
  return {language: total}


def percent_counts(
    languages: Sequence[str], percent: float, total: int, main: str = "en"
) -> dict[str, int]:
  """P% of a set split over the languages, the rest in the main one.

  (Pinch of Multilinguality, section 4.1.) From P = 10 on the multilingual
  part is split over all languages, the main one included, so that P = 100 is
  uniform; a smaller part goes to the other languages alone (P = 1 of 4,640 is
  "40 examples from the 11 other languages"; the paper rounds 46 down to 40,
  which `counts` of a config can state).

  Args:
    languages: the set, the main language among them.
    percent: P, 0 to 100.
    total: number of examples.
    main: the language of the rest.

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
  part = round(total * percent / 100)
  counts = split_evenly(part, others if percent < 10 else [*others, main])
  counts[main] = total - sum(counts.get(lang, 0) for lang in others)
  return {lang: n for lang, n in counts.items() if n}


def partition(
    ids: Sequence[str], counts: Mapping[str, int], main: str, seed: int
) -> Manifest:
  """Each id in exactly one language.

  The ids are shuffled by the seed. The first ones go to the languages other
  than `main` in turn, until each has its count, the rest to `main`; so a
  larger share of the same languages keeps a smaller one's examples (nested).

  Args:
    ids: the parallel ids to draw from.
    counts: language -> number of examples.
    main: the language that is filled up last.
    seed: draws the order.

  Raises:
    RecipeError: there are fewer ids than the counts ask for.
  """
  total = sum(counts.values())
  if total > len(ids):
    raise RecipeError(
        f"{total} examples were asked for and each id stands once, but there"
        f" are {len(ids)} ids: {total - len(ids)} too few"
    )
  if bad := {lang: n for lang, n in counts.items() if n < 0}:
    raise RecipeError(f"counts must not be negative: {bad}")
  order = shuffled(ids, seed)[:total]
  left = {lang: n for lang, n in counts.items() if lang != main and n}
  chosen = []
  while left:
    for lang in list(left):
      chosen.append(lang)
      left[lang] -= 1
      if not left[lang]:
        del left[lang]
  chosen += [main] * (total - len(chosen))
  rows = tuple(Row(i, lang, i) for i, lang in zip(order, chosen, strict=True))
  return Manifest(rows, "partition", seed)


def shuffle_responses(
    manifest: Manifest, seed: int, responses: Mapping[tuple[str, str], str]
) -> Manifest:
  """A control: the same prompts, each with another example's response.

  Responses stay in their language, where each is given once; no prompt gets
  one that reads like its own.

  Args:
    manifest: the examples.
    seed: draws who gets which.
    responses: (id, language) -> the response's text.

  Raises:
    RecipeError: a language has no such order, e.g. a single example.
  """
  by_language = collections.defaultdict(list)
  for row in manifest.rows:
    by_language[row.lang].append(row.id)
  taken = {}
  for lang, ids in by_language.items():
    circle = shuffled(ids, seed)
    text = {i: responses[i, lang] for i in ids}
    given = circle[1:] + circle[:1]
    for at, id_ in enumerate(circle):
      if text[given[at]] != text[id_]:
        continue
      # Ids of one text: the first two elsewhere that may change places do.
      for other, owner in enumerate(circle):
        mine, theirs = text[given[other]], text[given[at]]
        if mine != text[id_] and theirs != text[owner]:
          given[at], given[other] = given[other], given[at]
          break
      else:
        raise RecipeError(
            f"{lang}: the {len(ids)} responses are too few or too alike to be"
            " shuffled so that none stays; give more examples"
        )
    taken |= {(lang, i): j for i, j in zip(circle, given, strict=True)}
  rows = tuple(
      dataclasses.replace(row, response_id=taken[row.lang, row.id])
      for row in manifest.rows
  )
  return Manifest(rows, f"{manifest.design}, responses shuffled", seed)


def shuffled(ids: Sequence[str], seed: int) -> list[str]:
  """The ids in a seeded order that does not depend on the order given."""
  ids = sorted(ids)
  if repeated := [a for a, b in itertools.pairwise(ids) if a == b]:
    raise RecipeError(f"ids must be distinct; repeated: {repeated[:3]}")
  random.Random(f"recipe:{seed}").shuffle(ids)
  return ids
