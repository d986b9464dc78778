"""PyTorch's files: the same numbers as PyTorch's, and no code ever runs."""

import os
import pickle
import random
import struct
import zipfile

import numpy as np
import pytest

from mlit_jax.models.interchange import torch_file
from mlit_jax.models.interchange.storage import CheckpointError, TensorFiles

RECORDS = (("data/0", np.arange(24, dtype=np.float32).tobytes()),)


# A pickle, opcode by opcode, so that these tests need no PyTorch.
def text(value):
  data = value.encode()
  return b"X" + struct.pack("<I", len(data)) + data


def number(value):
  return b"J" + struct.pack("<i", value)


def several(*parts):
  return b"(" + b"".join(parts) + b"t"


def name(module, attribute):
  return f"c{module}\n{attribute}\n".encode()


def storage(size=24, key="0", kind="FloatStorage"):
  parts = text("storage"), name("torch", kind), text(key), text("cpu")
  return several(*parts, number(size)) + b"Q"


def tensor(shape=(24,), strides=(1,), offset=0, of=None):
  return (
      name("torch._utils", "_rebuild_tensor_v2")
      + several(
          of or storage(), number(offset), several(*map(number, shape)),
          several(*map(number, strides)), b"\x89",
          name("collections", "OrderedDict") + b")R",
      )
      + b"R"
  )


def state_dict(**tensors):
  items = b"".join(text(key) + value for key, value in tensors.items())
  begin = b"\x80\x02" + name("collections", "OrderedDict") + b")R"
  return begin + b"(" + items + b"u."


def write(directory, pickled, records=RECORDS):
  path = directory / "pytorch_model.bin"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("model/data.pkl", pickled)
    for record, data in records:
      archive.writestr(f"model/{record}", data)
  return path


def refused(path):
  with pytest.raises(CheckpointError) as error:
    torch_file.tensors(path)
  message = str(error.value)
  assert message.startswith(f"{path}: ") and "\n" not in message
  return message.removeprefix(f"{path}: ")


def test_tensors_are_views_of_records(tmp_path):
  write(
      tmp_path,
      state_dict(
          plain=tensor((2, 3), (3, 1), 1),
          turned=tensor((4, 6), (1, 4)),
          sparse=tensor((2,), (5,), 3),
          scalar=tensor((), (), 7),
          empty=tensor((0, 3), (3, 1)),
      ),
  )
  files = TensorFiles(tmp_path)
  assert files.names() == ["plain", "turned", "sparse", "scalar", "empty"]
  assert files.read("plain").tolist() == [[1, 2, 3], [4, 5, 6]]
  assert files.read("turned")[3].tolist() == [3, 7, 11, 15, 19, 23]
  assert files.read("sparse").tolist() == [3, 8]
  assert files.read("scalar") == 7 and files.shape("scalar") == ()
  assert files.read("empty").shape == (0, 3)
  assert files.equal("plain", "plain")
  assert not files.equal("plain", "scalar")


class _Evil:

  def __init__(self, function, *arguments):
    self.function, self.arguments = function, arguments

  def __reduce__(self):
    return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("inside", [True, False])
def test_no_code_of_a_pickle_runs(tmp_path, protocol, inside):
  touched = tmp_path / "touched"
  evil = _Evil(os.mkdir, str(touched))
  pickled = pickle.dumps({"w": evil} if inside else evil, protocol)
  pickle.loads(pickled)  # What unpickling would do.
  touched.rmdir()
  message = refused(write(tmp_path, pickled))
  assert not touched.exists()
  # The two oldest protocols are texts, which torch never writes.
  assert "mkdir" in message or (protocol == 0 and "which tensors" in message)


@pytest.mark.parametrize(
    "what, words",
    [
        (name("builtins", "eval") + text("1") + b"\x85R", "'builtins.eval'"),
        (text("os") + text("system") + b"\x93", "asks for 'os.system'"),
        (name("torch.hub", "load"), "'torch.hub.load', which is no part of"),
        (b"(ios\nsystem\n", "holds INST"),
        (b"\x82\x01", "holds EXT1"),
        (name("collections", "OrderedDict") + b")\x81", "holds NEWOBJ"),
    ],
)
def test_whatever_tensors_do_not_need_is_refused(tmp_path, what, words):
  assert words in refused(write(tmp_path, state_dict(w=what)))


BOMB = text("x") + b"".join(  # a tuple of tuples ..., 2^60 long when written
    b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60)
)


@pytest.mark.parametrize(
    "pickled, words",
    [
        (b"", "damaged"),
        (state_dict(w=tensor())[:-1], "damaged"),
        (state_dict(w=tensor())[:50], "damaged"),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02h\x07.", "damaged"),  # never stored
        (b"\x80\x02K\x01.", "no dict of tensors"),
        (state_dict(), "no dict of tensors"),
        (state_dict(epoch=number(3)), "'epoch' is no tensor; save the"),
        (state_dict(w=BOMB), "'w' is no tensor"),
        (b"\x80\x02}" + BOMB + text("x") + b"s.", "expected str, not tuple"),
        (state_dict(w=tensor(of=BOMB)), "expected _Storage, not tuple"),
        (state_dict(w=text("a") + text("b") + b"R"), "expected _Name, not str"),
        (
            state_dict(w=name("torch", "FloatStorage") + b")R"),
            "calls torch FloatStorage",
        ),
        (state_dict(w=tensor((2, 3), (1,))), "shape (2, 3) with strides (1,)"),
        (state_dict(w=tensor((-1,))), "stride -1"),
        (state_dict(w=tensor((25,))), "reaches beyond its record of 96 bytes"),
        (state_dict(w=tensor((20,), offset=5)), "reaches beyond its record"),
        (state_dict(w=tensor((2, 2), (23, 1))), "reaches beyond its record"),
        (state_dict(w=tensor((10**9,), (0,))), "reaches beyond its record"),
        (
            state_dict(w=tensor(of=storage(kind="HalfStorage"))),
            "reaches beyond its record of 96 bytes",
        ),
        (
            state_dict(w=tensor(of=storage(key="../1"))),
            "no record '../1', which tensor 'w' is in",
        ),
    ],
)
def test_a_pickle_that_makes_no_sense_is_refused(tmp_path, pickled, words):
  assert words in refused(write(tmp_path, pickled))


def test_a_name_that_stands_twice_is_refused(tmp_path):
  twice = state_dict(w=tensor(), v=tensor()).replace(text("v"), text("w"))
  assert "'w' stands there twice" in refused(write(tmp_path, twice))


def test_other_files_are_refused(tmp_path):
  good = state_dict(w=tensor())
  path = write(tmp_path, good, [("byteorder", b"big")])
  assert refused(path) == "its numbers are not little-endian"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("model/data.pkl", good)
  assert refused(path) == "record 'model/data.pkl' is compressed"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("something.txt", "")
  assert refused(path) == "a zip file, but none of PyTorch's"
  path.write_bytes(b"")
  assert refused(path).startswith("damaged or cut off (")
  path.unlink()
  assert refused(path) == "cannot be read: No such file or directory"


@pytest.mark.parametrize("cut", [10, 100, 400, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path, cut):
  path = write(tmp_path, state_dict(w=tensor()))
  path.write_bytes(path.read_bytes()[:cut])
  assert refused(path).startswith("damaged or cut off (")


def test_a_file_cut_off_after_opening_is_refused(tmp_path):
  path = write(tmp_path, state_dict(w=tensor()))
  found = torch_file.tensors(path)["w"]
  path.write_bytes(path.read_bytes()[: found.offset + 8])
  with pytest.raises(CheckpointError, match="cut off in tensor 'w'"):
    found.read("w")


def test_no_damage_brings_another_error(tmp_path):
  """Whatever byte is changed: read, or refused."""
  whole = write(tmp_path, state_dict(w=tensor(), v=tensor((2, 3), (3, 1))))
  whole = whole.read_bytes()
  rng = random.Random(0)
  refused_ = 0
  for at in range(len(whole)):
    changed = bytearray(whole)
    changed[at] = rng.choice([0, 255, rng.randrange(256)])
    path = tmp_path / "changed.bin"
    path.write_bytes(changed)
    try:
      for key, stored in torch_file.tensors(path).items():
        stored.read(key)
    except CheckpointError:
      refused_ += 1
  assert len(whole) / 2 < refused_ < len(whole)


@pytest.mark.torch
def test_the_numbers_are_pytorch_s(tmp_path):
  torch = pytest.importorskip("torch")
  model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LayerNorm(5))
  wanted = model.state_dict()  # has _metadata
  wanted["parameter"] = torch.nn.Parameter(torch.randn(4))
  wanted["tied"] = wanted["0.weight"]
  wanted["turned"] = torch.randn(3, 4, 5).permute(2, 0, 1)
  wanted["part"] = torch.randn(6, 7)[2:4, 3:]
  for kind in (
      "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16",
      "int8", "uint8", "bool",
  ):
    value = torch.tensor([0.0, 1.0, 3.0, 200.0]).to(getattr(torch, kind))
    wanted[kind] = value
  torch.save(wanted, tmp_path / "pytorch_model.bin")
  files = TensorFiles(tmp_path)
  assert files.names() == list(wanted)
  for key, value in wanted.items():
    value = value.detach()
    assert str(value.dtype) == f"torch.{files.dtype(key)}"
    if value.dtype == torch.bfloat16:
      got = files.read(key).astype(np.float32)
      value = value.float()
    else:
      got = files.read(key)
    np.testing.assert_array_equal(got, value.numpy())
  assert files.equal("tied", "0.weight")


@pytest.mark.torch
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_is_read(tmp_path, protocol):
  torch = pytest.importorskip("torch")
  path = tmp_path / "pytorch_model.bin"
  torch.save({"w": torch.arange(3)}, path, pickle_protocol=protocol)
  assert TensorFiles(tmp_path).read("w").tolist() == [0, 1, 2]


@pytest.mark.torch
def test_the_format_before_1_6_is_refused_with_the_mend(tmp_path):
  torch = pytest.importorskip("torch")
  path = tmp_path / "pytorch_model.bin"
  old = {"_use_new_zipfile_serialization": False}
  torch.save({"w": torch.arange(3)}, path, **old)
  message = refused(path)
  assert "from before 1.6; convert it once" in message
  mend = message.split("is installed: ")[1]
  exec(mend, {"torch": torch})
  assert TensorFiles(tmp_path).read("w").tolist() == [0, 1, 2]


@pytest.mark.torch
def test_a_kind_of_numbers_that_is_not_read_is_named(tmp_path):
  torch = pytest.importorskip("torch")
  path = tmp_path / "pytorch_model.bin"
  torch.save({"w": torch.zeros(3).to(torch.float8_e4m3fn)}, path)
  assert "'torch._utils._rebuild_tensor_v3'" in refused(path)
