"""Consistency across languages, against counts by hand."""

import pytest

from mlit_jax.analysis import consistency


def test_alike_answers_are_counted_and_so_is_chance():
  answers = {
      ("q1", "en"): "paris", ("q1", "zh"): "paris",
      ("q2", "en"): "rome", ("q2", "zh"): "paris",
      ("q3", "en"): "oslo", ("q3", "zh"): "oslo",
      ("q4", "en"): "rome", ("q4", "zh"): None,
      ("q5", "en"): "rome",  # not asked in Chinese
  }
  found = consistency.between(answers, "en", "zh")
  assert (found.value, found.n, found.unread) == (0.5, 4, 0.25)
  # Of 12 pairs of different questions one is alike: q1 en, q2 zh.
  assert found.chance == pytest.approx(1 / 12)
  assert found.low < 0.5 < found.high


def test_always_the_same_answer_is_no_better_than_chance():
  answers = {(f"q{i}", x): "yes" for i in range(9) for x in ("en", "zh")}
  found = consistency.between(answers, "en", "zh")
  assert found.value == found.chance == 1.0


def test_a_question_is_one_cluster_over_pairs_of_languages():
  answers = {
      (f"q{i}", x): (i if i % 2 else f"{i}{x}")
      for i in range(20) for x in ("en", "zh", "es", "sw")
  }
  pairs = [("en", x) for x in ("zh", "es", "sw")]
  found = consistency.over(answers, pairs)
  one = consistency.between(answers, "en", "zh")
  assert found.value == one.value == 0.5 and found.n == 60
  assert found.chance == 0
  # Three pairs of the same questions say no more than one.
  assert found.low == pytest.approx(one.low, abs=0.03)
  assert found.high == pytest.approx(one.high, abs=0.03)


def test_sets_of_meanings_are_alike_where_they_meet():
  sets = {"a": frozenset("ab"), "b": frozenset("bc"), "c": frozenset("d")}
  assert consistency.overlapping(sets["a"], sets["b"]) == 1
  assert consistency.overlapping(sets["a"], sets["c"]) == 0
  assert consistency.overlapping(frozenset(), frozenset()) == 0


def test_nothing_to_compare_is_said():
  found = consistency.between({("q1", "en"): "x"}, "en", "zh")
  assert found == consistency.Consistency(None, None, None, None, 0, None)
  answers = {("q1", "en"): "x", ("q1", "zh"): "x"}
  assert consistency.between(answers, "en", "zh").chance is None
  with pytest.raises(ValueError, match="between 0 and 1"):
    consistency.between(answers, "en", "zh", lambda a, b: 2.0)
