"""Where a command writes: not over what it reads, and where it can."""

import os
from collections.abc import Iterable

from mlit_jax.errors import UsageError

_Paths = Iterable[str | os.PathLike | None]


def keep_inputs(outputs: _Paths, inputs: _Paths) -> None:
  """UsageError if a file would be written over that is read, or written twice.

  None stands for no file.
  """
  read = {os.path.realpath(path) for path in inputs if path}
  written = set()
  for path in filter(None, outputs):
    place = os.path.realpath(path)
    if place in read:
      raise UsageError(f"{path} would be written over; it is read, too")
    if place in written:
      raise UsageError(f"{path} would be written twice; give another name")
    written.add(place)


def check_file(path: str | os.PathLike) -> None:
  """UsageError if no file can be written there; said before any work is done.
  """
  if os.path.isdir(path) or not os.path.basename(path):
    raise UsageError(f"{path}: is a folder; give the name of a file")
  check_folder(os.path.dirname(path) or ".")


def check_folder(path: str | os.PathLike) -> None:
  """UsageError if there is no such folder, nor can one be made."""
  place = os.path.abspath(path)
  while not os.path.exists(place):
    place = os.path.dirname(place)
  if not os.path.isdir(place):
    raise UsageError(f"{path}: cannot be a folder; {place} is a file")
  if not os.access(place, os.W_OK | os.X_OK):
    raise UsageError(f"{path}: {place} may not be written to")


def check_model(
    path: str | os.PathLike, adapter: str | os.PathLike | None = None
) -> None:
  """UsageError if a model directory, or an adapter's over it, is none."""
  if not os.path.isdir(path):
    raise UsageError(
        f"--model {path}: there is no such directory; give one with"
        " config.json, weights and tokenizer"
    )
  has = [
      os.path.exists(os.path.join(path, name))
      for name in ("config.json", "adapter_config.json")
  ]
  if has == [False, True]:
    raise UsageError(
        f"--model {path}: is an adapter; give its base as --model, and this as"
        " --adapter"
    )
  if adapter is not None and not os.path.isdir(adapter):
    raise UsageError(
        f"--adapter {adapter}: there is no such directory; give one that PEFT"
        " or mlit wrote"
    )
