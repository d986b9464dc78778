"""Gemini's batch API, with an API key; see batch.

Requests and replies travel in the calls themselves, without files.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from mlit_jax.judging import batch, gemini, judges

_PREFIX = "mlit-"
_FAILED = ("FAILED", "CANCELLED", "EXPIRED")
_COMPLETED = ("SUCCEEDED", "PARTIALLY_SUCCEEDED")


class GeminiJobs:
  """See batch.Jobs."""

  max_requests = 50_000
  max_bytes = 16 << 20  # 20 MB are allowed, wrapping included

  def __init__(self, vendor: gemini.Gemini):
    self.vendor = vendor
    self._client = None

  @contextlib.contextmanager
  def connect(self) -> Iterator[None]:
    from mlit_jax.judging import connections

    with connections.sync_client() as connection:
      self._client = self.vendor.client(sync=connection)
      yield

  def line(self, key: str, request: judges.Request) -> bytes:
    row = {
        "key": key,
        "prompt": [[m.role, m.content] for m in request.prompt],
    }
    return json.dumps(row, ensure_ascii=False).encode()

  def find(self, digest: str) -> str | None:
    with self.vendor.errors():
      # One page, the newest first, as of OpenAI's.
      for job in self._client.batches.list(config={"page_size": 100}).page:
        if job.display_name == _PREFIX + digest[:40] and not _is(job, _FAILED):
          return job.name
    return None

  def upload(self, lines: Sequence[bytes]) -> list[Any]:
    from google.genai import types

    found = []
    for line in lines:
      row = json.loads(line)
      contents, config = self.vendor.asked(row["prompt"])
      found.append(
          types.InlinedRequest(
              contents=contents, config=config, metadata={"key": row["key"]}
          )
      )
    return found

  def create(self, uploaded: list[Any], digest: str) -> str:
    with self.vendor.errors():
      return self._client.batches.create(
          model=self.vendor.model, src=uploaded,
          config={"display_name": _PREFIX + digest[:40]},
      ).name

  def look(self, name: str) -> batch.Job:
    job = self._get(name)
    status = job.state.name.removeprefix("JOB_STATE_") if job.state else ""
    # Google's client keeps to itself what it is told of a failed job.
    told = str(job.error.message if job.error else "no reason was given")
    return batch.Job(
        status.lower(), _is(job, _FAILED + _COMPLETED), _is(job, _COMPLETED),
        self.vendor.hide(told),
    )

  def replies(
      self, name: str, names: Sequence[str]
  ) -> Iterator[tuple[str, judges.Reply]]:
    job = self._get(name)
    found = (job.dest and job.dest.inlined_responses) or ()
    for place, row in enumerate(found):
      # Replies come in the order of the requests; the name is surer.
      key = (row.metadata or {}).get("key") or names[place]
      if row.response is not None:
        yield key, self.vendor.reply(row.response)
      else:
        told = row.error.message if row.error else "no response"
        yield key, judges.Reply(
            self.vendor.hide(str(told)), "transport", usage=judges.UNPAID
        )

  def _get(self, name: str):
    with self.vendor.errors():
      return self._client.batches.get(name=name)


def _is(job, names: Sequence[str]) -> bool:
  return bool(job.state) and (
      job.state.name.removeprefix("JOB_STATE_") in names
  )
