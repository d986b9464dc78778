"""Groups of contexts by the beginning that they share."""

import random

from mlit_jax.evals import prefixes
from mlit_jax.evals.prefixes import Pair


def _pairs(*contexts):
  return [
      Pair(f"{i}", tuple(context), (0,)) for i, context in enumerate(contexts)
  ]


def _shape(found):
  return sorted((len(g.prefix), sorted(p.id for p in g.pairs)) for g in found)


def test_options_share_all_but_the_last_token():
  ten, other = range(10), [*range(9), 99, 98, 97]
  assert _shape(prefixes.groups(_pairs(ten, ten))) == [(9, ["0", "1"])]
  assert _shape(prefixes.groups(_pairs(ten, other))) == [(9, ["0", "1"])]
  # Too little is not worth a cache.
  short = range(8)
  assert _shape(prefixes.groups(_pairs(short, short))) == [
      (0, ["0"]), (0, ["1"])
  ]
  assert prefixes.groups([]) == []


def test_a_pair_joins_where_that_saves_tokens():
  base = list(range(40))
  twins = [[*base, 1, 1], [*base, 1, 1], [*base[:30], 5, 5], [*base[:30], 5, 5]]
  # Apart they save 41 + 31 tokens, together 3 * 30.
  assert _shape(prefixes.groups(_pairs(*twins))) == [
      (30, ["0", "1", "2", "3"])
  ]
  # Apart 41 + 41, together 3 * 10.
  far = [[*base, 1, 1], [*base, 1, 1], *[[*base[:10], *range(50, 82)]] * 2]
  assert _shape(prefixes.groups(_pairs(*far))) == [
      (41, ["0", "1"]), (41, ["2", "3"])
  ]


def test_nothing_is_lost_and_every_prefix_is_one():
  chance = random.Random(0)
  contexts = [
      [chance.randrange(2) for _ in range(chance.randrange(1, 30))]
      for _ in range(300)
  ]
  found = prefixes.groups(_pairs(*contexts))
  assert sorted(int(p.id) for g in found for p in g.pairs) == list(range(300))
  assert any(len(g.pairs) > 2 for g in found)
  for group in found:
    assert bool(group.prefix) == (len(group.pairs) > 1)
    for pair in group.pairs:
      assert pair.context[: len(group.prefix)] == group.prefix
      assert len(pair.context) > len(group.prefix)
