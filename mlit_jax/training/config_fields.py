"""Frozen dataclasses from plain values: names and types are checked here.

A config is a tree of dataclasses. Its values come as a mapping of mappings
(from a ConfigDict, from gin), or as text (from the command line); a key is the
path to a field, "train.learning_rate".
"""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from mlit_jax.errors import UsageError
from mlit_jax.models.encoder_decoder_config import (
  FAMILIES,
  EncoderDecoderConfig,
)

_T = TypeVar("_T")
_NAMES = {
    bool: "true or false", int: "a whole number", float: "a number",
    str: "text",
}


def build(cls: type[_T], values: Mapping[str, Any], at: str = "") -> _T:
  """A dataclass, and those in it, from a mapping.

  Args:
    cls: of the dataclass.
    values: field -> value; a dataclass's is a mapping.
    at: the key of this dataclass, "" for the root.

  Raises:
    UsageError: an unknown key (names the nearest), a value of a wrong type, a
      missing one, or what the dataclass itself refuses.
  """
  known = typing.get_type_hints(cls)
  taken = {}
  for name, value in values.items():
    if name not in known:
      raise unknown(_join(at, name), keys_of(cls, at))
    taken[name] = _convert(known[name], value, _join(at, name))
  missing = [
      f.name for f in dataclasses.fields(cls)
      if f.name not in taken and f.default is dataclasses.MISSING
      and f.default_factory is dataclasses.MISSING
  ]
  if missing:
    raise UsageError(
        f"the config lacks {', '.join(_join(at, m) for m in missing)}"
    )
  try:
    return cls(**taken)
  except ValueError as e:
    raise UsageError(f"config.{at}: {e}" if at else f"config: {e}") from None


def from_text(cls: type, key: str, text: str) -> Any:
  """What `--config.KEY=TEXT` says, of the field's type.

  Args:
    cls: of the root.
    key: path to a field; tuples' entries are separated by commas, `none` is
      None where a field may be that.
    text: its value.

  Raises:
    UsageError: an unknown key (names the nearest), or other text.
  """
  path, kind = key.split("."), cls
  for name in path:
    hints = [typing.get_type_hints(c) for c in _dataclasses(kind)]
    kinds = [hint[name] for hint in hints if name in hint]
    if not kinds:
      raise unknown(key, keys_of(cls))
    kind = typing.Union[tuple(kinds)]  # noqa: UP007
  if text.lower() == "none" and _optional(kind):
    return None
  if _dataclasses(kind):
    raise UsageError(f"{key} has fields of its own; set e.g. {key}."
                     f"{dataclasses.fields(_dataclasses(kind)[0])[0].name}")
  plain = _plain_kinds(kind)[0]
  if typing.get_origin(plain) is tuple:
    entry = typing.get_args(plain)[0]
    return tuple(_parse(entry, x, key) for x in text.split(",") if x)
  return _parse(plain, text, key)


def merge(values: dict, key: str, value: Any) -> None:
  """Sets a key in a mapping of mappings, in place."""
  *path, last = key.split(".")
  for name in path:
    if not isinstance(values.get(name), dict):
      values[name] = {}
    values = values[name]
  values[last] = value


def flatten(config: Any, at: str = "") -> dict[str, Any]:
  """Key -> value of a dataclass and those in it; tuples as lists."""
  found = {}
  for field in dataclasses.fields(config):
    key, value = _join(at, field.name), getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      found |= flatten(value, key)
    else:
      found[key] = list(value) if isinstance(value, tuple) else value
  return found


def as_dict(config: Any) -> dict[str, Any]:
  """A mapping of mappings that `build` takes back."""
  return {
      field.name: as_dict(value) if dataclasses.is_dataclass(value) else value
      for field in dataclasses.fields(config)
      for value in (getattr(config, field.name),)
  }


def keys_of(cls: type, at: str = "") -> list[str]:
  """The keys of all fields, depth first."""
  return list(dict.fromkeys(key for key, _, _, _ in describe(cls, at)))


def describe(cls: type, at: str = ""):
  """(key, type, default, what its docstring says) of all fields."""
  said, hints = _attributes(cls), typing.get_type_hints(cls)
  for field in dataclasses.fields(cls):
    key, kind = _join(at, field.name), hints[field.name]
    inner = _dataclasses(kind)
    if not inner or _optional(kind):
      yield key, type_name(kind), default_of(field), said.get(field.name, "")
    for part in inner:
      yield from describe(part, key)


def default_of(field: dataclasses.Field) -> str:
  if field.default is dataclasses.MISSING:
    return "required"
  if field.default is None:
    return "none"
  if isinstance(field.default, tuple):
    return ",".join(map(str, field.default)) or '""'
  if isinstance(field.default, bool):
    return str(field.default).lower()
  return str(field.default) if field.default != "" else '""'


def type_name(kind: Any) -> str:
  """For people."""
  names = [
      "section" if dataclasses.is_dataclass(k)
      else f"{typing.get_args(k)[0].__name__}s" if typing.get_origin(k) is tuple
      else k.__name__
      for k in _kinds(kind) if k is not types.NoneType
  ]
  end = ["none"] if _optional(kind) else []
  return " or ".join(dict.fromkeys(names + end))


def unknown(key: str, known: list[str]) -> UsageError:
  """The error of a key that is not there; names the nearest."""
  near = difflib.get_close_matches(key, known, n=2, cutoff=0.6)
  # A right name in a wrong section is near, too.
  last = key.rpartition(".")[2]
  near = [k for k in known if k.rpartition(".")[2] == last][:2] or near
  hint = f"did you mean {' or '.join(near)}?" if near else "see --config_help"
  return UsageError(f"unknown config key {key!r}; {hint}")


def _attributes(cls: type) -> dict[str, str]:
  """Field -> text, from the docstrings of a class and those above it."""
  found = {}
  for one in reversed(cls.__mro__[:-1]):
    text = (one.__doc__ or "").partition("Attributes:\n")[2]
    for entry in re.split(r"\n(?= {4}\S)", text):
      names, _, said = entry.strip().partition(":")
      for name in names.split(","):
        found[name.strip()] = " ".join(said.split())
  return found


def _convert(kind: Any, value: Any, at: str) -> Any:
  """A plain value as a field's type."""
  if value is None and _optional(kind):
    return None
  if candidates := _dataclasses(kind):
    if not isinstance(value, Mapping):
      raise UsageError(f"{at} has fields of its own, it cannot be {value!r}")
    return build(_pick(candidates, value), value, at)
  kinds = _plain_kinds(kind)
  for one in kinds:
    if typing.get_origin(one) is tuple and isinstance(value, tuple | list):
      entry = typing.get_args(one)[0]
      return tuple(_convert(entry, x, f"{at}[{i}]") for i, x in
                   enumerate(value))
    if one is float and type(value) in (int, float):
      return float(value)
    if type(value) is one:
      return value
  raise _wrong(at, value, kinds[0])


def _parse(kind: type, text: str, at: str) -> Any:
  if kind is bool:
    if text.lower() in ("true", "false"):
      return text.lower() == "true"
  else:
    try:
      return kind(text)
    except ValueError:
      pass
  raise _wrong(at, text, kind)


def _wrong(at: str, value: Any, kind: Any) -> UsageError:
  if typing.get_origin(kind) is tuple:
    entry = _NAMES[typing.get_args(kind)[0]]
    return UsageError(f"{at}={value!r} is no tuple of which each is {entry}")
  return UsageError(f"{at}={value!r} is not {_NAMES[kind]}")


def _pick(candidates: list[type], values: Mapping[str, Any]) -> type:
  """The one class, or of the two kinds of model that of the family."""
  if len(candidates) == 1:
    return candidates[0]
  is_t5 = values.get("family") in FAMILIES
  return next(c for c in candidates if (c is EncoderDecoderConfig) == is_t5)


def _kinds(kind: Any) -> tuple:
  if typing.get_origin(kind) in (typing.Union, types.UnionType):
    return typing.get_args(kind)
  return (kind,)


def _plain_kinds(kind: Any) -> list:
  return [k for k in _kinds(kind) if k is not types.NoneType]


def _dataclasses(kind: Any) -> list[type]:
  return [k for k in _kinds(kind) if dataclasses.is_dataclass(k)]


def _optional(kind: Any) -> bool:
  return types.NoneType in _kinds(kind)


def _join(at: str, name: str) -> str:
  return f"{at}.{name}" if at else name
