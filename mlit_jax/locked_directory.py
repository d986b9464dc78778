"""A working directory: one run's, and locked while it is used."""

import fcntl
import json
import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self

from mlit_jax.errors import UsageError

LOCK = ".lock"


class LockedDirectory:
  """A directory that one process works in, locked until it is closed."""

  def __init__(
      self,
      path: str | os.PathLike,
      check: Callable[[], None],
      option: str = "--workdir",
  ):
    """Opens or makes the directory.

    Args:
      path: where; made if it does not exist.
      check: raises UsageError if what the directory holds is another's. It is
        called before anything is changed, and not for an empty directory;
        `self.path` is set by then.
      option: of the command, that names the directory.

    Raises:
      UsageError: the directory cannot be written, is in use, or `check` says
        so. Nothing is changed then.
    """
    self.path = pathlib.Path(path)
    try:
      if self.path.exists() and not self.path.is_dir():
        raise UsageError(f"{path}: not a directory; choose another {option}")
      if self.path.is_dir() and any(self.path.iterdir()):
        check()
      self.path.mkdir(parents=True, exist_ok=True)
      # Held open: the lock lasts as long as the file.
      self._lock = open(self.path / LOCK, "w")  # noqa: SIM115
    except OSError as e:
      raise UsageError(
          f"{path}: cannot be written ({e.strerror}); choose another {option}"
      ) from None
    try:
      fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      self._lock.close()
      raise UsageError(
          f"{path}: another mlit is working there; wait for it or choose"
          f" another {option}"
      ) from None

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception) -> None:
    self._lock.close()


def read_marker(
    path: pathlib.Path,
    whose: str,
    keys: Collection[str],
    may_hold: Collection[str] = (),
) -> Mapping[str, Any] | None:
  """What the file says that marks a directory as somebody's.

  Args:
    path: of the file, in the directory.
    whose: for people: "a study's".
    keys: what it must have, each a mapping.
    may_hold: names that a directory without the file may hold beside the lock:
      a run killed before its first word leaves nothing else.

  Returns:
    Its content; None if it is not there yet.

  Raises:
    UsageError: the directory is not empty and has no such file, or the file is
      damaged.
  """
  if not path.exists():
    if {p.name for p in path.parent.iterdir()} - {LOCK, *may_hold}:
      raise UsageError(
          f"{path.parent}: holds files but no {path.name}, so it is not"
          f" {whose}; choose an empty --workdir"
      )
    return None
  try:
    held = json.loads(path.read_text(encoding="utf-8"))
    return held | {key: dict(held[key]) for key in keys}
  except (ValueError, KeyError, TypeError):
    raise UsageError(f"{path}: damaged; choose another --workdir") from None


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, str]:
  """Keys whose values differ, each with both values for people."""
  return {
      key: f"{key}={before.get(key)!r} (now {now.get(key)!r})"
      for key in sorted(before.keys() | now.keys())
      if before.get(key) != now.get(key)
  }


def some(changes: Collection[str], most: int) -> str:
  """The first few of them, and how many more there are."""
  named = ", ".join(list(changes)[:most])
  more = len(changes) - most
  return f"{named} and {more} more" if more > 0 else named
