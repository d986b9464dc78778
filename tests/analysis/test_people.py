"""What people's and a judge's judgments are worth beside each other."""

import pytest

from mlit_jax import records
from mlit_jax.analysis import people


def _judgment(order, verdict="", judge="j", failure=""):
  return records.Judgment(
      "1", "en", "side_by_side", judge, "A", "B", order, "", verdict=verdict,
      failure=failure,
  )


def test_the_value_of_a_comparison():
  key = "A against B", "en", ("1", 1)
  won = [_judgment("ab", "a"), _judgment("ba", "a")]
  assert people.values(won) == {key: 1.0}
  assert people.values([won[0], _judgment("ba", "b")]) == {key: 0.5}
  # A person may be asked in one order alone; two are averaged.
  anna, ben = _judgment("ab", "b", "human:anna"), _judgment(
      "ba", "tie", "human:ben"
  )
  assert people.values([anna]) == {key: 0.0}
  assert people.values([anna, ben]) == {key: 0.25}


def test_half_a_pair_that_failed_is_no_verdict():
  failed = _judgment("ba", failure="unparsable")
  assert people.values([_judgment("ab", "a"), failed]) == {}
  assert people.ratings(
      [_judgment("ab", "a", "human:anna")], [_judgment("ab", "a"), failed]
  ) == ([], 1)


def test_a_verdict_on_one_system_is_no_score():
  row = records.Judgment(
      "7", "fi", "rating", "j", "A", "", "ab", "", verdict="a"
  )
  with pytest.raises(records.RecordError, match="7 fi: j gave A no score"):
    people.values([row])


def _rating(id_, system, score, judge="human:anna", **more):
  return records.Judgment(
      id_, "he", "rating", judge, system, "", "ab", "", score=score, **more
  )


def test_shares_are_of_every_raters_ratings():
  """By hand: of base's four ratings 3, 3, 2 and one that the gate made 0."""
  rows = [
      _rating("1", "base", 3.0), _rating("1", "base", 3.0, "human:ben"),
      _rating("2", "base", 2.0),
      _rating("2", "base", 3.0, "human:ben", gate={"a": "en"}),
      _rating("1", "all", 2.5),
      records.Judgment(
          "2", "he", "rating", "human:anna", "all", "", "ab", "",
          failure="empty",
      ),
  ]
  found = people.shares(rows)
  # Whole numbers that nobody gave stand there, too, and the half that was.
  assert {name: list(x) for name, x in found["he"].items()} == {
      "base": [0, 1, 2, 2.5, 3], "all": [0, 1, 2, 2.5, 3]
  }
  assert [x["score"] for x in found["he"]["base"].values()] == [
      25, 0, 25, 0, 50
  ]
  assert [x["n"] for x in found["he"]["base"].values()] == [4] * 5
  assert [x["score"] for x in found["he"]["all"].values()] == [0, 0, 0, 100, 0]
  low, high = found["he"]["base"][3]["ci"]
  assert 0 <= low < 50 < high <= 100
  # Ten answers that two rate alike tell less than twenty.
  same = [
      _rating(str(i), "x", 1.0 + 2 * (i % 2), judge) for i in range(10)
      for judge in ("human:anna", "human:ben")
  ]
  apart = [_rating(str(i), "x", 1.0 + 2 * (i % 2)) for i in range(20)]
  twice, once = (people.shares(x)["he"]["x"][3]["ci"] for x in (same, apart))
  assert twice[1] - twice[0] > once[1] - once[0]


def test_shares_of_comparisons_and_of_nothing():
  rows = [
      _judgment("ab", "a", "human:anna"), _judgment("ba", "a", "human:ben"),
      _judgment("ab", "tie", "human:cleo"),
  ]
  found = people.shares(rows)["en"]["A against B"]
  assert {k: round(x["score"], 1) for k, x in found.items()} == {
      0: 0, 0.5: 33.3, 1: 66.7
  }
  assert people.shares([]) == {}
