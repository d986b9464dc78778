"""Token files: what is read back, and one clear error for every damage."""

import json

import numpy as np
import pytest

from mlit_jax.data import build, token_file

EXAMPLES = [
    {"id": f"{n}", "lang": "en", "inputs": f"{n}\n", "targets": f"it is {n}"}
    for n in range(40)
]


@pytest.fixture
def directory(tmp_path, tokenizer):
  build.build("token_file", EXAMPLES, tokenizer, tmp_path, origin={})
  return tmp_path


def test_an_example_comes_back_from_its_bytes():
  example = token_file.TokenExample(
      np.array([1, 70000, 2], np.int64), np.array([0, 1, 1], bool), "α/1", "el"
  )
  found = token_file.TokenExample.from_bytes(example.to_bytes())
  assert (found.id, found.lang) == ("α/1", "el")
  assert found.tokens.tolist() == [1, 70000, 2]
  assert found.loss_mask.tolist() == [0, 1, 1]
  assert (found.tokens.dtype, found.loss_mask.dtype) == (np.int32, np.uint8)


def test_the_bytes_are_little_endian_msgpack():
  example = token_file.TokenExample(
      np.array([1, 258]), np.array([0, 1]), "a", "b"
  )
  assert example.to_bytes() == (
      b"\x94\xa1a\xa1b\xc4\x08\x01\x00\x00\x00\x02\x01\x00\x00\xc4\x02\x00\x01"
  )


def test_examples_are_read_in_order(directory):
  found = token_file.TokenFile(directory)
  assert [e.id for e in found] == [f"{n}" for n in range(40)]


def test_a_directory_that_is_not_built(tmp_path):
  path = tmp_path / "build.json"
  with pytest.raises(token_file.DataError) as e:
    token_file.TokenFile(tmp_path)
  assert str(e.value) == (
      f"{path}: cannot be read (No such file or directory); build it with"
      " `mlit data build`"
  )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON (Expecting value"),
        (b'{"total": {', "not JSON (Expecting property name"),
        (b"\xff\xfe", "not JSON ('utf-8' codec can't decode"),
        (b"[1]", "not what `mlit data build` writes"),
        (b'{"total": {"examples": 40}}', "not what `mlit data build` writes"),
    ],
)
def test_a_summary_that_cannot_be_used(directory, data, words):
  (directory / "build.json").write_bytes(data)
  with pytest.raises(token_file.DataError) as e:
    token_file.read_summary(directory)
  assert str(e.value).startswith(f"{directory / 'build.json'}: {words}")
  assert str(e.value).endswith("; build it again")


def test_missing_tokens(directory):
  path = directory / token_file.shard_name(0, 1)
  path.unlink()
  with pytest.raises(token_file.DataError) as e:
    token_file.TokenFile(directory)
  assert str(e.value) == f"{path}: missing; build it with `mlit data build`"


@pytest.mark.parametrize("part", [0.0, 0.001, 0.4, 0.5, 0.9, 0.9999, 1.001])
def test_tokens_that_were_cut_off_or_added_to(directory, part):
  path = directory / token_file.shard_name(0, 1)
  data = path.read_bytes() + bytes(1000)
  size = len(data) - 1000
  path.write_bytes(data[: int(part * size)])
  with pytest.raises(token_file.DataError) as e:
    token_file.TokenFile(directory)
  assert str(e.value) == f"{path}: damaged or cut off; build it again"


def test_no_flipped_byte_goes_unseen(directory):
  path = directory / token_file.shard_name(0, 1)
  before = [e.to_bytes() for e in token_file.TokenFile(directory)]
  good = bytearray(path.read_bytes())
  rng, refused = np.random.default_rng(0), 0
  used = np.flatnonzero(np.frombuffer(good, np.uint8))
  for place in rng.choice(used, 60):
    damaged = bytearray(good)
    damaged[place] ^= 0x55
    path.write_bytes(damaged)
    try:
      found = [e.to_bytes() for e in token_file.TokenFile(directory)]
    except token_file.DataError as e:
      assert str(path) in str(e)
      refused += 1
    else:
      assert found == before  # padding, or an index that is not needed
  assert refused > 30


def test_tokens_of_another_build(directory, tmp_path_factory, tokenizer):
  path = directory / token_file.shard_name(0, 1)
  other = tmp_path_factory.mktemp("other")
  build.build("token_file", EXAMPLES[:39], tokenizer, other, origin={})
  path.write_bytes((other / path.name).read_bytes())
  with pytest.raises(token_file.DataError) as e:
    token_file.TokenFile(directory)
  assert str(e.value) == (
      f"{path}: holds 39 examples, build.json says 40; build it again"
  )
  build.build("token_file", EXAMPLES[::-1], tokenizer, other, origin={})
  path.write_bytes((other / path.name).read_bytes())
  with pytest.raises(token_file.DataError) as e:
    token_file.TokenFile(directory)
  assert str(e.value) == (
      f"{path}: not the tokens that build.json describes; build it again"
  )


def test_the_summary_alone_is_enough_to_show_counts(directory):
  summary = json.loads((directory / "build.json").read_text())
  assert token_file.read_summary(directory) == summary
