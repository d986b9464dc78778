"""Special ids of a model directory, from the files that name them.

In order of precedence: tokenizer_config.json, special_tokens_map.json,
generation_config.json, config.json, and last the tokenizer file itself. Two
files that name different ids for one token are an error: one of them is wrong,
and a model that waits for the wrong end token never stops.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from mlit_jax.data.tokenizer_base import TokenizerError

TOKENIZER_CONFIG = "tokenizer_config.json"
_TEXT_FILES = (TOKENIZER_CONFIG, "special_tokens_map.json")
_ID_FILES = ("generation_config.json", "config.json")
_ROLES = ("bos", "eos", "unk", "pad")
# Marks of turns. Some checkpoints list them as plain pieces; a user's words
# must not be able to spell them all the same.
TURN_ENDS = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>")
_TURN_MARKS = (
    *TURN_ENDS, "<|im_start|>", "<start_of_turn>", "<|start_header_id|>",
    "<|end_header_id|>", "<|system|>", "<|user|>", "<|assistant|>",
)


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
  """What the files say.

  Attributes:
    bos, eos, unk, pad: ids, None where there is none.
    ends: where generation ends; eos is the first.
    adds_bos: what tokenizer_config.json says of it, None if nothing.
    texts: special ids by their text.
  """

  bos: int | None
  eos: int
  unk: int | None
  pad: int | None
  ends: tuple[int, ...]
  adds_bos: bool | None
  texts: Mapping[str, int] = dataclasses.field(hash=False)


def read(
    directory: pathlib.Path,
    token_id: Callable[[str], int | None],
    own: Mapping[str, int | None],
    own_texts: Mapping[str, int],
) -> SpecialTokens:
  """Reads the special tokens.

  Args:
    directory: of the model.
    token_id: the id of a token's text, None if the tokenizer lacks it.
    own: ids that the tokenizer file itself gives to bos, eos, unk and pad.
    own_texts: special tokens that the tokenizer file itself marks as such.

  Raises:
    TokenizerError: a file is damaged, names a token that the tokenizer lacks,
      or disagrees with another; there is no end token.
  """
  config = read_json(directory / TOKENIZER_CONFIG)
  texts = dict(own_texts)
  for id_, token in _added(directory, config).items():
    texts[token] = id_

  def find(text: str) -> int | None:
    return texts[text] if text in texts else token_id(text)

  said = _said(directory, find, texts)
  chosen, ends = {}, ()
  for role in _ROLES:
    if role == "bos" and said[role].get(TOKENIZER_CONFIG, ()) is None:
      # "bos_token": null: no text begins with one, whatever config.json says.
      chosen[role] = None
      continue
    named = {file: ids for file, ids in said[role].items() if ids is not None}
    chosen[role] = next(iter(named.values()), (own[role],))[0]
    _check_agreement(directory, role, chosen[role], named)
    if role == "eos":
      listed = next((ids for f in _ID_FILES if (ids := named.get(f))), ())
      ends = tuple(dict.fromkeys((chosen[role], *listed)))
  if chosen["eos"] is None:
    raise TokenizerError(
        f"{directory}: no file names an end token; add eos_token to"
        f" {TOKENIZER_CONFIG}"
    )
  for text in (*_TURN_MARKS, *_extra(config)):
    if (id_ := find(text)) is not None:
      texts[text] = id_
  adds_bos = config.get("add_bos_token")
  return SpecialTokens(
      **chosen, ends=ends, texts=texts,
      adds_bos=adds_bos if isinstance(adds_bos, bool) else None,
  )


def named(directory: pathlib.Path) -> dict[str, str]:
  """The tokens' texts by name, e.g. {"bos_token": "<s>"}."""
  found = {}
  for file in reversed(_TEXT_FILES):
    values = read_json(directory / file)
    for name in (f"{role}_token" for role in _ROLES):
      if (text := _text(values.get(name))) is not None:
        found[name] = text
  return found


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """A JSON object, {} where there is no such file."""
  try:
    value = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    return {}
  except OSError as e:
    raise TokenizerError(f"{path}: cannot be read: {e.strerror}") from None
  except (ValueError, RecursionError) as e:
    raise TokenizerError(f"{path}: not JSON ({e})") from None
  if not isinstance(value, dict):
    raise TokenizerError(f"{path}: expected a JSON object, not {value!r:.40}")
  return value


def _said(directory, find, texts) -> dict[str, dict[str, tuple | None]]:
  """role -> file -> the ids it names, None where it says there is none.

  The tokens that are named by their text are added to `texts`.
  """
  said: dict[str, dict] = {role: {} for role in _ROLES}
  for file in _TEXT_FILES:
    values = read_json(directory / file)
    for role in _ROLES:
      if f"{role}_token" not in values:
        continue
      text = _text(values[f"{role}_token"])
      if text is None:
        said[role][file] = None
      elif (id_ := find(text)) is None:
        raise TokenizerError(
            f"{directory / file}: {role}_token {text!r} is not in the"
            " tokenizer; correct it, or add the token"
        )
      else:
        said[role][file] = (id_,)
        texts[text] = id_
  for file in _ID_FILES:
    values = read_json(directory / file)
    inner = values.get("text_config")
    for role in _ROLES:
      name = f"{role}_token_id"
      value = values.get(name)
      if value is None and isinstance(inner, dict):
        value = inner.get(name)
      ids = tuple(value) if isinstance(value, list) else (value,)
      if ids in ((), (None,)) or ids == (-1,):  # LLaMA's "there is none"
        continue
      if not all(type(i) is int and i >= 0 for i in ids):
        raise TokenizerError(f"{directory / file}: {name} is {value!r}")
      said[role][file] = ids
  return said


def _check_agreement(directory, role, chosen, named) -> None:
  """Raises unless every file names the chosen id.

  config.json may name another end token if generation_config.json lists both,
  as it does for models whose chat ends otherwise than their pre-training text.
  """
  generation = named.get(_ID_FILES[0], ()) if role == "eos" else ()
  for file, ids in named.items():
    listed = chosen in generation and set(generation).issuperset(ids)
    if chosen in ids or listed:
      continue
    first = next(iter(named))
    raise TokenizerError(
        f"{directory}: {first} says that the {role} token is"
        f" {_show(named[first])}, {file} says {_show(ids)}; make them agree"
    )


def _show(ids: tuple[int, ...]) -> str:
  return str(ids[0]) if len(ids) == 1 else str(list(ids))


def _text(value: Any) -> str | None:
  """A token as files write it: a text, or an object with its content."""
  if isinstance(value, dict):
    value = value.get("content")
  return value if isinstance(value, str) and value else None


def _added(directory: pathlib.Path, config: Mapping) -> dict[int, str]:
  """Tokens added to a vocabulary, by id."""
  added = {}
  path = directory / "added_tokens.json"
  for text, id_ in read_json(path).items():
    if type(id_) is not int:
      raise TokenizerError(f"{path}: the id of {text!r} is {id_!r}")
    added[id_] = text
  table = config.get("added_tokens_decoder")
  for id_, entry in table.items() if isinstance(table, dict) else ():
    text = _text(entry)
    if not id_.isdecimal() or text is None:
      raise TokenizerError(
          f"{directory / TOKENIZER_CONFIG}: added_tokens_decoder has {id_!r}:"
          f" {entry!r:.60}"
      )
    if entry.get("special", True):
      added[int(id_)] = text
    else:
      added.pop(int(id_), None)
  return added


def _extra(config: Mapping) -> list[str]:
  found = []
  for name in ("additional_special_tokens", "extra_special_tokens"):
    value = config.get(name) or ()
    values = value.values() if isinstance(value, dict) else value
    found += [text for v in values if (text := _text(v)) is not None]
  return found
