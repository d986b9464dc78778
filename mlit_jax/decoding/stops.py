"""Stop strings: found across token boundaries, in text that is never broken."""

from collections.abc import Sequence
from typing import Protocol


class Text(Protocol):
  """Turns tokens into text as they come (data.tokenizers.StreamDecoder)."""

  def push(self, token: int) -> str:
    """The text that is certain now; a character that is not whole waits."""

  def flush(self) -> str:
    """The rest."""


class Stop:
  """Looks for strings in an answer as it comes."""

  def __init__(self, strings: Sequence[str], text: Text):
    """Begins an answer.

    Args:
      strings: none is empty.
      text: of this answer alone.
    """
    self._strings, self._stream = tuple(strings), text
    self._longest = max(map(len, strings))
    self._text, self._end = "", None

  def push(self, token: int) -> bool:
    """Takes a token; whether a stop string has come."""
    return self._add(self._stream.push(token))

  def flush(self) -> bool:
    """Takes what had to wait; whether a stop string has come with it."""
    return self._add(self._stream.flush())

  def text(self) -> str:
    """The answer before the first stop string, or all of it."""
    if self._end is None:
      self.flush()
    return self._text[: self._end]

  def _add(self, new: str) -> bool:
    if not new or self._end is not None:
      return self._end is not None
    start = max(len(self._text) - self._longest + 1, 0)
    self._text += new
    ends = [self._text.find(s, start) for s in self._strings]
    self._end = min((end for end in ends if end >= 0), default=None)
    return self._end is not None
