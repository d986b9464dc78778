"""What there is to judge: prompts and the systems' answers, put together."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from mlit_jax import records
from mlit_jax.errors import UsageError

# Where MT-Bench shows the judge a reference answer.
GUIDED = frozenset({"math", "reasoning", "coding"})
_MAX_NAMED = 5
_MAX_TURNS = 2
_Key = tuple[str, str]  # (id, lang)


@dataclasses.dataclass(frozen=True)
class Item:
  """One turn of one instruction, with what each system answered.

  Attributes:
    prompt: the instruction.
    turn: which turn is judged, from 1.
    questions: the user's turns up to this one.
    answers: side (`a`, `b`) -> the system's answers up to this turn.
    references: right answers up to this turn; () where there are none.
    guided: whether the judge is shown them.
  """

  prompt: records.Instruction
  turn: int
  questions: tuple[str, ...]
  answers: Mapping[str, tuple[str, ...]]
  references: tuple[str, ...]
  guided: bool

  def instruction(self) -> tuple[records.Message, ...]:
    """The messages that were answered, without the systems' own answers."""
    if self.questions == (_conversation(self.prompt),):
      return self.prompt.messages
    return tuple(records.Message("user", q) for q in self.questions)

  def fields(self, order: str) -> dict[str, str]:
    """What a prompt may show: by place, the answers in the order shown."""
    found = {}
    for t, question in enumerate(self.questions, start=1):
      found[f"question_{t}"] = question
      for place, side in zip(("a", "b"), order, strict=True):
        if side in self.answers:
          found[f"answer_{place}_{t}"] = self.answers[side][t - 1]
    for t, reference in enumerate(self.references, start=1):
      found[f"reference_{t}"] = reference
    if len(self.answers) == 1:
      found = {k.replace("answer_a_", "answer_"): v for k, v in found.items()}
    last = f"_{self.turn}"
    found |= {
        k.removesuffix(last): v for k, v in found.items() if k.endswith(last)
    }
    for name in ("context", "rubric"):
      if isinstance(text := self.prompt.extra.get(name), str):
        found[name] = text
    if isinstance(question := self.prompt.extra.get("question"), str):
      found["question"] = question
    return found


def build(
    prompts: Sequence[records.Instruction],
    systems: Mapping[str, Sequence[records.Response]],
    *,
    by_turn: bool = False,
    needs: str = "",
) -> list[Item]:
  """The items of some prompts, in their order, turn by turn.

  Args:
    prompts: the instructions.
    systems: side -> one response per prompt. A response that failed is judged
      as empty.
    by_turn: as MT-Bench does: the user's turns of a prompt are questions asked
      one after another (the responses then hold the whole conversation in
      `messages`), and references are shown in some categories. Otherwise the
      messages of a prompt are one question.
    needs: a field that every prompt must have.

  Raises:
    UsageError: the rows do not fit together; names them.
  """
  rows = _by_key("prompts", prompts)
  if not rows:
    raise UsageError("there are no prompts to judge")
  if needs and (
      lacking := [
          key for key, row in rows.items()
          if not isinstance(row.extra.get(needs), str)
      ]
  ):
    raise UsageError(f"prompts: no field {needs!r} in {names(lacking)}")
  answers = collections.defaultdict(dict)
  for side, responses in systems.items():
    name = f"system {side}"
    found = _by_key(name, responses)
    _check_same(name, rows.keys(), found.keys())
    for key, response in found.items():
      turns = len(_questions(rows[key], by_turn))
      answers[key][side] = _answers(name, turns, response)
  items = []
  for key, prompt in rows.items():
    questions = _questions(prompt, by_turn)
    references = _references(prompt)
    guided = by_turn and prompt.extra.get("category") in GUIDED
    for turn in range(1, len(questions) + 1):
      right = references[:turn] if len(references) >= turn else ()
      items.append(
          Item(
              prompt,
              turn,
              questions[:turn],
              {side: texts[:turn] for side, texts in answers[key].items()},
              right,
              guided and bool(right),
          )
      )
  return items


def system_name(side: str, responses: Sequence[records.Response]) -> str:
  """The one system that gave the responses; UsageError if there are more."""
  models = {response.model for response in responses}
  if len(models) > 1:
    raise UsageError(
        f"system {side}: responses of {names(models)}; expected one"
    )
  return models.pop()


def names(keys: Iterable) -> str:
  """Some keys for an error message, and how many more there are."""
  keys = sorted(keys)
  shown = ", ".join(
      key if isinstance(key, str) else " ".join(key)
      for key in keys[:_MAX_NAMED]
  )
  more = len(keys) - _MAX_NAMED
  return f"{shown} and {more} more" if more > 0 else shown


def _questions(
    prompt: records.Instruction, by_turn: bool
) -> tuple[str, ...]:
  if not by_turn:
    return (_conversation(prompt),)
  roles = {message.role for message in prompt.messages}
  if roles != {"user"} or len(prompt.messages) > _MAX_TURNS:
    raise UsageError(
        f"prompts: {prompt.id} {prompt.lang}: MT-Bench asks one or two turns of"
        f" the user, not {[m.role for m in prompt.messages]}"
    )
  return tuple(message.content for message in prompt.messages)


def _conversation(prompt: records.Instruction) -> str:
  if len(prompt.messages) == 1:
    return prompt.prompt
  return "\n\n".join(f"{m.role}: {m.content}" for m in prompt.messages)


def _answers(
    name: str, turns: int, response: records.Response
) -> tuple[str, ...]:
  """A system's answer to each turn."""
  last = "" if response.failure else response.response
  said = [m.content for m in response.messages if m.role == "assistant"]
  if turns == 1:
    return (last,)
  if len(said) != turns - 1:
    raise UsageError(
        f"{name}: {response.id} {response.lang} has {turns} turns, its response"
        f" {len(said) + 1}; give the whole conversation in 'messages'"
    )
  return (*said, last)


def _references(prompt: records.Instruction) -> tuple[str, ...]:
  """The right answers as far as there are any: a later turn may lack one."""
  given = prompt.extra.get("reference", [prompt.response])
  if not isinstance(given, list):
    return ()
  return tuple(
      itertools.takewhile(lambda x: isinstance(x, str) and x.strip(), given)
  )


def _by_key(name: str, rows: Sequence) -> dict[_Key, object]:
  counts = collections.Counter((row.id, row.lang) for row in rows)
  if twice := [key for key, count in counts.items() if count > 1]:
    raise UsageError(f"{name}: more than one row for {names(twice)}")
  return {(row.id, row.lang): row for row in rows}


def _check_same(name: str, wanted: Iterable[_Key], found: Iterable[_Key]):
  wanted, found = set(wanted), set(found)
  if missing := wanted - found:
    raise UsageError(f"{name}: no response to {names(missing)}")
  if unknown := found - wanted:
    raise UsageError(f"{name}: no such prompt: {names(unknown)}")
