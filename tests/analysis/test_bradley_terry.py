"""Bradley–Terry: a published fit, planted strengths, coverage."""

import itertools
import math

import numpy as np
import pytest

from mlit_jax.analysis import bradley_terry

PLANTED = {"a": 1.2, "b": 0.4, "c": 0.0, "d": -0.5, "e": -1.1}


def _tournament(rng, ids, langs=3, spread=0.0, tie=0.15):
  """Every two systems on every id and language; ids differ by `spread`."""
  rows = []
  for i in range(ids):
    # What an id is good for, it is good for in all languages.
    shift = {name: rng.normal(0, spread) for name in PLANTED}
    for a, b in itertools.combinations(PLANTED, 2):
      for _ in range(langs):
        p = bradley_terry.chance(PLANTED[a] + shift[a], PLANTED[b] + shift[b])
        value = 0.5 if rng.random() < tie else float(rng.random() < p)
        rows.append((str(i), a, b, value))
  return rows


def test_two_systems_by_hand():
  # 30 wins of 40 and the tie that joins them: 30.5 of 41.
  rows = [(str(i), "a", "b", float(i < 30)) for i in range(40)]
  found = bradley_terry.fit(rows)
  assert list(found) == ["a", "b"]
  assert found["a"]["strength"] == pytest.approx(
      math.log(30.5 / 10.5) / 2, abs=1e-6
  )
  assert found["a"]["strength"] == -found["b"]["strength"]
  assert found["a"]["n"] == 40


def test_a_published_table(monkeypatch):
  # Agresti, Categorical Data Analysis, section 10.6.1: the American League's
  # Eastern Division of 1987; wins of the row over the column, and the fit
  # relative to Baltimore.
  teams = ["Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland",
           "Baltimore"]
  wins = [
      [0, 7, 9, 7, 7, 9, 11], [6, 0, 7, 5, 11, 9, 9], [4, 6, 0, 7, 7, 8, 12],
      [6, 8, 6, 0, 6, 7, 10], [6, 2, 6, 7, 0, 7, 12], [4, 4, 5, 6, 6, 0, 6],
      [2, 4, 1, 3, 1, 7, 0],
  ]
  fitted = bradley_terry._strengths(np.array(wins, float)[None])[0]
  expected = [1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0.0]
  assert [round(x, 2) for x in fitted - fitted[-1]] == expected
  assert len(teams) == len(expected)


def test_planted_strengths_are_recovered():
  rng = np.random.default_rng(0)
  found = bradley_terry.fit(_tournament(rng, 400, tie=0.0))
  assert list(found) == list(PLANTED)
  for name, row in found.items():
    assert row["strength"] == pytest.approx(PLANTED[name], abs=0.08)
    assert row["ci"][0] < row["strength"] < row["ci"][1]
    assert row["n"] == 400 * 3 * 4
  assert sum(row["strength"] for row in found.values()) == pytest.approx(
      0, abs=1e-5
  )


def test_exchanging_the_sides_changes_nothing():
  rows = _tournament(np.random.default_rng(1), 30)
  swapped = [(c, b, a, 1 - v) for c, a, b, v in rows]
  assert bradley_terry.fit(rows) == bradley_terry.fit(swapped)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_intervals_cover_what_they_say(spread):
  rng, hits, runs = np.random.default_rng(2), [], 300
  # What the strengths come to where ids differ: one large sample says.
  rows = _tournament(rng, 20000, langs=1, spread=spread, tie=0.15)
  target = bradley_terry.fit(rows)
  for _ in range(runs):
    found = bradley_terry.fit(_tournament(rng, 60, spread=spread))
    hits += [
        row["ci"][0] <= target[name]["strength"] <= row["ci"][1]
        for name, row in found.items()
    ]
  print(f"spread {spread}: {np.mean(hits):.3f} of 95% intervals cover")
  assert 0.92 <= np.mean(hits) <= 0.975


def test_one_that_won_everything_has_a_finite_strength():
  rows = [(str(i), "a", "b", 1.0) for i in range(20)]
  found = bradley_terry.fit(rows)
  assert 1 < found["a"]["strength"] < 3
  assert bradley_terry.fit(rows[:1])["a"]["ci"] == [None, None]


@pytest.mark.parametrize("rows, told", [
    ([], "no comparisons"),
    ([("0", "a", "b", 1), ("0", "c", "d", 1)], "c, d were never compared"),
])
def test_no_common_scale(rows, told):
  with pytest.raises(bradley_terry.ComparisonsError, match=told):
    bradley_terry.fit(rows)


@pytest.mark.parametrize("row", [("0", "a", "a", 1), ("0", "a", "b", 1.5),
                                 ("0", "a", "b", math.nan)])
def test_what_is_no_comparison(row):
  with pytest.raises(ValueError, match="no comparison"):
    bradley_terry.fit([row])


def test_clusters_that_are_all_alike_give_no_interval():
  # Four wins of four, and half a win for each side: ln(4.5 / 0.5).
  rows = [(i, *names, 1.0) for i in range(4) for names in ("xy", "yz")]
  found = bradley_terry.fit(rows)
  assert found["x"]["strength"] == pytest.approx(math.log(9), abs=1e-6)
  assert all(row["ci"] == [None, None] for row in found.values())
