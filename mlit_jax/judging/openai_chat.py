"""OpenAI's chat protocol, which many other servers speak, too."""

import contextlib
import datetime
import email.utils
import functools
import json
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from typing import Any

from mlit_jax.errors import UsageError
from mlit_jax.judging import judges, keys, pacing, remote

DEFAULT_URL = "https://api.openai.com/v1"
KEY_NAMES = ("OPENAI_API_KEY",)
_FOR_NOW = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FOR_GOOD = frozenset({301, 302, 307, 308, 401, 402, 403, 404, 405})
_MAX_WORDS = 300


class OpenAIChat:
  """A model behind an address; see remote.Vendor."""

  def __init__(
      self,
      model: str,
      url: str = DEFAULT_URL,
      *,
      key: str = "",
      temperature: float = 0,
      max_tokens: int = 1024,
      options: Mapping[str, Any] | None = None,
  ):
    """Opens no connection yet.

    Args:
      model: as the server calls it.
      url: up to and including the version, e.g. ".../v1".
      key: "" where none is needed.
      temperature: of the sampling.
      max_tokens: the longest reply.
      options: further fields of the request; a value of None takes a field
        out.

    Raises:
      UsageError: the address is none, or holds a password.
    """
    check_url(url)
    body = {
        "model": model, "temperature": temperature, "max_tokens": max_tokens,
        **(options or {}),
    }
    self.url, self.key, self.max_tokens = url.rstrip("/"), key, max_tokens
    self._body = {k: v for k, v in body.items() if v is not None}
    self.identity = {"protocol": "openai", "url": self.url, **self._body}

  def body(self, request: judges.Request) -> dict[str, Any]:
    """The request as JSON."""
    turns = [{"role": m.role, "content": m.content} for m in request.prompt]
    return {**self._body, "messages": turns}

  @property
  def headers(self) -> dict[str, str]:
    return {"Authorization": f"Bearer {self.key}"} if self.key else {}

  @contextlib.asynccontextmanager
  async def session(self) -> AsyncIterator[remote.Ask]:
    """See remote.Vendor."""
    from mlit_jax.judging import connections

    async with connections.client(self.headers) as client:
      yield functools.partial(self._ask, client)

  async def _ask(self, client, request: judges.Request) -> judges.Reply:
    import httpx

    try:
      response = await client.post(
          f"{self.url}/chat/completions", json=self.body(request)
      )
    except httpx.TransportError as e:
      raise pacing.Retry(f"{type(e).__name__} at {self.url}") from None
    raise_for_status(response, self.key)
    return self.reply(response.content)

  def reply(self, content: bytes) -> judges.Reply:
    """Reads a response's body.

    Raises:
      Retry: it is not whole.
    """
    try:
      body = json.loads(content)
      found = reply_of(body)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
      raise pacing.Retry("a response that is not whole", paid=True) from None
    return judges.Reply(
        **{**found, "text": keys.hide(found["text"], [self.key])}
    )


def check_url(url: str) -> None:
  """UsageError unless this is an address without a password in it."""
  try:
    parts = urllib.parse.urlsplit(url)
    sound = parts.scheme in ("http", "https") and parts.hostname
    sound = sound and parts.port != 0  # ValueError for none that exists
  except ValueError:
    sound = False
  if not sound:
    # Without what may be a password or a key.
    shown = url.partition("?")[0].partition("#")[0].rpartition("@")[2]
    raise UsageError(
        f"{shown!r} is no address; one is like http(s)://HOST:PORT/v1"
    )
  if parts.username or parts.password or parts.query or parts.fragment:
    # The address stands in every judgment.
    raise UsageError(
        f"the address of {parts.hostname} holds more than an address; give the"
        " key by the environment or --key_file"
    )


def reply_of(body: Mapping[str, Any]) -> dict[str, Any]:
  """The fields of the Reply in a chat completion."""
  usage = body.get("usage") or {}
  found = {
      "text": "",
      "revision": str(body.get("model") or ""),
      "usage": {
          ours: usage[theirs]
          for ours, theirs in (
              ("input", "prompt_tokens"), ("output", "completion_tokens")
          )
          if isinstance(usage.get(theirs), int)
      },
  }
  if not body["choices"]:
    return found
  choice = body["choices"][0]
  message = choice["message"]
  refusal = message.get("refusal")
  text = message.get("content") or ""
  if not isinstance(text, str):
    raise TypeError(text)
  reason = choice.get("finish_reason")
  if refusal or reason == "content_filter":
    return found | {"text": str(refusal or text), "failure": "refused"}
  if reason in ("stop", "length"):
    found["finish_reason"] = reason
  return found | {"text": text}


def raise_for_status(response, key: str) -> None:
  """Says what a failed response means.

  Raises:
    Retry, Rejected, JudgeError: see remote.Vendor.
  """
  status = response.status_code
  if status == 200:
    return
  words = keys.hide(" ".join(response.text.split())[:_MAX_WORDS], [key])
  told = f"HTTP {status} from {response.url.host}: {words}"
  # Waiting does not bring money.
  if status in _FOR_GOOD or "insufficient_quota" in words:
    raise judges.JudgeError(told)
  if status in _FOR_NOW:
    raise pacing.Retry(told, retry_after(response.headers.get("retry-after")))
  raise pacing.Rejected(told)


def retry_after(header: str | None) -> float | None:
  """Seconds in a Retry-After header (a number or a date), or None."""
  if header is None:
    return None
  try:
    return max(0.0, float(header))
  except ValueError:
    pass
  try:
    when = email.utils.parsedate_to_datetime(header)
  except ValueError:
    return None
  if when.tzinfo is None:
    when = when.replace(tzinfo=datetime.UTC)
  return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())
