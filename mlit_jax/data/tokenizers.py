"""Tokenizers behind one small interface, without TensorFlow.

A model directory's tokenizer is the first of: `tokenizer.json`, which is what
transformers and vLLM read too; a SentencePiece model; bytes, where
tokenizer_config.json says ByT5.
"""

import os
import pathlib
from collections.abc import Iterable

from mlit_jax.data import special_tokens
from mlit_jax.data.byte_tokenizer import CLASS, ByteTokenizer
from mlit_jax.data.hf_tokenizer import FILE_NAME as JSON_NAME
from mlit_jax.data.hf_tokenizer import HuggingFaceTokenizer
from mlit_jax.data.sentencepiece_tokenizer import (
    FILE_NAME,
    FILE_NAMES,
    SentencePieceTokenizer,
    train_sentencepiece,
)
from mlit_jax.data.tokenizer_base import (
    StreamDecoder,
    Tokenizer,
    TokenizerError,
)

__all__ = (
    "FILE_NAME", "ByteTokenizer", "HuggingFaceTokenizer",
    "SentencePieceTokenizer", "StreamDecoder", "Tokenizer", "TokenizerError",
    "check_vocabulary", "load", "train_sentencepiece",
)
# Gemma 3's text models have no row for the token of an image.
_OTHER_MEDIA = ("image", "audio", "video")


def load(directory: str | os.PathLike) -> Tokenizer:
  """The tokenizer of a model directory.

  Raises:
    TokenizerError: there is none, a file is damaged, or two disagree.
  """
  directory = pathlib.Path(directory)
  if (directory / JSON_NAME).exists():
    return HuggingFaceTokenizer.from_directory(directory)
  if any((directory / name).exists() for name in FILE_NAMES):
    return SentencePieceTokenizer.from_directory(directory)
  config = special_tokens.read_json(directory / special_tokens.TOKENIZER_CONFIG)
  if config.get("tokenizer_class") == CLASS:
    return ByteTokenizer.from_directory(directory)
  raise TokenizerError(
      f"{directory}: no tokenizer: neither {JSON_NAME} nor"
      f" {' nor '.join(FILE_NAMES)}; put the checkpoint's own there"
  )


def num_unknown(tokenizer: Tokenizer, ids: Iterable[int]) -> int:
  """How many tokens stand for what the tokenizer does not know."""
  t = tokenizer
  if t.unk_id in (t.bos_id, *t.end_ids):
    return 0  # GPT-NeoX has one token for all of these, and knows every byte
  return sum(i == t.unk_id for i in ids)


def check_vocabulary(
    tokenizer: Tokenizer, vocab_size: int, directory: str | os.PathLike
) -> None:
  """Checks that every id has a row of the embedding.

  More rows than ids are normal: embeddings are padded to even sizes.

  Args:
    tokenizer: of the model.
    vocab_size: the number of rows, as the model's config has it.
    directory: named in the error.

  Raises:
    TokenizerError: the embedding is too small.
  """
  if tokenizer.vocab_size <= vocab_size:
    return
  needless = {
      id_
      for text, id_ in tokenizer.specials.items()
      if any(medium in text for medium in _OTHER_MEDIA)
  }
  if needless.issuperset(range(vocab_size, tokenizer.vocab_size)):
    return
  raise TokenizerError(
      f"{directory}: the tokenizer has {tokenizer.vocab_size} ids, the model's"
      f" embedding only {vocab_size} rows (vocab_size in config.json); use the"
      " tokenizer that belongs to the model"
  )
