"""Rules for counts, against numbers worked out by hand from the papers."""

import random

import pytest

from mlit_jax.data import counts as counts_lib
from mlit_jax.errors import UsageError

OTHERS = ["ar", "cs", "es", "et", "fi", "he", "hi", "it", "ru", "sw", "zh"]
CODES = sorted([*OTHERS, "en"])


def test_one_percent_is_thirteen_examples_of_the_other_languages():
  # 1 % of 1,280 is 12.8; 13 over 11 languages is 1 each and 2 more.
  counts = counts_lib.percent(CODES, 1, 1280)
  assert counts == {
      "ar": 2, "cs": 2, "es": 1, "et": 1, "fi": 1, "he": 1, "hi": 1, "it": 1,
      "ru": 1, "sw": 1, "zh": 1, "en": 1267,
  }
  assert sum(counts.values()) == 1280


def test_ten_and_fifty_percent_are_split_over_all_twelve():
  # 128 is 12 x 10 + 8: the first eight get 11; English adds 1,152 to its 10.
  ten = counts_lib.percent(CODES, 10, 1280)
  assert [ten[c] for c in OTHERS] == [11] * 8 + [10] * 3
  assert ten["en"] == 1162
  # 640 is 12 x 53 + 4.
  fifty = counts_lib.percent(CODES, 50, 1280)
  assert [fifty[c] for c in OTHERS] == [54] * 4 + [53] * 7
  assert fifty["en"] == 693


def test_a_hundred_percent_is_uniform():
  counts = counts_lib.percent(CODES, 100, 1280)
  assert sum(counts.values()) == 1280
  assert set(counts) == set(CODES)
  assert set(counts.values()) == {106, 107}
  assert counts["en"] == 106  # the remainder goes to the other languages


def test_other_counts():
  assert counts_lib.percent(CODES, 0, 1280) == {"en": 1280}
  assert counts_lib.percent(["en", "sw"], 1, 100, main="sw") == {
      "en": 1, "sw": 99,
  }
  assert counts_lib.split_evenly(5, ["b", "a"]) == {"b": 3, "a": 2}


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
  assert counts_lib.split_by_share(total, shares) == counts


def test_shares_are_within_one_of_exact():
  rng = random.Random(0)
  for _ in range(200):
    total = rng.randint(0, 999)
    shares = {c: rng.random() for c in CODES[: rng.randint(1, 12)]}
    counts = counts_lib.split_by_share(total, shares)
    assert sum(counts.values()) == total
    whole = sum(shares.values())
    for lang, share in shares.items():
      assert abs(counts[lang] - total * share / whole) < 1


def test_the_paper_s_one_percent_is_forty_over_eleven_languages():
  # 4,600 English and 40 others: 7 languages with 4 and 4 with 3.
  table = counts_lib.percent(CODES, 1, 4640, part=40)
  assert table.pop("en") == 4600
  assert sorted(table.values()) == [3] * 4 + [4] * 7
  # Its P = 10 to the nearest example: 464 is 12 x 38 + 8.
  ten = counts_lib.percent(CODES, 10, 4640)
  assert [ten[c] for c in OTHERS] == [39] * 8 + [38] * 3
  assert ten["en"] == 4640 - 8 * 39 - 3 * 38 == 4214


def test_temperature():
  sizes = {"en": 800, "he": 200, "sw": 0}
  assert counts_lib.temperature(sizes, 100, 1) == {"en": 80, "he": 20, "sw": 0}
  # Square roots: 28.28 and 14.14, two to one.
  assert counts_lib.temperature(sizes, 90, 2) == {"en": 60, "he": 30, "sw": 0}
  assert counts_lib.temperature(sizes, 90, 1e9) == {
      "en": 45, "he": 45, "sw": 0,
  }
  # Nobody gives more than it has: Hebrew's half would be 300.
  assert counts_lib.temperature(sizes, 600, 1e9) == {
      "en": 400, "he": 200, "sw": 0,
  }
  assert counts_lib.temperature(sizes, 1000, 5) == sizes
  assert counts_lib.temperature(sizes, 100, 1e-3) == {
      "en": 100, "he": 0, "sw": 0,
  }
  assert counts_lib.temperature(sizes, 0, 1) == {"en": 0, "he": 0, "sw": 0}


def test_permutations_and_pairs():
  orders = counts_lib.permutations(CODES[:6], 3, seed=0)
  assert len(set(orders)) == 3
  assert all(sorted(order) == CODES[:6] for order in orders)
  assert counts_lib.permutations(CODES[:6], 3, seed=0) == orders
  assert counts_lib.permutations(CODES[:6], 3, seed=1) != orders
  assert len(counts_lib.permutations(["a", "b", "c"], 6, seed=0)) == 6
  found = counts_lib.pairs(CODES, seed=0)
  assert len(found) == 6
  assert sorted(code for pair in found for code in pair) == CODES
  assert counts_lib.pairs(CODES[::-1], seed=0) == found


def test_lucky52_updates():
  # 67,000 x 52 x 3 / (16 x 80) = 8,165.6; one language on 16 devices: 785.2.
  assert counts_lib.num_updates(67000, 52, 3, 16, 80) == 8166
  assert counts_lib.num_updates(67000, 1, 3, 16, 16) == 786
  assert counts_lib.num_updates(16, 1, 1, 16, 1) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: counts_lib.percent(OTHERS, 1, 9), "'en' is not in"),
        (lambda: counts_lib.percent(CODES, 101, 9), "between 0 and 100"),
        (lambda: counts_lib.percent(CODES, -1, 9), "between 0 and 100"),
        (
            lambda: counts_lib.percent(CODES, float("nan"), 9),
            "between 0 and 100, not nan",
        ),
        (lambda: counts_lib.percent(CODES, 1, 9, part=10), "between 0 and 9"),
        (lambda: counts_lib.percent(["en"], 1, 9), "more languages than"),
        (
            lambda: counts_lib.percent(["en", "he", "he"], 50, 9),
            "each once; they are ['he', 'he', 'en']",
        ),
        (lambda: counts_lib.split_evenly(9, []), "languages must be given"),
        (lambda: counts_lib.split_by_share(9, {}), "all zero; they are {}"),
        (lambda: counts_lib.split_by_share(9, {"a": 0}), "all zero"),
        (lambda: counts_lib.split_by_share(9, {"a": 2, "b": -1}), "negative"),
        (lambda: counts_lib.temperature({"a": 5}, 7, 1), "short by 2"),
        (lambda: counts_lib.temperature({"a": 5}, 3, 0), "above 0"),
        (lambda: counts_lib.permutations(["a"], 2, 0), "no 2 different"),
        (lambda: counts_lib.permutations(["a", "a"], 1, 0), "each once"),
        (lambda: counts_lib.pairs(["a", "b", "c"], 0), "do not make pairs"),
    ],
)
def test_counts_that_cannot_be_meant(call, words):
  with pytest.raises(counts_lib.RecipeError) as e:
    call()
  assert isinstance(e.value, UsageError)  # exit code 2
  assert words in str(e.value)
