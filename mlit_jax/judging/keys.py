"""API keys: from the environment or a file, and out of every text."""

import os
import pathlib
from collections.abc import Iterable, Sequence

from mlit_jax.errors import UsageError

_SHORTEST = 8


def read(names: Sequence[str], path: str | os.PathLike | None) -> str:
  """The key in a file, else in the first environment variable that has one.

  Returns:
    The key, or "" if there is none.

  Raises:
    UsageError: the file cannot be read, or there is no key in it or in the
      variable.
  """
  if path is None:
    where = next((n for n in names if os.environ.get(n)), "")
    key = os.environ.get(where, "").strip()
    if not key:
      return ""
  else:
    where = path
    try:
      key = pathlib.Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as e:
      raise UsageError(f"{path}: cannot be read: {type(e).__name__}") from None
  # What stands there is not repeated: it may be a key after all.
  if len(key.split()) != 1 or not (key.isascii() and key.isprintable()):
    raise UsageError(f"{where}: expected one key and nothing else")
  return key


def hide(text: str, secrets: Iterable[str]) -> str:
  """The text without keys that a provider may have repeated in it.

  What servers of one's own are given as a key ("1", "EMPTY") is none, and a
  reply may well hold it.
  """
  for secret in secrets:
    if len(secret) >= _SHORTEST:
      text = text.replace(secret, "[key]")
  return text
