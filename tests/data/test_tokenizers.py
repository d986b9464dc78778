"""Which tokenizer a directory has, and whether it fits the model."""

import pytest
import small_tokenizers

from mlit_jax.data import tokenizers


def test_the_files_decide(tmp_path, tokenizer, pocket_lines):
  (tmp_path / "tokenizer.model").write_bytes(tokenizer.model)
  assert tokenizers.load(tmp_path) == tokenizer
  # tokenizer.json goes first: transformers and vLLM read that one, too.
  small_tokenizers.write("bloom", tmp_path, pocket_lines)
  assert isinstance(tokenizers.load(tmp_path), tokenizers.HuggingFaceTokenizer)


@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.model"])
def test_t5s_names_of_a_sentencepiece_model(name, tmp_path, tokenizer):
  (tmp_path / name).write_bytes(tokenizer.model)
  assert tokenizers.load(tmp_path) == tokenizer


def test_a_directory_without_a_tokenizer(tmp_path):
  with pytest.raises(tokenizers.TokenizerError) as e:
    tokenizers.load(tmp_path)
  assert str(e.value) == (
      f"{tmp_path}: no tokenizer: neither tokenizer.json nor tokenizer.model"
      " nor spiece.model nor sentencepiece.model; put the checkpoint's own"
      " there"
  )


def test_the_embedding_must_have_a_row_for_every_id(tokenizer):
  tokenizers.check_vocabulary(tokenizer, 2000, "model")
  tokenizers.check_vocabulary(tokenizer, 2048, "model")  # padded
  with pytest.raises(tokenizers.TokenizerError) as e:
    tokenizers.check_vocabulary(tokenizer, 1999, "model")
  assert str(e.value) == (
      "model: the tokenizer has 2000 ids, the model's embedding only 1999 rows"
      " (vocab_size in config.json); use the tokenizer that belongs to the"
      " model"
  )


def test_added_tokens_count(tmp_path, tokenizer):
  # Chinese-Alpaca's way: one more id, beside the model file.
  (tmp_path / "tokenizer.model").write_bytes(tokenizer.model)
  (tmp_path / "added_tokens.json").write_text('{"[PAD]": 2000}')
  (tmp_path / "special_tokens_map.json").write_text('{"pad_token": "[PAD]"}')
  found = tokenizers.load(tmp_path)
  assert found.vocab_size == 2001 and found.pad_id == 2000
  assert 2000 not in found.encode("[PAD]")
  with pytest.raises(tokenizers.TokenizerError, match="2001 ids"):
    tokenizers.check_vocabulary(found, 2000, tmp_path)


def test_gemma_3_has_no_row_for_images(tmp_path, tokenizer):
  (tmp_path / "tokenizer.model").write_bytes(tokenizer.model)
  (tmp_path / "added_tokens.json").write_text('{"<image_soft_token>": 2000}')
  found = tokenizers.load(tmp_path)
  assert found.vocab_size == 2001
  tokenizers.check_vocabulary(found, 2000, tmp_path)
  assert 2000 not in found.encode("<image_soft_token>")
