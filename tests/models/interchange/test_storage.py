"""Weights of a directory: every file format, every kind of damage."""

import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from mlit_jax.models.interchange import safetensors_file, storage
from mlit_jax.models.interchange.storage import CheckpointError, TensorFiles

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
KINDS = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16",
    "int8", "uint8", "bool",
)
X = np.arange(12, dtype=np.float32).reshape(3, 4)


def write(directory, weight_map=None, **files):
  """One file, or several with their index."""
  for file, tensors in files.items():
    safetensors.numpy.save_file(tensors, directory / file)
  if weight_map is not None:
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (directory / INDEX).write_text(json.dumps(index))


def shards(directory, weight_map=None, a=("x", "y"), b=("z",)):
  right = {"x": A, "y": A, "z": B}
  write(
      directory, right if weight_map is None else weight_map,
      **{A: {n: X for n in a}, B: {n: X + 1 for n in b}},
  )


def refused(directory):
  with pytest.raises(CheckpointError) as error:
    TensorFiles(directory)
  message = str(error.value)
  assert message.startswith(str(directory)) and "\n" not in message
  return message.removeprefix(str(directory)).removeprefix("/")


def test_every_kind_of_number_is_read_as_the_library_reads_it(tmp_path):
  wanted = {
      kind: np.array([[0, 1, 3], [7, 120, 5]]).astype(kind) for kind in KINDS
  }
  wanted |= {"scalar": np.array(3, "float32"), "empty": X[:0]}
  write(tmp_path, **{SINGLE: wanted})
  files = TensorFiles(tmp_path)
  assert sorted(files.names()) == sorted(wanted)
  for name, value in wanted.items():
    assert (files.dtype(name), files.shape(name)) == (value.dtype, value.shape)
    got = files.read(name)
    assert got.dtype == value.dtype and got.flags.writeable
    np.testing.assert_array_equal(got, value)


def test_shards_are_read_through_the_index(tmp_path):
  shards(tmp_path)
  files = TensorFiles(tmp_path)
  assert sorted(files.names()) == ["x", "y", "z"]
  np.testing.assert_array_equal(files.read("y"), X)
  np.testing.assert_array_equal(files.read("z"), X + 1)
  assert files.file("z") == tmp_path / B
  assert files.equal("x", "y") and not files.equal("x", "z")


def test_one_file_goes_before_an_index_and_safetensors_before_bin(tmp_path):
  shards(tmp_path)
  (tmp_path / "pytorch_model.bin").write_bytes(b"never looked at")
  assert len(TensorFiles(tmp_path).names()) == 3
  write(tmp_path, **{SINGLE: {"w": X}})
  assert TensorFiles(tmp_path).names() == ["w"]


def test_links_of_a_download_cache_are_followed(tmp_path):
  blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
  blobs.mkdir(), snapshot.mkdir()
  write(blobs, **{"0a1b": {"w": X}})
  (snapshot / SINGLE).symlink_to("../blobs/0a1b")
  np.testing.assert_array_equal(TensorFiles(snapshot).read("w"), X)


@pytest.mark.parametrize(
    "place",
    ["../secret", "/etc/passwd", "sub/a.safetensors", "..", "", "a\\b", 7],
)
def test_an_index_may_name_only_files_beside_it(tmp_path, place):
  shards(tmp_path, {"x": A, "y": A, "z": place})
  assert refused(tmp_path) == (
      f"{INDEX}: puts tensor 'z' into {place!r}, which is no file name: only"
      " files beside the index are read"
  )


def test_an_index_that_disagrees_with_its_files_is_refused(tmp_path):
  shards(tmp_path, {"x": A, "z": B})
  assert refused(tmp_path) == (
      f"{A}: has tensor 'y', which is nowhere by {INDEX}"
  )
  shards(tmp_path, {"x": A, "y": B, "z": B})
  assert refused(tmp_path) == f"{A}: has tensor 'y', which is in {B} by {INDEX}"
  shards(tmp_path, {"x": A, "y": A, "z": B, "w": B})
  assert refused(tmp_path) == (
      f"{INDEX}: says that tensor 'w' is in {B}, which has none"
  )
  shards(tmp_path, b=("y", "z"))
  assert refused(tmp_path) == f"{B}: tensor 'y' is in {A} too"
  (tmp_path / B).unlink()
  assert refused(tmp_path) == f"{B}: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "damaged ("),
        ("\xff", "damaged ("),
        ("[]", "no 'weight_map' of tensors to files"),
        ("{}", "no 'weight_map' of tensors to files"),
        ('{"weight_map": {}}', "no 'weight_map' of tensors to files"),
        ("[" * 100_000, "damaged ("),
        ('{"weight_map": {"x": "a", "x": "b"}}', "'x' stands there twice"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path, text, words):
  (tmp_path / INDEX).write_bytes(text.encode("latin-1"))
  message = refused(tmp_path)
  assert message.startswith(f"{INDEX}: ") and words in message


def test_a_directory_without_weights_is_refused(tmp_path):
  expected = (
      "no weights; expected model.safetensors, model.safetensors.index.json,"
      " pytorch_model.bin, pytorch_model.bin.index.json"
  )
  assert refused(tmp_path) == f": {expected}"
  assert refused(tmp_path / "nowhere") == f": {expected}"


@pytest.mark.parametrize("kept", [0, 7, 60, 150, -1])
def test_a_cut_off_file_is_refused(tmp_path, kept):
  write(tmp_path, **{SINGLE: {"x": X, "y": X}})
  path = tmp_path / SINGLE
  path.write_bytes(path.read_bytes()[:kept])
  assert refused(tmp_path).startswith(f"{SINGLE}: damaged or cut off (")


def header(tmp_path, text, data=b""):
  text = text.encode()
  head = len(text).to_bytes(8, "little")
  (tmp_path / SINGLE).write_bytes(head + text + data)


def test_a_damaged_header_is_refused(tmp_path):
  one = '"x":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'
  header(tmp_path, "{" + one % (0, 4) + "," + one % (0, 4) + "}", b"1234")
  assert "'x' stands there twice" in refused(tmp_path)
  header(tmp_path, "{" + one % (4, 8) + "}", b"12345678")
  assert "damaged or cut off" in refused(tmp_path)
  header(tmp_path, "{" + one % (0, 4) + "}", b"12345678")
  assert "damaged or cut off" in refused(tmp_path)
  header(tmp_path, '{"x":7}')
  assert "damaged or cut off" in refused(tmp_path)
  strange = one.replace("F32", "F8_E5M2") % (0, 1)
  header(tmp_path, "{" + strange + "}", b"1")
  assert refused(tmp_path).startswith(
      f"{SINGLE}: tensor 'x' has the type F8_E5M2; only F64, F32,"
  )


def test_a_file_that_shrinks_after_opening_is_refused(tmp_path):
  write(tmp_path, **{SINGLE: {"x": X}})
  files = TensorFiles(tmp_path)
  path = tmp_path / SINGLE
  path.write_bytes(path.read_bytes()[:-4])
  with pytest.raises(CheckpointError, match="cut off in tensor 'x'"):
    files.read("x")
  with pytest.raises(CheckpointError, match=f"{SINGLE}: no tensor 'v'"):
    files.read("v")


def test_written_files_are_what_the_library_reads(tmp_path):
  """Of mixed types too: torch wants each on a multiple of its size."""
  wanted = {kind: np.array([0, 1, 3]).astype(kind) for kind in KINDS[::-1]}
  wanted |= {"turned": X.T, "scalar": np.array(2, "float32"), "empty": X[:0]}
  shapes = {name: (v.dtype, v.shape) for name, v in wanted.items()}
  path = tmp_path / SINGLE
  safetensors_file.write(path, shapes, wanted.__getitem__)
  found = safetensors.numpy.load_file(path)
  assert found.keys() == wanted.keys()
  for name, value in wanted.items():
    assert found[name].dtype == value.dtype
    np.testing.assert_array_equal(found[name], value)
  for name, stored in safetensors_file.tensors(path).items():
    assert stored.offset % stored.dtype.itemsize == 0, name
  with safetensors.safe_open(path, "numpy") as file:
    assert file.metadata() == {"format": "pt"}
  with pytest.raises(ValueError, match="'x' was announced as"):
    safetensors_file.write(
        path, {"x": (X.dtype, (4, 3))}, lambda name: X
    )


@pytest.mark.parametrize(
    "limit, files",
    [
        (1000, [["a", "b", "c", "n"]]),
        (104, [["a", "b"], ["c", "n"]]),
        (96, [["a", "b"], ["c"], ["n"]]),
        (50, [["a"], ["b"], ["c"], ["n"]]),
        (1, [["a"], ["b"], ["c"], ["n"]]),
    ],
)
def test_files_are_filled_up_to_their_limit(tmp_path, limit, files):
  class Memory:
    """48 bytes each, but 56 of n."""

    values = dict.fromkeys("abc", X) | {"n": np.arange(7)}

    def names(self):
      return list(self.values)

    def shape(self, name):
      return self.values[name].shape

    def dtype(self, name):
      return self.values[name].dtype

    def read(self, name):
      return self.values[name]

  storage.save(tmp_path, Memory(), None, limit)
  written = sorted(tmp_path.glob("*.safetensors"))
  names = [sorted(safetensors.numpy.load_file(p)) for p in written]
  assert names == files
  total = len(files)
  if total == 1:
    assert [p.name for p in written] == [SINGLE]
  else:
    assert [p.name for p in written] == [
        f"model-{i:05d}-of-{total:05d}.safetensors" for i in range(1, total + 1)
    ]
  for name in "abcn":
    np.testing.assert_array_equal(
        TensorFiles(tmp_path).read(name), Memory.values[name]
    )
  # Another type: of the floating-point numbers only.
  half = tmp_path / "half"
  half.mkdir()
  storage.save(half, TensorFiles(tmp_path), np.dtype("bfloat16"), 1000)
  found = TensorFiles(half)
  assert found.dtype("a") == ml_dtypes.bfloat16
  assert found.dtype("n") == np.int64


def test_cast_rounds_and_refuses_what_is_too_large():
  value = np.float32([1.00390625, -3e38, np.inf, np.nan])
  half = storage.cast(value, np.dtype("bfloat16"), "w")
  # Halfway between 1 and 1.0078125: to the even one.
  assert half[0] == 1 and np.isinf(half[2]) and np.isnan(half[3])
  assert np.isfinite(half[1])
  assert storage.cast(value, np.dtype("float32"), "w") is value
  whole = np.arange(3)
  assert storage.cast(whole, np.dtype("float16"), "w") is whole
  with pytest.raises(CheckpointError, match="'w' has numbers beyond the range"):
    storage.cast(value, np.dtype("float16"), "w")


_READING = """
import sys
from mlit_jax.models.interchange.storage import TensorFiles
def peak():
  for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
      return int(line.split()[1]) // 1024
before = peak()
files = TensorFiles(sys.argv[1])
for name in files.names():
  files.read(name)
print(peak() - before, *{"jax", "torch", "tensorflow"} & {*sys.modules})
"""


def test_pages_that_were_read_do_not_stay(tmp_path):
  """100 MB are read in pieces of 4 MB."""
  value = np.ones((1024, 1024), np.float32)
  tensors = {str(i): value for i in range(25)}
  safetensors.numpy.save_file(tensors, tmp_path / SINGLE)
  done = subprocess.run(
      [sys.executable, "-c", _READING, tmp_path], capture_output=True,
      text=True, check=True,
  )
  grown, *heavy = done.stdout.split()
  assert int(grown) < 20 and not heavy


def test_the_fingerprint_is_that_of_the_weights(tmp_path):
  rng = np.random.default_rng(0)
  weights = {"x": rng.standard_normal((3 << 20,), np.float32)}  # 12 MiB
  one, two = tmp_path / "one", tmp_path / "two"
  for directory in one, two:
    directory.mkdir()
    write(directory, **{SINGLE: weights})
  (two / "tokenizer.json").write_text("{}")
  found = storage.fingerprint(one)
  assert found == storage.fingerprint(two)
  # A model that was trained on has the same names and sizes.
  write(two, **{SINGLE: {"x": weights["x"] * np.float32(1.001)}})
  assert storage.fingerprint(two) != found
  # Its last number, and its last shard.
  weights["x"][-1] += 1
  write(two, **{SINGLE: weights})
  assert storage.fingerprint(two) != found
  write(one, **{SINGLE: weights})
  assert storage.fingerprint(one) == storage.fingerprint(two)
  write(two, **{B: {"y": X}})
  assert storage.fingerprint(one) != storage.fingerprint(two)
