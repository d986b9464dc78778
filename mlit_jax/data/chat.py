"""Conversations as tokens: the same ids in training and in decoding.

A conversation is cut into segments at the beginning and the end of every
answer, and each segment is tokenized on its own. So no token lies across the
place where decoding begins, and training sees the very ids that decoding sees.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Protocol

from mlit_jax.data.tokenizer_base import Tokenizer
from mlit_jax.errors import UsageError
from mlit_jax.records import Message


class Mark(str):
  """Text of the template's own: special tokens in it are tokens."""


@dataclasses.dataclass(frozen=True)
class Segment:
  """Text that is tokenized on its own.

  Attributes:
    pieces: texts of users and answers (str), of the template (Mark), and ids.
    learnt: whether its tokens are an answer and its end.
    continues: whether it goes on from the text before it.
  """

  pieces: tuple[str | int, ...]
  learnt: bool = False
  continues: bool = False


@dataclasses.dataclass(frozen=True)
class Encoded:
  """A conversation's ids, and 1 where the loss counts."""

  ids: list[int]
  loss_mask: list[int]


class Form(Protocol):
  """A template: one of ours (templates.py) or a checkpoint's own."""

  name: str

  def segments(
      self, tokenizer: Tokenizer, messages: Sequence[Message]
  ) -> list[Segment]:
    """The conversation; after a user's turn, up to where the answer begins."""

  def open_segments(
      self, tokenizer: Tokenizer, messages: Sequence[Message]
  ) -> list[Segment]:
    """What the model goes on from; the last segment is open at its end.

    Where the last turn is the assistant's, it is an answer that is begun.
    """

  def end_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end an answer; the one that is learnt first."""

  def read(self, text: str) -> str:
    """An answer as it was meant, from the text that was decoded."""


def encode_conversation(
    tokenizer: Tokenizer, form: Form, messages: Sequence[Message]
) -> Encoded:
  """A conversation for training: loss on every answer and its end token.

  Args:
    tokenizer: of the model.
    form: the template.
    messages: the turns; the last is the assistant's.
  """
  if not messages or messages[-1].role != "assistant":
    raise UsageError("a conversation to learn from ends with an answer")
  ids, mask = [], []
  for segment in form.segments(tokenizer, messages):
    new = encode_segment(tokenizer, segment)
    ids += new
    mask += [int(segment.learnt)] * len(new)
  return Encoded(ids, mask)


def encode_prompt(
    tokenizer: Tokenizer, form: Form, messages: Sequence[Message]
) -> list[int]:
  """Ids of a prompt, ready for the answer: what training has before it."""
  if not messages or messages[-1].role == "assistant":
    raise UsageError("a prompt ends with the user's turn")
  return [
      id_
      for segment in form.segments(tokenizer, messages)
      for id_ in encode_segment(tokenizer, segment)
  ]


def grouped(messages: Sequence[Message]) -> list[tuple[str, list[str]]]:
  """Turns: messages of one role in a row belong together."""
  return [
      (role, [m.content for m in group])
      for role, group in itertools.groupby(messages, key=lambda m: m.role)
  ]


def encode_segment(tokenizer: Tokenizer, segment: Segment) -> list[int]:
  """Ids of one segment."""
  ids: list[int] = []
  text, continues = "", segment.continues
  for part in _with_specials(tokenizer, segment.pieces):
    if isinstance(part, str):
      text += part
      continue
    ids += tokenizer.encode(text, continues=continues)
    ids.append(part)
    text, continues = "", not tokenizer.prefixes_after_special
  return ids + tokenizer.encode(text, continues=continues)


def _with_specials(tokenizer, pieces) -> Iterator[str | int]:
  """The pieces, with the ids of the special tokens in a template's marks."""
  for piece in pieces:
    if not isinstance(piece, Mark):
      yield piece
      continue
    start = 0
    for match in tokenizer.special_pattern.finditer(piece):
      yield str(piece[start : match.start()])
      yield tokenizer.specials[match.group()]
      start = match.end()
    yield str(piece[start:])
