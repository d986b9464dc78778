"""What a prompt's row may say of how it is answered."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mlit_jax.studies.answering import Options

_LEAST, _MOST = 1e-30, 1e30


def _is_whole(value) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value) -> bool:
  """One that a float32 can hold."""
  is_number = _is_whole(value) or isinstance(value, float)
  return is_number and (value == 0 or _LEAST <= abs(value) <= _MOST)


def _are_stops(value) -> bool:
  texts = [value] if isinstance(value, str) else value
  return isinstance(texts, list | tuple) and all(
      isinstance(text, str) and text for text in texts
  )


# Field of Options -> (whether a value is right, what it must be).
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_new_tokens": (
        lambda v: _is_whole(v) and v >= 1, "a whole number from 1 up"
    ),
    "temperature": (lambda v: _is_number(v) and v >= 0, "a number from 0 up"),
    "top_k": (
        lambda v: _is_whole(v) and 0 <= v < 1 << 31, "a whole number from 0 up"
    ),
    "top_p": (
        lambda v: _is_number(v) and 0 < v <= 1, "above 0 and at most 1"
    ),
    "min_p": (lambda v: _is_number(v) and 0 <= v <= 1, "from 0 to 1"),
    "repetition_penalty": (
        lambda v: _is_number(v) and v > 0, "a number above 0"
    ),
    "seed": (_is_whole, "a whole number"),
    "stop": (_are_stops, "text, or a list of texts, none of them empty"),
}
NAMES = tuple(_FIELDS)
# Beam search knows none of these.
_SAMPLING = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop"
)


def fault(options: Mapping[str, Any]) -> str:
  """What is wrong with a value, by name; "" if nothing is."""
  for name, (is_right, what) in _FIELDS.items():
    if name in options and not is_right(options[name]):
      return f"{name} must be {what}"
  return ""


def of_row(
    extra: Mapping[str, Any], options: Options, beams: bool
) -> Options | str:
  """A row's own options, in place of those given; or what is wrong.

  Args:
    extra: the row's fields beside id, lang and prompt.
    options: for what it does not say.
    beams: whether answers are searched by beams.
  """
  own = {name: extra[name] for name in NAMES if name in extra}
  if wrong := fault(own):
    return f"{wrong}, not {own[wrong.partition(' ')[0]]!r:.40}"
  if beams and (named := [name for name in _SAMPLING if name in own]):
    return f"{', '.join(named)}: --beams knows no such thing; leave it out"
  if "stop" in own:
    stop = own["stop"]
    own["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
  return dataclasses.replace(options, **own)
