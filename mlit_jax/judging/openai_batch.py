"""OpenAI's batch API; see batch."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlit_jax.judging import batch, judges, keys, openai_chat, pacing

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_PATH = "/v1/chat/completions"
_MAX_WORDS = 300


class OpenAIJobs:
  """See batch.Jobs."""

  max_requests = 50_000
  max_bytes = 150 << 20

  def __init__(self, vendor: openai_chat.OpenAIChat):
    self.vendor = vendor
    self._client = None

  @contextlib.contextmanager
  def connect(self) -> Iterator[None]:
    from mlit_jax.judging import connections

    with connections.sync_client(self.vendor.headers) as self._client:
      yield

  def line(self, key: str, request: judges.Request) -> bytes:
    row = {
        "custom_id": key, "method": "POST", "url": _PATH,
        "body": self.vendor.body(request),
    }
    return json.dumps(row).encode() + b"\n"

  def find(self, digest: str) -> str | None:
    for job in self._call("GET", "/batches?limit=100").get("data", ()):
      known = (job.get("metadata") or {}).get("mlit_digest") == digest
      if known and job["status"] not in _ENDED - {"completed"}:
        return job["id"]
    return None

  def upload(self, lines: Sequence[bytes]) -> str:
    return self._call(
        "POST", "/files", data={"purpose": "batch"},
        files={"file": ("requests.jsonl", b"".join(lines))},
    )["id"]

  def create(self, uploaded: str, digest: str) -> str:
    return self._call(
        "POST", "/batches",
        json={
            "input_file_id": uploaded, "endpoint": _PATH,
            "completion_window": "24h", "metadata": {"mlit_digest": digest},
        },
    )["id"]

  def look(self, name: str) -> batch.Job:
    job = self._call("GET", f"/batches/{name}")
    status = job["status"]
    told = keys.hide(str(job.get("errors"))[:_MAX_WORDS], [self.vendor.key])
    return batch.Job(status, status in _ENDED, status == "completed", told)

  def replies(
      self, name: str, names: Sequence[str]
  ) -> Iterator[tuple[str, judges.Reply]]:
    del names  # every row has its own
    job = self._call("GET", f"/batches/{name}")
    for kind in ("output_file_id", "error_file_id"):
      if job.get(kind):
        path = f"/files/{job[kind]}/content"
        for line in self._call("GET", path, raw=True).splitlines():
          row = json.loads(line)
          yield row["custom_id"], self._reply(row)

  def _reply(self, row: Mapping[str, Any]) -> judges.Reply:
    response = row.get("response") or {}
    body = response.get("body") or {}
    if response.get("status_code") != 200:
      told = json.dumps(body.get("error") or row.get("error"))[:_MAX_WORDS]
      return judges.Reply(
          keys.hide(told, [self.vendor.key]), "transport", usage=judges.UNPAID
      )
    try:
      return self.vendor.reply(json.dumps(body).encode())
    except pacing.Retry as e:
      return judges.Reply(str(e), "transport")

  def _call(self, method: str, path: str, raw=False, **about) -> Any:
    import httpx

    url = self.vendor.url + path
    try:
      response = self._client.request(method, url, **about)
    except httpx.TransportError as e:
      raise pacing.Retry(f"{type(e).__name__} at {url}") from None
    openai_chat.raise_for_status(response, self.vendor.key)
    try:
      return response.content if raw else response.json()
    except ValueError:
      raise pacing.Retry(f"a response that is not whole from {url}") from None
