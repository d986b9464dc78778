"""MGSM: sums in words, reasoned about in the language that is tested.

With examples (Shi et al. 2022 give eight) the official release's own words are
asked, question by question. Without, and in `mgsm:direct`, which wants the
number alone, the words are lm-evaluation-harness's.
"""

import ast
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mlit_jax.data.quality import BadRow
from mlit_jax.data.sources import fields, lines
from mlit_jax.errors import UsageError
from mlit_jax.evals import labels
from mlit_jax.evals.items import (
    BenchmarkError,
    Files,
    MissingError,
    Question,
    Row,
    Strict,
)

# Spaces that are no word's end; and where an ordinary one divides thousands.
_FIXED_SPACES = "\u00a0\u2009\u202f"
_SPACED = ("es", "fr", "ru")
# Digits of any script; a comma or a point only between two of them.
_NUMBER = r"(?:(?<![\w)])[-−])?(?:{spaced}|\d+)(?:[.,٬٫]\d+)*"
_THOUSANDS = r"\d{{1,3}}(?:[{spaces}]\d{{3}})+(?!\d)"
# 1,234,567 and 1.234.567: what stands between groups of three.
_GROUPED = re.compile(r"-?[1-9]\d{0,2}(?P<mark>[.,])\d{3}(?:(?P=mark)\d{3})*")
# As lm-evaluation-harness finds the answer (`flexible-extract` of version 4).
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
# What the official release calls its examples, and their answers' numbers.
_EXAMPLES, _NUMBERS = "MGSM_EXEMPLARS", "EXEMPLAR_NUMBER_ANSWERS"


class Example(NamedTuple):
  """A question with its answer, and the labels before either, as they stand."""

  question_label: str
  question: str
  answer_label: str
  answer: str
  number: str


def questions(
    rows: Iterable[Row],
    lang: str,
    direct: bool = False,
    examples: Sequence[Example] = (),
) -> Iterator[Question]:
  """Asks for an answer step by step, or for the number alone (`direct`)."""
  question_label, answer_label = labels.table("mgsm")[lang]
  question_label += " "
  if examples:
    question_label, answer_label = examples[0][0], examples[0][2].rstrip()
  if direct:
    answer_label = labels.table("mgsm_direct")[lang]
  before = "".join(
      f"{e.question_label}{e.question}\n"
      + (f"{answer_label} {e.number}" if direct else e.answer_label + e.answer)
      + "\n\n"
      for e in examples
  )
  for row in rows:
    with Strict().catch(row):
      wanted = fields.number_or_text(row.data, "answer_number")
      if number(wanted) is None:
        raise BadRow("wrong_value", f"the answer {wanted!r:.40} is no number")
      question = fields.text(row.data, "question")
      yield Question(
          f"mgsm/{row.index}",
          f"{before}{question_label}{question}\n{answer_label}",
          (wanted,), f"{row.index}",
      )


def examples(
    data: str | os.PathLike, lang: str, count: int
) -> list[Example]:
  """The first examples of a language.

  Raises:
    BenchmarkError: they are not there, or not of their form.
    UsageError: there are fewer.
  """
  question_label, answer_label = labels.table("mgsm")[lang]
  found = []
  try:
    rows = list(EXAMPLES.rows(lang, data))
  except MissingError as e:
    raise MissingError(f"--shots: no examples of mgsm: {e}") from None
  for row in rows:
    with Strict().catch(row):
      asked = _labelled(fields.text(row.data, "question"), question_label)
      answered = _labelled(fields.text(row.data, "answer"), answer_label)
      value = fields.number_or_text(row.data, "answer_number")
    found.append(Example(*asked, *answered, value))
  if len(found) < count:
    raise UsageError(
        f"mgsm has {len(found)} examples in {lang}, fewer than --shots {count}"
    )
  return found[:count]


def scores(question: Question, answer: str, lang: str) -> dict[str, float]:
  """Whether the last number of the answer is the right one, by two rules."""
  wanted = question.references[0]
  found = number(answer, lang)
  return {
      "exact_match": float(found is not None and found == number(wanted)),
      "exact_match_flexible": float(_digits(_flexible(answer)) == _digits(
          wanted
      )),
  }


def number(text: str, lang: str = "") -> float | None:
  """The last number in a text, in the digits of any script.

  A comma or a point with three digits behind it divides thousands, as in most
  of the answers, which are whole numbers; otherwise it begins the fraction. So
  does a space that keeps words together, and in languages that write it any.
  """
  spaces = _FIXED_SPACES + (" " if lang in _SPACED else "")
  spaced = _THOUSANDS.format(spaces=spaces)
  found = re.findall(_NUMBER.format(spaced=spaced), text)
  if not found:
    return None
  last = "".join(
      str(unicodedata.digit(c)) if c.isdigit() else c for c in found[-1]
  ).translate({ord("٬"): ",", ord("٫"): ".", ord("−"): "-"})
  last = re.sub(f"[{spaces}]", "", last)
  marks = re.findall("[.,]", last)
  whole, mark, fraction = last, "", ""
  if marks and not _GROUPED.fullmatch(last) and len(set(marks)) == min(
      2, len(marks)
  ):
    whole, mark, fraction = last.rpartition(marks[-1])
  return float(re.sub("[.,]", "", whole) + ("." if mark else "") + fraction)


def _flexible(answer: str) -> str:
  found = _FLEXIBLE.findall(answer)
  return "".join(found[-1]).strip() if found else "[invalid]"


def _digits(text: str) -> str:
  """Without punctuation, as the harness compares."""
  return re.sub(r"[!-/:-@\[-`{-~]", "", text)


def _labelled(text: str, label: str) -> tuple[str, str]:
  """A text's own label and the rest; the usual label where it has none."""
  words = re.escape(label.rstrip(" :："))
  own = re.match(rf"{words}\s*[:：]\s*", text)
  if own:
    return own.group(), text[own.end() :]
  return f"{label} ", text


def _read_questions(path: pathlib.Path, lang: str) -> Iterator[Row]:
  """Lines of question, tab, answer, without a header; or JSON."""
  if path.suffix != ".tsv":
    yield from Files.read(path, lang)
    return
  bad = Strict()
  for index, (line, text, reason, detail) in enumerate(lines.texts(path)):
    question, _, answer = text.rpartition("\t") if not reason else ("",) * 3
    data = {"question": question, "answer_number": answer}
    row = Row(str(path), line, index, data)
    if reason:
      bad.add(row, reason, detail)
    yield row


def _read_examples(path: pathlib.Path, lang: str) -> Iterator[Row]:
  """The release's Python file, of which nothing is executed; or JSON."""
  if path.suffix != ".py":
    yield from Files.read(path, lang)
    return
  with lines.open_bytes(path) as file:
    raw = lines.call(path, file.read)
  try:
    table = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(raw).body
        if isinstance(node, ast.Assign)
        and getattr(node.targets[0], "id", "") in (_EXAMPLES, _NUMBERS)
    }
    own = table[_EXAMPLES].get(lang, {})
    for index, (name, numeral) in enumerate(
        zip(own, table[_NUMBERS], strict=bool(own))
    ):
      yield Row(str(path), 1, index, {
          "question": own[name]["q"], "answer": own[name]["a"],
          "answer_number": numeral,
      })
  except (
      ValueError, TypeError, KeyError, AttributeError, SyntaxError,
      RecursionError, MemoryError,
  ) as e:
    raise BenchmarkError(
        f"{path}: not of MGSM's form ({type(e).__name__}: {e}); fetch it again"
    ) from None


FILES = Files(
    "mgsm", ("mgsm_{lang}.tsv", "mgsm_{lang}.jsonl"), "juletxara/mgsm@{lang}",
    "test", read=_read_questions,
)
EXAMPLES = Files(
    "mgsm", ("exemplars.py", "exemplars_{lang}.jsonl"),
    "juletxara/mgsm@{lang}", "train", read=_read_examples,
)
LANGUAGES = tuple(labels.table("mgsm"))
