"""Bytes as tokens, as ByT5 has them (Xue et al. 2022)."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping

from mlit_jax.data import special_tokens
from mlit_jax.data.tokenizer_base import Tokenizer, TokenizerError

_NUM_SPECIAL, _NUM_BYTES = 3, 256
CLASS = "ByT5Tokenizer"


@dataclasses.dataclass(frozen=True)
class ByteTokenizer(Tokenizer):
  """0 padding, 1 end, 2 unknown (never used), then 256 bytes, then sentinels.

  Attributes:
    extra_ids: number of sentinels; <extra_id_0> is the first of them, as
      transformers has it.
  """

  extra_ids: int = 125

  pad_id = 0
  bos_id = None
  eos_id = 1
  unk_id = 2
  begin_ids = ()
  end_ids = (1,)
  strips = 0
  prefixes_after_special = False

  @classmethod
  def from_directory(cls, directory: str | os.PathLike):
    """Reads the number of sentinels from tokenizer_config.json."""
    path = pathlib.Path(directory) / special_tokens.TOKENIZER_CONFIG
    count = special_tokens.read_json(path).get("extra_ids", 125)
    if type(count) is not int or not 0 <= count <= 100_000:
      raise TokenizerError(
          f"{path}: extra_ids must be a whole number up to 100000, not"
          f" {count!r}"
      )
    tokenizer = cls(count)
    own = {"bos": None, "eos": 1, "unk": 2, "pad": 0}
    special = special_tokens.read(
        path.parent, tokenizer.specials.get, own, tokenizer.specials
    )
    if (special.pad, special.eos, special.unk) != (0, 1, 2):
      raise TokenizerError(
          f"{path.parent}: bytes have the special ids pad 0, eos 1, unk 2, but"
          f" the files say {special.pad}, {special.eos}, {special.unk}"
      )
    return tokenizer

  @property
  def vocab_size(self) -> int:
    return _NUM_SPECIAL + _NUM_BYTES + self.extra_ids

  @functools.cached_property
  def specials(self) -> Mapping[str, int]:
    first = _NUM_SPECIAL + _NUM_BYTES
    extra = {f"<extra_id_{n}>": first + n for n in range(self.extra_ids)}
    return {"<pad>": 0, "</s>": 1, "<unk>": 2, **extra}

  def token_bytes(self, token: int) -> bytes:
    byte = token - _NUM_SPECIAL
    return bytes([byte]) if 0 <= byte < _NUM_BYTES else b""

  def _encode(self, text: str, continues: bool) -> list[int]:
    return [byte + _NUM_SPECIAL for byte in text.encode()]
