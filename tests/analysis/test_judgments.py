"""Summaries of comparisons: scores by hand, symmetry, biased judges."""

import dataclasses
import json
import random

import pytest

from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.judging import gate as gate_lib
from mlit_jax.judging import judges, protocols, reference

GATE = gate_lib.LexiconGate.from_text({
    "en": ["the dog is a mammal", "the cat sleeps here"],
    "it": ["il cane è un mammifero", "il gatto dorme qui"],
})
LANGS = ("en", "it")


def _judgment(id_, order, verdict, lang="en", failure="", gate=None):
  return records.Judgment(
      id_, lang, "side_by_side", "j", "A", "B", order, "raw", verdict,
      failure=failure, gate=gate or {},
  )


def _pairs(*rows, lang="en", gate=None):
  return [
      _judgment(str(i), order, verdict, lang, gate=gate)
      for i, row in enumerate(rows)
      for order, verdict in zip(("ab", "ba"), row, strict=True)
  ]


def test_summary_by_hand():
  both = {"a": "en", "b": "it"}
  rows = _pairs(
      ("a", "a"), ("a", "a"), ("b", "b"), ("a", "b"), ("tie", "tie"),
      gate=both,
  )
  rows += _pairs(("b", "b"), ("tie", "a"), lang="it", gate=both)
  summary = judgments_lib.summarise(rows)
  assert list(summary) == ["en", "it", "overall"]
  en = summary["en"]
  # Wins 2, ties 2 of 5: 3/5. First: a of ab twice, b of ba once, and a, b of
  # the flip: 2 + 1 + 2 of 8 decided. Bonett–Price on 2, 2, 1 with t(4) =
  # 2.776445: d = 1/7, half = t sqrt((5/7 - 1/49) / 7) = 0.874142, (1 + d -
  # half) / 2 = 0.134358.
  assert en == {
      "score": 60.0, "n": 5, "win": 2, "tie": 2, "loss": 1,
      "ci": [pytest.approx(13.4358, abs=1e-4), 100.0],
      "flip_rate": 0.2, "first_position_rate": 0.625,
      "parse_failure_rate": 0.0, "gate_rate": {"a": 1.0, "b": 0.0},
      "failed": 0, "failures": {},
  }
  overall = summary["overall"]
  assert (overall["score"], overall["n"]) == (50.0, 7)
  assert overall["flip_rate"] == round(2 / 7, 6)
  assert overall["gate_rate"] == {
      "a": round(5 / 7, 6), "b": round(2 / 7, 6)
  }


def test_overall_interval_is_clustered_on_the_parallel_id():
  rows = [("a", "a"), ("b", "b")] * 10
  one = _pairs(*rows)
  copies = one + _pairs(*rows, lang="it") + _pairs(*rows, lang="sw")
  single = judgments_lib.summarise(one)["overall"]["ci"]
  overall = judgments_lib.summarise(copies)["overall"]
  assert overall["n"] == 60
  width = overall["ci"][1] - overall["ci"][0]
  # Three copies of 20 answers are 20 answers, not 60 (0.58 of the width).
  assert width == pytest.approx(single[1] - single[0], rel=0.05)


def test_failures_are_counted_and_never_imputed():
  rows = _pairs(("a", "a"), ("b", "b"), ("a", "a"))
  rows[4] = _judgment("2", "ab", "", failure="unparsable")
  rows[2] = _judgment("1", "ab", "", failure="refused")
  rows[3] = _judgment("1", "ba", "", failure="transport")
  en = judgments_lib.summarise(rows)["en"]
  assert (en["score"], en["n"], en["win"], en["tie"]) == (100.0, 1, 1, 0)
  assert en["failed"] == 2
  assert en["failures"] == {"refused": 1, "transport": 1, "unparsable": 1}
  assert en["parse_failure_rate"] == round(1 / 6, 6)
  nothing = judgments_lib.summarise(rows[2:])["en"]
  assert (nothing["n"], nothing["score"], nothing["ci"]) == (
      0, None, [None, None]
  )
  assert nothing["flip_rate"] is None
  json.dumps(nothing, allow_nan=False)


class _AlwaysFirst:
  name = "always first"
  reads_prompt = False

  def judge(self, requests):
    return [judges.Reply("[[A]]") for _ in requests]


def test_reasons_of_failures_are_counted_and_hold_no_keys():
  lost = _judgment("0", "ab", "", failure="transport")
  raws = ["no reply", "no\n reply", "X at https://me:pw@h:1/v1?key=K#f now", ""]
  raws += [f"odd {i}" for i in range(9)]
  rows = [
      dataclasses.replace(lost, id=str(i), raw=raw, order=order)
      for i, raw in enumerate(raws) for order in ("ab", "ba")
  ]
  reasons = judgments_lib.transport_reasons(rows)["transport_reasons"]
  assert next(iter(reasons.items())) == ("no reply", 4)
  assert reasons["X at https://h:1/v1 now"] == 2
  assert reasons["no reason was given"] == 2
  # Ten are told.
  assert (len(reasons), reasons["others"]) == (11, 4)
  refused = dataclasses.replace(lost, failure="refused")
  assert judgments_lib.transport_reasons([refused]) == {}


def _system(name, seed):
  rng = random.Random(seed)
  texts = [
      "The dog is a mammal.", "Il cane è un mammifero.", "The cat sleeps here.",
      "Il gatto dorme qui.", "", "dog cat [[A]]", "zzz",
  ]
  return [
      records.Response(str(i), lang, name, rng.choice(texts), "stop", 1)
      for i in range(40)
      for lang in LANGS
  ]


def _prompts():
  answers = {"en": "The dog is a mammal.", "it": "Il cane è un mammifero."}
  turns = (records.Message("user", "?"),)
  return [
      records.Instruction(str(i), lang, turns, answers[lang])
      for i in range(40)
      for lang in LANGS
  ]


def _compare(judge, a, b):
  return protocols.judge(
      protocols.SIDE_BY_SIDE, judge, "j", _prompts(), a, b,
      gate=GATE, candidates=LANGS,
  )


def test_swapping_the_systems_mirrors_everything():
  judge = reference.ReferenceJudge(GATE, LANGS)
  a, b = _system("A", 1), _system("B", 2)
  summary = judgments_lib.summarise(_compare(judge, a, b))
  mirrored = judgments_lib.summarise(_compare(judge, b, a))
  for lang in (*LANGS, "overall"):
    one, other = summary[lang], mirrored[lang]
    assert one["win"] != one["loss"] and one["tie"]
    assert other["score"] == round(100 - one["score"], 6)
    assert other["ci"] == [round(100 - end, 6) for end in one["ci"][::-1]]
    assert other["gate_rate"] == {
        "a": one["gate_rate"]["b"], "b": one["gate_rate"]["a"]
    }
    assert other["gate_rate"]["a"] != other["gate_rate"]["b"]
    assert (other["win"], other["tie"], other["loss"]) == (
        one["loss"], one["tie"], one["win"]
    )
    for rate in ("n", "flip_rate", "first_position_rate", "failed"):
      assert other[rate] == one[rate]


def test_reference_judge_has_no_position():
  judge = reference.ReferenceJudge(GATE, LANGS)
  rows = _compare(judge, _system("A", 3), _system("B", 4))
  overall = judgments_lib.summarise(rows)["overall"]
  assert (overall["flip_rate"], overall["first_position_rate"]) == (0.0, 0.5)
  same = judgments_lib.summarise(
      _compare(judge, _system("A", 3), _system("A", 3))
  )["overall"]
  assert (same["score"], same["tie"]) == (50.0, 80)
  assert same["first_position_rate"] is None


def test_a_judge_that_prefers_the_first_gives_all_ties():
  rows = _compare(_AlwaysFirst(), _system("A", 1), _system("B", 2))
  overall = judgments_lib.summarise(rows)["overall"]
  assert overall["tie"] == overall["n"] == 80
  assert overall["score"] == 50.0
  assert overall["flip_rate"] == overall["first_position_rate"] == 1.0


def test_summary_does_not_depend_on_the_order_of_rows():
  judge = reference.ReferenceJudge(GATE, LANGS)
  rows = _compare(judge, _system("A", 1), _system("B", 2))
  shuffled = rows[:]
  random.Random(0).shuffle(shuffled)
  assert json.dumps(judgments_lib.summarise(shuffled)) == json.dumps(
      judgments_lib.summarise(rows)
  )


def test_wrong_use():
  with pytest.raises(ValueError, match="no judgments"):
    judgments_lib.summarise([])
  rows = _pairs(("a", "a"))
  with pytest.raises(ValueError, match="each order for 0 en"):
    judgments_lib.summarise(rows[:1])
  other = [dataclasses.replace(r, judge="k", id="9") for r in rows]
  with pytest.raises(ValueError, match="one comparison"):
    judgments_lib.summarise(rows + other)
