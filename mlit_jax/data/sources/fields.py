"""What readers take out of raw rows, checked."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import languages
from mlit_jax.data.quality import BadRow, check_text
from mlit_jax.data.sources.source import Wanted
from mlit_jax.errors import UsageError
from mlit_jax.records import Message

# Who speaks, as the formats in use call them.
_ROLES = {
    "system": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant",
}


def text(row: Mapping[str, Any], name: str) -> str:
  """A text that must be there and say something.

  Raises:
    BadRow: missing_field, wrong_type, empty or surrogate.
  """
  if name not in row:
    raise BadRow(
        "missing_field", f"no {name!r}; the row has {sorted(map(str, row))}"
    )
  value = row[name]
  if not isinstance(value, str):
    kind = "empty" if value is None else "wrong_type"
    raise BadRow(kind, f"{name!r} must be text, not {value!r:.60}")
  check_text(name, value)
  return value


def optional(row: Mapping[str, Any], name: str) -> str:
  """A text that may be missing or empty.

  Raises:
    BadRow: wrong_type or surrogate.
  """
  value = row.get(name)
  return "" if value is None or value == "" else text(row, name)


def number_or_text(row: Mapping[str, Any], name: str) -> str:
  """An id, which some formats write as a number.

  Raises:
    BadRow: as text().
  """
  value = row.get(name)
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)
  return text(row, name)


def language(code: str) -> str:
  """The short code; a region behind it (pt-BR) is left out.

  Raises:
    BadRow: unknown_language.
  """
  try:
    return languages.get(code).code
  except languages.UnknownLanguageError as e:
    base, _, rest = re.sub("_", "-", code).partition("-")
    if re.fullmatch("[A-Za-z]{2}|[0-9]{3}", rest):
      return language(base)
    raise BadRow("unknown_language", str(e)) from None


def known_language(code: str, wanted: Wanted) -> str | None:
  """As language(), but None for an unknown one that nobody asked for.

  Some datasets have languages that the registry has not; those are bad rows
  only where all of the dataset is wanted.
  """
  try:
    return language(code)
  except BadRow:
    if wanted.languages is None:
      raise
    return None


def check_turns(turns: str) -> None:
  """Refuses an option `turns` that is neither `first` nor `all`.

  Raises:
    UsageError: it is neither.
  """
  if turns not in ("first", "all"):
    raise UsageError(f"turns is first or all, not {turns!r}")


def ask(instruction: str, context: str) -> tuple[Message, ...]:
  """One question, what it is about standing below it."""
  content = f"{instruction}\n\n{context}" if context else instruction
  return (Message("user", content),)


def conversation(turns: Any) -> tuple[tuple[Message, ...], str]:
  """Messages up to the user's last turn, and the reply to it or "".

  Args:
    turns: {role, content} or {from, value}, one after another, or their
      columns (as TFDS gives them).

  Raises:
    BadRow: turns, wrong_type, empty or surrogate.
  """
  if isinstance(turns, Mapping) and turns and all(
      isinstance(column, Sequence) for column in turns.values()
  ):
    if len({len(column) for column in turns.values()}) != 1:
      raise BadRow("turns", "the columns of the turns differ in length")
    turns = [
        dict(zip(turns, turn, strict=True))
        for turn in zip(*turns.values(), strict=True)
    ]
  if not isinstance(turns, list) or not turns:
    raise BadRow("wrong_type", f"turns must be a list, not {turns!r:.60}")
  messages = []
  for turn in turns:
    if not isinstance(turn, Mapping):
      raise BadRow("wrong_type", f"a turn must be an object, not {turn!r:.60}")
    style = ("from", "value") if "from" in turn else ("role", "content")
    role = text(turn, style[0])
    if role not in _ROLES:
      raise BadRow("wrong_value", f"the role {role!r:.40} is not known")
    messages.append(Message(_ROLES[role], text(turn, style[1])))
  return split_reply(messages)


def split_reply(
    messages: Sequence[Message],
) -> tuple[tuple[Message, ...], str]:
  """Takes the reply off the end of a conversation.

  Raises:
    BadRow: turns, where user and assistant do not take turns.
  """
  rest = [m for m in messages if m.role != "system"]
  roles = [m.role for m in rest]
  expected = ["user", "assistant"] * (len(roles) // 2 + 1)
  if not roles or roles != expected[: len(roles)] or (
      "system" in [m.role for m in messages[1:]]
  ):
    raise BadRow("turns", f"the turns are of {[m.role for m in messages]}")
  if roles[-1] == "user":
    return tuple(messages), ""
  return tuple(messages[:-1]), messages[-1].content


def first_turn(
    messages: Sequence[Message], response: str
) -> tuple[tuple[Message, ...], str]:
  """The beginning of a conversation: the first question and its reply."""
  first = next(n for n, m in enumerate(messages) if m.role == "user")
  replies = [m.content for m in messages[first + 1 :]] + [response]
  return tuple(messages[: first + 1]), replies[0]
