"""A directory written beside its place and put there at one stroke."""

import contextlib
import ctypes
import os
import pathlib
import shutil
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(directory: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Context with an empty directory that takes the place of another at its end.

  After an error, or a kill, the old directory stands as it was.

  Args:
    directory: replaced if it exists.

  Yields:
    The temporary directory to write into.
  """
  directory = pathlib.Path(directory).absolute()
  temporary = directory.with_name(f".{directory.name}.tmp")
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    yield temporary
    _replace(temporary, directory)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _replace(new: pathlib.Path, old: pathlib.Path) -> None:
  """Puts a directory in the place of another (or of none) at one stroke."""
  if not old.exists():
    os.replace(new, old)
  elif not _exchange(new, old):
    # No such call here: for a moment neither has the name, but both are whole.
    aside = new.with_suffix(".old")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(old, aside)
    os.replace(new, old)
    shutil.rmtree(aside)


def _exchange(one: pathlib.Path, other: pathlib.Path) -> bool:
  """Swaps two names in one system call; False where Linux's is missing."""
  at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
  try:
    renameat2 = ctypes.CDLL(None).renameat2
  except (OSError, AttributeError):
    return False
  one, other = os.fsencode(one), os.fsencode(other)
  return renameat2(at_cwd, one, at_cwd, other, exchange) == 0
