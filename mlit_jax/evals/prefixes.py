"""Which beginnings do contexts share? What is shared is read once."""

from collections.abc import Sequence
from typing import NamedTuple

# Less than this is not worth a cache.
_LEAST = 8


class Pair(NamedTuple):
  """A continuation to score, in tokens.

  Attributes:
    id: names it in results.
    context: what is given; at least one token.
    continuation: what is scored; both fit the model (pairs.truncate).
  """

  id: str
  context: tuple[int, ...]
  continuation: tuple[int, ...]


class Group(NamedTuple):
  """Pairs and the beginning that their contexts share.

  Attributes:
    prefix: tokens, at least one less than any of the contexts has: what their
      last token predicts is scored. Empty for a pair that is alone.
    pairs: whose contexts begin with it.
  """

  prefix: tuple[int, ...]
  pairs: list[Pair]


def groups(pairs: Sequence[Pair]) -> list[Group]:
  """Puts pairs together as long as that saves tokens.

  In the order of their contexts neighbours share most. A pair joins a group if
  the group then saves no fewer tokens: the prefix shrinks, one more has it.
  """
  found: list[Group] = []
  prefix: tuple[int, ...] = ()
  members: list[Pair] = []

  def finish():
    if len(members) > 1:
      found.append(Group(prefix, members))
    elif members:
      found.append(Group((), members))

  for pair in sorted(pairs, key=lambda p: p.context):
    before = pair.context[:-1]
    common = _common(prefix, before)
    saved, saves = (len(members) - 1) * len(prefix), len(members) * common
    if members and common >= _LEAST and saves >= saved:
      members.append(pair)
      prefix = prefix[:common]
      continue
    finish()
    prefix, members = before, [pair]
  finish()
  return found


def _common(first: Sequence[int], second: Sequence[int]) -> int:
  shorter = min(len(first), len(second))
  for i in range(shorter):
    if first[i] != second[i]:
      return i
  return shorter
