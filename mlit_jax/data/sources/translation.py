"""Sentence pairs as instructions to translate, in varied words.

xllama section 2.1: translation instructions from parallel corpora, towards the
foreign language or from it (section 4.4 compares the two).
"""

import dataclasses
import functools
import hashlib
import tomllib
from collections.abc import Iterable, Iterator
from importlib import resources

from mlit_jax import languages
from mlit_jax.data import quality
from mlit_jax.data.sources.source import Wanted
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction, Message

OPTIONS = {
    "source_lang": "one language of the pairs",
    "target_lang": "the other one",
    "direction": "forward (source to target, the default), backward or both",
    "phrasing": "the instruction's language: en (the default), target (the"
    " language that is translated into) or mixed",
    "seed": "which id gets which phrasing (0)",
}
# A row whose data are (source, target), why it is bad or "", and the detail.
RawPair = tuple[quality.Row, str, str]

_DIRECTIONS = ("forward", "backward", "both")
_PHRASINGS = ("en", "target", "mixed")


@dataclasses.dataclass(frozen=True)
class Pairs:
  """How pairs of two languages become instructions; the options above.

  Raises:
    UsageError: an option has another value; a language has no phrasings.
  """

  source_lang: str
  target_lang: str
  direction: str = "forward"
  phrasing: str = "en"
  seed: int = 0

  def __post_init__(self):
    if not self.source_lang or not self.target_lang:
      raise UsageError(
          "pairs need both languages: the options source_lang and target_lang"
      )
    for name in ("source_lang", "target_lang"):
      object.__setattr__(self, name, languages.get(getattr(self, name)).code)
    if self.source_lang == self.target_lang:
      raise UsageError(f"both languages of the pairs are {self.source_lang}")
    for name, known in (("direction", _DIRECTIONS), ("phrasing", _PHRASINGS)):
      if (value := getattr(self, name)) not in known:
        raise UsageError(f"{name} is one of {' '.join(known)}, not {value!r}")
    if self.phrasing == "target":
      for _, target in self.directions:
        if target not in phrasings():
          raise UsageError(
              f"there are no phrasings in {target}; use phrasing=en, or one of"
              f" {' '.join(sorted(phrasings()))}"
          )

  @property
  def directions(self) -> list[tuple[str, str]]:
    """(from, to), one or two of them."""
    forward = (self.source_lang, self.target_lang)
    return {
        "forward": [forward],
        "backward": [forward[::-1]],
        "both": [forward, forward[::-1]],
    }[self.direction]

  @property
  def name(self) -> str:
    """The pair as a part of ids: the same for either direction."""
    return "-".join(sorted((self.source_lang, self.target_lang)))

  def read(
      self,
      raw: Iterable[RawPair],
      name: str,
      bad: quality.BadRows,
      wanted: Wanted,
  ) -> Iterator[tuple[quality.Row, Instruction]]:
    """The instructions of raw pairs; a pair with one bad side gives none.

    Args:
      raw: the pairs.
      name: first part of the ids, before the row's number.
      bad: takes the bad pairs.
      wanted: checks that each side is in its language.
    """
    for row, reason, detail in raw:
      with bad.catch(row):
        if reason:
          raise quality.BadRow(reason, detail)
        for text, lang in zip(
            row.data, (self.source_lang, self.target_lang), strict=True
        ):
          quality.check_text(lang, text)
          wanted.check(text, lang)
        for made in self.instructions(f"{name}/{row.index}", *row.data):
          yield row, made

  def instructions(
      self, id_: str, source: str, target: str
  ) -> Iterator[Instruction]:
    """The instructions of one pair: one for each direction, with its id."""
    texts = {self.source_lang: source, self.target_lang: target}
    for before, after in self.directions:
      yield Instruction(
          id=id_,
          lang=after,
          messages=(
              Message("user", self._ask(id_, texts[before], before, after)),
          ),
          response=texts[after],
          extra={
              "task": "translation",
              "source_lang": before,
              "target_lang": after,
          },
      )

  def _ask(self, id_: str, text: str, before: str, after: str) -> str:
    known = phrasings()
    ways = {
        "en": known["en"],
        "target": known.get(after, ()),
        "mixed": (
            *known["en"], *(known.get(after, ()) if after != "en" else ())
        ),
    }[self.phrasing]
    digest = hashlib.sha256(
        f"{self.seed}\0{id_}\0{before}\0{after}".encode()
    ).digest()
    way = ways[int.from_bytes(digest[:8], "big") % len(ways)]
    for field, code in (("source", before), ("target", after)):
      way = way.replace(f"{{{field}}}", languages.get(code).name)
    # Last: the text may hold braces.
    return way.replace("{text}", text)


@functools.cache
def phrasings() -> dict[str, tuple[str, ...]]:
  """Language -> ways of asking, with {text} and in English the languages."""
  table = resources.files(__package__).joinpath("phrasings.toml")
  read = tomllib.loads(table.read_text(encoding="utf-8"))
  return {lang: tuple(ways) for lang, ways in read.items()}
