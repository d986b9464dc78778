"""Gets translations of segments: from the store, or from a service.

Requests are packed under the back end's limits and sent by a bounded number of
workers; every reply is in the store before the next request is sent, so a run
that stops for any reason goes on where it was.
"""

import asyncio
import collections
import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

from mlit_jax import cache as cache_lib
from mlit_jax import pacing
from mlit_jax.translation import backends, in_flight

# Replies that do not fit their request are asked for again once; then the
# request is halved, down to the segment that causes it.
_TRIES_OF_BAD_REPLIES = 2
# A segment alone is asked for more often: after that its row has failed.
_TRIES_OF_ONE = 4
# A service that has failed so many segments and translated none is given up.
_HOPELESS = 10
# Why a run stopped: the next request would have gone over the cap.
BUDGET = "budget"


class _Stopped(Exception):
  """Nothing more may be sent."""


@dataclasses.dataclass(frozen=True)
class Job:
  """A text to translate.

  Attributes:
    text: with markers.
    source, target: short codes.
    key: of its reply in the store.
  """

  text: str
  source: str
  target: str
  key: str


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a service is asked.

  Attributes:
    concurrency: requests under way at once.
    per_minute: characters a minute.
    price: of a million characters, in any currency.
    max_cost: what a run may cost at most; None has no cap.
    timeout: seconds until a request without a reply is given up.
    backoff: how often and how fast a request is repeated.
  """

  concurrency: int = 8
  per_minute: float = 6_000_000
  price: float = 0.0
  max_cost: float | None = None
  timeout: float = 90.0
  backoff: pacing.Backoff = dataclasses.field(default_factory=pacing.Backoff)


@dataclasses.dataclass
class Outcome:
  """What a run did.

  Attributes:
    segments: replies that were stored.
    characters: code points sent, repeats included.
    cost: what that may have cost.
    requests: how often a service was asked.
    repeated: why requests were repeated -> how often.
    failed: key -> why there is no reply.
    stopped: why the run ended early; "" if it did not.
    interrupted: what earlier runs had in flight when they were killed.
  """

  segments: int = 0
  characters: int = 0
  cost: float = 0.0
  requests: int = 0
  repeated: collections.Counter = dataclasses.field(
      default_factory=collections.Counter
  )
  failed: dict[str, str] = dataclasses.field(default_factory=dict)
  stopped: str = ""
  interrupted: in_flight.Interrupted = dataclasses.field(
      default_factory=in_flight.Interrupted
  )


def key(backend: backends.Backend, text: str, source: str, target: str) -> str:
  """The name of a reply in the store."""
  return cache_lib.key(
      kind="translation",
      backend=dict(backend.identity(source, target)),
      source=source,
      target=target,
      text=text,
  )


class Translator:
  """Runs jobs through a back end; `stop` ends a run cleanly."""

  def __init__(
      self,
      backend: backends.Backend,
      store: cache_lib.Cache,
      settings: Settings,
      show: Callable[[Outcome], None] = lambda outcome: None,
  ):
    self._backend, self._store = backend, store
    self._settings, self._show = settings, show
    self._bucket = pacing.TokenBucket(settings.per_minute)
    self._budget = pacing.Budget(settings.max_cost)
    self._journal = in_flight.InFlight(store, settings.concurrency)
    self.outcome = Outcome(interrupted=self._journal.interrupted)

  def stop(self, why: str) -> None:
    """Sends nothing more; what is under way is waited for and stored."""
    self.outcome.stopped = self.outcome.stopped or why

  async def run(self, jobs: Iterable[Job]) -> Outcome:
    """Gets a reply for every job that the store has none for.

    Raises:
      BackendError: the service cannot be used, or a request failed as often as
        it may. All that was under way is in the store.
    """
    requests = self._requests(iter(jobs))
    workers = [
        asyncio.create_task(self._work(requests))
        for _ in range(self._settings.concurrency)
    ]
    try:
      results = await asyncio.gather(*workers, return_exceptions=True)
    finally:
      for worker in workers:
        worker.cancel()
      await self._backend.close()
    # Not when cancelled: then the journal tells the next run.
    self._journal.close()
    self.outcome.cost = self._budget.spent
    errors = [e for e in results if isinstance(e, BaseException)]
    if errors:
      raise errors[0]
    return self.outcome

  async def _work(self, requests: Iterator[list[Job]]) -> None:
    try:
      for request in requests:
        if self.outcome.stopped:
          return
        await self._finish(request)
        self._show(self.outcome)
    except _Stopped:
      return
    except pacing.OverBudget:
      self.stop(BUDGET)
    except Exception:
      self.stop("error")
      raise

  def _requests(self, jobs: Iterator[Job]) -> Iterator[list[Job]]:
    """Packs what is missing; a request has one pair of languages."""
    limits = self._backend
    packed: list[Job] = []
    size = 0
    # Texts that repeat are asked for once.
    under_way: set[str] = set()
    for job in jobs:
      if job.key in self._store or job.key in under_way:
        continue
      full = packed and (
          len(packed) == limits.max_segments
          or size + len(job.text) > limits.max_characters
          or (packed[0].source, packed[0].target) != (job.source, job.target)
      )
      if full:
        yield packed
        packed, size = [], 0
        under_way = {k for k in under_way if k not in self._store}
      packed.append(job)
      under_way.add(job.key)
      size += len(job.text)
    if packed:
      yield packed

  async def _finish(self, request: list[Job]) -> None:
    """Asks until every job of a request has a reply or has failed."""
    todo = [request]
    while todo:
      request, reason = todo.pop(), ""
      alone = len(request) == 1
      for _ in range(_TRIES_OF_ONE if alone else _TRIES_OF_BAD_REPLIES):
        if reason:
          self.outcome.repeated[reason] += 1
        request, reason = await self._ask_and_store(request)
        refused = reason.startswith("refused")
        if not request or refused:
          break
      if len(request) == 1 and (alone or refused):
        self._fail(request[0], reason)
      elif len(request) == 1:  # what is left over of a larger one
        todo.append(request)
      elif request:
        self.outcome.repeated["halved"] += 1
        middle = len(request) // 2
        todo += [request[middle:], request[:middle]]

  def _fail(self, job: Job, reason: str) -> None:
    self.outcome.failed[job.key] = reason
    if not self.outcome.segments and len(self.outcome.failed) >= _HOPELESS:
      raise backends.BackendError(
          f"{self._backend.name} translates nothing: {reason}"
      )

  async def _ask_and_store(self, request: list[Job]) -> tuple[list[Job], str]:
    """Sends a request; returns the jobs without a usable reply, and why."""
    try:
      replies, slot = await self._ask(request)
    except backends.Rejected as e:
      return request, f"refused: {e}"
    try:
      if reason := _unusable(request, replies):
        return request, reason
      good = {
          job.key: {"text": reply}
          for job, reply in zip(request, replies, strict=True)
          if reply is not None
      }
      # The disk must not hold up the other requests.
      await asyncio.to_thread(self._store.put_many, good)
    finally:
      self._journal.end(slot)
    self.outcome.segments += len(good)
    return [job for job in request if job.key not in good], "unusable reply"

  async def _ask(self, request: list[Job]) -> tuple[list[str | None], int]:
    """Sends a request, again and again where the service could not answer.

    Returns:
      The replies and the request's slot in the journal, which stays taken
      until they are stored.
    """
    settings, texts = self._settings, [job.text for job in request]
    size = sum(map(len, texts))
    cost = size * settings.price / 1e6
    for attempt in range(1, settings.backoff.attempts + 1):
      await self._bucket.take(size)
      if self.outcome.stopped:
        raise _Stopped
      self._budget.reserve(cost)
      self.outcome.requests += 1
      self.outcome.characters += size
      slot = self._journal.begin(request[-1].key, len(request), size)
      try:
        async with asyncio.timeout(settings.timeout):
          replies = await self._backend.translate(
              texts, request[0].source, request[0].target
          )
        return replies, slot
      except TimeoutError:
        error = backends.Transient("no reply in time", was_sent=True)
      except backends.Transient as e:
        error = e
      except backends.Rejected:
        self._budget.give_back(cost)
        self._journal.end(slot)
        raise
      self._journal.end(slot)
      if not error.was_sent:
        self._budget.give_back(cost)
      if self.outcome.stopped:
        raise _Stopped
      self.outcome.repeated[str(error).partition(":")[0]] += 1
      await asyncio.sleep(settings.backoff.delay(attempt, error.retry_after))
    raise backends.BackendError(
        f"{self._backend.name} did not answer {attempt} times in a row"
        f" ({error}); the same command goes on from here"
    )


def _unusable(request: Sequence[Job], replies: Sequence[str | None]) -> str:
  """Why replies cannot be matched with the request; "" if they can."""
  if len(replies) != len(request):
    return "too few or too many replies"
  if misordered([job.text for job in request], replies):
    return "replies in another order"
  return ""


def misordered(texts: Sequence[str], replies: Sequence[str | None]) -> bool:
  """Whether replies seem to have changed places.

  A reply carries no name, but its markers and numbers tell whose it is: where
  two or more replies do not fit their own text but another one that lacks its
  own, places were changed. Texts without either cannot be told apart.
  """
  marks = [_marks(text) for text in texts]
  # Place -> whose marks its reply has instead of its own.
  found = {
      place: _marks(reply)
      for place, reply in enumerate(replies)
      if reply is not None and _marks(reply) != marks[place]
  }
  owners = collections.Counter(marks[place] for place in found)
  return sum(owners[mark] > 0 for mark in found.values()) > 1


def _marks(text: str) -> tuple[str, ...]:
  """The markers and numbers of a text, in any script's digits, sorted."""
  return tuple(
      sorted(
          "".join(str(unicodedata.digit(char)) for char in number)
          for number in re.findall(r"\d+", text)
      )
  )
