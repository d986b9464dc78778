"""Google Cloud Translation v3, through google-cloud-translate.

Limits as Google documents them: 30,000 code points and 1,024 texts a request
(more is refused); 6,000,000 characters a minute for the general model.
"""

import html
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import languages
from mlit_jax.errors import UsageError
from mlit_jax.translation import backends

_ENTITY = re.compile(r"&(?:\w{2,31}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
GENERAL_MODEL = "general/nmt"
_INSTALL = "Google's client is missing: pip install 'mlit-jax[gcp]'"


class Google:
  """Synchronous requests to translateText."""

  name = "google"

  def __init__(
      self,
      project: str = "",
      location: str = "global",
      model: str = GENERAL_MODEL,
      glossaries: Mapping[str, str] | None = None,
      *,
      stand_in: str = "",
      timeout: float = 60.0,
      max_segments: int = 128,
      max_characters: int = 5_000,
  ):
    """Connects to nothing yet.

    Args:
      project: the Cloud project; "" takes GOOGLE_CLOUD_PROJECT or that of the
        credentials. These come from where Google's libraries look for them
        (GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth`).
      location: where; glossaries and models of one's own are in none but their
        own region.
      model: `general/nmt`, `general/translation-llm`, or a model's id.
      glossaries: target language -> glossary id (in the same location).
      stand_in: host:port of a local server without encryption, for tests.
      timeout: seconds a request may take.
      max_segments: texts a request; 1,024 at most.
      max_characters: code points a request, and a text; 30,000 at most.
        Google recommends 5,000: a larger request takes longer.

    Raises:
      UsageError: a limit above Google's, or a stand-in that is not local.
    """
    if not 1 <= max_segments <= 1024:
      raise UsageError("Google takes 1 to 1024 segments a request")
    if not 100 <= max_characters <= 30_000:
      raise UsageError("Google takes 100 to 30000 characters a request")
    host = stand_in.rpartition(":")[0]
    if stand_in and host not in ("localhost", "127.0.0.1", "[::1]"):
      raise UsageError(
          f"google@{stand_in}: a stand-in must be local, e.g."
          " google@localhost:8080"
      )
    self.max_segments = max_segments
    self.max_characters = self.max_length = max_characters
    self._project, self._location, self._model = project, location, model
    self._glossaries = dict(glossaries or {})
    self._stand_in, self._timeout = stand_in, timeout
    self._client = None

  def identity(self, source: str, target: str) -> Mapping[str, Any]:
    code(source), code(target)  # both must be Google's
    return {
        "service": "google-translate-v3",
        "model": self._model,
        "glossary": self._glossaries.get(target, ""),
    }

  async def translate(
      self, texts: Sequence[str], source: str, target: str
  ) -> list[str | None]:
    client, parent = self.connect()
    from google.api_core import exceptions

    request = {
        "parent": parent,
        "contents": list(texts),
        # With text/html, the default, replies come back escaped.
        "mime_type": "text/plain",
        "source_language_code": code(source),
        "target_language_code": code(target),
        "model": self.model_name(parent),
    }
    if glossary := self.glossary_name(parent, target):
      request["glossary_config"] = {"glossary": glossary}
    try:
      response = await client.translate_text(request, timeout=self._timeout)
    except exceptions.GoogleAPICallError as e:
      raise translated_error(e) from None
    replies = (
        response.glossary_translations if glossary else response.translations
    )
    return [unescape(r.translated_text) or None for r in replies]

  async def close(self) -> None:
    # The next run has an event loop of its own, and connects again.
    client, self._client = self._client, None
    if client is not None:
      await client.transport.close()

  def model_name(self, parent: str) -> str:
    """The model's full name."""
    return f"{parent}/models/{self._model}"

  def glossary_name(self, parent: str, target: str) -> str:
    """The full name of a language's glossary, or ""."""
    glossary = self._glossaries.get(target)
    return f"{parent}/glossaries/{glossary}" if glossary else ""

  def connect(self):
    """Google's client, and the project and location to ask in.

    Raises:
      UsageError: the client is not installed, or there are no credentials or
        no project.
    """
    if self._client is None:
      self._client, project = self._connected()
      self._parent = f"projects/{project}/locations/{self._location}"
    return self._client, self._parent

  def _connected(self):
    # Its notes on connections that close would stand in the progress line.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
      import google.auth
      from google.auth import exceptions
      from google.cloud import translate_v3
    except ImportError:
      raise UsageError(_INSTALL) from None
    service = translate_v3.TranslationServiceAsyncClient
    project = self._project or os.environ.get("GOOGLE_CLOUD_PROJECT", "")
    if self._stand_in:
      import grpc

      transport = service.get_transport_class("grpc_asyncio")(
          channel=grpc.aio.insecure_channel(self._stand_in)
      )
      return service(transport=transport), project or "stand-in"
    try:
      credentials, found = google.auth.default()
    except (exceptions.GoogleAuthError, OSError, ValueError) as e:
      # Not its message: it may quote the file.
      raise UsageError(
          f"no Google credentials ({type(e).__name__}): run `gcloud auth"
          " application-default login`, or point"
          " GOOGLE_APPLICATION_CREDENTIALS at a key file"
      ) from None
    if not (project or found):
      raise UsageError(
          "which Google Cloud project? Give --project or set"
          " GOOGLE_CLOUD_PROJECT"
      )
    return service(credentials=credentials), project or found


def unescape(reply: str) -> str:
  """Undoes HTML escaping, also when it was done twice.

  No entity of the source's is left in a text that is sent: those are protected
  spans, so whatever stands in a reply was put there by escaping.
  """
  for _ in range(2):
    # Whole entities only: html.unescape alone also reads "&not" in "&nothing".
    reply = _ENTITY.sub(lambda m: html.unescape(m.group()), reply)
  return reply


def code(lang: str) -> str:
  """Google's code of a language.

  Raises:
    UsageError: it has none.
  """
  try:
    return languages.get(lang).to("translate")
  except languages.UnknownLanguageError as e:
    raise UsageError(f"Google cannot translate it: {e}") from None


def translated_error(error) -> Exception:
  """One of ours for one of google.api_core.exceptions."""
  from google.api_core import exceptions

  reason = f"{type(error).__name__}: {error.message}"[:300]
  if isinstance(error, exceptions.InvalidArgument):
    return backends.Rejected(reason)
  # Quotas come back as 429, or as 403 with these words.
  if "Daily Limit" in reason:
    return backends.BackendError(
        f"Google's daily limit is reached ({reason}); the same command goes on"
        " from here when it is reset"
    )
  quota = isinstance(error, exceptions.Forbidden) and "Rate Limit" in reason
  timed_out = isinstance(
      error, exceptions.DeadlineExceeded | exceptions.GatewayTimeout
  )
  # 5xx, and calls that were cut off.
  passing = (
      exceptions.TooManyRequests, exceptions.ServerError, exceptions.Aborted,
      exceptions.Cancelled,
  )
  if quota or timed_out or isinstance(error, passing):
    if isinstance(error, exceptions.MethodNotImplemented):
      return backends.BackendError(reason)
    waits = [
        detail.retry_delay.ToTimedelta().total_seconds()
        for detail in error.details
        if hasattr(detail, "retry_delay")
    ]
    return backends.Transient(reason, max(waits, default=0.0), timed_out)
  return backends.BackendError(f"Google refuses: {reason}")
