"""What a reply says: verdicts and numbers, and how answers are kept from it.

A verdict stands in double brackets, and the last one in a reply counts: a
judge that weighs or quotes a verdict concludes with its own. Before an answer
is shown to a judge, `neutralise` takes from it whatever could be read as a
verdict or as a mark of the prompt. So a reply may quote an answer, before or
after its own verdict, whole or in part, in any language: what it quotes holds
no verdict.
"""

import dataclasses
import re
from collections.abc import Iterable

# \d is a digit of any script; ٫ is the Arabic decimal separator.
_NUMBER = r"-?\d{1,9}(?:[.٫]\d{1,9})?"
_TOKEN = r"\[\[(?:%s)\]\]"
# Everything that some form below reads, and a little more.
_ANY_TOKEN = re.compile(
    r"\[\[([A-Za-z]{1,3}|[-\d](?:[-\d.,;٫\s]*\d)?)\]\]"
)
# What may stand around a verdict on a line of its own.
_OPEN, _CLOSE = r"^[\s*_#>(\"'“]*", r"[\s*_.)\"'”]*$"
_LABEL = r"(?:[^\W\d][^\d:：]*[:：][\s*_]*)?"
_THINKING = re.compile(r"\A\s*<(think|thinking)>.*?(</\1>|\Z)", re.DOTALL)
# A line of a prompt with one of these is a mark, not a sentence.
_MARK = re.compile(r"[\[\]<>#=|*]")
# Where a prompt shows something; and what makes a piece of its line a mark.
_PLACE, _NAME = re.compile(r"\$?\{\w+\}"), re.compile(r"\w")
_BRACKETED = re.compile(
    r"(?:(?<!\[)\[[^\[\]]*\w[^\[\]]*\](?!\])|<[^<>]*\w[^<>]*>)\s*[:：]?"
)
_DISARMED = str.maketrans("[]<>#=|*", "()‹›＃＝¦＊")


@dataclasses.dataclass(frozen=True)
class Reading:
  """What was read.

  Attributes:
    verdict: `A` (the answer shown first), `B` or `C` (a tie), or "".
    numbers: the numbers given; 1 or 0 for yes or no.
    failure: "" or one of records.FAILURES.
  """

  verdict: str = ""
  numbers: tuple[float, ...] = ()
  failure: str = ""


@dataclasses.dataclass(frozen=True)
class Form:
  """How a verdict is written.

  Attributes:
    brackets: finds it in double brackets.
    plain: finds it on a line, for prompts that ask for no brackets (a paper's
      own wording); answers cannot be kept from looking like that.
    low, high: the range of numbers.
  """

  brackets: re.Pattern
  plain: re.Pattern
  low: float = 0
  high: float = 0

  def read(
      self, text: str, finish_reason: str = "", plain: bool = False
  ) -> Reading:
    """Reads the last verdict of a reply.

    A reply that was cut off (`length`) has not concluded, whatever it weighed
    before, and what a model thinks aloud (<think>) is not its reply.
    """
    text = _THINKING.sub("", text, count=1)
    if not text.strip():
      return Reading(failure="empty")
    found = [*(self.plain if plain else self.brackets).finditer(text)]
    if not found or finish_reason == "length":
      return Reading(failure="unparsable")
    words = [word for word in found[-1].groups() if word is not None]
    if words[0].upper() in ("YES", "NO"):
      return Reading(numbers=(float(words[0].upper() == "YES"),))
    if words[0] in "ABC":
      return Reading(verdict=words[0])
    numbers = tuple(float(word.replace("٫", ".")) for word in words)
    if not all(self.low <= number <= self.high for number in numbers):
      return Reading(failure="out_of_range")
    return Reading(numbers=numbers)


def _lines(pattern: str) -> re.Pattern:
  return re.compile(pattern, re.MULTILINE | re.IGNORECASE)


LETTERS = Form(
    re.compile(_TOKEN % "([ABC])"), re.compile(
        f"{_OPEN}{_LABEL}([ABC]){_CLOSE}", re.MULTILINE
    ),
)
YES_NO = Form(
    re.compile(_TOKEN % "(YES|NO)"),
    _lines(rf"{_OPEN}(yes|no)\b|\b(yes|no){_CLOSE}"),
    high=1,
)


def number(low: float, high: float) -> Form:
  """One number from `low` to `high`."""
  return Form(
      re.compile(_TOKEN % f"({_NUMBER})"),
      _lines(rf"{_OPEN}{_LABEL}({_NUMBER})(?:\s*/\s*\d+)?{_CLOSE}"),
      low,
      high,
  )


def two_numbers(low: float, high: float) -> Form:
  """A number for each of two answers, in the order shown."""
  return Form(
      re.compile(_TOKEN % rf"({_NUMBER})\s*[,;]\s*({_NUMBER})"),
      _lines(rf"{_OPEN}{_LABEL}({_NUMBER})[\s,;]+({_NUMBER}){_CLOSE}"),
      low,
      high,
  )


def marks(template: str) -> list[re.Pattern]:
  """Finds the marks of a prompt: its lines of nothing but markup and a name.

  What stands beside a place (`[A]: {answer_a}`) is such a line, too, if it has
  a name, and so is a name in brackets in it. They are found whatever their case
  and spacing.
  """
  lines = []
  for line in template.splitlines():
    parts = _PLACE.split(line)
    if len(parts) == 1:
      lines.append(line)
      continue
    for part in filter(_NAME.search, parts):
      lines += [part, *_BRACKETED.findall(part)]
  found = []
  for line in map(str.strip, lines):
    if _MARK.search(line) and "{" not in line and len(line) <= 80:
      pieces = re.findall(r"\w+|[^\w\s]", line)
      found.append(
          re.compile(r"\s*".join(map(re.escape, pieces)), re.IGNORECASE)
      )
  return found


def neutralise(text: str, markup: Iterable[re.Pattern] = ()) -> str:
  """An answer that holds no verdict and no mark of the prompt.

  [[A]] becomes [[ A ]], which no form reads; as code it means the same. A mark
  gets other brackets.
  """
  for mark in markup:
    text = mark.sub(lambda found: found[0].translate(_DISARMED), text)
  return _ANY_TOKEN.sub(r"[[ \1 ]]", text)
