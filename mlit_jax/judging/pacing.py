"""How fast a provider may be asked, how long to wait, and what it may cost."""

import asyncio
import dataclasses
import random
from collections.abc import Mapping

from mlit_jax.judging import judges

# Nobody's tokenizer is known here: four bytes of UTF-8 are taken for a token.
_BYTES_PER_TOKEN = 4
_PER_MESSAGE = 8


class Retry(Exception):
  """A request that failed for now.

  Attributes:
    after: seconds the provider asked to wait, or None.
    paid: whether there was a reply, of which too little came.
  """

  def __init__(
      self, reason: str, after: float | None = None, *, paid: bool = False
  ):
    super().__init__(reason)
    self.after, self.paid = after, paid


class Rejected(Exception):
  """A request that the provider will not take, however often it is asked."""


class CapReached(judges.JudgeError):
  """The next request might have cost more than was allowed."""


@dataclasses.dataclass(frozen=True)
class Limits:
  """How a provider is asked.

  Attributes:
    concurrency: requests under way at a time.
    requests_per_minute, tokens_per_minute: 0 for no limit.
    timeout: seconds to wait for a reply.
    attempts: how often a request is sent before it counts as failed.
    first_wait: seconds before the second attempt, twice as long before each
      next one, up to `longest_wait`; a little less by chance, so that requests
      that failed together do not return together.
    longest_wait: also the longest Retry-After that is waited for.
    max_cost: in the currency of the prices; 0 for no cap.
    prices: of a million input tokens and a million output tokens.
  """

  concurrency: int = 16
  requests_per_minute: float = 0
  tokens_per_minute: float = 0
  timeout: float = 120
  attempts: int = 8
  first_wait: float = 0.5
  longest_wait: float = 60
  max_cost: float = 0
  prices: tuple[float, float] = (0, 0)

  def wait(self, attempt: int, after: float | None) -> float:
    """Seconds to wait after the failure of an attempt (from 1)."""
    wait = min(self.longest_wait, self.first_wait * 2 ** (attempt - 1))
    wait *= random.uniform(0.5, 1)
    return wait if after is None else after + wait

  def cost(self, usage: Mapping[str, int]) -> float:
    """What tokens cost."""
    each = zip(("input", "output"), self.prices, strict=True)
    return sum(usage.get(name, 0) * price for name, price in each) / 1e6


def estimate(request: judges.Request, *, at_most: bool = False) -> int:
  """Tokens of a request, roughly, or surely not more than they are."""
  size = sum(len(m.content.encode()) for m in request.prompt)
  size = size if at_most else -(-size // _BYTES_PER_TOKEN)
  return size + _PER_MESSAGE * len(request.prompt)


class Pace:
  """Lets things through at a rate, evenly."""

  def __init__(self, per_minute: float):
    self._seconds_each = 60 / per_minute if per_minute else 0
    self._free = 0.0

  async def wait(self, amount: float) -> None:
    """Returns once it is the turn of `amount` things."""
    if self._seconds_each:
      now = asyncio.get_running_loop().time()
      turn = max(now, self._free)
      self._free = turn + amount * self._seconds_each
      await asyncio.sleep(turn - now)

  def correct(self, amount: float) -> None:
    """Says that there were so many more (or fewer) than announced."""
    self._free += amount * self._seconds_each


class Budget:
  """Money: never lets a request go whose cost might pass the cap."""

  def __init__(self, limits: Limits):
    self._limits = limits
    self._reserved = 0.0
    self._changed = asyncio.Event()
    self.spent = 0.0

  async def reserve(self, usage: Mapping[str, int]) -> float:
    """Sets aside what a request might cost.

    Waits for requests under way if only they stand in the way.

    Raises:
      CapReached: there is not enough left.
    """
    amount, cap = self._limits.cost(usage), self._limits.max_cost
    while cap and self.spent + self._reserved + amount > cap:
      if not self._reserved:
        raise CapReached(
            f"stopped at {self.spent:.4f} spent: the next request might pass"
            f" the cap of {cap:g}"
        )
      self._changed.clear()
      await self._changed.wait()
    self._reserved += amount
    return amount

  def settle(self, reserved: float, usage: Mapping[str, int]) -> None:
    """Puts what a request did cost in the place of what was set aside."""
    self._reserved = max(0.0, self._reserved - reserved)
    if self._reserved < 1e-12:  # sums of floats do not end at 0
      self._reserved = 0.0
    self.spent += self._limits.cost(usage)
    self._changed.set()
