"""Replies that were paid for: an append-only, content-addressed store.

A reply of a translation service or a judge is stored under the hash of
everything that could change it, and is never asked for again:

  store = Cache("replies.jsonl")
  name = key(backend="google", text="Hello.", target="he")
  reply = store.get(name)
  if reply is None:
    reply = store.put(name, ask(...))

The file is JSON Lines, one record a line, with a checksum; it can be read with
any tool, and two files can be joined with `cat`. What holds:

- When `put` returns, the record was written and synced (fsync): it outlives
  `kill -9` and a power cut. Threads that put at the same time share one sync.
  `put_many` can leave the sync to a later `sync`: what it wrote outlives
  `kill -9` from then on, and a power cut after the sync.
- Several processes may use one file, each opening it itself. Each sees what
  the others have put, and the first reply under a key stays.
- A record that was cut off at the end of the file (the process was killed
  while it wrote) is dropped with a warning. Any other damage is an error that
  names the line; nothing else is ever dropped.
- Memory holds the place of a record, not the record: about 160 bytes each.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import pathlib
import re
import threading
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

# Names under which a caller might pass what must not be stored.
_SECRET_NAMES = frozenset(
    "api_key apikey authorization credentials password secret token"
    " access_token".split()
)
_KEY_FORM = re.compile("[0-9a-f]{64}")
# A record's layout, and where its parts stand.
_HEAD = b'{"sha256":"%s","crc32":"%s","value":'
_KEY = slice(11, 75)
_CRC = slice(86, 94)
_VALUE = slice(104, -2)
_CHUNK = 1 << 22
_MAX_RECORD = 1 << 32


class CacheError(ValueError):
  """The store is damaged or was taken away; the message names the place."""


def key(**parts: Any) -> str:
  """The name of a reply: SHA-256 of the parts as canonical JSON, in hex.

  Args:
    **parts: everything that could change the reply, and nothing else, as JSON
      values. 1 and 1.0 are different parts. Credentials do not belong here.

  Raises:
    ValueError: a part is named like a credential, or is not JSON.
  """
  _refuse_secrets(parts)
  return hashlib.sha256(_encode(parts)).hexdigest()


def default_path(name: str) -> pathlib.Path:
  """Where a store lies that every study of this user shares.

  `$MLIT_REPLIES/NAME.jsonl`, or under the directory for users' data.
  """
  if folder := os.environ.get("MLIT_REPLIES"):
    return pathlib.Path(folder) / f"{name}.jsonl"
  data = os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share"
  return pathlib.Path(data) / "mlit" / "replies" / f"{name}.jsonl"


class Cache:
  """A store of replies in one file; safe for threads and processes.

  Attributes:
    path: the file.
  """

  def __init__(self, path: str | os.PathLike):
    """Opens or makes the file, and checks every record in it.

    Raises:
      CacheError: a record is damaged; names the line.
      OSError: the file cannot be made, read or written.
    """
    self.path = pathlib.Path(path)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self._file = os.open(
        self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666
    )
    self._process = os.getpid()
    self._index: dict[int, int] = {}
    self._end = 0  # everything before it has been read
    self._waiting: list[tuple[dict[str, bytes], bool]] = []
    self._lock = threading.RLock()
    self._waiting_lock = threading.Lock()
    try:
      # First without the lock, so that others wait for the last records only.
      self._scan()
      with self._exclusive():
        pass
      if not self._end:  # it may be new
        _sync_directory(self.path.parent)
    except BaseException:
      self.close()
      raise

  def __len__(self) -> int:
    return len(self._index)

  def __contains__(self, name: str) -> bool:
    return self._place(name) is not None

  def __enter__(self):
    return self

  def __exit__(self, *exception) -> None:
    self.close()

  def close(self) -> None:
    """Closes the file; what was put is already on the disk."""
    with self._lock:
      if self._file >= 0:
        os.close(self._file)
        self._file = -1

  def get(self, name: str) -> Any:
    """The value stored under a key, or None.

    Raises:
      CacheError: the record was damaged since it was read.
    """
    place = self._place(name)
    if place is None:
      return None
    offset, length = divmod(place, _MAX_RECORD)
    record = os.pread(self._file, length, offset)
    if not _is_sound(record) or record[_KEY] != name.encode():
      raise CacheError(self._damaged(offset, record))
    return json.loads(record[_VALUE])

  def values(self) -> Iterator[Any]:
    """Every stored reply, one at a time, as the file has them."""
    self._scan()
    for place in list(self._index.values()):
      offset, length = divmod(place, _MAX_RECORD)
      record = os.pread(self._file, length, offset)
      if not _is_sound(record):
        raise CacheError(self._damaged(offset, record))
      yield json.loads(record[_VALUE])

  def put(self, name: str, value: Any) -> Any:
    """Stores a reply; on the disk when this returns.

    Args:
      name: what `key` gave.
      value: a JSON value other than None; no credentials.

    Returns:
      What the store holds under the key: `value`, or the reply that somebody
      had put before.

    Raises:
      CacheError: the file was removed or replaced, or damaged by another.
      OSError: it cannot be written, e.g. because the disk is full; the store
        is as it was before.
    """
    self.put_many({name: value})
    return self.get(name)

  def put_many(
      self, replies: Mapping[str, Any], *, synced: bool = True
  ) -> None:
    """Stores replies (key -> value) as `put` does, with one sync for all.

    Killed in the middle, it leaves whole records: some of them, in order.

    Args:
      replies: as of `put`.
      synced: False leaves it to `sync` that they outlive a power cut.
    """
    records = {name: _record(name, value) for name, value in replies.items()}
    mine = records, synced
    with self._waiting_lock:
      self._waiting.append(mine)
    with self._lock:
      with self._waiting_lock:
        if not any(batch is mine for batch in self._waiting):
          return  # another thread has written it together with its own
        batches, self._waiting = self._waiting, []
      try:
        self._write(batches)
      except BaseException:
        # The other threads write theirs, or get the error, themselves.
        with self._waiting_lock:
          others = [batch for batch in batches if batch is not mine]
          self._waiting = others + self._waiting
        raise

  def sync(self) -> None:
    """Returns once all that was written outlives a power cut.

    Others can write meanwhile.

    Raises:
      OSError: the disk does not take it; what was written since the last sync
        is checked when the store is opened again.
    """
    os.fsync(self._file)

  def _write(self, batches: list[tuple[dict[str, bytes], bool]]) -> None:
    with self._exclusive():
      fresh = {}
      for records, _ in batches:
        for name, record in records.items():
          if _short(name) not in self._index:
            fresh.setdefault(name, record)
      data = b"".join(fresh.values())
      try:
        written = 0
        while written < len(data):
          written += os.write(self._file, data[written:])
        if any(synced for _, synced in batches):
          os.fsync(self._file)
      except OSError:
        os.ftruncate(self._file, self._end)
        raise
      self._scan()

  @contextlib.contextmanager
  def _exclusive(self) -> Iterator[None]:
    """While this holds nobody else writes, and everything has been read."""
    if os.getpid() != self._process:
      raise CacheError(
          f"{self.path}: opened before a fork; open it in each process"
      )
    with self._lock:
      fcntl.flock(self._file, fcntl.LOCK_EX)
      try:
        self._check_same_file()
        self._scan()
        self._drop_torn_end()
        yield
      finally:
        fcntl.flock(self._file, fcntl.LOCK_UN)

  def _check_same_file(self) -> None:
    try:
      there = os.stat(self.path)
    except FileNotFoundError:
      there = None
    if there is None or not os.path.samestat(there, os.fstat(self._file)):
      raise CacheError(
          f"{self.path}: the file was removed or replaced while it was in use;"
          " start again"
      )

  def _drop_torn_end(self) -> None:
    torn = os.fstat(self._file).st_size - self._end
    if torn:
      # What does not begin as a record does is somebody's other file.
      start = os.pread(self._file, _KEY.start, self._end)
      if not _HEAD.startswith(start):
        raise CacheError(self._damaged(self._end, start))
      os.ftruncate(self._file, self._end)
      os.fsync(self._file)
      logging.getLogger(__name__).warning(
          "%s: dropped a last record that was cut off after %d bytes (a process"
          " was killed while it wrote)", self.path, torn,
      )

  def _place(self, name: str) -> int | None:
    place = self._index.get(_short(name))
    if place is None and os.fstat(self._file).st_size != self._end:
      self._scan()  # others have written
      place = self._index.get(_short(name))
    return place

  def _scan(self) -> None:
    """Takes up the whole records that were not read yet."""
    with self._lock:
      for offset, record in self._lines(self._end):
        if not _is_sound(record):
          raise CacheError(self._damaged(offset, record))
        short = _short(record[_KEY].decode())
        self._index.setdefault(short, offset * _MAX_RECORD + len(record))
        self._end = offset + len(record)

  def _lines(self, offset: int) -> Iterator[tuple[int, bytes]]:
    rest = []
    position = offset
    while chunk := os.pread(self._file, _CHUNK, position):
      position += len(chunk)
      first, newline, others = chunk.partition(b"\n")
      rest.append(first + newline)
      if not newline:
        continue
      *lines, last = others.split(b"\n")
      for line in (b"".join(rest), *(line + b"\n" for line in lines)):
        yield offset, line
        offset += len(line)
      rest = [last]

  def _damaged(self, offset: int, record: bytes) -> str:
    number = 1
    position = 0
    while position < offset:
      chunk = os.pread(self._file, min(_CHUNK, offset - position), position)
      if not chunk:
        break
      number += chunk.count(b"\n")
      position += len(chunk)
    start = record[:20].decode("utf-8", "replace")
    return (
        f"{self.path}:{number}: a damaged record (it begins {start!r}); bring"
        " the file back from a copy, or delete the line to have this one reply"
        " asked for again"
    )


def _short(name: str) -> int:
  """128 bits of a key: enough to tell any two apart, and `get` checks all."""
  return int(name[:32], 16)


def _record(name: str, value: Any) -> bytes:
  if not _KEY_FORM.fullmatch(name):
    raise ValueError(f"{name!r:.80} is no key; see cache.key")
  if value is None:
    raise ValueError("None says that there is no reply; it is not stored")
  body = _encode(value)
  crc = b"%08x" % zlib.crc32(body, zlib.crc32(name.encode()))
  record = _HEAD % (name.encode(), crc) + body + b"}\n"
  if len(record) >= _MAX_RECORD:
    raise ValueError(f"a reply of {len(record)} bytes is too long to store")
  return record


def _is_sound(record: bytes) -> bool:
  name, crc = record[_KEY], record[_CRC]
  try:
    int(name, 16)
  except ValueError:
    return False
  return (
      record[: _VALUE.start] == _HEAD % (name, crc)
      and record[-2:] == b"}\n"
      and crc == b"%08x" % zlib.crc32(record[_VALUE], zlib.crc32(name))
  )


def _encode(value: Any) -> bytes:
  # A lone surrogate fails as UnicodeEncodeError, a ValueError too.
  return json.dumps(
      value, ensure_ascii=False, sort_keys=True, separators=(",", ":"),
      allow_nan=False,
  ).encode("utf-8")


def _refuse_secrets(value: Any) -> None:
  if isinstance(value, Mapping):
    for name, part in value.items():
      if str(name).lower().replace("-", "_") in _SECRET_NAMES:
        raise ValueError(
            f"{name!r} looks like a credential; it has no place in a key"
        )
      _refuse_secrets(part)
  elif isinstance(value, list | tuple):
    for part in value:
      _refuse_secrets(part)


def _sync_directory(path: pathlib.Path) -> None:
  """Makes a new file's name outlive a power cut."""
  directory = os.open(path, os.O_RDONLY)
  try:
    os.fsync(directory)
  finally:
    os.close(directory)
