"""The two orders of a comparison, put together."""

import collections
import dataclasses
from collections.abc import Iterable

from mlit_jax import records
from mlit_jax.judging import items


@dataclasses.dataclass(frozen=True)
class Pair:
  """The two judgments of one question, one in each order."""

  ab: records.Judgment
  ba: records.Judgment

  @property
  def failed(self) -> bool:
    return bool(self.ab.failure or self.ba.failure)

  @property
  def value(self) -> float | None:
    """For system a: 1 won, 0 lost, 0.5 neither; None if an order failed."""
    if self.failed:
      return None
    return {("a", "a"): 1.0, ("b", "b"): 0.0}.get(
        (self.ab.verdict, self.ba.verdict), 0.5
    )

  @property
  def flipped(self) -> bool:
    """Whether the verdict changed with the order; False if an order failed."""
    return not self.failed and self.ab.verdict != self.ba.verdict


def pair_up(judgments: Iterable[records.Judgment]) -> list[Pair]:
  """Puts the two orders of each question together.

  Of k samples, the i-th in one order meets the i-th in the other: k pairs, of
  which the mean value is the item's.

  Returns:
    A pair per (id, lang, turn, sample), in the order of their first judgment.

  Raises:
    ValueError: the judgments compare more than one pair of systems, by more
      than one judge or protocol; or a question has not exactly one judgment
      in each order.
  """
  orders = collections.defaultdict(lambda: collections.defaultdict(list))
  comparisons = set()
  for j in judgments:
    comparisons.add((j.protocol, j.judge, j.system_a, j.system_b))
    orders[j.id, j.lang, j.turn, j.sample][j.order].append(j)
  if len(comparisons) > 1:
    raise ValueError(
        "expected the judgments of one comparison (protocol, judge, system a,"
        f" system b), not of {items.names(comparisons)}"
    )
  odd = {
      (id_, lang)
      for (id_, lang, *_), found in orders.items()
      if any(len(found[order]) != 1 for order in records.ORDERS)
  }
  if odd:
    raise ValueError(
        f"not exactly one judgment in each order for {items.names(odd)}"
    )
  return [Pair(found["ab"][0], found["ba"][0]) for found in orders.values()]
