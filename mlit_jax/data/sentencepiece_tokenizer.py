"""SentencePiece models (Kudo and Richardson 2018): LLaMA, Baichuan, T5, Gemma.

What decoding gives is put together from the pieces here, and not by the
library, so that text can be decoded id by id.
"""

import dataclasses
import functools
import io
import os
import pathlib
from collections.abc import Iterable, Mapping

import sentencepiece
from google.protobuf import message
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_proto

from mlit_jax.data import special_tokens
from mlit_jax.data.tokenizer_base import (
    Tokenizer,
    TokenizerError,
    special_ids,
)

FILE_NAME = "tokenizer.model"
# T5's name, and T5X's.
FILE_NAMES = (FILE_NAME, "spiece.model", "sentencepiece.model")
_PIECE = sentencepiece_proto.ModelProto.SentencePiece
_SPACE = "\u2581"


@dataclasses.dataclass(frozen=True)
class SentencePieceTokenizer(Tokenizer):
  """A SentencePiece model.

  Attributes:
    model: the serialised model, as in a `tokenizer.model` file.
    special: special tokens as a model directory's other files name them; by
      default what the model itself says.
    extra_ids: T5's sentinels, which follow the pieces; the last id is
      <extra_id_0>. They are in no file.
  """

  model: bytes
  special: special_tokens.SpecialTokens | None = None
  extra_ids: int = 0

  def __post_init__(self):
    try:
      if not self.model:  # which SentencePiece would take for "not yet loaded"
        raise RuntimeError
      processor = sentencepiece.SentencePieceProcessor(model_proto=self.model)
    except RuntimeError:
      raise TokenizerError("not a SentencePiece model") from None
    object.__setattr__(self, "_processor", processor)
    proto = _parse(self.model)
    if proto.trainer_spec.treat_whitespace_as_suffix:
      raise TokenizerError("pieces with their space behind are not supported")
    normalizer = proto.normalizer_spec
    prefixes = int(normalizer.add_dummy_prefix)
    strips = -1 if normalizer.remove_extra_whitespaces else prefixes
    object.__setattr__(self, "strips", strips)
    if self.special is None:
      own = self._own
      special = special_tokens.SpecialTokens(
          **own, ends=(own["eos"],), adds_bos=None, texts=self._own_texts
      )
      object.__setattr__(self, "special", special)

  @classmethod
  def from_directory(cls, directory: str | os.PathLike, extra_ids: int = 0):
    """Reads a model directory.

    Args:
      directory: with a `tokenizer.model`, as LLaMA has it, or a file of one of
        T5's names; JSON files beside it may name special tokens.
      extra_ids: as the attribute; tokenizer_config.json's goes before it.

    Raises:
      TokenizerError: names the file.
    """
    directory = pathlib.Path(directory)
    names = [n for n in FILE_NAMES if (directory / n).exists()]
    path = directory / (names[0] if names else FILE_NAME)
    try:
      plain = cls(path.read_bytes())
    except OSError as e:
      raise TokenizerError(f"{path}: cannot be read: {e.strerror}") from None
    except TokenizerError as e:
      raise TokenizerError(f"{path}: {e}") from None
    extra_ids = _extra_ids(directory, plain, extra_ids)
    plain = cls(plain.model, extra_ids=extra_ids)
    special = special_tokens.read(
        directory, plain._piece_id, plain._own, plain._own_texts
    )
    return cls(plain.model, special, extra_ids)

  @functools.cached_property
  def vocab_size(self) -> int:
    size = self._processor.vocab_size() + self.extra_ids
    return max(size, *(id_ + 1 for id_ in self.specials.values()))

  @property
  def pad_id(self) -> int:
    found = (self.special.pad, self.unk_id, self.eos_id)
    return next(id_ for id_ in found if id_ is not None)

  @property
  def bos_id(self) -> int | None:
    return self.special.bos

  @property
  def eos_id(self) -> int:
    return self.special.eos

  @property
  def unk_id(self) -> int | None:
    return self.special.unk

  @property
  def begin_ids(self) -> tuple[int, ...]:
    if self.bos_id is None or self.special.adds_bos is False:
      return ()
    return (self.bos_id,)

  @property
  def end_ids(self) -> tuple[int, ...]:
    return self.special.ends

  @property
  def specials(self) -> Mapping[str, int]:
    return self.special.texts

  @property
  def prefixes_after_special(self) -> bool:
    return True

  def token_bytes(self, token: int) -> bytes:
    return self._bytes.get(token, b"")

  def _encode(self, text: str, continues: bool) -> list[int]:
    processor = self._inner_processor if continues else self._processor
    return processor.encode(text)

  @functools.cached_property
  def _own(self) -> dict[str, int | None]:
    """Special ids as the model file has them; -1 there means none."""
    p = self._processor
    found = {
        "bos": p.bos_id(), "eos": p.eos_id(), "unk": p.unk_id(),
        "pad": p.pad_id(),
    }
    return {k: None if id_ < 0 else id_ for k, id_ in found.items()}

  @functools.cached_property
  def _own_texts(self) -> dict[str, int]:
    found = {
        piece.piece: id_
        for id_, piece in enumerate(_parse(self.model).pieces)
        if piece.type in (_PIECE.CONTROL, _PIECE.UNKNOWN)
        or piece.piece.startswith("<extra_id_")  # mT5's sentinels
    }
    last = self._processor.vocab_size() + self.extra_ids - 1
    for n in range(self.extra_ids):
      found[f"<extra_id_{n}>"] = last - n
    return found

  @functools.cached_property
  def _inner_processor(self) -> sentencepiece.SentencePieceProcessor:
    """The same model without the space that it puts before a text."""
    proto = _parse(self.model)
    if not proto.normalizer_spec.add_dummy_prefix:
      return self._processor
    proto.normalizer_spec.add_dummy_prefix = False
    return sentencepiece.SentencePieceProcessor(
        model_proto=proto.SerializeToString()
    )

  @functools.cached_property
  def _bytes(self) -> dict[int, bytes]:
    silent = special_ids(self)
    if self.unk_id != self.pad_id:
      silent -= {self.unk_id}
    proto, table = _parse(self.model), {}
    for id_, piece in enumerate(proto.pieces):
      if id_ in silent or piece.type in (_PIECE.CONTROL, _PIECE.UNUSED):
        continue
      if piece.type == _PIECE.BYTE:
        table[id_] = bytes([int(piece.piece[3:5], 16)])
      elif piece.type == _PIECE.UNKNOWN:
        table[id_] = proto.trainer_spec.unk_surface.encode()
      else:
        table[id_] = piece.piece.replace(_SPACE, " ").encode()
    return table

  def _piece_id(self, text: str) -> int | None:
    id_ = self._processor.piece_to_id(text)
    known = self._processor.id_to_piece(id_) == text
    return id_ if known else self._own_texts.get(text)


def train_sentencepiece(
    sentences: Iterable[str], vocab_size: int
) -> SentencePieceTokenizer:
  """Trains a unigram model whose round trip is exact.

  Nothing is normalised, every character is covered and what is rarer still
  falls back to bytes; U+2581 alone, SentencePiece's own sign for a space, comes
  back as one. The ids are LLaMA's: 0 unknown, 1 begin, 2 end; padding is the
  unknown id, which byte fallback leaves unused.

  Args:
    sentences: the text to learn from.
    vocab_size: upper limit; little text may give fewer pieces.

  Raises:
    TokenizerError: there is no text, or more characters in it than vocab_size
      leaves room for.
  """
  out = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=out,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        model_type="unigram",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,  # sums in one order: the same text, the same model
        minloglevel=2,
    )
  except RuntimeError as e:
    reason = str(e).rpartition("]")[2].strip() or "there is no text"
    raise TokenizerError(
        f"no vocabulary of {vocab_size} pieces can be trained: {reason}"
    ) from None
  return SentencePieceTokenizer(out.getvalue())


def _parse(model: bytes) -> sentencepiece_proto.ModelProto:
  try:
    return sentencepiece_proto.ModelProto.FromString(model)
  except message.DecodeError:
    raise TokenizerError("not a SentencePiece model") from None


def _extra_ids(directory: pathlib.Path, tokenizer, default: int) -> int:
  """T5's sentinels: in the model itself (mT5's), or counted in the config."""
  if tokenizer._piece_id("<extra_id_0>") is not None:
    return 0
  path = directory / special_tokens.TOKENIZER_CONFIG
  config = special_tokens.read_json(path)
  if str(config.get("tokenizer_class")).startswith("T5Tokenizer"):
    default = default or 100
  count = config.get("extra_ids", default)
  if type(count) is not int or not 0 <= count <= 100_000:
    raise TokenizerError(
        f"{path}: extra_ids must be a whole number up to 100000, not {count!r}"
    )
  return count
