"""Recipes: designs by which ids meet languages, exact to the example.

A pool is what a source has: language -> ids, where an id names parallel
examples. Every design draws from a pool without repetition, in an order that
the seed and the ids alone decide: an id that is missing somewhere changes
nobody else's place.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

from mlit_jax.data.counts import RecipeError
from mlit_jax.data.manifest import Manifest, Row

Pool = Mapping[str, Sequence[str]]


def ordered(ids: Sequence[str], seed: int) -> list[str]:
  """The ids in a seeded order: by SHA-256 of seed and id.

  Raises:
    RecipeError: an id stands twice.
  """
  if len(set(ids)) < len(ids):
    repeated = [i for i, n in collections.Counter(ids).items() if n > 1]
    raise RecipeError(f"ids must be distinct; repeated: {repeated[:3]}")
  return sorted(
      ids, key=lambda i: hashlib.sha256(f"{seed}\0{i}".encode()).digest()
  )


def partition(
    pool: Pool, counts: Mapping[str, int], main: str, seed: int
) -> Manifest:
  """Each id in exactly one language.

  The first ids go to the languages other than `main` in turn, until each has
  its count, the rest to `main`; so a larger share of the same languages keeps
  a smaller one's examples (nested).

  Args:
    pool: only ids that every language asked for has are drawn.
    counts: language -> number of examples.
    main: the language that is filled up last.
    seed: draws the order.

  Raises:
    RecipeError: there are too few ids; says in which language.
  """
  counts = _wanted(counts)
  order = _common(pool, counts, sum(counts.values()), seed)
  left = {lang: n for lang, n in counts.items() if lang != main}
  chosen = []
  while left:
    for lang in list(left):
      chosen.append(lang)
      left[lang] -= 1
      if not left[lang]:
        del left[lang]
  chosen += [main] * (len(order) - len(chosen))
  rows = tuple(Row(i, lang, i) for i, lang in zip(order, chosen, strict=True))
  return Manifest(rows, "partition", seed)


def stepwise(
    pool: Pool, languages: Sequence[str], total: int, seed: int
) -> Manifest:
  """A partition made by adding one language after the other (nested).

  The budget is always split evenly. Step k takes from every earlier language
  the last of its ids and gives them to the k-th: what a language keeps is what
  it had (pinch, section 4.2: 1 to 6 languages along a permutation).

  Args:
    pool: only ids that all of the languages have are drawn.
    languages: in the order in which they are added.
    total: number of examples, whatever the number of languages.
    seed: draws the order of the ids.
  """
  order = _common(pool, dict.fromkeys(languages, 1), total, seed)
  held: dict[str, list[str]] = {}
  for step, new in enumerate(languages, start=1):
    share, rest = divmod(total, step)
    sizes = [share + (i < rest) for i in range(step)]
    given = [] if held else list(order)
    for lang, size in zip(list(held), sizes, strict=False):
      given += held[lang][size:]
      del held[lang][size:]
    held[new] = given
  where = {i: lang for lang, ids in held.items() for i in ids}
  rows = tuple(Row(i, where[i], i) for i in order)
  return Manifest(rows, "partition", seed)


def parallel(pool: Pool, counts: Mapping[str, int], seed: int) -> Manifest:
  """Each id in every language; a language with fewer has the first ones.

  Rows of one id stand together. (Alpaca's N models on everything, polyglot's
  ENDEFRITES, lucky52's first k languages.)

  Args:
    pool: only ids that every language asked for has are drawn.
    counts: language -> number of examples.
    seed: draws the order.
  """
  counts = _wanted(counts)
  order = _common(pool, counts, max(counts.values(), default=0), seed)
  rows = tuple(
      Row(id_, lang, id_)
      for place, id_ in enumerate(order)
      for lang, n in counts.items()
      if place < n
  )
  return Manifest(rows, "parallel", seed)


def sampled(
    pool: Pool, languages: Sequence[str], total: int, seed: int
) -> Manifest:
  """Drawn at random from the merged set, so an id may come in two languages.

  (Alpaca, budget 4; polyglot's sampled sets.) The counts per language are
  what chance gives; `partition` is the strict variant.

  Args:
    pool: all of the languages' ids are drawn from.
    languages: whose sets are merged.
    total: number of examples.
    seed: draws them.
  """
  merged = {f"{lang}\0{i}": (i, lang) for lang in languages
            for i in _ids(pool, lang)}
  if short := max(0, total - len(merged)):
    raise RecipeError(
        f"{total} examples were asked for and the merged set of"
        f" {' '.join(languages)} has {len(merged)}: {short} too few"
    )
  drawn = [merged[key] for key in ordered(list(merged), seed)[:total]]
  return Manifest(
      tuple(Row(i, lang, i) for i, lang in drawn), "sampled", seed
  )


def token_balanced(
    pool: Pool,
    languages: Sequence[str],
    tokens: Mapping[tuple[str, str], int],
    budget: int,
    seed: int,
) -> Manifest:
  """A partition in which languages have equal numbers of tokens.

  Ids are dealt in order, each to the language with the fewest tokens that its
  example still fits; a language never exceeds its share of the budget, and is
  below it by less than its next example.

  Args:
    pool: only ids that all of the languages have are drawn.
    languages: who share the budget equally.
    tokens: (id, language) -> length of the example, in tokens.
    budget: tokens in all.
    seed: draws the order.

  Raises:
    RecipeError: the ids end before a language's budget is used.
  """
  share = budget // len(languages)
  used, open_, rows = dict.fromkeys(languages, 0), list(languages), []
  order = _common(pool, dict.fromkeys(languages, 1), None, seed)
  for id_ in order:
    lang = min(open_, key=used.__getitem__)
    while open_ and used[lang] + tokens[id_, lang] > share:
      open_.remove(lang)
      lang = min(open_, key=used.__getitem__, default="")
    if not open_:
      break
    used[lang] += tokens[id_, lang]
    rows.append(Row(id_, lang, id_))
  if open_:
    missing = {lang: share - used[lang] for lang in open_}
    raise RecipeError(
        f"{len(order)} ids do not fill {share} tokens a language; short by"
        f" {missing}"
    )
  return Manifest(tuple(rows), "partition, token-balanced", seed)


def cross_lingual(
    manifest: Manifest, pool: Pool, share: float, to: str, seed: int
) -> Manifest:
  """Gives a share of each other language's rows a response in language `to`.

  Args:
    manifest: rows with responses in their own language.
    pool: where the responses are.
    share: of each language's rows, 0 to 1, to the nearest example.
    to: the responses' language.
    seed: draws the rows.

  Raises:
    RecipeError: the share cannot be meant, or `to` lacks a response.
  """
  if not 0 <= share <= 1:
    raise RecipeError(f"the share must lie between 0 and 1, not {share}")
  groups = collections.defaultdict(list)
  for row in manifest.rows:
    if row.lang != to:
      groups[row.lang].append(row.id)
  crossed, there = set(), set(_ids(pool, to))
  for lang, ids in groups.items():
    chosen = ordered(ids, seed)[: round(share * len(ids))]
    if lacking := [i for i in chosen if i not in there]:
      raise RecipeError(
          f"{to} is short by {len(lacking)} responses, e.g. {lacking[0]}"
      )
    crossed |= {(i, lang) for i in chosen}
  rows = tuple(
      dataclasses.replace(row, response_lang=to)
      if (row.id, row.lang) in crossed else row
      for row in manifest.rows
  )
  design = f"{manifest.design}, {share:g} answered in {to}"
  return Manifest(rows, design, seed)


def hold_out(pool: Pool, number: int, seed: int) -> tuple[dict, dict]:
  """Splits a pool into (training, validation) by id, in all languages alike.

  Args:
    pool: the languages' ids.
    number: of ids held out, drawn from those that all languages have.
    seed: draws them.
  """
  held = set(_common(pool, dict.fromkeys(pool, 1), number, seed))
  return (
      {lang: [i for i in ids if i not in held] for lang, ids in pool.items()},
      {lang: [i for i in ids if i in held] for lang, ids in pool.items()},
  )


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
    circle = ordered(ids, seed)
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


def _wanted(counts: Mapping[str, int]) -> dict[str, int]:
  if bad := {lang: n for lang, n in counts.items() if n < 0}:
    raise RecipeError(f"counts must not be negative: {bad}")
  return {lang: n for lang, n in counts.items() if n}


def _ids(pool: Pool, lang: str) -> Sequence[str]:
  if lang not in pool:
    raise RecipeError(
        f"the source has no {lang!r}; it has {' '.join(sorted(pool))}"
    )
  return pool[lang]


def _common(pool: Pool, languages, number: int | None, seed: int) -> list[str]:
  """The first `number` ids that all of these languages have; None: all."""
  order: list[str] | None = None
  for lang in languages:
    ids = _ids(pool, lang)
    order = ordered(ids, seed) if order is None else order
    there = set(ids)
    if number is not None and len(there) < number:
      raise RecipeError(
          f"{lang} has {len(there)} ids and {number} are needed: short by"
          f" {number - len(there)}"
      )
    order = [i for i in order if i in there]
  order = order or []
  if number is not None and len(order) < number:
    raise RecipeError(
        f"{' '.join(languages)} have {len(order)} ids in common and"
        f" {number} are needed: short by {number - len(order)}"
    )
  return order if number is None else order[:number]
