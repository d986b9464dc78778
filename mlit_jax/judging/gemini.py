"""Gemini through Google's client: with an API key, or on Vertex AI."""

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from mlit_jax.judging import judges, keys, openai_chat, pacing, remote

KEY_NAMES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_FOR_NOW = frozenset({408, 409, 429, 499, 500, 502, 503, 504})
_FOR_GOOD = frozenset({401, 403, 404})
_ENDS = {"STOP": "stop", "MAX_TOKENS": "length"}
_REFUSALS = frozenset(
    "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR"
    .split()
)
_MAX_WORDS = 300


class Gemini:
  """A Gemini model; see remote.Vendor."""

  def __init__(
      self,
      model: str,
      *,
      key: str = "",
      vertex: tuple[str, str] | None = None,
      url: str = "",
      credentials: Any = None,
      temperature: float = 0,
      max_tokens: int = 1024,
      options: Mapping[str, Any] | None = None,
  ):
    """Opens no connection yet.

    Args:
      model: e.g. gemini-2.5-flash.
      key: the API key; "" on Vertex AI.
      vertex: project and location, for Vertex AI.
      url: another address than Google's.
      credentials: for Vertex AI; the machine's own if None.
      temperature: of the sampling.
      max_tokens: the longest reply, thoughts included.
      options: further fields of GenerateContentConfig; a value of None takes a
        field out.

    Raises:
      UsageError: the address is none, or holds a password.
    """
    if url:
      openai_chat.check_url(url)
    config = {
        "temperature": temperature, "max_output_tokens": max_tokens,
        **(options or {}),
    }
    self.max_tokens = max_tokens
    self.model, self.key, self._url = model, key, url
    self._vertex, self._credentials = vertex, credentials
    self._config = {k: v for k, v in config.items() if v is not None}
    self.identity = {
        "protocol": "gemini", "model": model, "url": url,
        "vertex": list(vertex or ()), **self._config,
    }

  @contextlib.asynccontextmanager
  async def session(self) -> AsyncIterator[remote.Ask]:
    """See remote.Vendor."""
    from mlit_jax.judging import connections

    async with connections.client() as connection:
      yield functools.partial(self._ask, self.client(connection))

  def client(self, connection: Any = None, sync: Any = None) -> Any:
    """Google's client, over httpx's asynchronous or synchronous one."""
    from google import genai
    from google.genai import types

    options = types.HttpOptions(
        base_url=self._url or None,
        httpx_async_client=connection,
        httpx_client=sync,
        # The waiting is ours, so that it is the same for every provider.
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    if self._vertex:
      project, location = self._vertex
      return genai.Client(
          vertexai=True, project=project, location=location,
          credentials=self._credentials, http_options=options,
      )
    return genai.Client(vertexai=False, api_key=self.key, http_options=options)

  def asked(self, prompt: Sequence[Sequence[str]]) -> tuple[list, Any]:
    """(contents, config) of a prompt, a list of (role, text)."""
    from google.genai import types

    system = [text for role, text in prompt if role == "system"]
    contents = [
        types.Content(
            role="model" if role == "assistant" else "user",
            parts=[types.Part(text=text)],
        )
        for role, text in prompt
        if role != "system"
    ]
    config = self._made_config.model_copy(
        update={"system_instruction": "\n\n".join(system) or None}
    )
    return contents, config

  @contextlib.contextmanager
  def errors(self) -> Iterator[None]:
    """Turns the client's errors into those of remote.Vendor's session."""
    import httpx
    from google.auth import exceptions
    from google.genai import errors

    try:
      yield
    except errors.APIError as e:
      raise self._meaning(e) from None
    except httpx.TransportError as e:
      raise pacing.Retry(type(e).__name__) from None
    except exceptions.GoogleAuthError as e:
      words = self.hide(" ".join(str(e).split()))
      raise judges.JudgeError(f"Google's credentials: {words}") from None
    except ValueError:
      raise pacing.Retry("a response that is not whole", paid=True) from None

  def reply(self, response: Any) -> judges.Reply:
    """Reads a response."""
    found = _reply(response)
    return judges.Reply(**{**found, "text": self.hide(found["text"])})

  def hide(self, text: str) -> str:
    """A text without the key."""
    return keys.hide(text, [self.key])

  @functools.cached_property
  def _made_config(self) -> Any:
    """The options as Google's client takes them."""
    try:
      return _options()(**self._config)
    except ValueError as e:
      words = " ".join(str(e).split())[:_MAX_WORDS]
      raise judges.JudgeError(f"Gemini's options: {words}") from None

  async def _ask(self, client, request: judges.Request) -> judges.Reply:
    contents, config = self.asked([(m.role, m.content) for m in request.prompt])
    with self.errors():
      response = await client.aio.models.generate_content(
          model=self.model, contents=contents, config=config
      )
    return self.reply(response)

  def _meaning(self, error) -> Exception:
    words = " ".join(str(error.message or error.status or "").split())
    told = keys.hide(f"HTTP {error.code}: {words[:_MAX_WORDS]}", [self.key])
    # Google answers a wrong key with 400.
    if error.code in _FOR_GOOD or "API key not valid" in words:
      return judges.JudgeError(told)
    if error.code in _FOR_NOW:
      return pacing.Retry(told, _retry_after(error))
    # A body that is no JSON comes as an error without a code.
    if not isinstance(error.code, int) or error.code < 400:
      return pacing.Retry("a response that is not whole", paid=True)
    return pacing.Rejected(told)


@functools.cache
def _options() -> type:
  """Google's type of options, quicker to say that it is no mapping.

  For each name there is, the client asks `name in options` before it takes the
  attribute; a pydantic model goes through all its fields to say no, which is an
  eighth of a request's time.
  """
  from google.genai import types

  class Options(types.GenerateContentConfig):

    def __contains__(self, name: object) -> bool:
      return False

  return Options


def _retry_after(error) -> float | None:
  """Seconds to wait, from the header or from Google's RetryInfo."""
  headers = getattr(error.response, "headers", None) or {}
  if (after := openai_chat.retry_after(headers.get("retry-after"))) is not None:
    return after
  details = error.details if isinstance(error.details, dict) else {}
  for detail in (details.get("error") or {}).get("details") or ():
    if str(detail.get("@type", "")).endswith("RetryInfo"):
      return openai_chat.retry_after(detail.get("retryDelay", "").rstrip("s"))
  return None


def _reply(response) -> dict[str, Any]:
  """The fields of the Reply in a response."""
  counts = response.usage_metadata
  usage = {}
  if counts is not None:
    usage = {
        "input": counts.prompt_token_count or 0,
        # Thoughts are paid for as output.
        "output": (counts.candidates_token_count or 0)
        + (counts.thoughts_token_count or 0),
    }
  found = {
      "text": "", "revision": response.model_version or "", "usage": usage
  }
  feedback = response.prompt_feedback
  if not response.candidates:
    if feedback is not None and feedback.block_reason:
      return found | {
          "text": feedback.block_reason.name, "failure": "refused"
      }
    return found
  candidate = response.candidates[0]
  parts = (candidate.content and candidate.content.parts) or ()
  found["text"] = "".join(p.text for p in parts if p.text and not p.thought)
  reason = candidate.finish_reason.name if candidate.finish_reason else ""
  if reason in _REFUSALS:
    return found | {"text": found["text"] or reason, "failure": "refused"}
  return found | {"finish_reason": _ENDS.get(reason, "")}
