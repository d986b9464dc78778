"""Which requests are under way, written down so that a kill can be counted."""

import dataclasses
import fcntl
import os
import pathlib

from mlit_jax import cache as cache_lib

_SLOT = 96  # bytes: a key, two numbers, spaces; one write each


@dataclasses.dataclass(frozen=True)
class Interrupted:
  """What was in flight when earlier runs were killed.

  It may be charged although no reply of it was stored.
  """

  requests: int = 0
  segments: int = 0
  characters: int = 0


class InFlight:
  """A small file beside the store with a slot per request under way.

  Attributes:
    interrupted: what killed runs left behind, and never stored.
  """

  def __init__(self, store: cache_lib.Cache, num_slots: int):
    self.interrupted = _collect(store)
    self._path = _beside(store, str(os.getpid()))
    self._file = os.open(
        self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666
    )
    # Held while this process lives: the file of a dead one is free.
    fcntl.flock(self._file, fcntl.LOCK_EX)
    self._free = list(range(num_slots))[::-1]

  def begin(self, name: str, segments: int, characters: int) -> int:
    """Writes a request down before it is sent; returns its slot.

    Args:
      name: the key of the reply that is stored last.
      segments: how many texts it has.
      characters: how many code points.
    """
    slot = self._free.pop()
    self._write(slot, f"{name} {segments} {characters}")
    return slot

  def end(self, slot: int) -> None:
    """Its replies are stored, or it was refused."""
    self._write(slot, "")
    self._free.append(slot)

  def close(self) -> None:
    """Removes the file; nothing is under way."""
    self._path.unlink(missing_ok=True)
    os.close(self._file)

  def _write(self, slot: int, text: str) -> None:
    line = f"{text:<{_SLOT - 1}}\n".encode()
    os.pwrite(self._file, line, slot * _SLOT)


def _beside(store: cache_lib.Cache, name: str) -> pathlib.Path:
  return store.path.with_name(f"{store.path.name}.in-flight.{name}")


def _collect(store: cache_lib.Cache) -> Interrupted:
  """Counts and removes what dead processes left."""
  requests = segments = characters = 0
  prefix = _beside(store, "").name
  for path in sorted(store.path.parent.iterdir()):
    if not path.name.startswith(prefix):
      continue
    try:
      with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lines = file.read().decode("ascii", "ignore").split("\n")
        path.unlink()
    except OSError:  # its process lives, or another one has just taken it
      continue
    for line in lines:
      match line.strip("\0 ").split():
        case [name, count, size] if name not in store:
          requests += 1
          segments += int(count)
          characters += int(size)
  return Interrupted(requests, segments, characters)
