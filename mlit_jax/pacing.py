"""How fast and for how much a paid service is asked: rate, retries, budget."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable


class TokenBucket:
  """Lets through so many units a minute, first come, first served.

  A second's worth may pass at once; what is larger passes whole, and the next
  waits until it is paid off, so that the rate holds over any longer time.
  """

  def __init__(
      self,
      per_minute: float,
      clock: Callable[[], float] = time.monotonic,
      sleep: Callable[[float], Awaitable] = asyncio.sleep,
  ):
    """Starts full; `per_minute` must be positive."""
    if not per_minute > 0:
      raise ValueError(f"a rate of {per_minute} a minute lets nothing through")
    self._per_second = per_minute / 60
    self._clock, self._sleep = clock, sleep
    # When everything let through so far will have been paid off.
    self._paid_off = clock() - 1.0

  async def take(self, amount: float) -> None:
    """Waits until `amount` may pass."""
    now = self._clock()
    begin = max(self._paid_off, now - 1.0)
    self._paid_off = begin + amount / self._per_second
    if begin > now:
      await self._sleep(begin - now)


class Backoff:
  """How long to wait before asking again: exponential with full jitter.

  Attempt n (from 1) waits for a random time of up to `base * 2**(n - 1)`
  seconds, at most `longest` (Brooker, "Exponential Backoff And Jitter", AWS
  Architecture Blog, 2015), and never less than the service asked for.

  Attributes:
    attempts: how often a request is sent at most.
  """

  def __init__(
      self,
      attempts: int = 8,
      base: float = 1.0,
      longest: float = 60.0,
      seed: int | None = None,
  ):
    self.attempts = attempts
    self._base, self._longest = base, longest
    self._random = random.Random(seed)

  def delay(self, attempt: int, at_least: float = 0.0) -> float:
    """Seconds to wait after that attempt has failed."""
    most = min(self._longest, self._base * 2 ** (attempt - 1))
    return at_least + self._random.uniform(0, most)


class OverBudget(Exception):
  """The next request might cost more than is left; it was not sent."""


class Budget:
  """Counts what is spent and stops before it is more than the cap.

  A request's cost is reserved before it is sent, and given back when the
  service refused it; what may have been worked on (a time-out) stays counted.

  Attributes:
    spent: so far, what is in flight included.
    cap: the most that may be spent, or None.
  """

  def __init__(self, cap: float | None = None):
    self.cap = cap
    self.spent = 0.0

  def reserve(self, cost: float) -> None:
    """Counts a request that is about to be sent.

    Raises:
      OverBudget: it does not fit under the cap; nothing is counted.
    """
    # Sums of prices round: a thousandth of a cent is no reason to stop.
    if self.cap is not None and self.spent + cost > self.cap + 1e-5:
      raise OverBudget
    self.spent += cost

  def give_back(self, cost: float) -> None:
    """Takes back what a refused request would have cost."""
    self.spent -= cost
