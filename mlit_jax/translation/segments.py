"""A text as what is translated and what is kept.

Blocks of code and of LaTeX never reach the service, nor does white space at
the ends; the rest becomes segments, with markers for the spans inside them.
"""

import dataclasses
import re
from collections.abc import Callable

from mlit_jax.translation import spans as spans_lib

# On lines of their own: fenced code (an open fence runs to the end), LaTeX.
_BLOCK = re.compile(
    r"^[ \t]*(?P<fence>`{3,9}|~{3,9})[^\n]*\n"
    r"(?:.*?^[ \t]*(?P=fence)[`~]*[ \t]*$|.*)"
    r"|^[ \t]*\$\$.{1,5000}?\$\$[ \t]*$"
    r"|^[ \t]*\\\[(?:(?!\\\[).){1,5000}?\\\][ \t]*$"
    r"|^[ \t]*\\begin\{(?P<env>[a-zA-Z]+\*?)\}(?:(?!\\begin).){0,5000}?"
    r"\\end\{(?P=env)\}[ \t]*$",
    re.DOTALL | re.MULTILINE,
)


@dataclasses.dataclass(frozen=True)
class Segment:
  """What is sent to a service.

  Attributes:
    text: with markers.
    spans: what the markers stand for.
  """

  text: str
  spans: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Text:
  """A whole text: kept strings and segments that follow one another."""

  parts: tuple[str | Segment, ...]

  @property
  def segments(self) -> tuple[Segment, ...]:
    return tuple(p for p in self.parts if isinstance(p, Segment))

  def translated(self, reply: Callable[[Segment], str]) -> str:
    """The text with every segment's reply, its spans restored."""
    return "".join(
        p if isinstance(p, str) else spans_lib.restore(reply(p), p.spans)
        for p in self.parts
    )


def parse(text: str, max_length: int) -> Text:
  """Takes a text apart.

  Args:
    text: any text.
    max_length: a segment's greatest length in code points, markers
      included.
  """
  parts: list[str | Segment] = []
  position = 0
  for block in _BLOCK.finditer(text):
    parts += _running(text[position : block.start()], max_length)
    parts.append(block.group())
    position = block.end()
  parts += _running(text[position:], max_length)
  return Text(tuple(part for part in parts if part))


def _running(text: str, max_length: int) -> list[str | Segment]:
  parts = []
  for piece in spans_lib.split(spans_lib.protect(text), max_length):
    body = piece.text.strip()
    if not any(c.isalpha() for c in spans_lib.strip_markers(body)):
      parts.append(spans_lib.restore(piece.text, piece.spans))
      continue
    begin = piece.text.index(body)
    parts += [
        piece.text[:begin],
        Segment(body, piece.spans),
        piece.text[begin + len(body) :],
    ]
  return parts
