"""Recipes: counts by hand, partitions, nesting, hashes, shuffled responses."""

import collections
import itertools
import os
import subprocess
import sys

import pytest

from mlit_jax.data import counts as counts_lib
from mlit_jax.data import recipes
from mlit_jax.errors import UsageError

OTHERS = ["ar", "cs", "es", "et", "fi", "he", "hi", "it", "ru", "sw", "zh"]
CODES = sorted([*OTHERS, "en"])
IDS = [f"item/{n}" for n in range(1300)]
POOL = dict.fromkeys(CODES, IDS)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: recipes.partition(POOL, {"en": 1301}, "en", 0),
            "en has 1300 ids and 1301 are needed: short by 1",
        ),
        (
            lambda: recipes.partition(
                {**POOL, "he": IDS[:7]}, {"en": 5, "he": 4}, "en", 0
            ),
            "he has 7 ids and 9 are needed: short by 2",
        ),
        (
            lambda: recipes.partition(
                {"en": IDS[:9], "he": IDS[5:14]}, {"en": 5, "he": 4}, "en", 0
            ),
            "en he have 4 ids in common and 9 are needed: short by 5",
        ),
        (
            lambda: recipes.partition(POOL, {"en": 9, "he": -1}, "en", 0),
            "must not be negative: {'he': -1}",
        ),
        (
            lambda: recipes.partition(POOL, {"frr": 1}, "frr", 0),
            "the source has no 'frr'; it has ar cs en",
        ),
        (
            lambda: recipes.partition(
                {"en": ["a", "b", "a"]}, {"en": 1}, "en", 0
            ),
            "ids must be distinct; repeated: ['a']",
        ),
        (
            lambda: recipes.sampled({"en": IDS[:3]}, ["en"], 5, 0),
            "the merged set of en has 3: 2 too few",
        ),
    ],
)
def test_counts_that_cannot_be_met(call, words):
  with pytest.raises(counts_lib.RecipeError) as e:
    call()
  assert isinstance(e.value, UsageError)  # exit code 2
  assert words in str(e.value)


def _percent(percent, seed=0):
  counts = counts_lib.percent(CODES, percent, 1280)
  return counts, recipes.partition(POOL, counts, "en", seed)


@pytest.mark.parametrize("percent", [0, 1, 10, 50, 100])
def test_a_partition_has_exact_counts_and_each_id_once(percent):
  counts, manifest = _percent(percent)
  found = collections.Counter(row.lang for row in manifest.rows)
  assert found == counts
  assert manifest.counts == dict(sorted(counts.items()))
  ids = [row.id for row in manifest.rows]
  assert len(set(ids)) == len(ids) == 1280
  assert set(ids) <= set(IDS)
  assert all(row.response_id == row.id for row in manifest.rows)
  assert (manifest.design, manifest.seed) == ("partition", 0)


def test_smaller_shares_are_nested_in_larger_ones():
  others = {}
  for percent in (1, 10, 50, 100):
    _, manifest = _percent(percent)
    others[percent] = {row for row in manifest.rows if row.lang != "en"}
  assert [len(rows) for rows in others.values()] == [13, 118, 587, 1174]
  assert others[1] < others[10] < others[50] < others[100]
  # What changes is the language of some ids, not the ids.
  ids = [{r.id for r in _percent(p)[1].rows} for p in (0, 1, 100)]
  assert ids[0] == ids[1] == ids[2]


def test_the_other_languages_take_turns():
  counts = {"he": 2, "ru": 1, "en": 3, "sw": 0}
  manifest = recipes.partition(dict.fromkeys(CODES, IDS[:6]), counts, "en", 5)
  assert [row.lang for row in manifest.rows] == (
      ["he", "ru", "he", "en", "en", "en"]
  )


def test_a_manifest_does_not_depend_on_the_order_of_the_ids():
  counts, manifest = _percent(10)
  backwards = dict.fromkeys(CODES, IDS[::-1])
  assert recipes.partition(backwards, counts, "en", 0) == manifest
  assert recipes.partition(POOL, counts, "en", 1).hash != manifest.hash


def test_an_id_that_is_missing_changes_nobody_elses_place():
  counts = {"en": 300, "he": 100}
  whole = [r.id for r in recipes.partition(POOL, counts, "en", 0).rows]
  gone = whole[7]
  pool = {**POOL, "he": [i for i in IDS if i != gone]}
  found = [r.id for r in recipes.partition(pool, counts, "en", 0).rows]
  assert found[:-1] == [i for i in whole if i != gone]
  # A language alone is not held to what the others have.
  alone = recipes.partition(pool, {"en": 400}, "en", 0)
  assert [r.id for r in alone.rows] == whole


ORDER = ("en", "ar", "fi", "it", "ru", "sw")


def test_along_a_permutation_each_step_keeps_the_last_one_s_ids():
  steps = [
      recipes.stepwise(POOL, ORDER[:k], 1000, 0) for k in range(1, 7)
  ]
  held = []
  for k, manifest in enumerate(steps, start=1):
    ids = collections.defaultdict(set)
    for row in manifest.rows:
      ids[row.lang].add(row.id)
    assert sum(map(len, ids.values())) == len({r.id for r in manifest.rows})
    sizes = [len(ids[lang]) for lang in ORDER[:k]]
    assert sum(sizes) == 1000
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    held.append(ids)
  for before, after in itertools.pairwise(held):
    for lang, ids in before.items():
      assert after[lang] < ids
  # The ids, and their order, are those of the monolingual model.
  assert len({tuple(r.id for r in m.rows) for m in steps}) == 1
  # 1,000 over 6: 166 each and 4 more, worked out by hand.
  assert [len(held[-1][c]) for c in ORDER] == [167, 167, 167, 167, 166, 166]


def test_parallel_has_each_id_in_every_language():
  manifest = recipes.parallel(POOL, {"en": 5, "de": 0, "he": 5, "sw": 3}, 2)
  assert manifest.design == "parallel"
  assert manifest.counts == {"en": 5, "he": 5, "sw": 3}
  ids = collections.defaultdict(list)
  for row in manifest.rows:
    ids[row.lang].append(row.id)
  assert ids["en"] == ids["he"]
  assert ids["sw"] == ids["en"][:3]
  assert [r.lang for r in manifest.rows[:3]] == ["en", "he", "sw"]
  # Lucky 52: model k + 1 keeps all of model k's rows.
  one = set(recipes.parallel(POOL, {"en": 40, "ar": 40}, 0).rows)
  two = set(recipes.parallel(POOL, {"en": 40, "ar": 40, "he": 40}, 0).rows)
  assert one < two


def test_sampled_may_draw_an_id_in_two_languages():
  pool = {c: IDS[:100] for c in ("en", "de", "fr")}
  manifest = recipes.sampled(pool, ["en", "de", "fr"], 100, 0)
  assert len(set(manifest.rows)) == 100
  assert len({row.id for row in manifest.rows}) < 100
  # Hypergeometric: 100 of 300, a third each with deviation 3.9.
  assert all(18 <= n <= 49 for n in manifest.counts.values())
  everything = recipes.sampled(pool, ["en", "de", "fr"], 300, 0)
  assert everything.counts == dict.fromkeys(("de", "en", "fr"), 100)
  assert recipes.sampled(pool, ["fr", "en", "de"], 100, 0) == manifest


def test_token_balanced_languages_have_equal_tokens():
  pool = {c: IDS for c in ("en", "hi")}
  tokens = {(i, "en"): 10 for i in IDS} | {(i, "hi"): 35 for i in IDS}
  manifest = recipes.token_balanced(pool, ["en", "hi"], tokens, 2800, 0)
  assert manifest.counts == {"en": 140, "hi": 40}  # 1,400 tokens each
  assert len({r.id for r in manifest.rows}) == 180
  # 1,000 is 28 x 35 = 980: the next example does not fit.
  manifest = recipes.token_balanced(pool, ["en", "hi"], tokens, 2000, 0)
  assert manifest.counts == {"en": 100, "hi": 28}
  few = {c: IDS[:100] for c in ("en", "hi")}
  with pytest.raises(counts_lib.RecipeError, match="100 ids do not fill 1400"):
    recipes.token_balanced(few, ["en", "hi"], tokens, 2800, 0)


def test_cross_lingual_pairs_have_the_declared_share():
  manifest = recipes.parallel(POOL, {"en": 50, "he": 50, "sw": 30}, 0)
  crossed = recipes.cross_lingual(manifest, POOL, 0.3, "en", 1)
  moved = [r for r in crossed.rows if r.response_lang]
  assert collections.Counter(r.lang for r in moved) == {"he": 15, "sw": 9}
  assert {r.response_lang for r in moved} == {"en"}
  assert crossed.counts == manifest.counts
  assert crossed.hash != manifest.hash
  assert recipes.cross_lingual(manifest, POOL, 0, "en", 1).rows == manifest.rows
  with pytest.raises(counts_lib.RecipeError, match="en is short by"):
    recipes.cross_lingual(manifest, {"en": IDS[:9]}, 1, "en", 1)
  with pytest.raises(counts_lib.RecipeError, match="between 0 and 1"):
    recipes.cross_lingual(manifest, POOL, 3, "en", 1)


def test_what_is_held_out_is_held_out_in_all_languages():
  pool = {"en": IDS[:100], "he": IDS[:90]}
  train, held = recipes.hold_out(pool, 10, 0)
  assert held["en"] == held["he"]
  assert len(held["en"]) == 10
  assert (len(train["en"]), len(train["he"])) == (90, 80)
  assert not set(train["en"]) & set(held["en"])
  assert set(train["en"]) | set(held["en"]) == set(pool["en"])


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_hash_is_the_same_in_every_process(hash_seed):
  code = (
      "from mlit_jax.data import counts, recipes\n"
      "ids = {f'item/{n}' for n in range(1300)}\n"
      f"pool = dict.fromkeys({CODES}, list(ids))\n"
      f"table = counts.percent({CODES}, 10, 1280)\n"
      "print(recipes.partition(pool, table, 'en', 0).hash)\n"
  )
  out = subprocess.run(
      [sys.executable, "-c", code],
      capture_output=True,
      text=True,
      check=True,
      env={**os.environ, "PYTHONHASHSEED": hash_seed},
  )
  assert out.stdout.strip() == _percent(10)[1].hash == HASH


def _texts(manifest, phrasings=3):
  """Responses of which `phrasings` neighbouring ids share each."""
  return {
      (row.id, row.lang): f"{row.lang} {IDS.index(row.id) // phrasings}"
      for row in manifest.rows
  }


def test_shuffled_responses():
  counts = {"en": 40, "he": 15, "sw": 2}
  manifest = recipes.partition(POOL, counts, "en", 3)
  texts = _texts(manifest)
  texts |= {(i, "sw"): i for i, lang in texts if lang == "sw"}
  control = recipes.shuffle_responses(manifest, 3, texts)
  assert control.design == "partition, responses shuffled"
  assert [(r.id, r.lang) for r in control.rows] == (
      [(r.id, r.lang) for r in manifest.rows]
  )
  assert all(
      texts[r.response_id, r.lang] != texts[r.id, r.lang] for r in control.rows
  )
  for lang in counts:
    rows = [row for row in control.rows if row.lang == lang]
    assert {r.response_id for r in rows} == {r.id for r in rows}
  assert recipes.shuffle_responses(manifest, 3, texts) == control
  assert recipes.shuffle_responses(manifest, 4, texts) != control


@pytest.mark.parametrize("seed", range(20))
def test_no_prompt_keeps_a_response_that_reads_like_its_own(seed):
  manifest = recipes.partition({"en": IDS[:12]}, {"en": 12}, "en", 0)
  texts = _texts(manifest, phrasings=6)  # two texts: each must get the other
  control = recipes.shuffle_responses(manifest, seed, texts)
  assert sorted(r.response_id for r in control.rows) == sorted(IDS[:12])
  assert all(
      texts[r.response_id, "en"] != texts[r.id, "en"] for r in control.rows
  )


def test_responses_too_few_or_too_alike_cannot_be_shuffled():
  manifest = recipes.partition(POOL, {"en": 4, "he": 1}, "en", 0)
  with pytest.raises(counts_lib.RecipeError, match="he: the 1 responses"):
    recipes.shuffle_responses(manifest, 0, _texts(manifest, 1))
  manifest = recipes.partition({"en": IDS[:4]}, {"en": 4}, "en", 0)
  with pytest.raises(counts_lib.RecipeError, match="too alike"):
    recipes.shuffle_responses(manifest, 0, _texts(manifest, 3))


# Written down when the order of a manifest was fixed: a change here changes
# every study's data.
HASH = "23c903c6c843d873cda6aae2ebe9349318bf50d7c8e5ff2467ef35bca72f0aac"
