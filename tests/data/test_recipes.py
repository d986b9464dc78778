"""Recipes: counts by hand, partitions, nesting, hashes, shuffled responses."""

import collections
import hashlib
import os
import random
import subprocess
import sys

import pytest

from mlit_jax.data import recipes
from mlit_jax.errors import UsageError

OTHERS = ["ar", "cs", "es", "et", "fi", "he", "hi", "it", "ru", "sw", "zh"]
CODES = sorted([*OTHERS, "en"])
IDS = [f"item/{n}" for n in range(1300)]


def test_one_percent_is_thirteen_examples_of_the_other_languages():
  # 1 % of 1,280 is 12.8; 13 over 11 languages is 1 each and 2 more.
  counts = recipes.percent_counts(CODES, 1, 1280)
  assert counts == {
      "ar": 2, "cs": 2, "es": 1, "et": 1, "fi": 1, "he": 1, "hi": 1, "it": 1,
      "ru": 1, "sw": 1, "zh": 1, "en": 1267,
  }
  assert sum(counts.values()) == 1280


def test_ten_and_fifty_percent_are_split_over_all_twelve():
  # 128 is 12 x 10 + 8: the first eight get 11; English adds 1,152 to its 10.
  ten = recipes.percent_counts(CODES, 10, 1280)
  assert [ten[c] for c in OTHERS] == [11] * 8 + [10] * 3
  assert ten["en"] == 1162
  # 640 is 12 x 53 + 4.
  fifty = recipes.percent_counts(CODES, 50, 1280)
  assert [fifty[c] for c in OTHERS] == [54] * 4 + [53] * 7
  assert fifty["en"] == 693


def test_a_hundred_percent_is_uniform():
  counts = recipes.percent_counts(CODES, 100, 1280)
  assert sum(counts.values()) == 1280
  assert set(counts) == set(CODES)
  assert set(counts.values()) == {106, 107}
  assert counts["en"] == 106  # the remainder goes to the other languages


def test_other_counts():
  assert recipes.percent_counts(CODES, 0, 1280) == {"en": 1280}
  assert recipes.percent_counts(["en", "sw"], 1, 100, main="sw") == {
      "en": 1, "sw": 99,
  }
  assert recipes.monolingual_counts("he", 7) == {"he": 7}
  assert recipes.split_evenly(5, ["b", "a"]) == {"b": 3, "a": 2}


@pytest.mark.parametrize(
    ("total", "shares", "counts"),
    [
        (100, {"a": 1, "b": 1, "c": 1}, {"a": 34, "b": 33, "c": 33}),
        (11, {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 6, "b": 3, "c": 2}),
        (1, {"a": 1, "b": 2, "c": 0}, {"a": 0, "b": 1, "c": 0}),
        (15000, dict.fromkeys("abcdefghijkl", 1), dict.fromkeys(
            "abcdefghijkl", 1250
        )),
        (0, {"a": 1}, {"a": 0}),
    ],
)
def test_shares_give_counts_that_add_up(total, shares, counts):
  assert recipes.split_by_share(total, shares) == counts


def test_shares_are_within_one_of_exact():
  rng = random.Random(0)
  for _ in range(200):
    total = rng.randint(0, 999)
    shares = {c: rng.random() for c in CODES[: rng.randint(1, 12)]}
    counts = recipes.split_by_share(total, shares)
    assert sum(counts.values()) == total
    whole = sum(shares.values())
    for lang, share in shares.items():
      assert abs(counts[lang] - total * share / whole) < 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: recipes.percent_counts(OTHERS, 1, 9), "'en' is not in"),
        (lambda: recipes.percent_counts(CODES, 101, 9), "between 0 and 100"),
        (lambda: recipes.percent_counts(CODES, -1, 9), "between 0 and 100"),
        (
            lambda: recipes.percent_counts(CODES, float("nan"), 9),
            "between 0 and 100, not nan",
        ),
        (lambda: recipes.percent_counts(["en"], 1, 9), "more languages than"),
        (
            lambda: recipes.percent_counts(["en", "he", "he"], 50, 9),
            "each once; they are ['he', 'he', 'en']",
        ),
        (lambda: recipes.split_evenly(9, []), "languages must be given"),
        (lambda: recipes.split_by_share(9, {}), "all zero; they are {}"),
        (lambda: recipes.split_by_share(9, {"a": 0}), "all zero"),
        (lambda: recipes.split_by_share(9, {"a": 2, "b": -1}), "negative"),
        (
            lambda: recipes.partition(IDS, {"en": 1301}, "en", 0),
            "1301 examples were asked for and each id stands once, but there"
            " are 1300 ids: 1 too few",
        ),
        (
            lambda: recipes.partition(IDS, {"en": 9, "he": -1}, "en", 0),
            "must not be negative: {'he': -1}",
        ),
        (
            lambda: recipes.partition(["a", "b", "a"], {"en": 1}, "en", 0),
            "ids must be distinct; repeated: ['a']",
        ),
    ],
)
def test_counts_that_cannot_be_met(call, words):
  with pytest.raises(recipes.RecipeError) as e:
    call()
  assert isinstance(e.value, UsageError)  # exit code 2
  assert words in str(e.value)


def _percent(percent, seed=0):
  counts = recipes.percent_counts(CODES, percent, 1280)
  return counts, recipes.partition(IDS, counts, "en", seed)


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
  manifest = recipes.partition(IDS[:6], counts, "en", 5)
  assert [row.lang for row in manifest.rows] == (
      ["he", "ru", "he", "en", "en", "en"]
  )


def test_a_manifest_does_not_depend_on_the_order_of_the_ids():
  counts, manifest = _percent(10)
  assert recipes.partition(IDS[::-1], counts, "en", 0) == manifest
  assert recipes.partition(IDS, counts, "en", 1).hash != manifest.hash


def test_the_hash_is_of_the_rows_as_json_lines():
  rows = (recipes.Row("a", "en", "a"), recipes.Row("é", "he", "b"))
  assert recipes.Manifest(rows, "partition", 0).hash == (
      # printf '["a", "en", "a"]\n["é", "he", "b"]\n' | sha256sum
      "89460d00e64c783689bf2e5aedc0b352fe66b0b19a024d784809a299e019b0f2"
  )
  assert recipes.Manifest((), "partition", 0).hash == (
      hashlib.sha256(b"").hexdigest()
  )
  # Order counts, and so does what is paired.
  assert len({
      recipes.Manifest(r, "partition", 0).hash
      for r in (rows, rows[::-1], (rows[0], recipes.Row("é", "he", "é")))
  }) == 3


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_hash_is_the_same_in_every_process(hash_seed):
  code = (
      "from mlit_jax.data import recipes\n"
      "ids = {f'item/{n}' for n in range(1300)}\n"
      f"counts = recipes.percent_counts({CODES}, 10, 1280)\n"
      "print(recipes.partition(ids, counts, 'en', 0).hash)\n"
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
  manifest = recipes.partition(IDS, counts, "en", 3)
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
  manifest = recipes.partition(IDS[:12], {"en": 12}, "en", 0)
  texts = _texts(manifest, phrasings=6)  # two texts: each must get the other
  control = recipes.shuffle_responses(manifest, seed, texts)
  assert sorted(r.response_id for r in control.rows) == sorted(IDS[:12])
  assert all(
      texts[r.response_id, "en"] != texts[r.id, "en"] for r in control.rows
  )


def test_responses_too_few_or_too_alike_cannot_be_shuffled():
  manifest = recipes.partition(IDS, {"en": 4, "he": 1}, "en", 0)
  with pytest.raises(recipes.RecipeError, match="he: the 1 responses"):
    recipes.shuffle_responses(manifest, 0, _texts(manifest, 1))
  manifest = recipes.partition(IDS[:4], {"en": 4}, "en", 0)
  with pytest.raises(recipes.RecipeError, match="too alike"):
    recipes.shuffle_responses(manifest, 0, _texts(manifest, 3))


# Written down when the order of a manifest was fixed: a change here changes
# every study's data.
HASH = "3e26a0cdcb1d967171de172a89656cbcff9af2f1b69bca9c11ae3f2dcba37bb3"
