"""Providers' batch APIs: the same requests as one job, later and cheaper.

A job that was handed in is never handed in twice: what it is made of is written
down first, and its name after; a run that finds either waits for it and stores
what it brings.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from mlit_jax import cache
from mlit_jax.judging import judges, pacing, remote


@dataclasses.dataclass(frozen=True)
class Job:
  """How a job stands.

  Attributes:
    status: in the provider's words.
    ended: whether it will bring nothing more.
    completed: whether it came to its end in good order.
    told: what the provider says of a failure.
  """

  status: str
  ended: bool
  completed: bool
  told: str = ""


class Jobs(Protocol):
  """A provider's batch API.

  Whatever asks the provider raises pacing.Retry, pacing.Rejected or JudgeError
  as remote.Vendor's session does.

  Attributes:
    vendor: makes requests and reads replies.
    max_requests, max_bytes: what one job may hold.
  """

  vendor: remote.Vendor
  max_requests: int
  max_bytes: int

  def connect(self) -> AbstractContextManager[None]:
    """Opens connections."""

  def line(self, key: str, request: judges.Request) -> bytes:
    """A request of a job, about as large as it is when it is sent."""

  def find(self, digest: str) -> str | None:
    """The name of a job of this digest that has not failed."""

  def upload(self, lines: Sequence[bytes]) -> Any:
    """Brings the requests to where `create` finds them; may be repeated."""

  def create(self, uploaded: Any, digest: str) -> str:
    """Hands a job in; returns its name."""

  def look(self, name: str) -> Job:
    """How a job stands."""

  def replies(
      self, name: str, names: Sequence[str]
  ) -> Iterable[tuple[str, judges.Reply]]:
    """What an ended job brought, `names` being its requests' in order."""


class BatchJudge:
  """A judge that hands all its requests in as jobs; see judges.Judge."""

  reads_prompt = True

  def __init__(
      self,
      name: str,
      jobs: Jobs,
      store: cache.Cache,
      state: str | os.PathLike,
      limits: pacing.Limits = pacing.Limits(),  # noqa: B008
      *,
      poll_seconds: float = 30,
      show: Callable[[str], None] = lambda text: None,
  ):
    """Sets up a judge; hands nothing in yet.

    Args:
      name: for messages.
      jobs: the provider's.
      store: of replies.
      state: a file that remembers jobs; gone when all are done.
      limits: of attempts, waiting and cost.
      poll_seconds: how often to ask whether a job is done.
      show: shows the progress.
    """
    self.name = name
    self.spent = 0.0
    self._jobs, self._store, self._limits = jobs, store, limits
    self._state = pathlib.Path(state)
    self._poll_seconds, self._show = poll_seconds, show

  def judge(self, requests: Sequence[judges.Request]) -> list[judges.Reply]:
    """See judges.Judge.

    Raises:
      JudgeError: a job failed as a whole, or might pass the cap.
    """
    identity = self._jobs.vendor.identity
    names = [remote.name(identity, request) for request in requests]
    asked = dict(zip(names, requests, strict=True))
    with self._jobs.connect():
      failed, errors = {}, []
      # A job of an earlier run first: what it brings is paid for.
      for job in self._read_state():
        if found := job.get("batch") or self._find(job["digest"]):
          self._collect({**job, "batch": found}, asked, failed, errors)
      waiting = {
          key: request for key, request in asked.items()
          if key not in self._store and key not in failed
      }
      self._check_cost(waiting)
      jobs = []
      if not errors:
        jobs = [self._submit(part) for part in self._parts(waiting)]
      for job in jobs:
        self._collect(job, asked, failed, errors)
    # Not before all others were waited for: their names stand there.
    self._state.unlink(missing_ok=True)
    if errors:
      raise judges.JudgeError(errors[0])
    return [
        failed.get(key)
        or judges.Reply(**(self._store.get(key) or _NOTHING))
        for key in names
    ]

  def _check_cost(self, waiting: Mapping[str, judges.Request]) -> None:
    most = sum(
        self._limits.cost(self._most(request)) for request in waiting.values()
    )
    cap = self._limits.max_cost
    if cap and self.spent + most > cap:
      raise pacing.CapReached(
          f"nothing was handed in: the job might cost up to {most:.4f}, the cap"
          f" is {cap:g}"
      )

  def _most(self, request: judges.Request | None) -> dict[str, int]:
    """Tokens that a request and its reply may have; None: one of another run's.
    """
    size = pacing.estimate(request, at_most=True) if request else 0
    return {"input": size, "output": self._jobs.vendor.max_tokens}

  def _parts(
      self, waiting: Mapping[str, judges.Request]
  ) -> Iterator[dict[str, bytes]]:
    part, size = {}, 0
    for key, request in waiting.items():
      line = self._jobs.line(key, request)
      if (
          len(part) == self._jobs.max_requests
          or (part and size + len(line) > self._jobs.max_bytes)
      ):
        yield part
        part, size = {}, 0
      part[key] = line
      size += len(line)
    if part:
      yield part

  def _submit(self, part: Mapping[str, bytes]) -> dict[str, Any]:
    """Hands a job in."""
    digest = hashlib.sha256("".join(part).encode()).hexdigest()
    job = {"digest": digest, "names": list(part)}
    uploaded = self._patiently(lambda: self._jobs.upload([*part.values()]))
    self._write_state(job)
    # Handing in twice would be paid for twice.
    job["batch"] = self._patiently(
        lambda: self._jobs.create(uploaded, digest), attempts=1
    )
    self._write_state(job)
    return job

  def _find(self, digest: str) -> str | None:
    return self._patiently(lambda: self._jobs.find(digest))

  def _collect(
      self, job: Mapping[str, Any], asked: Mapping[str, judges.Request],
      failed: dict, errors: list[str],
  ) -> None:
    """Waits for a job, stores its replies; adds what failed."""
    name = job["batch"]
    while not (found := self._patiently(lambda: self._jobs.look(name))).ended:
      self._show(f"{name}: {found.status}")
      time.sleep(self._poll_seconds)
    replies = {}
    brought = self._patiently(
        lambda: [*self._jobs.replies(name, job["names"])]
    )
    for key, reply in brought:
      # Where nobody says what a reply cost, it may have cost everything.
      usage = {**self._most(asked.get(key)), **reply.usage}
      self.spent += self._limits.cost(usage)
      if reply.failure == "transport":
        failed[key] = reply
      else:
        replies[key] = remote.row(reply)
    self._store.put_many(replies)
    if not found.completed and not replies:
      errors.append(f"{name}: the job {found.status}: {found.told}")

  def _read_state(self) -> list[dict[str, Any]]:
    if not self._state.exists():
      return []
    jobs = {}
    for line in self._state.read_bytes().splitlines(keepends=True):
      if line.endswith(b"\n"):  # else the run was killed as it wrote
        job = json.loads(line)
        jobs[job["digest"]] = job
    return list(jobs.values())

  def _write_state(self, job: Mapping[str, Any]) -> None:
    self._state.parent.mkdir(parents=True, exist_ok=True)
    with open(self._state, "ab") as file:
      file.write(json.dumps(job).encode() + b"\n")
      file.flush()
      os.fsync(file.fileno())

  def _patiently(self, call: Callable[[], Any], attempts: int = 0) -> Any:
    """A call, repeated while it fails for now."""
    attempts = attempts or self._limits.attempts
    for attempt in range(1, attempts + 1):
      try:
        return call()
      except pacing.Retry as e:
        told = str(e)
        if attempt < attempts:
          time.sleep(self._limits.wait(attempt, e.after))
      except pacing.Rejected as e:
        raise judges.JudgeError(str(e)) from None
    raise judges.JudgeError(told)


_NOTHING = {"text": "the job brought no reply", "failure": "transport"}
