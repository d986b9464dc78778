"""Rates, retries and budgets, on a clock of their own."""

import asyncio

import pytest

from mlit_jax import pacing


class Clock:
  """A clock that sleeping moves."""

  def __init__(self):
    self.now = 100.0
    self.waited = []

  def __call__(self):
    return self.now

  async def sleep(self, seconds):
    self.waited.append(seconds)


def _bucket(per_minute):
  clock = Clock()
  return clock, pacing.TokenBucket(per_minute, clock, clock.sleep)


def test_the_rate_holds_after_the_first_second():
  clock, bucket = _bucket(600)  # ten a second
  for _ in range(5):
    asyncio.run(bucket.take(5))
  # Ten at once and the next five as they are due, then half a second each.
  assert clock.waited == pytest.approx([0.5, 1.0])


def test_what_was_not_used_is_not_saved_up():
  clock, bucket = _bucket(60)
  clock.now += 1000
  for _ in range(3):
    asyncio.run(bucket.take(1))
  assert clock.waited == pytest.approx([1.0])


def test_a_large_request_passes_and_holds_up_the_next():
  clock, bucket = _bucket(60)
  asyncio.run(bucket.take(30))
  asyncio.run(bucket.take(1))
  assert clock.waited == pytest.approx([29.0])


def test_a_rate_of_nothing_is_refused():
  with pytest.raises(ValueError, match="nothing"):
    pacing.TokenBucket(0)


def test_backoff_doubles_up_to_the_longest_with_full_jitter():
  backoff = pacing.Backoff(base=2.0, longest=10.0, seed=0)
  for attempt, most in ((1, 2), (2, 4), (3, 8), (4, 10), (9, 10)):
    delays = [backoff.delay(attempt) for _ in range(400)]
    assert 0.97 * most < max(delays) <= most
    assert min(delays) < 0.03 * most
  assert min(backoff.delay(1, at_least=5) for _ in range(100)) >= 5


def test_a_budget_stops_before_the_cap():
  budget = pacing.Budget(1.0)
  for _ in range(10):
    budget.reserve(0.1)  # which sums to a little less than 1
  with pytest.raises(pacing.OverBudget):
    budget.reserve(0.1)
  assert budget.spent == pytest.approx(1.0)
  budget.give_back(0.1)
  budget.reserve(0.1)
  unlimited = pacing.Budget()
  unlimited.reserve(1e9)
  assert unlimited.spent == 1e9
