"""`--study.key=value` on the command line, checked against the config."""

import difflib
from collections.abc import Sequence
from typing import Any

from mlit_jax.errors import UsageError

# Names of one's own: where data lie, and where bases do.
_FREE = ("sources", "other_bases")


def refuse(rest: Sequence[str]) -> None:
  """UsageError if anything on the command line was not understood."""
  if rest:
    raise UsageError(f"unknown argument {rest[0]!r}; see --help")


def apply(config, rest: Sequence[str], prefix: str) -> None:
  """Changes a ConfigDict in place.

  Args:
    config: what may be overridden; a value's type is that of the present one,
      and a tuple's entries are separated by commas.
    rest: arguments like `--study.seed=1`.
    prefix: `study` or `config`.

  Raises:
    UsageError: an unknown argument or key (with the nearest one), or a value
      of another type.
  """
  known = flatten(config)
  for argument in rest:
    key, has_value, text = argument.partition("=")
    if not key.startswith(f"--{prefix}.") or not has_value:
      raise UsageError(
          f"unknown argument {argument!r}; overrides look like"
          f" --{prefix}.key=value"
      )
    key = key.removeprefix(f"--{prefix}.")
    if _is_free(config, key):
      section, _, name = key.partition(".")
      config[section][name] = text
      continue
    if key not in known:
      near = difflib.get_close_matches(key, known, n=3)
      hint = f"did you mean {' or '.join(near)}?" if near else (
          f"known: {', '.join(sorted(known))}"
      )
      raise UsageError(f"unknown config key {key!r}; {hint}")
    section, names = config, key.split(".")
    for name in names[:-1]:
      section = section[name]
    section[names[-1]] = _parse(key, text, known[key])


def _is_free(config, key: str) -> bool:
  """Whether a key names an entry of a section that has names of its own."""
  section, _, name = key.partition(".")
  if section not in _FREE or section not in config or not name:
    return False
  return "." not in name and isinstance(config[section].get(name, ""), str)


def flatten(config) -> dict[str, Any]:
  """Dotted key -> value."""
  found = {}
  for key, value in config.items():
    if hasattr(value, "items"):
      found |= {f"{key}.{k}": v for k, v in flatten(value).items()}
    else:
      found[key] = value
  return found


def _parse(key: str, text: str, present: Any) -> Any:
  if isinstance(present, tuple):
    kind = type(present[0]) if present else float
    entries = [entry for entry in text.split(",") if entry]
    return tuple(_convert(key, entry, kind) for entry in entries)
  return _convert(key, text, type(present))


def _convert(key: str, text: str, kind: type) -> Any:
  if kind is bool:
    values = {"true": True, "false": False}
    if text.lower() in values:
      return values[text.lower()]
  else:
    try:
      return kind(text)
    except ValueError:
      pass
  names = {
      int: "a whole number", float: "a number", bool: "true or false",
  }
  raise UsageError(f"{key}={text!r} is not {names.get(kind, kind.__name__)}")
