"""`--judge SPEC`: which judge is meant.

  openai:MODEL[@URL]                any server that speaks OpenAI's protocol
  gemini:MODEL[@PROJECT/LOCATION]   Gemini, with an API key or on Vertex AI
  local:DIR                         a model directory
  reference                         compares with a known answer, offline
  replay:FILE                       recorded judgments
  human:FILE                        people's judgments
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from mlit_jax.errors import UsageError
from mlit_jax.judging import gemini, keys, openai_chat

_FORMS = (
    "openai:MODEL[@URL], gemini:MODEL[@PROJECT/LOCATION], local:DIR, reference,"
    " replay:FILE, human:FILE"
)
KINDS = ("openai", "gemini", "local", "reference", "replay", "human")


@dataclasses.dataclass(frozen=True)
class Spec:
  """A specification, taken apart.

  Attributes:
    text: as it was given, and as it stands in every judgment.
    kind: one of KINDS.
    name: the model, directory or file.
    address: what follows the @, or "".
  """

  text: str
  kind: str
  name: str
  address: str

  @property
  def is_language_model(self) -> bool:
    return self.kind in ("openai", "gemini", "local")

  @property
  def on_vertex(self) -> bool:
    """Whether the model is asked through Vertex AI."""
    return (
        self.kind == "gemini" and bool(self.address)
        and "://" not in self.address
    )


def parse(text: str) -> Spec:
  """Takes a specification apart.

  Raises:
    UsageError: there is no such judge.
  """
  kind, _, name = text.partition(":")
  if kind not in KINDS or bool(name) != (kind != "reference"):
    raise UsageError(f"unknown judge {text!r}; known: {_FORMS}")
  address = ""
  if kind in ("openai", "gemini"):
    # A model's name may hold an @, too.
    name, mark, address = name.partition("@http")
    if mark or "://" in name:
      address = mark[1:] + address or name
    elif kind == "gemini":
      name, _, address = name.partition("@")
    # An address stands in every judgment, so it must hold no password.
    if address and (kind == "openai" or "://" in address):
      openai_chat.check_url(address)
    elif address and address.count("/") != 1:
      raise UsageError(f"{text!r}: expected gemini:MODEL@PROJECT/LOCATION")
    if not name or name == address:
      raise UsageError(f"{text!r} names no model: {kind}:MODEL@URL")
  return Spec(text, kind, name, address)


def make_vendor(
    spec: Spec,
    *,
    key_file: str | os.PathLike | None = None,
    temperature: float = 0,
    max_tokens: int = 1024,
    options: Mapping[str, Any] | None = None,
    need_key: bool = True,
) -> openai_chat.OpenAIChat | gemini.Gemini:
  """What speaks to the provider of an `openai` or `gemini` judge.

  Args:
    spec: of the judge.
    key_file: a file with the API key; else the environment has it.
    temperature, max_tokens, options: see the classes.
    need_key: False if nothing will be asked.

  Raises:
    UsageError: there is no key where one is needed.
  """
  module = gemini if spec.kind == "gemini" else openai_chat
  vertex = spec.on_vertex
  key = "" if vertex else keys.read(module.KEY_NAMES, key_file)
  # A server of one's own may need none.
  if need_key and not key and not vertex and (
      spec.kind == "gemini" or not spec.address
  ):
    raise UsageError(
        f"{spec.text} needs an API key: set {' or '.join(module.KEY_NAMES)}, or"
        " give --key_file"
    )
  about = {
      "key": key, "temperature": temperature, "max_tokens": max_tokens,
      "options": options,
  }
  if spec.kind == "openai":
    url = spec.address or openai_chat.DEFAULT_URL
    return openai_chat.OpenAIChat(spec.name, url, **about)
  if vertex:
    project, location = spec.address.split("/")
    return gemini.Gemini(spec.name, vertex=(project, location), **about)
  return gemini.Gemini(spec.name, url=spec.address, **about)
