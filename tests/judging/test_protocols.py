"""Protocols: what is asked, what a reply is worth, rows that do not fit."""

import dataclasses
import subprocess
import sys

import pytest

from mlit_jax import records
from mlit_jax.judging import gate as gate_lib
from mlit_jax.judging import judges, pairs, prompt_files, protocols


class Scripted:
  """Replies by a function of the request; keeps what it was asked."""

  name = "scripted"

  def __init__(self, reply, reads_prompt=False):
    self._reply = reply
    self.reads_prompt = reads_prompt
    self.requests = []

  def judge(self, requests):
    self.requests += requests
    replies = [self._reply(request) for request in requests]
    return [judges.Reply(r) if isinstance(r, str) else r for r in replies]


def _prompt(id_, lang="en", response="yes"):
  return records.Instruction(
      id_, lang, (records.Message("user", f"Ask {id_}"),), response
  )


def _response(id_, text, model="m", lang="en", failure=""):
  return records.Response(id_, lang, model, text, "stop", 1, failure=failure)


def _run(reply, **fields):
  prompts = [_prompt("1"), _prompt("2")]
  a = [_response("2", "a2", "A"), _response("1", "a1", "A")]
  b = [_response("1", "b1", "B"), _response("2", "b2", "B")]
  judge = Scripted(reply, fields.pop("reads_prompt", False))
  protocol = protocols.PROTOCOLS[fields.pop("protocol", "side_by_side")]
  arguments = {"prompts": prompts, "a": a, "b": b} | fields
  return judge, protocols.judge(protocol, judge, "spec:x", **arguments)


def test_both_orders_are_asked_and_mapped_back():
  judge, judgments = _run(lambda r: "[[A]]" if "a1" in r.answers else "[[C]]")
  assert [r.answers for r in judge.requests] == [
      ("a1", "b1"), ("b1", "a1"), ("a2", "b2"), ("b2", "a2"),
  ]
  assert judge.requests[0] == judges.Request(
      "1", "en", (records.Message("user", "Ask 1"),), "yes", ("a1", "b1"),
      systems=("A", "B"),
  )
  assert [(j.id, j.order, j.verdict) for j in judgments] == [
      ("1", "ab", "a"), ("1", "ba", "b"),
      ("2", "ab", "tie"), ("2", "ba", "tie"),
  ]
  assert judgments[0] == records.Judgment(
      id="1", lang="en", protocol="side_by_side", judge="spec:x",
      system_a="A", system_b="B", order="ab", raw="[[A]]", verdict="a",
  )


def test_failures_are_typed():
  replies = iter([
      "I cannot say", " ", judges.Reply("no [[A]]", "refused"),
      judges.Reply("", "transport"),
  ])
  _, judgments = _run(lambda _: next(replies))
  assert [(j.failure, j.raw, j.verdict) for j in judgments] == [
      ("unparsable", "I cannot say", ""),
      ("empty", " ", ""),
      ("refused", "no [[A]]", ""),
      ("transport", "", ""),
  ]
  assert [p.value for p in pairs.pair_up(judgments)] == [None, None]
  # Reading again does not turn a refusal into a verdict.
  assert protocols.reparse(judgments) == judgments


def test_people_may_rate_zero():
  zero = records.Judgment(
      "0", "en", "rating", "human:anna", "m", "", "ab", "[[0]]", score=0.0
  )
  assert protocols.reparse([zero]) == [zero]
  judge = dataclasses.replace(zero, judge="openai:m")
  assert protocols.reparse([judge])[0].failure == "out_of_range"


def test_reparse_redoes_the_parsing_only():
  _, judgments = _run(lambda r: f"[[{'A' if r.answers[0] < 'b' else 'C'}]]")
  spoiled = [
      dataclasses.replace(judgments[0], verdict="b"),
      dataclasses.replace(judgments[1], verdict="", failure="unparsable"),
      *judgments[2:],
  ]
  assert protocols.reparse(spoiled) == judgments
  other = dataclasses.replace(judgments[0], protocol="by_ear")
  with pytest.raises(ValueError, match="'by_ear'"):
    protocols.reparse([other])


@pytest.mark.parametrize(
    "ab, ba, value, flipped",
    [
        ("a", "a", 1, False),
        ("b", "b", 0, False),
        ("a", "b", 0.5, True),
        ("b", "a", 0.5, True),
        ("tie", "tie", 0.5, False),
        ("a", "tie", 0.5, True),
        ("tie", "b", 0.5, True),
        ("a", "", None, False),
    ],
)
def test_value_of_a_pair(ab, ba, value, flipped):
  row = records.Judgment(
      "1", "en", "side_by_side", "j", "A", "B", "ab", "", "tie"
  )
  pair = pairs.Pair(
      dataclasses.replace(row, verdict=ab),
      dataclasses.replace(
          row, order="ba", verdict=ba, failure="" if ba else "unparsable"
      ),
  )
  assert (pair.value, pair.flipped) == (value, flipped)


def test_failed_response_is_judged_as_empty_and_gated():
  gate = gate_lib.LexiconGate({"en": ["yes"], "it": ["sì"]})
  judge, judgments = _run(
      lambda r: "[[A]]" if r.answers[0] else "[[B]]",
      prompts=[_prompt("1")],
      a=[_response("1", "left over", failure="too long")],
      b=[_response("1", "Sì")],
      gate=gate,
      candidates=["en", "it"],
  )
  assert [r.answers for r in judge.requests] == [("", "Sì"), ("Sì", "")]
  assert [j.verdict for j in judgments] == ["b", "b"]
  assert [j.gate for j in judgments] == [{"a": "", "b": "it"}] * 2


def test_one_id_in_two_languages():
  _, judgments = _run(
      lambda r: "[[A]]" if r.answers[0] in ("a", "d") else "[[B]]",
      prompts=[_prompt("1"), _prompt("1", "it")],
      a=[_response("1", "a"), _response("1", "c", lang="it")],
      b=[_response("1", "d", lang="it"), _response("1", "b")],
  )
  found = pairs.pair_up(judgments)
  assert [(p.ab.lang, p.value) for p in found] == [("en", 1), ("it", 0)]


def test_rows_that_do_not_fit_are_named():
  def run(**fields):
    return _run(lambda _: "[[C]]", **fields)

  one, two, three = (_response(i, "x") for i in "123")
  with pytest.raises(ValueError, match="system a: no response to 2 en"):
    run(a=[one])
  with pytest.raises(ValueError, match="system b: no such prompt: 3 en"):
    run(b=[one, two, three])
  with pytest.raises(ValueError, match="system b: more than one row for 2 en"):
    run(b=[one, two, two])
  with pytest.raises(ValueError, match="prompts: more than one row for 1 en"):
    run(prompts=[_prompt("1"), _prompt("1")])
  with pytest.raises(ValueError, match="system a: responses of m, n"):
    run(a=[one, dataclasses.replace(two, model="n")])
  with pytest.raises(ValueError, match="judges two systems: give b"):
    run(b=None)
  with pytest.raises(ValueError, match="judges one: leave b out"):
    run(protocol="rating")
  with pytest.raises(ValueError, match="no prompts"):
    run(prompts=[], a=[], b=[])
  with pytest.raises(ValueError, match="1 en, 10 en, 11 en, 12 en, 2 en and 2"):
    run(prompts=[_prompt(i) for i in "1 2 3 4 10 11 12".split()], a=[])
  gate = gate_lib.LexiconGate({"en": ["x"], "it": ["y"]})
  for candidates in (None, ["it"]):
    with pytest.raises(ValueError, match="candidates lack en"):
      run(gate=gate, candidates=candidates)


def test_a_judge_that_loses_requests_is_caught():
  judge = Scripted(lambda _: "[[C]]")
  judge.judge = lambda requests: [judges.Reply("[[C]]")]
  rows = [_response("1", "x")]
  with pytest.raises(judges.JudgeError, match="1 replies to 2 requests"):
    protocols.judge(
        protocols.SIDE_BY_SIDE, judge, "s", [_prompt("1")], rows, rows
    )


def test_incomplete_or_mixed_judgments_do_not_pair():
  _, judgments = _run(lambda _: "[[C]]")
  with pytest.raises(ValueError, match="one judgment in each order for 2 en"):
    pairs.pair_up(judgments[:3])
  with pytest.raises(ValueError, match="in each order for 1 en"):
    pairs.pair_up([*judgments, judgments[0]])
  other = [dataclasses.replace(j, system_b="Z") for j in judgments]
  with pytest.raises(ValueError, match="one comparison"):
    pairs.pair_up(judgments + other)


def _conversation(id_, category, reference=None, response="r2"):
  extra = {"category": category}
  if reference:
    extra["reference"] = reference
  asked = [records.Message("user", f"q{t}") for t in "12"]
  prompt = records.Instruction(id_, "en", tuple(asked), extra=extra)

  def answer(model):
    said = records.Message("assistant", f"{model}1")
    messages = (asked[0], said, asked[1])
    return records.Response(
        id_, "en", model, f"{model}2", "stop", 1, messages=messages
    )

  return prompt, answer("A"), answer("B")


def test_mt_bench_goes_turn_by_turn_and_shows_references_where_it_should():
  rows = [
      _conversation("1", "math", ["ref1", "ref2"]),
      _conversation("2", "writing", ["ref1", "ref2"]),
      _conversation("3", "coding"),
  ]
  prompts, a, _ = zip(*rows)
  judge, judgments = _run(
      lambda r: f"[[{r.turn}]]", protocol="mt_bench", prompts=prompts, a=a,
      b=None, reads_prompt=True,
  )
  assert [(j.id, j.turn, j.score, j.prompt) for j in judgments] == [
      ("1", 1, 1, "mt_bench-reference-1.en"),
      ("1", 2, 2, "mt_bench-turn2-reference-1.en"),
      ("2", 1, 1, "mt_bench-1.en"), ("2", 2, 2, "mt_bench-turn2-1.en"),
      ("3", 1, 1, "mt_bench-1.en"), ("3", 2, 2, "mt_bench-turn2-1.en"),
  ]
  first, second = (r.prompt[-1].content for r in judge.requests[:2])
  assert first == (
      "<judge:question>\nq1\n</judge:question>\n\n"
      "<judge:reference>\nref1\n</judge:reference>\n\n"
      "<judge:answer>\nA1\n</judge:answer>"
  )
  for shown in ("q1", "q2", "ref1", "ref2", "A1", "A2"):
    assert f"\n{shown}\n" in second
  assert judge.requests[1].answers == ("A2",)
  assert [m.content for m in judge.requests[1].instruction] == ["q1", "q2"]
  assert "ref1" not in judge.requests[2].prompt[-1].content
  assert protocols.reparse(judgments) == judgments


def test_mt_bench_pairs_have_two_turns_and_two_orders():
  prompt, a, b = _conversation("1", "math", ["ref1", "ref2"])
  judge, judgments = _run(
      lambda r: "[[A]]" if r.answers[0] == "B2" else "[[C]]",
      protocol="mt_bench_pair", prompts=[prompt], a=[a], b=[b],
      reads_prompt=True,
  )
  assert [(j.turn, j.order, j.verdict) for j in judgments] == [
      (1, "ab", "tie"), (1, "ba", "tie"), (2, "ab", "tie"), (2, "ba", "b"),
  ]
  text = judge.requests[3].prompt[-1].content
  assert "<judge:answer_a_2>\nB2\n" in text
  assert "<judge:answer_b_1>\nA1\n" in text
  assert [p.value for p in pairs.pair_up(judgments)] == [0.5, 0.5]
  # The conversation may also be one question.
  judge, judgments = _run(
      lambda r: "[[A]]", prompts=[prompt], a=[a], b=[b], reads_prompt=True
  )
  assert [j.turn for j in judgments] == [1, 1]
  assert "user: q1\n\nuser: q2" in judge.requests[0].prompt[-1].content


def test_responses_without_the_conversation_are_named():
  prompt, a, _ = _conversation("81", "math")
  bare = dataclasses.replace(a, messages=())
  with pytest.raises(ValueError, match="81 en has 2 turns, its response 1"):
    _run(lambda _: "", protocol="mt_bench", prompts=[prompt], a=[bare], b=None)
  three = dataclasses.replace(prompt, messages=prompt.messages * 2)
  with pytest.raises(ValueError, match="81 en: MT-Bench asks one or two turns"):
    _run(lambda _: "", protocol="mt_bench", prompts=[three], a=[a], b=None)


def test_correctness_is_judged_by_the_context():
  prompt = dataclasses.replace(
      _prompt("1"), extra={"context": "Bees fly.", "question": "Do bees fly?"}
  )
  judge, (judgment,) = _run(
      lambda _: "It says so. [[YES]]", protocol="correctness",
      prompts=[prompt], a=[_response("1", "They do")], b=None,
      reads_prompt=True,
  )
  assert (judgment.score, judgment.verdict) == (1, "")
  text = judge.requests[0].prompt[-1].content
  assert text.index("Bees fly.") < text.index("Do bees fly?") < text.index("do")
  with pytest.raises(ValueError, match="no field 'context' in 1 en"):
    _run(lambda _: "", protocol="correctness", prompts=[_prompt("1")],
         a=[_response("1", "x")], b=None)


def test_score_pair_keeps_both_numbers_and_whose_they_are():
  _, judgments = _run(
      lambda r: "[[8, 3.5]]" if r.id == "1" else "[[6, 6]]",
      protocol="score_pair",
  )
  assert [(j.order, j.verdict, j.scores) for j in judgments] == [
      ("ab", "a", {"a": 8, "b": 3.5}), ("ba", "b", {"a": 3.5, "b": 8}),
      ("ab", "tie", {"a": 6, "b": 6}), ("ba", "tie", {"a": 6, "b": 6}),
  ]
  assert protocols.reparse(judgments) == judgments


def test_samples_are_asked_one_by_one_and_paired_in_order():
  _, judgments = _run(
      lambda r: "[[A]]" if (r.sample, r.order) != (1, "ba") else "[[B]]",
      samples=2, prompts=[_prompt("1")], a=[_response("1", "a1", "A")],
      b=[_response("1", "b1", "B")],
  )
  assert [(j.order, j.sample, j.verdict) for j in judgments] == [
      ("ab", 0, "a"), ("ab", 1, "a"), ("ba", 0, "b"), ("ba", 1, "a"),
  ]
  assert [p.value for p in pairs.pair_up(judgments)] == [0.5, 1]


def test_a_reply_without_verdict_is_asked_for_once_more():
  def reply(request):
    again = "held no verdict" in request.prompt[-1].content
    if request.id == "2" and request.order == "ba":
      return judges.Reply("No", "refused") if again else "Hm."
    if request.id == "2":
      return "Still nothing" if again else "Nothing"
    text = "[[B]]" if again else "[[X]]"
    return judges.Reply(text, usage={"input": 5, "output": 1 + again})

  judge, judgments = _run(reply, reads_prompt=True)
  assert len(judge.requests) == 8
  one, _, two, refused = judgments
  assert (one.verdict, one.earlier, one.raw) == ("b", ("[[X]]",), "[[B]]")
  assert one.usage == {"input": 10, "output": 3}
  assert (two.failure, two.earlier) == ("unparsable", ("Nothing",))
  # Nothing came of asking again, so the first reply stands.
  assert (refused.failure, refused.raw) == ("unparsable", "Hm.")
  judge, _ = _run(reply, reads_prompt=True, ask_again=False)
  assert len(judge.requests) == 4
  # A judge that is not asked in words would say the same.
  judge, _ = _run(lambda _: "nothing")
  assert len(judge.requests) == 4


def test_prompts_may_be_in_the_language_of_the_instruction():
  judge, judgments = _run(
      lambda _: "[[C]]", prompts=[_prompt("1"), _prompt("1", "fi")],
      a=[_response("1", "x"), _response("1", "y", lang="fi")],
      b=[_response("1", "z"), _response("1", "z", lang="fi")],
      wording=prompt_files.Ours("instruction"), reads_prompt=True,
  )
  assert [j.prompt for j in judgments[1:3]] == [
      "side_by_side-1.en", "side_by_side-1.fi"
  ]
  assert "vastauksia" in judge.requests[2].prompt[0].content


def test_judging_imports_nothing_heavy():
  code = (
      "import sys, mlit_jax.judging.protocols as p;"
      "print(sorted({'jax','tensorflow','numpy','scipy'} & set(sys.modules)),"
      "any(m.startswith('mlit_jax.analysis') for m in sys.modules))"
  )
  out = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert out.stdout.strip() == "[] False"
