"""Conversations that a model goes on from, cut as lm-evaluation-harness does.

A checkpoint's template gives one text, which is tokenized as a whole with the
special tokens that the template writes, and the begin token before it unless it
writes that, too. With our own templates the answer is tokenized apart, as it is
in training. Special tokens that a message spells stay letters.
"""

import dataclasses
from collections.abc import Sequence

from mlit_jax.data import chat
from mlit_jax.data.tokenizer_base import Tokenizer
from mlit_jax.evals.pairs import PairError
from mlit_jax.records import Message


class Opening(str):
  """A conversation as text, which remembers what it is made of.

  Attributes:
    segments: of the template; the last is open at its end.
  """

  segments: tuple[chat.Segment, ...]

  def __new__(cls, text: str, segments: Sequence[chat.Segment]):
    made = super().__new__(cls, text)
    made.segments = tuple(segments)
    return made

  def __getnewargs__(self):
    return str(self), self.segments


def opening(
    tokenizer: Tokenizer, form: chat.Form, messages: Sequence[Message]
) -> Opening:
  """A conversation up to where the model goes on.

  Args:
    tokenizer: of the model.
    form: the template.
    messages: the turns; a last one of the assistant's is begun, not ended.

  Raises:
    TemplateError, UsageError: the template cannot be used with these.
  """
  segments = form.open_segments(tokenizer, messages)
  texts = {id_: text for text, id_ in tokenizer.specials.items()}
  return Opening(
      "".join(
          piece if isinstance(piece, str) else texts.get(piece, "")
          for segment in segments for piece in segment.pieces
      ),
      segments,
  )


def ids(tokenizer: Tokenizer, opening: Opening) -> list[int]:
  """Ids of a conversation, ready for the model to go on."""
  *closed, last = opening.segments
  # White space before an answer that is not begun is the answer's.
  is_begun = any(not isinstance(p, str) or p.strip() for p in last.pieces)
  return _encode(tokenizer, [*closed, last] if is_begun else closed)


def encode(
    tokenizer: Tokenizer, opening: Opening, continuation: str, apart: bool
) -> tuple[list[int], list[int]]:
  """Ids of a conversation and of what is scored behind it.

  Args:
    tokenizer: of the model.
    opening: the conversation.
    continuation: what is scored; white space at the conversation's end goes
      with it.
    apart: whether the model is an encoder-decoder, which reads the
      conversation with its end token, and the continuation as a text of its
      own.

  Raises:
    PairError: the continuation has no tokens of its own.
  """
  *closed, last = opening.segments
  *pieces, end = last.pieces
  if isinstance(end, str):
    kept = end.rstrip()
    continuation = end[len(kept) :] + continuation
    end = type(end)(kept)
  before = _encode(
      tokenizer, [*closed, dataclasses.replace(last, pieces=(*pieces, end))]
  )
  if apart:
    before.append(tokenizer.eos_id)
    after = tokenizer.encode(continuation)
  else:
    whole = dataclasses.replace(last, pieces=(*pieces, end, continuation))
    after = _encode(tokenizer, [*closed, whole])[len(before) :]
  if not after:
    raise PairError(
        "the continuation has no tokens of its own; give one that is not empty"
    )
  return before, after


def _encode(tokenizer, segments: Sequence[chat.Segment]) -> list[int]:
  found = [
      id_ for segment in segments
      for id_ in chat.encode_segment(tokenizer, segment)
  ]
  begin = list(tokenizer.begin_ids)
  return found if found[: len(begin)] == begin else begin + found
