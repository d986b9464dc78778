"""The interface of everything that translates, and how it may fail."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mlit_jax import languages


class BackendError(RuntimeError):
  """The service cannot be used; the run stops and can go on from there."""


class Transient(Exception):
  """The service could not answer now.

  Attributes:
    retry_after: seconds that it asked to wait for.
    was_sent: it may have worked, and charge, all the same (a time-out).
  """

  def __init__(
      self, reason: str, retry_after: float = 0.0, was_sent: bool = False
  ):
    super().__init__(reason)
    self.retry_after = retry_after
    self.was_sent = was_sent


class Rejected(Exception):
  """The service refuses this request for what stands in it."""


class Backend(Protocol):
  """Translates texts.

  Attributes:
    name: how rows, summaries and messages call it.
    max_segments: texts in a request at most.
    max_characters: code points in a request at most.
    max_length: code points of one text at most.
  """

  name: str
  max_segments: int
  max_characters: int
  max_length: int

  def identity(self, source: str, target: str) -> Mapping[str, Any]:
    """Everything but the text that could change a reply, for the store's key.

    Raises:
      UsageError: it does not translate between these languages.
    """

  async def translate(
      self, texts: Sequence[str], source: str, target: str
  ) -> list[str | None]:
    """One request: a translation per text; None where a reply is unusable.

    Args:
      texts: with markers, which are to be carried over.
      source: the short code of the texts' language.
      target: the short code of the language to translate into.

    Raises:
      Transient, Rejected, BackendError: there is no reply.
    """

  async def close(self) -> None:
    """Closes connections; `translate` may be called again afterwards."""


class Local:
  """A model of one's own, as a callable that continues prompts.

  The callable is handed in, so that this package needs no JAX. A T5 layout
  such as MADLAD-400 wants `template="<2{target}> {text}"`.
  """

  def __init__(
      self,
      name: str,
      generate: Callable[[Sequence[str]], Sequence[str]],
      template: str,
      *,
      max_segments: int = 64,
      max_length: int = 1_000,
  ):
    """Wraps a model.

    Args:
      name: the model's name and revision; a part of the store's key.
      generate: continues each prompt of a batch; "" where it could not end.
      template: the prompt, with {text}, {source} and {target} (codes) or
        {source_name} and {target_name} (English names).
      max_segments: prompts a batch.
      max_length: a longer text is cut at a paragraph or sentence.
    """
    self.name = f"local:{name}"
    self.max_segments, self.max_length = max_segments, max_length
    self.max_characters = max_segments * max_length
    self._generate, self._template = generate, template

  def identity(self, source: str, target: str) -> Mapping[str, Any]:
    del source, target
    return {"service": self.name, "template": self._template}

  async def translate(
      self, texts: Sequence[str], source: str, target: str
  ) -> list[str | None]:
    fields = {
        "source": source,
        "target": target,
        "source_name": languages.get(source).name,
        "target_name": languages.get(target).name,
    }
    prompts = [fill(self._template, text=text, **fields) for text in texts]
    replies = self._generate(prompts)
    return [reply.strip() or None for reply in replies]

  async def close(self) -> None:
    pass


def fill(template: str, **fields: str) -> str:
  """Puts fields in a template; braces in the text are no fields."""
  text = fields.pop("text")
  for name, value in fields.items():
    template = template.replace(f"{{{name}}}", value)
  return template.replace("{text}", text)
