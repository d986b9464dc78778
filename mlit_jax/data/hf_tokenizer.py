"""`tokenizer.json` through the `tokenizers` library.

BLOOM, GPT-NeoX, Qwen, LLaMA 3 (bytes as letters), and what was SentencePiece
before, as Gemma (U+2581 for a space, bytes where a character is unknown).
Decoding is put together from the tokens here, so that it works id by id.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from mlit_jax.data import special_tokens
from mlit_jax.data.tokenizer_base import (
    Tokenizer,
    TokenizerError,
    special_ids,
)

FILE_NAME = "tokenizer.json"
_SPACE = "\u2581"


@dataclasses.dataclass(frozen=True)
class HuggingFaceTokenizer(Tokenizer):
  """A tokenizer of the `tokenizers` library.

  Its truncation, padding and dropout are turned off: they would change text
  without a word.

  Attributes:
    definition: the content of a `tokenizer.json`.
    special: the special tokens, which other files name.
  """

  definition: str
  special: special_tokens.SpecialTokens

  def __post_init__(self):
    content = _parse(self.definition)
    kind, strips = _decoding(content)
    object.__setattr__(self, "strips", strips)
    object.__setattr__(self, "_is_byte_level", kind == "ByteLevel")
    object.__setattr__(
        self, "_spells_bytes", content["model"].get("type") == "Unigram"
    )
    object.__setattr__(self, "_tokenizer", _make(content))
    inner = _without_prefix(content)
    object.__setattr__(
        self, "_inner", self._tokenizer if inner == content else _make(inner)
    )
    object.__setattr__(
        self, "prefixes_after_special", not _prefixes_first_only(content)
    )

  @classmethod
  def from_directory(cls, directory: str | os.PathLike):
    """Reads a model directory.

    Raises:
      TokenizerError: names the file.
    """
    directory = pathlib.Path(directory)
    path = directory / FILE_NAME
    try:
      definition = path.read_text(encoding="utf-8")
      content = _parse(definition)
      _decoding(content)
      tokenizer = _make(content)
      texts = {
          entry["content"]: entry["id"]
          for entry in content.get("added_tokens") or ()
          if entry["special"]
      }
      own = {"bos": None, "eos": None, "pad": None}
      unknown = _unknown(content)
      own["unk"] = None if unknown is None else tokenizer.token_to_id(unknown)
      special = special_tokens.read(
          directory, tokenizer.token_to_id, own, texts
      )
      if special.adds_bos is None:
        special = dataclasses.replace(
            special, adds_bos=_adds(tokenizer, special.bos)
        )
      return cls(definition, special)
    except OSError as e:
      raise TokenizerError(f"{path}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
      raise TokenizerError(f"{path}: not UTF-8") from None
    except _DefinitionError as e:
      raise TokenizerError(f"{path}: {e}") from None

  @functools.cached_property
  def vocab_size(self) -> int:
    ids = (*self._tokenizer.get_vocab().values(), *self.specials.values())
    return max(ids) + 1

  @property
  def pad_id(self) -> int:
    found = (self.special.pad, self.unk_id, self.eos_id)
    return next(id_ for id_ in found if id_ is not None)

  @property
  def bos_id(self) -> int | None:
    return self.special.bos

  @property
  def eos_id(self) -> int:
    return self.special.eos

  @property
  def unk_id(self) -> int | None:
    return self.special.unk

  @property
  def begin_ids(self) -> tuple[int, ...]:
    adds = self.special.adds_bos and self.bos_id is not None
    return (self.bos_id,) if adds else ()

  @property
  def end_ids(self) -> tuple[int, ...]:
    return self.special.ends

  @property
  def specials(self) -> Mapping[str, int]:
    return self.special.texts

  def token_bytes(self, token: int) -> bytes:
    return self._bytes.get(token, b"")

  def _encode(self, text: str, continues: bool) -> list[int]:
    if self._spells_bytes and (place := text.find("<0x")) >= 0:
      # The library takes "<0x41>" in a text for the byte; SentencePiece does
      # not.
      head, rest = text[: place + 1], text[place + 1 :]
      more = self._encode(rest, True) if rest else []
      return self._encode(head, continues) + more
    tokenizer = self._inner if continues else self._tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if len(text) > 1 and not self._forbidden.isdisjoint(ids):
      # Letters that a normalizer turns into those of a special token.
      ids = [
          id_
          for place, letter in enumerate(text)
          for id_ in self._encode(letter, continues or place > 0)
      ]
    return ids

  @functools.cached_property
  def _forbidden(self) -> frozenset[int]:
    """Ids that no text may become."""
    return special_ids(self) - {self.unk_id}

  @functools.cached_property
  def _bytes(self) -> dict[int, bytes]:
    silent = special_ids(self)
    added = self._tokenizer.get_added_tokens_decoder()
    table = {}
    for text, id_ in self._tokenizer.get_vocab().items():
      if id_ in silent:
        continue
      if id_ in added:
        table[id_] = added[id_].content.encode()
      elif self._is_byte_level:
        table[id_] = _from_letters(text)
      elif _is_byte(text):
        table[id_] = bytes([int(text[3:5], 16)])
      else:
        table[id_] = text.replace(_SPACE, " ").encode()
    return table


class _DefinitionError(ValueError):
  """What is wrong with a definition, without its file."""


def _parse(definition: str) -> dict[str, Any]:
  try:
    content = json.loads(definition)
    parts = {name: content.get(name) for name in _PARTS}
    if any(not isinstance(p, dict | None) for p in parts.values()):
      raise ValueError("a part is no object")
    if content["model"] is None:
      raise ValueError("no model")
  except (ValueError, KeyError, AttributeError, RecursionError) as e:
    raise _DefinitionError(
        f"not a tokenizer of the `tokenizers` library ({e})"
    ) from None
  content |= {"truncation": None, "padding": None}
  if "dropout" in content["model"]:
    content["model"]["dropout"] = None
  return content


_PARTS = ("model", "normalizer", "pre_tokenizer", "post_processor", "decoder")


def _make(content: Mapping):
  # The library's name is that of our own module; imports are absolute.
  import tokenizers

  try:
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
  except Exception as e:  # the library raises nothing narrower
    reason = " ".join(str(e).split())[:200]
    raise _DefinitionError(
        f"not a tokenizer of the `tokenizers` library ({reason})"
    ) from None
  tokenizer.encode_special_tokens = True
  return tokenizer


def _steps(part: Mapping | None) -> list[dict[str, Any]]:
  """A part as the list of its steps."""
  if part is None:
    return []
  if part.get("type") != "Sequence":
    return [dict(part)]
  name = next(k for k in part if k != "type")
  return [step for inner in part[name] for step in _steps(inner)]


def _decoding(content: Mapping) -> tuple[str, int]:
  """(ByteLevel or Metaspace, leading spaces that are taken away)."""
  steps = {step["type"]: step for step in _steps(content.get("decoder"))}
  if "ByteLevel" in steps:
    before = _steps(content.get("pre_tokenizer"))
    spaces = any(
        step.get("add_prefix_space")
        for step in before
        if step["type"] == "ByteLevel"
    )
    return "ByteLevel", int(spaces)
  if "Metaspace" in steps:
    return "Metaspace", int(_prepends(steps["Metaspace"]))
  if {"Replace", "Fuse"} <= set(steps):
    return "Metaspace", int("Strip" in steps)
  raise _DefinitionError(
      f"its decoder {sorted(steps)} is not one of the known: ByteLevel,"
      " Metaspace, or Replace with ByteFallback and Fuse"
  )


def _prepends(metaspace: Mapping) -> bool:
  if "prepend_scheme" in metaspace:
    return metaspace["prepend_scheme"] != "never"
  return metaspace.get("add_prefix_space", True)


def _prefixes_first_only(content: Mapping) -> bool:
  """Whether a prefix stands before the first text only (Metaspace's first)."""
  return any(
      step.get("prepend_scheme") == "first"
      for step in _steps(content.get("pre_tokenizer"))
  )


def _without_prefix(content: Mapping) -> dict[str, Any]:
  """The same tokenizer without a space of its own before a text."""

  def strip(part):
    if part is None or part.get("type") == "Prepend":
      return None
    part = dict(part)
    if part["type"] == "Sequence":
      name = next(k for k in part if k != "type")
      inner = [strip(step) for step in part[name]]
      part[name] = [step for step in inner if step is not None]
    if "prepend_scheme" in part:
      part["prepend_scheme"] = "never"
    if "add_prefix_space" in part:
      part["add_prefix_space"] = False
    return part

  return {
      **content,
      "normalizer": strip(content.get("normalizer")),
      "pre_tokenizer": strip(content.get("pre_tokenizer")),
  }


def _unknown(content: Mapping) -> str | None:
  """The text of the model's unknown token."""
  model = content["model"]
  if isinstance(id_ := model.get("unk_id"), int):
    return model["vocab"][id_][0]
  return model.get("unk_token")


def _adds(tokenizer, bos: int | None) -> bool:
  """Whether the tokenizer itself puts the begin token before a text."""
  ids = tokenizer.encode("a", add_special_tokens=True).ids
  return bos is not None and ids[:1] == [bos]


def _is_byte(text: str) -> bool:
  return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


@functools.cache
def _letters() -> dict[str, int]:
  """GPT-2's letters for bytes: printable ones themselves, others from U+0100.
  """
  table, others = {}, 0
  for byte in range(256):
    printable = 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174
    table[chr(byte if printable else 256 + others)] = byte
    others += not printable
  return table


def _from_letters(text: str) -> bytes:
  letters = _letters()
  try:
    return bytes(letters[c] for c in text)
  except KeyError:  # a token that was put in as it is
    return text.encode()
