"""The protocols: how a judge is asked, and what its reply is worth.

A protocol is the prompt it needs, the form its verdict is written in, and
whether two answers stand side by side (then every question is asked in both
orders) or one alone:

  side_by_side   which of two answers is better? An answer wins if it is chosen
                 in both orders (Shaham et al., 2024, section 2)
  rating         one answer, 1 to 3 (Chen et al., 2024)
  mt_bench       one answer, 1 to 10; two turns; shown a reference answer in
                 math, reasoning and coding (Zheng et al., 2023)
  mt_bench_pair  the same questions, side by side
  correctness    is an answer right by its context? (Zhu et al., 2023)
  score_pair     two answers, each 1 to 10; in both orders (the same)
  rubric         one answer, 1 to 5, by the words of a rubric
"""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from mlit_jax import records
from mlit_jax.errors import UsageError
from mlit_jax.judging import gate as gate_lib
from mlit_jax.judging import items as items_lib
from mlit_jax.judging import judges, parsing, prompt_files

# What the letters A, B, C say of the systems, by the order shown.
_MEANING = {
    "ab": {"A": "a", "B": "b", "C": "tie"},
    "ba": {"A": "b", "B": "a", "C": "tie"},
}
# What may read otherwise if the judge is asked again.
_ASK_AGAIN = ("unparsable", "out_of_range", "empty")


@dataclasses.dataclass(frozen=True)
class Protocol:
  """See the module.

  Attributes:
    name: as in judgments.
    verdict: the form in words: letters, number, two_numbers, yes_no.
    form: reads it.
    paired: whether it compares two systems.
    by_turn: whether it goes turn by turn, with references, as MT-Bench does.
    needs: a field that every prompt must have.
  """

  name: str
  verdict: str
  form: parsing.Form
  paired: bool = False
  by_turn: bool = False
  needs: str = ""

  @property
  def orders(self) -> tuple[str, ...]:
    return records.ORDERS if self.paired else ("ab",)

  def kind(self, item: items_lib.Item) -> prompt_files.Kind:
    """Which prompt an item needs."""
    return prompt_files.Kind(
        self.name, self.verdict, self.paired, item.turn, item.guided
    )

  def read(
      self, raw: str, order: str, finish_reason: str = "", plain: bool = False
  ) -> dict:
    """The fields verdict, score, scores and failure of a reply's judgment."""
    reading = self.form.read(raw, finish_reason, plain)
    if reading.failure:
      return {"failure": reading.failure}
    if reading.verdict:
      return {"verdict": _MEANING[order][reading.verdict]}
    if not self.paired:
      return {"score": reading.numbers[0]}
    scores = dict(zip(order, reading.numbers, strict=True))
    better = max(scores, key=scores.get)
    if scores["a"] == scores["b"]:
      better = "tie"
    return {"verdict": better, "scores": {s: scores[s] for s in "ab"}}


_ALL = (
    Protocol("side_by_side", "letters", parsing.LETTERS, paired=True),
    Protocol("rating", "number", parsing.number(1, 3)),
    Protocol("mt_bench", "number", parsing.number(1, 10), by_turn=True),
    Protocol(
        "mt_bench_pair", "letters", parsing.LETTERS, paired=True, by_turn=True
    ),
    Protocol("correctness", "yes_no", parsing.YES_NO, needs="context"),
    Protocol(
        "score_pair", "two_numbers", parsing.two_numbers(1, 10), paired=True
    ),
    Protocol("rubric", "number", parsing.number(1, 5), needs="rubric"),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
SIDE_BY_SIDE = PROTOCOLS["side_by_side"]


def for_people(protocol: Protocol) -> Protocol:
  """A protocol as people follow it.

  Their rating may be 0, for an answer in the wrong language or one that cannot
  be read (Chen et al., 2024, Fig. 6); a judge's is by the language gate.
  """
  if protocol.name != "rating":
    return protocol
  return dataclasses.replace(protocol, form=parsing.number(0, 3))


@dataclasses.dataclass(frozen=True)
class Question:
  """A request, and what is needed to ask again and to keep the reply."""

  item: items_lib.Item
  prompt: prompt_files.Prompt | None
  request: judges.Request


def ask(
    protocol: Protocol,
    in_words: bool,
    prompts: Sequence[records.Instruction],
    a: Sequence[records.Response],
    b: Sequence[records.Response] | None = None,
    *,
    wording: prompt_files.Ours | prompt_files.Theirs | None = None,
    samples: int = 1,
) -> list[Question]:
  """The questions of `judge`, in its order; arguments and errors are the same.

  But for `in_words`: whether the judge is asked in words.
  """
  if (b is not None) != protocol.paired:
    number = "two systems: give b, too" if b is None else "one: leave b out"
    raise UsageError(f"{protocol.name} judges {number}")
  sides = {"a": a} if b is None else {"a": a, "b": b}
  items = items_lib.build(
      prompts, sides, by_turn=protocol.by_turn, needs=protocol.needs
  )
  systems = tuple(items_lib.system_name(s, rows) for s, rows in sides.items())
  wording = wording or prompt_files.Ours()
  found = []
  for item in items:
    lang = item.prompt.lang
    prompt = None
    if in_words:
      prompt = wording.get(protocol.kind(item), lang)
    for order in protocol.orders:
      messages = ()
      if prompt is not None:
        messages = prompt.fill(_fields(item, order))
      for sample in range(samples):
        request = judges.Request(
            id=item.prompt.id,
            lang=lang,
            instruction=item.instruction(),
            reference=item.references[-1] if item.references else "",
            answers=tuple(
                item.answers[side][-1] for side in order if side in item.answers
            ),
            protocol=protocol.name,
            systems=systems,
            order=order,
            turn=item.turn,
            sample=sample,
            prompt=messages,
        )
        found.append(Question(item, prompt, request))
  return found


def judge(
    protocol: Protocol,
    judge: judges.Judge,
    judge_spec: str,
    prompts: Sequence[records.Instruction],
    a: Sequence[records.Response],
    b: Sequence[records.Response] | None = None,
    *,
    wording: prompt_files.Ours | prompt_files.Theirs | None = None,
    samples: int = 1,
    ask_again: bool = True,
    gate: gate_lib.Gate | None = None,
    candidates: Sequence[str] | None = None,
) -> list[records.Judgment]:
  """Judges the answers of one system, or of two against each other.

  Args:
    protocol: see the module.
    judge: who judges; it gets all requests as one batch, and then those whose
      replies held no verdict as a second one.
    judge_spec: the judge's specification, kept in every judgment.
    prompts: the instructions, with their references where there are any.
    a: one response of system a per prompt, in any order.
    b: likewise of system b; None unless the protocol is paired. A response
      that failed is judged as empty.
    wording: the prompts for a judge that reads prompts; ours in English if
      None.
    samples: how often each question is asked, in each order.
    ask_again: whether to ask once more, in the same words and a reminder,
      where a reply holds no verdict or one out of range.
    gate: identifies the language of every answer, for the record only.
    candidates: the languages that the gate chooses from.

  Returns:
    The judgments in the order of the prompts; of each prompt by turn, order
    (`ab`, then `ba` if paired) and sample.

  Raises:
    UsageError: the rows do not fit together (naming the ids), or the gate's
      candidates lack a prompt's language.
    JudgeError: the judge cannot go on.
  """
  questions = ask(
      protocol, judge.reads_prompt, prompts, a, b, wording=wording,
      samples=samples,
  )
  return answer(
      protocol, judge, judge_spec, questions, ask_again=ask_again, gate=gate,
      candidates=candidates,
  )


def answer(
    protocol: Protocol,
    judge: judges.Judge,
    judge_spec: str,
    questions: Sequence[Question],
    *,
    ask_again: bool = True,
    gate: gate_lib.Gate | None = None,
    candidates: Sequence[str] | None = None,
) -> list[records.Judgment]:
  """The judgments of questions made by `ask`; see `judge`."""
  if gate is not None:
    # It could never find the right language among candidates without it.
    lacking = {q.request.lang for q in questions} - set(candidates or ())
    if lacking:
      raise UsageError(
          f"the gate's candidates lack {items_lib.names(lacking)}"
      )
  replies = _replies(judge, [q.request for q in questions])
  judgments = [
      _judgment(protocol, judge_spec, question, reply, gate, candidates)
      for question, reply in zip(questions, replies, strict=True)
  ]
  if ask_again and judge.reads_prompt:
    _ask_again(protocol, judge, questions, judgments)
  return judgments


def reparse(judgments: Iterable[records.Judgment]) -> list[records.Judgment]:
  """Reads the stored replies anew; asks no judge.

  A failure that the judge itself reported (refused, transport) stays.

  Raises:
    ValueError: a judgment is of a protocol without a parser here.
  """
  anew = []
  for j in judgments:
    if j.protocol not in PROTOCOLS:
      raise ValueError(
          f"cannot parse replies of the protocol {j.protocol!r}; only of"
          f" {', '.join(PROTOCOLS)}"
      )
    if j.failure not in judges.JUDGE_FAILURES:
      fields = {"verdict": "", "score": None, "scores": {}, "failure": ""}
      found = PROTOCOLS[j.protocol]
      if j.judge.startswith("human:"):
        found = for_people(found)
      fields |= found.read(
          j.raw, j.order, j.finish_reason, j.prompt.endswith(prompt_files.PLAIN)
      )
      j = dataclasses.replace(j, **fields)
    anew.append(j)
  return anew


def _fields(item: items_lib.Item, order: str) -> dict[str, str]:
  lang = prompt_files.language_name(item.prompt.lang)
  return item.fields(order) | {"lang": lang}


def _replies(
    judge: judges.Judge, requests: Sequence[judges.Request]
) -> list[judges.Reply]:
  replies = judge.judge(requests)
  if len(replies) != len(requests):
    raise judges.JudgeError(
        f"judge {judge.name!r} gave {len(replies)} replies to"
        f" {len(requests)} requests"
    )
  return replies


def _judgment(
    protocol: Protocol,
    judge_spec: str,
    question: Question,
    reply: judges.Reply,
    gate: gate_lib.Gate | None,
    candidates: Sequence[str] | None,
) -> records.Judgment:
  request, item = question.request, question.item
  found = {}
  if gate is not None:
    found = {
        side: gate.identify(texts[-1], candidates)
        for side, texts in item.answers.items()
    }
  return records.Judgment(
      id=request.id,
      lang=request.lang,
      protocol=protocol.name,
      judge=judge_spec,
      system_a=request.systems[0],
      system_b=request.systems[1] if protocol.paired else "",
      order=request.order,
      gate={side: finding.lang for side, finding in found.items()},
      gate_confidence={
          side: round(finding.confidence, 4) for side, finding in found.items()
      },
      turn=request.turn,
      sample=request.sample,
      **_read(protocol, question, reply),
  )


def _read(
    protocol: Protocol, question: Question, reply: judges.Reply
) -> dict:
  """The fields of a judgment that a reply decides."""
  name = question.prompt.name if question.prompt else reply.prompt
  kept = {
      "raw": reply.text, "prompt": name, "finish_reason": reply.finish_reason,
      "revision": reply.revision, "usage": reply.usage,
  }
  if reply.failure:
    return kept | {"failure": reply.failure}
  return kept | protocol.read(
      reply.text,
      question.request.order,
      reply.finish_reason,
      name.endswith(prompt_files.PLAIN),
  )


def _ask_again(
    protocol: Protocol,
    judge: judges.Judge,
    questions: Sequence[Question],
    judgments: list[records.Judgment],
) -> None:
  """Asks once more where there is no verdict; changes `judgments` in place."""
  where = [i for i, j in enumerate(judgments) if j.failure in _ASK_AGAIN]
  requests = [
      dataclasses.replace(
          questions[i].request,
          prompt=questions[i].prompt.fill(
              _fields(questions[i].item, questions[i].request.order),
              again=True,
          ),
      )
      for i in where
  ]
  if not requests:
    return
  for i, reply in zip(where, _replies(judge, requests), strict=True):
    if reply.failure:
      continue  # the first reply is all there is
    first = judgments[i]
    fields = {"failure": ""} | _read(protocol, questions[i], reply)
    usage = collections.Counter(first.usage) + collections.Counter(reply.usage)
    judgments[i] = dataclasses.replace(
        first, **(fields | {"usage": dict(usage), "earlier": (first.raw,)})
    )
