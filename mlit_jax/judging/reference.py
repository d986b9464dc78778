"""The offline reference judge: compares answers with a known right one."""

import collections
import functools
import unicodedata
from collections.abc import Sequence

from mlit_jax.errors import UsageError
from mlit_jax.judging import gate as gate_lib
from mlit_jax.judging import judges

_MAX_ORDER = 6
_BETA = 2.0
# No wrong answer of the pocket world's evaluation items was measured above
# 0.96, where the right one has 1; half of the n-grams is something.
_RIGHT, _PARTLY = 0.98, 0.5
_SCALES = {"mt_bench": 10, "score_pair": 10, "rubric": 5}


class ReferenceJudge:
  """Prefers the answer nearer to the reference; not a language model.

  Of two answers it names the better one, or gives each a number; of one it
  gives a number, or whether it holds the reference (YES or NO), as the protocol
  wants it. Numbers grow with the similarity, and only the reference itself has
  the highest.

  An answer that is empty or found to be in another language than the
  instruction's is worth 0. Where the gate abstains the answer is compared all
  the same: a lone "Lima" may be right in many languages. The reply holds no
  word of an answer, so nothing planted there can reach the parser.
  """

  name = "reference"
  reads_prompt = False

  def __init__(
      self,
      gate: gate_lib.Gate,
      candidates: Sequence[str],
      margin: float = 0.02,
  ):
    """Sets up a judge; equal input gives equal replies, in any order.

    Args:
      gate: identifies the language of every answer.
      candidates: the languages that the gate chooses from.
      margin: similarities (0 to 1) no further apart than this are a tie. On
        the pocket world's evaluation items no wrong answer was measured above
        0.96 where the right one has 1, so the default does not tie the two.
    """
    self._gate = gate
    self._candidates = tuple(candidates)
    self._margin = margin
    # Both orders of a pair repeat the same answers.
    self._similarity = functools.lru_cache(maxsize=1 << 16)(similarity)

  def judge(self, requests: Sequence[judges.Request]) -> list[judges.Reply]:
    """Returns a reply per request.

    Raises:
      UsageError: a request has no reference or not exactly two answers, or its
        language is not among the candidates.
    """
    return [judges.Reply(self._reply(request)) for request in requests]

  def _reply(self, request: judges.Request) -> str:
    where = f"request {request.id!r} ({request.lang})"
    if not request.reference.strip():
      raise UsageError(
          f"{where} has no reference answer; the reference judge needs one"
      )
    if request.lang not in self._candidates:
      raise UsageError(
          f"{where}: the gate's candidates lack the language; they are"
          f" {self._candidates}"
      )
    values = [self._value(answer, request) for answer in request.answers]
    found = ", ".join(
        f"{place} {value:.3f}{note}"
        for place, (value, note) in zip(
            ("first", "second") if len(values) == 2 else ("answer",), values,
            strict=True,
        )
    )
    verdict = self._verdict(request, [value for value, _ in values])
    return (
        f"reference judge (not a language model): {found}\n"
        f"Verdict: [[{verdict}]]"
    )

  def _verdict(self, request: judges.Request, values: list[float]) -> str:
    protocol = request.protocol
    if protocol in _SCALES:
      top = _SCALES[protocol]
      return ", ".join(str(1 + int((top - 1) * value)) for value in values)
    if len(values) == 2:
      first, second = values
      if abs(first - second) <= self._margin:
        return "C"
      return "A" if first > second else "B"
    if protocol == "rating":
      (value,) = values
      return str(1 + (value >= _PARTLY) + (value >= _RIGHT))
    held = _normalise(request.reference).casefold()
    answer = _normalise(request.answers[0]).casefold()
    return "YES" if held in answer else "NO"

  def _value(self, answer: str, request: judges.Request) -> tuple[float, str]:
    if not answer.strip():
      return 0.0, " (empty)"
    found = self._gate.identify(answer, self._candidates).lang
    if found not in ("", request.lang):
      return 0.0, f" (language {found}, not {request.lang})"
    return self._similarity(answer, request.reference), ""


def similarity(answer: str, reference: str) -> float:
  """Character n-gram F-score of an answer, 0 to 1; 1 if they are the same.

  chrF2 of one sentence (Popović, 2015): precision and recall of the character
  n-grams without spaces, n = 1 … 6, averaged over the n that both texts are
  long enough for, and joined with recall counting twice (β = 2). Texts are
  compared in NFC, with runs of spaces as one.
  """
  answer, reference = _normalise(answer), _normalise(reference)
  if answer == reference:
    return 1.0
  ours, theirs = _ngrams(answer), _ngrams(reference)
  matches = [0] * (_MAX_ORDER + 1)
  for ngram, count in ours.items():
    if ngram in theirs:
      matches[len(ngram)] += min(count, theirs[ngram])
  lengths = [len(text.replace(" ", "")) for text in (answer, reference)]
  orders = range(1, min(_MAX_ORDER, *lengths) + 1)
  if not any(matches):
    return 0.0
  precision, recall = (
      sum(matches[n] / (length - n + 1) for n in orders) / len(orders)
      for length in lengths
  )
  weight = _BETA**2
  return (1 + weight) * precision * recall / (weight * precision + recall)


def _normalise(text: str) -> str:
  return " ".join(unicodedata.normalize("NFC", text).split())


@functools.lru_cache(maxsize=1 << 12)
def _ngrams(text: str) -> collections.Counter[str]:
  """Counts of every n-gram, all orders together: its length tells the order."""
  text = text.replace(" ", "")
  return collections.Counter(
      text[i : i + n]
      for n in range(1, _MAX_ORDER + 1)
      for i in range(len(text) - n + 1)
  )
