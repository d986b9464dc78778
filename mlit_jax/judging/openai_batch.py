"""OpenAI's batch API: the same requests as one job, later and cheaper.

A job that was handed in is never handed in twice: its name is written down
first, and a run that finds it waits for it and stores what it brings.
"""

import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlit_jax import cache, records
from mlit_jax.judging import judges, keys, openai_chat, pacing, remote

# What one job may hold.
_MAX_REQUESTS = 50_000
_MAX_BYTES = 150 << 20
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_PATH = "/v1/chat/completions"


class OpenAIBatch:
  """A judge that hands all its requests in as jobs; see judges.Judge."""

  reads_prompt = True

  def __init__(
      self,
      name: str,
      vendor: openai_chat.OpenAIChat,
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
      vendor: makes the requests and reads the replies.
      store: of replies.
      state: a file that remembers jobs; gone when all are done.
      limits: of attempts, waiting and cost.
      poll_seconds: how often to ask whether a job is done.
      show: shows the progress.
    """
    self.name = name
    self.spent = 0.0
    self._vendor, self._store, self._limits = vendor, store, limits
    self._state = pathlib.Path(state)
    self._poll_seconds, self._show = poll_seconds, show

  def judge(self, requests: Sequence[judges.Request]) -> list[judges.Reply]:
    """See judges.Judge.

    Raises:
      JudgeError: a job failed as a whole, or might pass the cap.
    """
    from mlit_jax.judging import connections

    identity = self._vendor.identity
    names = [remote.name(identity, request) for request in requests]
    with connections.sync_client(self._vendor.headers) as client:
      failed = {}
      # A job of an earlier run first: what it brings is paid for.
      for job in self._read_state():
        failed |= self._collect(client, job)
      waiting = {
          key: request for key, request in zip(names, requests, strict=True)
          if key not in self._store and key not in failed
      }
      self._check_cost(waiting)
      jobs = [self._submit(client, part) for part in self._parts(waiting)]
      for job in jobs:
        failed |= self._collect(client, job)
    self._state.unlink(missing_ok=True)
    return [
        failed.get(key)
        or judges.Reply(**(self._store.get(key) or _NOTHING))
        for key in names
    ]

  def _check_cost(self, waiting: Mapping[str, judges.Request]) -> None:
    most = self._limits.cost({
        "input": sum(
            pacing.estimate(r, at_most=True) for r in waiting.values()
        ),
        "output": len(waiting) * self._vendor.max_tokens,
    })
    cap = self._limits.max_cost
    if cap and self.spent + most > cap:
      raise pacing.CapReached(
          f"nothing was handed in: the job might cost up to {most:.4f}, the cap"
          f" is {cap:g}"
      )

  def _parts(
      self, waiting: Mapping[str, judges.Request]
  ) -> Iterator[dict[str, bytes]]:
    part, size = {}, 0
    for key, request in waiting.items():
      row = {
          "custom_id": key, "method": "POST", "url": _PATH,
          "body": self._vendor.body(request),
      }
      line = json.dumps(row).encode() + b"\n"
      if len(part) == _MAX_REQUESTS or size + len(line) > _MAX_BYTES:
        yield part
        part, size = {}, 0
      part[key] = line
      size += len(line)
    if part:
      yield part

  def _submit(self, client, part: Mapping[str, bytes]) -> dict[str, Any]:
    """Hands a job in, unless that was done before and only not written down."""
    digest = hashlib.sha256("".join(part).encode()).hexdigest()
    job = {"digest": digest, "names": list(part)}
    self._write_state(job)
    found = self._call(client, "GET", "/batches?limit=100").get("data", ())
    for batch in found:
      known = (batch.get("metadata") or {}).get("mlit_digest") == digest
      if known and batch["status"] not in ("failed", "expired", "cancelled"):
        break
    else:
      lines = b"".join(part.values())
      file = self._call(
          client, "POST", "/files", data={"purpose": "batch"},
          files={"file": ("requests.jsonl", lines)},
      )
      batch = self._call(
          client, "POST", "/batches",
          json={
              "input_file_id": file["id"], "endpoint": _PATH,
              "completion_window": "24h", "metadata": {"mlit_digest": digest},
          },
      )
    job["batch"] = batch["id"]
    self._write_state(job)
    return job

  def _collect(self, client, job: Mapping[str, Any]) -> dict[str, judges.Reply]:
    """Waits for a job, stores its replies; returns what failed."""
    while True:
      batch = self._call(client, "GET", f"/batches/{job['batch']}")
      if batch["status"] in _ENDED:
        break
      self._show(f"{job['batch']}: {batch['status']}")
      time.sleep(self._poll_seconds)
    replies, failed = {}, {}
    for name in ("output_file_id", "error_file_id"):
      if batch.get(name):
        path = f"/files/{batch[name]}/content"
        for line in self._call(client, "GET", path, raw=True).splitlines():
          self._take(json.loads(line), replies, failed)
    self._store.put_many(replies)
    for reply in replies.values():
      self.spent += self._limits.cost(reply["usage"])
    if batch["status"] != "completed" and not replies:
      self._state.unlink(missing_ok=True)
      raise judges.JudgeError(
          f"{job['batch']}: the job {batch['status']}: "
          + keys.hide(str(batch.get("errors"))[:300], [self._vendor.key])
      )
    return failed

  def _take(self, row: Mapping[str, Any], replies: dict, failed: dict) -> None:
    key, response = row["custom_id"], row.get("response") or {}
    body = response.get("body") or {}
    if response.get("status_code") != 200:
      told = json.dumps(body.get("error") or row.get("error"))[:300]
      told = keys.hide(told, [self._vendor.key])
      failed[key] = judges.Reply(told, "transport")
      return
    try:
      reply = self._vendor.reply(json.dumps(body).encode())
    except pacing.Retry as e:
      failed[key] = judges.Reply(str(e), "transport")
    else:
      replies[key] = remote.row(reply)

  def _read_state(self) -> list[dict[str, Any]]:
    if not self._state.exists():
      return []
    jobs = {}
    for _, job in records.read_jsonl(self._state):
      jobs[job["digest"]] = job
    # One without a name is looked for when it is handed in again.
    return [job for job in jobs.values() if "batch" in job]

  def _write_state(self, job: Mapping[str, Any]) -> None:
    self._state.parent.mkdir(parents=True, exist_ok=True)
    with open(self._state, "ab") as file:
      file.write(json.dumps(job).encode() + b"\n")
      file.flush()
      os.fsync(file.fileno())

  def _call(self, client, method: str, path: str, raw=False, **about) -> Any:
    """One call, repeated while it fails for now."""
    import httpx

    for attempt in range(1, self._limits.attempts + 1):
      after = None
      try:
        response = client.request(method, self._vendor.url + path, **about)
        openai_chat.raise_for_status(response, self._vendor.key)
        return response.content if raw else response.json()
      except (httpx.TransportError, ValueError) as e:
        told = f"{type(e).__name__} at {self._vendor.url}{path}"
      except pacing.Retry as e:
        told, after = str(e), e.after
      except pacing.Rejected as e:
        raise judges.JudgeError(str(e)) from None
      # Handing in twice would be paid for twice.
      if (method, path) == ("POST", "/batches"):
        break
      time.sleep(self._limits.wait(attempt, after))
    raise judges.JudgeError(told)


_NOTHING = {"text": "the job brought no reply", "failure": "transport"}
