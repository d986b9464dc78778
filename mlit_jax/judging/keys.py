"""API keys: from the environment or a file, and out of every text."""

import os
import pathlib
from collections.abc import Iterable, Sequence

from mlit_jax.errors import UsageError


def read(names: Sequence[str], path: str | os.PathLike | None) -> str:
  """The key in a file, else in the first environment variable that has one.

  Returns:
    The key, or "" if there is none.

  Raises:
    UsageError: the file cannot be read or holds no key.
  """
  if path is None:
    return next((os.environ[n] for n in names if os.environ.get(n)), "").strip()
  try:
    key = pathlib.Path(path).read_text(encoding="utf-8").strip()
  except (OSError, ValueError) as e:
    raise UsageError(f"{path}: cannot be read: {type(e).__name__}") from None
  # What stands in the file is not repeated: it may be a key after all.
  if not key or len(key.split()) > 1 or not key.isascii():
    raise UsageError(f"{path}: expected one key and nothing else")
  return key


def hide(text: str, secrets: Iterable[str]) -> str:
  """The text without keys that a provider may have repeated in it."""
  for secret in secrets:
    if secret:
      text = text.replace(secret, "[key]")
  return text
