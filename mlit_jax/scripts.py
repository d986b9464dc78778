"""In which script is a text? The cheap half of "in which language"."""

import functools
import re
import unicodedata

from mlit_jax import languages

# Fewer letters say nothing: a name, a formula, "OK".
MIN_LETTERS = 20
# A text with less of its letters in its language's script is in another one.
# Far below one half: a short answer may quote a long English title.
MIN_SHARE = 0.1

# ISO 15924 -> first words of the Unicode names of the script's letters. Of the
# two Chinese scripts, names do not tell which is meant.
_NAMES = {
    "Arab": "ARABIC", "Armn": "ARMENIAN", "Beng": "BENGALI",
    "Cyrl": "CYRILLIC", "Deva": "DEVANAGARI", "Ethi": "ETHIOPIC",
    "Geor": "GEORGIAN", "Grek": "GREEK", "Gujr": "GUJARATI",
    "Guru": "GURMUKHI", "Hang": "HANGUL CJK", "Hans": "CJK", "Hant": "CJK",
    "Hebr": "HEBREW", "Jpan": "HIRAGANA KATAKANA KATAKANA-HIRAGANA CJK",
    "Khmr": "KHMER", "Knda": "KANNADA", "Laoo": "LAO", "Latn": "LATIN",
    "Mlym": "MALAYALAM", "Mymr": "MYANMAR", "Orya": "ORIYA",
    "Sinh": "SINHALA", "Taml": "TAMIL", "Telu": "TELUGU", "Thai": "THAI",
    "Tibt": "TIBETAN",
}
# Code, formulas and addresses are in no language.
# Every part is bounded or begins at a word: long runs without spaces (Chinese)
# are gone through once.
_NO_LANGUAGE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$"
    r"|\b[A-Za-z][A-Za-z0-9+.-]{1,15}://\S+"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[\w.-]+",
    re.DOTALL,
)
_MAX_CHARACTERS = 4000  # the beginning says it


def prose(text: str) -> str:
  """The beginning of a text without code, formulas and addresses."""
  return _NO_LANGUAGE.sub(" ", text[:_MAX_CHARACTERS])


def share(text: str, lang: str) -> tuple[int, float]:
  """How many letters a text has, and the share in the script of a language.

  Args:
    text: any text, of which the beginning counts; code, formulas and
      addresses are left out.
    lang: a code of any system.

  Returns:
    The number of letters; and the share, from 0 to 1 (1 if there is none).
  """
  names = _names(lang)
  letters = [x for x in prose(text) if x.isalpha()]
  if not letters:
    return 0, 1.0
  return len(letters), sum(_name(x) in names for x in letters) / len(letters)


@functools.cache
def _names(lang: str) -> frozenset[str]:
  return frozenset(_NAMES[languages.get(lang).script].split())


@functools.lru_cache(maxsize=1 << 14)
def _name(letter: str) -> str:
  return unicodedata.name(letter, "").partition(" ")[0]
