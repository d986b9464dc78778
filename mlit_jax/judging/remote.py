"""Judges behind an API: every reply is kept, none is paid for twice.

A reply is stored under the hash of everything that could change it before
another request takes its place. What is stored is never asked for again,
whatever became of the run. The disk is told to keep it meanwhile (fsync): a
power cut can cost the replies of the last moment, `kill -9` none.
"""

import asyncio
import contextlib
import dataclasses
import gc
import os
import pathlib
import threading
from collections.abc import (
    Awaitable,
    Callable,
    Container,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, Protocol

from mlit_jax import cache
from mlit_jax.judging import judges, pacing

Ask = Callable[[judges.Request], Awaitable[judges.Reply]]
# So many failures in a row, from the start on, mean that nothing works.
_HOPELESS = 20
# Seconds from one first request to the next. Requests that leave together
# return together, and wait for each other ever after.
_APART = 0.004


class Vendor(Protocol):
  """A provider's protocol.

  Attributes:
    identity: everything about the judge that could change a reply: model,
      address, sampling. No credentials.
    max_tokens: the longest reply.
  """

  identity: Mapping[str, Any]
  max_tokens: int

  def session(self) -> contextlib.AbstractAsyncContextManager[Ask]:
    """Opens connections; gives what asks one request.

    Asking raises pacing.Retry, pacing.Rejected, or JudgeError if no request
    will be answered (a wrong key, an unknown model).
    """


@dataclasses.dataclass(frozen=True)
class Plan:
  """What judging would take.

  Attributes:
    requests: different requests.
    stored: how many of them have been answered.
    input_tokens, output_tokens: of the others: estimated, and the most that
      replies may have.
    cost: of these tokens.
  """

  requests: int
  stored: int
  input_tokens: int
  output_tokens: int
  cost: float


def name(identity: Mapping[str, Any], request: judges.Request) -> str:
  """The key under which a judge's reply to a request is stored."""
  return cache.key(
      judge=dict(identity),
      messages=[[m.role, m.content] for m in request.prompt],
      order=request.order,
      sample=request.sample,
  )


def row(reply: judges.Reply) -> dict[str, Any]:
  """A reply as it is stored."""
  # Half a character of a cut reply has no place in UTF-8.
  text = reply.text.encode("utf-8", "replace").decode()
  return {**dataclasses.asdict(reply), "text": text}


def plan(
    identity: Mapping[str, Any],
    max_tokens: int,
    store: Container[str],
    limits: pacing.Limits,
    requests: Sequence[judges.Request],
) -> Plan:
  """Estimates what the requests would take, without asking anything."""
  different = {name(identity, request): request for request in requests}
  rest = [r for key, r in different.items() if key not in store]
  usage = {
      "input": sum(map(pacing.estimate, rest)),
      "output": len(rest) * max_tokens,
  }
  return Plan(
      len(different), len(different) - len(rest), *usage.values(),
      limits.cost(usage),
  )


class RemoteJudge:
  """Asks a provider, many requests at a time.

  Attributes:
    spent: money, as far as the prices are known.
    sent, retried: requests sent in all, and those sent once more.
    repeated: requests under way when an earlier run was stopped, so that
      their replies may be paid for twice.
  """

  reads_prompt = True

  def __init__(
      self,
      name: str,
      vendor: Vendor,
      store: cache.Cache,
      limits: pacing.Limits = pacing.Limits(),  # noqa: B008
      *,
      journal: str | os.PathLike | None = None,
      show: Callable[[str], None] = lambda text: None,
  ):
    """Sets up a judge; asks nothing yet.

    Args:
      name: for messages.
      vendor: speaks the provider's protocol.
      store: of replies.
      limits: how fast and at what cost.
      journal: a file of what is under way, gone when all is done.
      show: shows the progress.
    """
    self.name = name
    self.spent = 0.0
    self.sent = self.retried = self.repeated = 0
    self._vendor, self._store, self._limits = vendor, store, limits
    self._journal = pathlib.Path(journal) if journal else None
    self._show = show

  def judge(self, requests: Sequence[judges.Request]) -> list[judges.Reply]:
    """See judges.Judge; every different request is asked once.

    Raises:
      JudgeError: the provider will not answer, or the cap is reached. Requests
        under way are waited for, and their replies stored.
    """
    names = [name(self._vendor.identity, request) for request in requests]
    waiting = {
        key: request for key, request in zip(names, requests, strict=True)
        if key not in self._store
    }
    run = _Run(
        self._vendor, self._store, self._limits, self._journal, self._show,
        self.spent,
    )
    self.repeated += run.unfinished(waiting)
    try:
      if waiting:
        _finish(run.all(waiting))
    except BaseExceptionGroup as group:
      raise _first(group) from None
    finally:
      self.spent = run.budget.spent
      self.sent += run.sent
      self.retried += run.retried
    return [
        run.failed.get(key) or judges.Reply(**self._store.get(key))
        for key in names
    ]


class _Run:
  """One batch of requests under way."""

  def __init__(self, vendor, store, limits, journal, show, spent):
    self._vendor, self._store, self._limits = vendor, store, limits
    self._journal, self._show = journal, show
    self._requests_pace = pacing.Pace(limits.requests_per_minute)
    self._tokens_pace = pacing.Pace(limits.tokens_per_minute)
    self._error: judges.JudgeError | None = None
    self._replied = self._in_vain = self._output = 0
    self._arrived: dict[str, tuple[dict, asyncio.Future]] = {}
    self._arrival, self._written = asyncio.Event(), asyncio.Event()
    self.budget = pacing.Budget(limits)
    self.budget.spent = spent
    self.failed: dict[str, judges.Reply] = {}
    self.sent = self.retried = 0

  def unfinished(self, waiting: Mapping[str, judges.Request]) -> int:
    """How many of these were under way when the last run was stopped."""
    if self._journal is None or not self._journal.exists():
      return 0
    last = {}
    for line in self._journal.read_text(encoding="ascii").splitlines():
      last[line[1:]] = line[0]
    return sum(mark == "?" and key in waiting for key, mark in last.items())

  async def all(self, waiting: Mapping[str, judges.Request]) -> None:
    """Asks everything; replies end up in the store or in `failed`."""
    with self._journal_file() as journal:
      async with self._vendor.session() as ask:
        with _unsearched():
          await self._ask_all(ask, waiting, journal)
    if self._error is not None:
      raise self._error
    if self._journal is not None:
      self._journal.unlink(missing_ok=True)

  async def _ask_all(self, ask, waiting, journal) -> None:
    questions = iter(waiting.items())
    workers = min(self._limits.concurrency, len(waiting))
    try:
      async with asyncio.TaskGroup() as group:
        keepers = [
            group.create_task(self._write()), group.create_task(self._sync())
        ]
        async with asyncio.TaskGroup() as inner:
          for worker in range(workers):
            inner.create_task(
                self._work(worker, ask, questions, len(waiting), journal)
            )
        for keeper in keepers:
          keeper.cancel()
    finally:
      self._store.sync()

  @contextlib.contextmanager
  def _journal_file(self) -> Iterator[Callable[[str, str], None]]:
    if self._journal is None:
      yield lambda mark, key: None
      return
    self._journal.parent.mkdir(parents=True, exist_ok=True)
    # Not synced: it need only outlive the process.
    with open(self._journal, "ab", buffering=0) as file:
      yield lambda mark, key: file.write(f"{mark}{key}\n".encode("ascii"))

  async def _work(self, worker, ask, questions, total, journal) -> None:
    await asyncio.sleep(worker * _APART)
    for key, request in questions:
      if key in self._store:
        continue  # another run, of this command or the like, has asked
      try:
        reply = await self._one(ask, key, request, journal)
      except judges.JudgeError as e:
        journal("!", key)
        self._error = self._error or e
      else:
        self._count(key, reply, journal)
      # What the others have under way is paid for: it is waited for.
      if self._error is not None:
        return
      done = self._replied + len(self.failed)
      if done % 50 == 0 or done == total:
        cost = f", cost {self.budget.spent:.4f}" if self.budget.spent else ""
        self._show(
            f"{done}/{total} replies, {self.retried} asked again,"
            f" {len(self.failed)} failed{cost}"
        )

  def _count(self, key: str, reply: judges.Reply, journal) -> None:
    if reply.failure != "transport":
      self._replied += 1
      return
    journal("!", key)
    self.failed[key] = reply
    self._in_vain += 1
    if not self._replied and self._in_vain >= _HOPELESS:
      self._error = self._error or judges.JudgeError(
          f"the first {self._in_vain} requests failed, the last with:"
          f" {reply.text}"
      )

  async def _one(self, ask, key, request, journal) -> judges.Reply:
    """Asks until there is a reply; one that is none says `transport`."""
    announced = pacing.estimate(request) + (
        self._output // self._replied if self._replied else 0
    )
    most = {
        "input": pacing.estimate(request, at_most=True),
        "output": self._vendor.max_tokens,
    }
    for attempt in range(1, self._limits.attempts + 1):
      await self._requests_pace.wait(1)
      await self._tokens_pace.wait(announced)
      reserved = await self.budget.reserve(most)
      # Where nobody says what a reply cost, it may have cost everything.
      usage = {}
      journal("?", key)
      self.sent += 1
      self.retried += attempt > 1
      try:
        async with asyncio.timeout(self._limits.timeout):
          reply = await ask(request)
        usage = {**most, **reply.usage}
        await self._keep(key, reply, announced)
        return reply
      except TimeoutError:
        reason, after = f"no reply in {self._limits.timeout:g} s", None
        usage = most
      except pacing.Retry as e:
        reason, after = str(e), e.after
        usage = most if e.paid else {}
      except pacing.Rejected as e:
        return judges.Reply(str(e), "transport")
      finally:
        self.budget.settle(reserved, usage)
      if after is not None and after > self._limits.longest_wait:
        raise judges.JudgeError(
            f"{reason}: the provider asks to wait {after:.0f} s; start again"
            " then"
        )
      if attempt < self._limits.attempts:
        await asyncio.sleep(self._limits.wait(attempt, after))
    return judges.Reply(reason, "transport")

  async def _keep(self, key, reply, announced) -> None:
    """Returns once the reply is written."""
    used = sum(reply.usage.values())
    if used:
      self._tokens_pace.correct(used - announced)
    self._output += reply.usage.get("output", 0)
    stored = asyncio.get_running_loop().create_future()
    self._arrived[key] = row(reply), stored
    self._arrival.set()
    await stored

  async def _write(self) -> None:
    """Stores what has arrived, all that came during the last write at once."""
    while True:
      await self._arrival.wait()
      self._arrival.clear()
      batch, self._arrived = self._arrived, {}
      rows = {key: value for key, (value, _) in batch.items()}
      await asyncio.to_thread(self._store.put_many, rows, synced=False)
      self._written.set()
      for _, stored in batch.values():
        if not stored.done():
          stored.set_result(None)

  async def _sync(self) -> None:
    """Has the disk keep what is written, while requests go on."""
    while True:
      await self._written.wait()
      self._written.clear()
      await asyncio.to_thread(self._store.sync)


@contextlib.contextmanager
def _unsearched() -> Iterator[None]:
  """Spares what there is from garbage collection.

  A provider's client is so many objects that looking through them takes Python
  50 ms, several times a minute, while all replies wait.
  """
  gc.freeze()
  try:
    yield
  finally:
    gc.unfreeze()


def _first(error: BaseException) -> BaseException:
  """What went wrong first in a group of tasks."""
  while isinstance(error, BaseExceptionGroup):
    error = error.exceptions[0]
  return error


def _finish(work: Awaitable[None]) -> None:
  """Runs a coroutine to its end, in a notebook's event loop too."""
  try:
    asyncio.get_running_loop()
  except RuntimeError:
    asyncio.run(work)
    return
  failures = []

  def run():
    try:
      asyncio.run(work)
    except BaseException as e:  # handed on below
      failures.append(e)

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  if failures:
    raise failures[0]
