"""Bytes as tokens, with ByT5's ids."""

import json

import pytest
import seqio

from mlit_jax.data import tokenizers

TEXTS = [
    "", "a", " é\u0301\n", "你好 👩‍👩‍👧‍👦", "\x00\x7f", "</s> <extra_id_0>",
]


def _write(directory, **values):
  config = {"tokenizer_class": "ByT5Tokenizer"} | values
  (directory / "tokenizer_config.json").write_text(json.dumps(config))


def test_the_ids_by_hand():
  ours = tokenizers.ByteTokenizer()
  assert ours.vocab_size == 384
  assert ours.encode("aé") == [100, 0xC3 + 3, 0xA9 + 3]
  assert (ours.pad_id, ours.eos_id, ours.unk_id, ours.bos_id) == (0, 1, 2, None)
  assert ours.begin_ids == () and ours.end_ids == (1,)
  assert ours.decode([100, 1, 0, 2, 300, 10**6]) == "a"
  assert ours.normalizes == ()


@pytest.mark.parametrize("text", TEXTS)
def test_the_ids_are_seqios_and_come_back(text):
  ours = tokenizers.ByteTokenizer()
  assert ours.encode(text) == list(seqio.ByteVocabulary().encode(text))
  assert ours.decode(ours.encode(text)) == text


@pytest.mark.torch
def test_a_directory_is_read_as_transformers_reads_it(tmp_path):
  transformers = pytest.importorskip("transformers")
  _write(tmp_path)
  ours = tokenizers.load(tmp_path)
  assert ours == tokenizers.ByteTokenizer(125)
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
  assert len(theirs) == ours.vocab_size
  names = ["<extra_id_0>", "<extra_id_124>", "</s>"]
  ids = [ours.specials[name] for name in names]
  assert theirs.convert_tokens_to_ids(names) == ids
  for text in TEXTS[:-1]:
    assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(
        text
    )


@pytest.mark.parametrize("count", [-1, "many", 10**9, None])
def test_a_number_of_sentinels_that_cannot_be(count, tmp_path):
  _write(tmp_path, extra_ids=count)
  with pytest.raises(tokenizers.TokenizerError, match="extra_ids must be"):
    tokenizers.load(tmp_path)


def test_other_special_ids_are_refused(tmp_path):
  _write(tmp_path, extra_ids=3)
  assert tokenizers.load(tmp_path).vocab_size == 262
  (tmp_path / "config.json").write_text('{"eos_token_id": 5}')
  with pytest.raises(tokenizers.TokenizerError) as e:
    tokenizers.load(tmp_path)
  assert str(e.value) == (
      f"{tmp_path}: bytes have the special ids pad 0, eos 1, unk 2, but the"
      " files say 0, 5, 2"
  )
