"""Summaries of one system's scores, by hand."""

import dataclasses
import json

import pytest

from mlit_jax import records
from mlit_jax.analysis import scores


def _judgment(id_, score, lang="en", found="en", protocol="rating", **fields):
  return records.Judgment(
      id_, lang, protocol, "j", "A", "", "ab", "raw", score=score,
      gate={"a": found}, **fields,
  )


def test_ratings_with_and_without_the_gate():
  rows = [
      _judgment("0", 3), _judgment("1", 2), _judgment("2", 2.5, found="fi"),
      _judgment("3", 1, found=""),
      _judgment("4", None, failure="refused"),
      _judgment("5", None, failure="unparsable"),
      _judgment("0", 1, lang="fi", found="fi"),
  ]
  summary = scores.summarise(rows)
  assert list(summary) == ["en", "fi", "overall"]
  en = summary["en"]
  # Another language is worth 0; where the gate abstained the rating stays.
  assert (en["score"], en["sum"], en["n"]) == (1.5, 6, 4)
  assert en["ungated"] == {"score": 2.125, "sum": 8.5}
  assert en["language_robustness"] == 2.5
  assert (en["failed"], en["failures"]) == (
      2, {"refused": 1, "unparsable": 1}
  )
  assert en["parse_failure_rate"] == round(1 / 6, 6)
  assert en["gate_rate"] == {"a": round(4 / 6, 6)}
  assert en["flip_rate"] is en["win"] is None
  low, high = en["ci"]
  assert 0 <= low < 1.5 < high <= 3
  assert summary["overall"]["sum"] == 7
  assert "turns" not in en
  json.dumps(summary, allow_nan=False)


def test_what_answers_in_another_language_cost():
  rows = [
      _judgment("0", 3), _judgment("1", 2), _judgment("2", 2.5, found="fi"),
      _judgment("3", None, failure="refused"),
      _judgment("0", 1, lang="fi", found="en"),
      _judgment("1", 3, lang="fi", found="fi"),
  ]
  cost = scores.language_cost(rows)
  # 2.5 points of English and 1 of Finnish over five answers; six were asked.
  assert (cost["value"], cost["n"]) == (2.1, 5)
  low, high = cost["ci"]
  assert 0 <= low < 2.1 < high <= 9
  # Without failures it is the mean of what the summary says of each language.
  rows = [row for row in rows if not row.failure]
  cost, summary = scores.language_cost(rows), scores.summarise(rows)
  assert cost["value"] == (
      summary["en"]["language_robustness"]
      + summary["fi"]["language_robustness"]
  ) / 2
  none = scores.language_cost(_judgment(str(i), 2) for i in range(60))
  # Sixty answers in the right language do not promise the next.
  assert none["value"] == none["ci"][0] == 0 < none["ci"][1] < 20
  assert scores.language_cost([])["value"] is None
  with pytest.raises(ValueError, match="ratings"):
    scores.language_cost([_judgment("0", 1, protocol="correctness")])


def test_several_systems_are_pooled():
  rows = [
      records.Judgment(
          f"{i}", lang, "rating", "j", system, "", "ab", "", score=score,
          gate={"a": "en"},
      )
      for i, (lang, system, score) in enumerate([
          ("en", "x", 3.0), ("en", "x", 1.0), ("sw", "y", 2.0), ("en", "y", 2.0)
      ])
  ]
  failed = dataclasses.replace(
      rows[0], id="9", score=None, failure="unparsable"
  )
  found = scores.pooled([*rows, failed])
  # The third is in the wrong language: 0.
  assert (found["score"], found["n"]) == (1.5, 4)
  assert 0 <= found["ci"][0] < 1.5 < found["ci"][1] <= 3
  assert scores.pooled([failed]) == {"score": None, "ci": [None, None], "n": 0}


def test_an_interval_lies_in_the_protocols_range():
  # All ten: the interval is that of 40 of 40, on 1 to 10. Bonett and Price
  # with t(39) = 2.022691: d = 20/21 of the half, 1 - d = 1/21 and the end is
  # below 1 by (0.5 - centre) + half; computed once by hand: 0.9206.
  rows = [_judgment(str(i), 10, protocol="mt_bench") for i in range(40)]
  low, high = scores.summarise(rows)["overall"]["ci"]
  assert high == 10 and 9 < low < 9.5
  wrong = [_judgment(str(i), 0, protocol="correctness") for i in range(40)]
  assert scores.summarise(wrong)["overall"]["score"] == 0
  assert scores.summarise(wrong)["overall"]["ci"][0] == 0


def test_turns_are_told_apart():
  rows = [
      _judgment("0", 8, protocol="mt_bench"),
      _judgment("0", 5, protocol="mt_bench", turn=2),
      _judgment("1", 6, protocol="mt_bench"),
      _judgment("1", None, protocol="mt_bench", turn=2, failure="empty"),
  ]
  overall = scores.summarise(rows)["overall"]
  assert overall["turns"] == {"1": 7, "2": 5}
  assert overall["score"] == round(19 / 3, 6)
  # The gate is rating's alone.
  foreign = [dataclasses.replace(j, gate={"a": "fi"}) for j in rows]
  assert scores.summarise(foreign)["overall"]["score"] == overall["score"]
  assert "ungated" not in overall


def test_nothing_but_failures():
  rows = [_judgment("0", None, failure="transport")]
  overall = scores.summarise(rows)["overall"]
  assert (overall["score"], overall["ci"], overall["n"]) == (
      None, [None, None], 0
  )


def test_wrong_use():
  with pytest.raises(ValueError, match="one protocol, judge and system"):
    scores.summarise([])
  rows = [_judgment("0", 1)]
  with pytest.raises(ValueError, match="one protocol, judge and system"):
    scores.summarise([*rows, dataclasses.replace(rows[0], system_a="B")])
  pair = dataclasses.replace(
      rows[0], protocol="score_pair", system_b="B", score=None, verdict="a"
  )
  with pytest.raises(ValueError, match="score_pair compares two"):
    scores.summarise([pair])
