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
