"""The longer answer's share, and scores at equal lengths."""

import math
import random

import pytest

from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.analysis import length_control


def _judged(rows):
  """Judgments and lengths of (winner, length of a, length of b)."""
  judgments, lengths = [], {}
  for i, (winner, a, b) in enumerate(rows):
    for order in ("ab", "ba"):
      judgments.append(
          records.Judgment(
              f"{i}", "en", "side_by_side", "j", "x", "y", order, "",
              verdict=winner,
          )
      )
    lengths[f"{i}", "en", 1] = {"a": a, "b": b}
  return judgments, lengths


def _summary(rows):
  judgments, lengths = _judged(rows)
  return judgments_lib.summarise(judgments, lengths=lengths)["en"]


def _swapped(rows):
  other = {"a": "b", "b": "a", "tie": "tie"}
  return [(other[winner], b, a) for winner, a, b in rows]


def test_a_judge_that_prefers_the_longer_answer_is_exposed():
  # System a is longer four times of five. The judge looks at nothing else: the
  # longer an answer against the other, the likelier it is taken.
  rng = random.Random(0)
  rows = []
  for _ in range(300):
    a, b = rng.randint(50, 400), rng.randint(50, 400)
    if (a < b) == (rng.random() < 0.8):
      a, b = b, a
    chance = 1 / (1 + math.exp(-(a - b) / 50))
    rows.append(("a" if rng.random() < chance else "b", a, b))
  found = _summary(rows)
  assert found["score"] > 70
  assert found["ci"][0] > 65
  assert found["longer_rate"] > 0.8
  controlled = found["length_controlled"]
  assert abs(controlled["score"] - 50) < 10
  assert controlled["ci"][0] < 50 < controlled["ci"][1]


def test_a_judge_that_always_takes_the_longer_answer_is_exposed():
  # However little longer it is; system a is longer four times of five.
  rng = random.Random(0)
  rows = []
  for _ in range(300):
    a, b = sorted((rng.randint(50, 400), rng.randint(401, 800)))[::-1]
    if rng.random() < 0.2:
      a, b = b, a
    rows.append(("a" if a > b else "b", a, b))
  found = _summary(rows)
  assert found["score"] > 75 and found["longer_rate"] == 1
  controlled = found["length_controlled"]
  print(controlled)
  assert abs(controlled["score"] - 50) < 1
  assert controlled["ci"] == pytest.approx([50, 50], abs=1)


def test_a_better_system_that_is_longer_too_stays_better():
  # Nine of ten wins, whatever the lengths; it is longer seven times of ten.
  rng = random.Random(3)
  rows = []
  for _ in range(600):
    a, b = rng.randint(50, 300), rng.randint(50, 300)
    if (a < b) == (rng.random() < 0.7):
      a, b = b, a
    rows.append(("a" if rng.random() < 0.9 else "b", a, b))
  controlled = _summary(rows)["length_controlled"]
  assert controlled["ci"][0] < 90 < controlled["ci"][1]
  assert controlled["score"] == pytest.approx(90, abs=3)


def test_where_one_is_always_longer_nobody_can_tell():
  found = _summary([("a", 9, 5), ("b", 7, 6), ("a", 8, 8)])
  assert found["length_controlled"] == {"score": None, "ci": [None, None]}
  assert found["longer_rate"] == 0.5


def test_a_judge_that_does_not_look_at_lengths_is_left_as_it_is():
  rng = random.Random(1)
  rows = [
      ("a" if rng.random() < 0.7 else "b", rng.randint(50, 400),
       rng.randint(50, 400))
      for _ in range(400)
  ]
  found = _summary(rows)
  assert found["longer_rate"] == pytest.approx(0.5, abs=0.08)
  assert found["length_controlled"]["score"] == pytest.approx(
      found["score"], abs=2.5
  )


def test_exchanging_the_systems_mirrors_everything():
  rng = random.Random(2)
  rows = [
      (rng.choice(("a", "b", "tie")), rng.randint(1, 99), rng.randint(1, 99))
      for _ in range(60)
  ]
  one, two = _summary(rows), _summary(_swapped(rows))
  assert one["longer_rate"] == two["longer_rate"]
  a, b = one["length_controlled"], two["length_controlled"]
  assert a["score"] == pytest.approx(100 - b["score"], abs=1e-5)
  assert a["ci"][0] == pytest.approx(100 - b["ci"][1], abs=1e-5)


def test_by_hand():
  # Equal lengths throughout: what the systems have, drawn a little to 50.
  rows = [(1.0, 0.0)] * 3 + [(0.0, 0.0)]
  assert length_control.at_equal_lengths(rows) == pytest.approx(0.75, abs=0.02)
  # All ties.
  assert length_control.at_equal_lengths([(0.5, 3.0), (0.5, -9.0)]) == 0.5
  nothing = _summary([("tie", 5, 9)])
  assert nothing["longer_rate"] is None
  without = judgments_lib.summarise(_judged([("a", 5, 9)])[0])["en"]
  assert "longer_rate" not in without
