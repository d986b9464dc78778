"""The store of replies: what was put is there, whatever happens to the file."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest

from mlit_jax import cache

NAMES = [cache.key(text=text) for text in "abc"]
VALUES = [{"reply": "שלום\n", "n": 1}, ["x" * 50], "Ω\r\u2028"]


def _filled(path):
  with cache.Cache(path) as store:
    for name, value in zip(NAMES, VALUES):
      store.put(name, value)
  return path.read_bytes()


def test_a_key_is_the_hash_of_canonical_json():
  canonical = '{"lang":"he","n":1,"text":"é"}'
  expected = hashlib.sha256(canonical.encode("utf-8")).hexdigest()
  assert cache.key(text="é", n=1, lang="he") == expected
  assert cache.key(text="é", n=2, lang="he") != expected
  literal = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
  assert cache.key() == literal  # of "{}"


@pytest.mark.parametrize(
    "parts",
    [
        {"api_key": "x"}, {"headers": {"Authorization": "x"}},
        {"calls": [{"access-token": "x"}]}, {"n": float("nan")},
        {"text": "\ud800"}, {"text": b"bytes"},
    ],
)
def test_a_key_refuses_credentials_and_what_json_lacks(parts):
  with pytest.raises((ValueError, TypeError)):
    cache.key(**parts)


def test_what_was_put_is_there_for_the_next_process(tmp_path):
  data = _filled(tmp_path / "c")
  for line, name, value in zip(data.decode().split("\n"), NAMES, VALUES):
    row = json.loads(line)
    assert (row["sha256"], row["value"]) == (name, value)
  with cache.Cache(tmp_path / "c") as store:
    assert len(store) == 3
    assert [store.get(name) for name in NAMES] == VALUES
    assert store.get(cache.key(text="d")) is None
    assert NAMES[0] in store and cache.key(text="d") not in store
  assert (tmp_path / "c").read_bytes() == data


def test_the_first_reply_stays(tmp_path):
  one, two = (cache.Cache(tmp_path / "c") for _ in range(2))
  assert one.put(NAMES[0], "first") == "first"
  assert two.put(NAMES[0], "second") == "first"
  assert two.get(NAMES[0]) == one.get(NAMES[0]) == "first"
  two.put(NAMES[1], "other")
  assert one.get(NAMES[1]) == "other"  # seen without opening again


def test_cut_off_at_any_byte_only_the_torn_record_goes(
    tmp_path, caplog, monkeypatch
):
  data = _filled(tmp_path / "whole")
  ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
  assert len(ends) == 3
  monkeypatch.setattr(os, "fsync", lambda file: None)  # a thousand take long
  for length in range(len(data)):
    path = tmp_path / "cut"
    path.write_bytes(data[:length])
    caplog.clear()
    with cache.Cache(path) as store:
      num_whole = sum(end <= length for end in ends)
      found = [store.get(name) for name in NAMES]
      assert found == VALUES[:num_whole] + [None] * (3 - num_whole)
      assert bool(caplog.records) == (length not in (0, *ends))
      for name, value in zip(NAMES, VALUES):
        store.put(name, value)
    assert path.read_bytes() == data


def test_another_process_torn_record_is_dropped_by_the_next_put(
    tmp_path, caplog
):
  store = cache.Cache(tmp_path / "c")
  store.put(NAMES[0], VALUES[0])
  whole = (tmp_path / "c").read_bytes()
  with open(tmp_path / "c", "ab") as file:
    file.write(whole[:60])
  assert store.get(NAMES[1]) is None
  assert not caplog.records  # it may still be in the middle of writing
  store.put(NAMES[1], VALUES[1])
  assert "dropped a last record" in caplog.text and "60 bytes" in caplog.text
  with cache.Cache(tmp_path / "c") as again:
    assert [again.get(name) for name in NAMES[:2]] == VALUES[:2]


@pytest.mark.parametrize("data", [b"sk-key", b'{"id": 1}', b'{"sha2": "'])
def test_another_file_is_not_taken_for_a_torn_record(tmp_path, data):
  path = tmp_path / "notes.txt"
  path.write_bytes(data)
  with pytest.raises(cache.CacheError, match="notes.txt:1: a damaged record"):
    cache.Cache(path)
  assert path.read_bytes() == data


def test_a_damaged_byte_is_found_wherever_it_is(tmp_path):
  data = _filled(tmp_path / "c")
  last_line = data.rstrip(b"\n").rindex(b"\n") + 1
  for place in range(len(data) - 1):
    damaged = bytearray(data)
    damaged[place] ^= 0x01
    (tmp_path / "c").write_bytes(damaged)
    with pytest.raises(cache.CacheError, match=r"c:\d: a damaged record"):
      cache.Cache(tmp_path / "c")
  assert f"{tmp_path}/c:3:" in _error(tmp_path / "c", data, last_line + 110)


def _error(path, data, place):
  path.write_bytes(data[:place] + b"#" + data[place + 1 :])
  with pytest.raises(cache.CacheError) as error:
    cache.Cache(path)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_damage_after_opening_is_found_when_read(tmp_path):
  data = _filled(tmp_path / "c")
  with cache.Cache(tmp_path / "c") as store:
    (tmp_path / "c").write_bytes(data.replace(b"xxx", b"xyx", 1))
    assert store.get(NAMES[0]) == VALUES[0]
    with pytest.raises(cache.CacheError, match="c:2: a damaged record"):
      store.get(NAMES[1])


def test_a_file_that_was_taken_away_is_noticed(tmp_path):
  store = cache.Cache(tmp_path / "c")
  os.rename(tmp_path / "c", tmp_path / "d")
  with pytest.raises(cache.CacheError, match="removed or replaced"):
    store.put(NAMES[0], "lost?")
  cache.Cache(tmp_path / "c")
  with pytest.raises(cache.CacheError, match="removed or replaced"):
    store.put(NAMES[0], "lost?")


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, monkeypatch):
  data = _filled(tmp_path / "c")
  write = os.write

  def half(file, content):
    if len(content) < 60:
      raise OSError(errno.ENOSPC, "No space left on device")
    return write(file, content[:60])

  name = cache.key(text="d")
  with cache.Cache(tmp_path / "c") as store:
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
      store.put(name, "y" * 10)
    assert (tmp_path / "c").read_bytes() == data
    monkeypatch.undo()
    assert store.put(name, "y" * 10) == "y" * 10


def test_a_failed_write_keeps_no_other_threads_reply(tmp_path, monkeypatch):
  """A thread whose record another one was to write still gets an error."""
  store = cache.Cache(tmp_path / "c")
  started, errors = threading.Barrier(8), []

  def fail(file):
    raise OSError(errno.EIO, "Input/output error")

  def put(number):
    started.wait()
    try:
      store.put(cache.key(n=number), number)
    except OSError as e:
      errors.append(e)

  monkeypatch.setattr(os, "fsync", fail)
  _run_threads(put, 8)
  assert len(errors) == 8 and len(store) == 0
  monkeypatch.undo()
  _run_threads(put, 8)
  assert [store.get(cache.key(n=n)) for n in range(8)] == list(range(8))


def test_threads_that_put_together_share_a_sync(tmp_path, monkeypatch):
  store, syncs, fsync = cache.Cache(tmp_path / "c"), [], os.fsync
  release = threading.Event()

  def slow(file):
    syncs.append(file)
    release.wait(5)
    fsync(file)

  monkeypatch.setattr(os, "fsync", slow)
  threads = [
      threading.Thread(target=store.put, args=(cache.key(n=n), n))
      for n in range(20)
  ]
  threads[0].start()
  while not syncs:
    time.sleep(0.001)
  for thread in threads[1:]:
    thread.start()
  while len(store._waiting) < 19:
    time.sleep(0.001)
  release.set()
  for thread in threads:
    thread.join()
  assert len(syncs) == 2
  assert [store.get(cache.key(n=n)) for n in range(20)] == list(range(20))


def _run_threads(target, count):
  threads = [threading.Thread(target=target, args=(n,)) for n in range(count)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()


WRITER = """
import sys
from mlit_jax import cache
store = cache.Cache(sys.argv[1])
for n in range(int(sys.argv[3])):
  store.put(cache.key(writer=sys.argv[2], n=n), sys.argv[2] * 9000)
  print(n, flush=True)
"""


def test_processes_append_at_once_and_a_kill_loses_nothing_that_was_put(
    tmp_path, caplog
):
  def start(name, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "c"), name, str(count)],
        stdout=subprocess.PIPE, text=True,
    )

  whole = [start(name, 60) for name in "xy"]
  killed = start("k", 10**6)
  told = [int(killed.stdout.readline()) for _ in range(30)]
  killed.send_signal(signal.SIGKILL)
  told += [int(line) for line in killed.stdout]
  for process in (killed, *whole):
    process.communicate()
  assert [process.returncode for process in whole] == [0, 0]
  with cache.Cache(tmp_path / "c") as store:
    for name, count in (("x", 60), ("y", 60), ("k", len(told))):
      for n in range(count):
        assert store.get(cache.key(writer=name, n=n)) == name * 9000
    # The one that was in flight may have been written before the kill.
    assert len(store) - 120 - len(told) in (0, 1)


def test_a_fork_must_open_its_own(tmp_path, monkeypatch):
  store = cache.Cache(tmp_path / "c")
  monkeypatch.setattr(os, "getpid", lambda: -1)
  with pytest.raises(cache.CacheError, match="fork"):
    store.put(NAMES[0], 1)


@pytest.mark.parametrize("name", ["", "k", "../x", "A" * 64])
def test_only_keys_name_replies(tmp_path, name):
  store = cache.Cache(tmp_path / "c")
  with pytest.raises(ValueError):
    store.put(name, 1)
  with pytest.raises(ValueError):
    store.put(NAMES[0], None)
  assert (tmp_path / "c").read_bytes() == b""


def test_the_default_place_is_the_users(tmp_path, monkeypatch):
  monkeypatch.setenv("MLIT_REPLIES", str(tmp_path / "r"))
  assert cache.default_path("judges") == tmp_path / "r" / "judges.jsonl"
  monkeypatch.delenv("MLIT_REPLIES")
  monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
  expected = tmp_path / "d" / "mlit" / "replies" / "judges.jsonl"
  assert cache.default_path("judges") == expected


def test_memory_holds_places_not_replies(tmp_path):
  num, size = 2000, 5000
  with cache.Cache(tmp_path / "c") as store:
    store.put_many({cache.key(n=n): "x" * size for n in range(num)})
  tracemalloc.start()
  store = cache.Cache(tmp_path / "c")
  taken, _ = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert len(store) == num
  assert taken < 250 * num


def test_what_is_written_without_a_sync_is_there(tmp_path, monkeypatch):
  """For another process at once; `sync` is what waits for the disk."""
  syncs = []
  monkeypatch.setattr(os, "fsync", syncs.append)
  store, other = cache.Cache(tmp_path / "c"), cache.Cache(tmp_path / "c")
  before = len(syncs)
  store.put_many({cache.key(n=1): 1}, synced=False)
  assert len(syncs) == before
  assert other.get(cache.key(n=1)) == 1
  store.sync()
  assert len(syncs) == before + 1
  store.put_many({cache.key(n=2): 2})
  assert len(syncs) == before + 2
