"""Is an answer one of the right ones? Exact match, F1, containment.

Each benchmark has its own rules of what does not count; they are named by
version, since numbers under different rules do not compare:

- `squad`: SQuAD 1.1's, which XQuAD takes for every language (lower case, ASCII
  punctuation and English articles out);
- `mlqa`: MLQA's first, with punctuation of all scripts and articles by
  language; in Arabic it deletes "ال" anywhere in a word;
- `mlqa_2026`: as lm-evaluation-harness has it since 2026: in Arabic "ال" goes
  at the beginning of a word alone.
"""

import collections
import functools
import re
import string
import sys
import unicodedata
from collections.abc import Callable, Iterable

# Maps (text, language) to the tokens that are compared.
Normalise = Callable[[str, str], list[str]]

_ASCII = str.maketrans("", "", string.punctuation)
_ARTICLES = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "ar": "ال",
}
_CHINESE = re.compile("([一-龥])")


def squad(text: str, lang: str) -> list[str]:
  """SQuAD 1.1's rules, the same in every language."""
  text = text.lower().translate(_ASCII)
  return re.sub(_ARTICLES["en"], " ", text).split()


def mlqa(text: str, lang: str, arabic: str = _ARTICLES["ar"]) -> list[str]:
  """MLQA's rules (Lewis et al. 2020, their evaluation script)."""
  text = text.lower().translate(_punctuation())
  if lang in _ARTICLES:
    text = re.sub(arabic if lang == "ar" else _ARTICLES[lang], " ", text)
  if lang == "zh":
    text = _CHINESE.sub(r" \1 ", text)
  return text.split()


def mlqa_2026(text: str, lang: str) -> list[str]:
  """The same but for Arabic."""
  return mlqa(text, lang, arabic=r"(?:^|\s)ال")


def exact_match(
    answer: str, references: Iterable[str], lang: str, normalise: Normalise
) -> float:
  """1 if the answer is a reference, but for what does not count."""
  found = normalise(answer, lang)
  return float(any(found == normalise(r, lang) for r in references))


def f1(
    answer: str, references: Iterable[str], lang: str, normalise: Normalise
) -> float:
  """The best F1 over tokens; two texts without any are alike."""
  found = collections.Counter(normalise(answer, lang))
  return max(
      _f1(found, collections.Counter(normalise(r, lang))) for r in references
  )


def contains(answer: str, references: Iterable[str]) -> float:
  """1 if a reference stands in the answer, in lower case (xllama's code)."""
  answer = answer.lower()
  return float(any(r.strip().lower() in answer for r in references))


def _f1(found: collections.Counter, wanted: collections.Counter) -> float:
  if not found or not wanted:
    return float(found == wanted)
  same = (found & wanted).total()
  return 2 * same / (found.total() + wanted.total())


@functools.cache
def _punctuation() -> dict[int, None]:
  every = (chr(n) for n in range(sys.maxunicode + 1))
  found = {c for c in every if unicodedata.category(c).startswith("P")}
  return dict.fromkeys(map(ord, found | set(string.punctuation)))
