"""What every tokenizer is: text to ids and back, exactly, also id by id."""

import abc
import codecs
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence


class TokenizerError(ValueError):
  """A tokenizer file that cannot be used; names the file."""


class Tokenizer(abc.ABC):
  """Text to ids and back; each kind is a frozen dataclass.

  Text never becomes a special id: "</s>" in a user's words is encoded as the
  letters it is made of. Only a template puts special ids between texts.

  Attributes:
    vocab_size: the largest id + 1.
    pad_id: fills rows; where a tokenizer has none, the unknown or end token
      stands in (nothing ever attends to it).
    bos_id: the begin token, or None.
    eos_id: the end token.
    unk_id: what stands for text that cannot be encoded, or None.
    begin_ids: what the tokenizer puts before every text: (bos_id,) or nothing.
    end_ids: ids at which generation ends; eos_id is the first.
    specials: text of each id that is no text of its own, e.g. {"<s>": 1}.
    strips: leading spaces that decoding takes away, because encoding put one
      there (0, 1, or -1 for any number).
    prefixes_after_special: whether a text behind a special id is encoded as if
      it stood at the beginning.
  """

  vocab_size: int
  pad_id: int
  bos_id: int | None
  eos_id: int
  unk_id: int | None
  begin_ids: tuple[int, ...]
  end_ids: tuple[int, ...]
  specials: Mapping[str, int]
  strips: int
  prefixes_after_special: bool

  def __reduce__(self):
    # What it is made of, not what was worked out from that since.
    fields = dataclasses.fields(self)
    return type(self), tuple(getattr(self, f.name) for f in fields)

  def encode(self, text: str, *, continues: bool = False) -> list[int]:
    """Ids of the text alone, without begin or end.

    Args:
      text: any text; special tokens in it are taken as plain letters.
      continues: the text goes on from other text, so that no space is put
        before it as some tokenizers do at a beginning.
    """
    if not text:
      return []
    cuts = [m.start() + 1 for m in self.special_pattern.finditer(text)]
    ids, start = [], 0
    for stop in (*cuts, len(text)):
      # A token is matched whole or not at all: cut inside it is not matched.
      ids += self._encode(text[start:stop], continues or start > 0)
      start = stop
    return ids

  def decode(self, ids: Sequence[int]) -> str:
    """The text of the ids; special ids stand for nothing.

    Bytes that are no UTF-8 become U+FFFD, one for each damaged character.
    """
    decoder = StreamDecoder(self)
    return "".join([*map(decoder.push, ids), decoder.flush()])

  @functools.cached_property
  def normalizes(self) -> tuple[str, ...]:
    """What decode(encode(text)) does not give back; empty if it gives all.

    Found by trying, so that it holds whatever the tokenizer is made of.
    """
    changed = []
    for what, text in _PROBES.items():
      ids = self.encode(text)
      if self.unk_id is not None and self.unk_id in ids:
        changed.append(_UNKNOWN)
      elif self.decode(ids) != text:
        changed.append(what)
    return tuple(dict.fromkeys(changed))

  @abc.abstractmethod
  def token_bytes(self, token: int) -> bytes:
    """What an id adds to the text, in UTF-8; nothing for special ids."""

  @abc.abstractmethod
  def _encode(self, text: str, continues: bool) -> list[int]:
    """`encode` for text that holds no special token whole."""

  @functools.cached_property
  def special_pattern(self) -> re.Pattern:
    """Finds the texts of special tokens."""
    texts = (text for text in self.specials if len(text) > 1)
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")


class StreamDecoder:
  """Decodes id by id, for stop strings and for showing text as it comes.

  The pieces joined are what `Tokenizer.decode` gives for all ids at once. A
  character whose bytes have not all come yet is held back.
  """

  def __init__(self, tokenizer: Tokenizer):
    self._tokenizer = tokenizer
    self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    self._strips = tokenizer.strips

  def push(self, token: int) -> str:
    """The text that is certain now and was not before; often one piece."""
    data = self._tokenizer.token_bytes(int(token))
    while self._strips and data:
      if not data.startswith(b" "):
        self._strips = 0
      else:
        data, self._strips = data[1:], self._strips - 1
    return self._utf8.decode(data)

  def flush(self) -> str:
    """The rest; an unfinished character comes as U+FFFD."""
    return self._utf8.decode(b"", final=True)


def special_ids(tokenizer: Tokenizer) -> frozenset[int]:
  """The ids that decode to nothing."""
  own = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id}
  return frozenset({*tokenizer.specials.values(), *own} - {None})


_UNKNOWN = "characters outside the vocabulary"
_PROBES = {
    "letters apart from their accents (NFC)": "e\u0301",
    "letters with their accents (NFD)": "\u00e9",
    "compatibility forms (NFKC)": "\ufb01 \u2460 \uff21",
    "letter case": "aB",
    "runs of spaces": "a  b",
    "spaces at the ends": " a ",
    "line breaks": "a\n\nb\tc",
    "control and format characters": "a\x01\u200bb\u200d",
    "_": "\U00010380\u1c80",  # what small vocabularies lack
}
