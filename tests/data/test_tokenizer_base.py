"""Decoding id by id: whole characters only, and the same text in the end."""

import random

import pytest
import small_tokenizers

from mlit_jax.data import tokenizers

KINDS = ("sentencepiece", "bytes", "bloom", "qwen", "gemma", "llama")
TEXT = "Tere, 两只猫 👩‍👩‍👧‍👦 שָׁלוֹם हिन्दी 🇪🇪 \u2047 \ufffd end"


@pytest.fixture(scope="module")
def kinds(tokenizer, pocket_lines, tmp_path_factory):
  root = tmp_path_factory.mktemp("kinds")
  made = {"sentencepiece": tokenizer, "bytes": tokenizers.ByteTokenizer()}
  for kind in KINDS[2:]:
    path = small_tokenizers.write(kind, root / kind, pocket_lines)
    made[kind] = tokenizers.load(path)
  return made


def _stream(tokenizer, ids):
  decoder = tokenizers.StreamDecoder(tokenizer)
  return [*map(decoder.push, ids), decoder.flush()]


@pytest.mark.parametrize("kind", KINDS)
def test_characters_come_whole(kind, kinds):
  ours = kinds[kind]
  ids = ours.encode(TEXT)
  pieces = _stream(ours, ids)
  assert "".join(pieces) == TEXT
  # Some characters take several ids; none is shown before it is whole.
  assert "" in pieces[:-1]
  for n in range(len(pieces)):
    assert TEXT.startswith("".join(pieces[:n]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_off_shows_only_at_the_end(kind, kinds):
  ours = kinds[kind]
  letter = ours.encode("𠮷", continues=True)
  assert len(letter) > 1  # in bytes
  ids = ours.encode("a") + letter[:-1]
  *pieces, last = _stream(ours, ids)
  assert "".join(pieces) == "a"
  assert last == "\ufffd"
  # In the middle, damaged bytes cost one sign and nothing else.
  assert ours.decode(ids + ours.encode("b", continues=True)) == "a\ufffdb"


@pytest.mark.parametrize("kind", KINDS)
def test_any_ids_give_the_same_text_at_once_and_one_by_one(kind, kinds):
  ours, rng = kinds[kind], random.Random(0)
  for _ in range(50):
    ids = [rng.randrange(ours.vocab_size) for _ in range(30)]
    assert "".join(_stream(ours, ids)) == ours.decode(ids)


def test_byte_level_decoding_is_the_librarys(kinds):
  # Also of damaged bytes: the library is checked on any ids at all.
  for kind in ("bloom", "qwen"):
    ours, rng = kinds[kind], random.Random(1)
    for _ in range(50):
      ids = [rng.randrange(ours.vocab_size) for _ in range(30)]
      theirs = ours._tokenizer.decode(ids, skip_special_tokens=True)
      assert ours.decode(ids) == theirs


@pytest.mark.parametrize("kind", ("sentencepiece", "llama"))
def test_a_space_of_the_tokenizers_own_is_taken_away_once(kind, kinds):
  ours = kinds[kind]
  assert _stream(ours, ours.encode(" a"))[0] != "  "
  assert ours.decode(ours.encode("  a")) == "  a"
  assert "".join(_stream(ours, [ours.eos_id, *ours.encode("a b")])) == "a b"
