"""XCOPA, XStoryCloze and XWinograd: which ending is the likeliest?

Each has two versions. `harness` asks what lm-evaluation-harness asks, so that
numbers compare with published ones. `corrected` mends what is known to be wrong
there:

- it takes the last character off every XCOPA premise, full stop or not;
- it puts a space before continuations, and between the sentences of
  XStoryCloze, in scripts that write none;
- `İ` in lower case is two code points, and Turkish has its own rule;
- it puts a space before what follows an XWinograd option, also an apostrophe or
  a full stop.
"""

import json
import pathlib
from collections.abc import Iterable, Iterator

from mlit_jax.data.quality import BadRow
from mlit_jax.data.sources import fields, lines
from mlit_jax.evals.items import Choice, Files, Row, Strict

# Between a premise and its second half (cause, effect): because, so.
CONNECTORS = {
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}
# Written without spaces between words; Thai has them between clauses.
_NO_SPACES = ("ja", "th", "zh")
_STOPS = ".。．!！?？।…"
# Of PTB's tokens, those that stand for another text.
_QUOTES = {"``": '"', "''": '"'}

XCOPA = Files(
    "xcopa",
    ("test.{lang}.jsonl", "data/{lang}/test.{lang}.jsonl"),
    "cambridgeltl/xcopa@{lang}", "test",
)
XSTORYCLOZE = Files(
    "xstorycloze",
    (
        "spring2016.val.{lang}.tsv.split_20_80_eval.tsv", "eval.{lang}.tsv",
        "eval.{lang}.jsonl",
    ),
    "juletxara/xstory_cloze@{lang}", "eval",
)


def xcopa(rows: Iterable[Row], lang: str, corrected: bool) -> Iterator[Choice]:
  """XCOPA: which of two is the cause, or the effect?"""
  for row in rows:
    with Strict().catch(row):
      question = fields.text(row.data, "question")
      if question not in ("cause", "effect"):
        raise BadRow("wrong_value", f"question {question!r:.40} is neither")
      connector = CONNECTORS[lang][question == "effect"]
      premise = fields.text(row.data, "premise").strip()
      choices = [fields.text(row.data, f"choice{n}") for n in (1, 2)]
      if corrected:
        gap = "" if lang in _NO_SPACES else " "
        premise = premise.rstrip(_STOPS).rstrip()
        context = f"{premise}{'' if lang == 'zh' else ' '}{connector}"
        endings = [gap + _lower_first(choice, lang) for choice in choices]
      else:
        context = f"{premise[:-1]} {connector}"
        endings = [f" {c[0].lower()}{c[1:]}" for c in choices]
      yield Choice(
          f"xcopa/{row.index}", tuple((context, e) for e in endings),
          _index(row.data, "label", 0), f"{row.index}",
      )


def xstorycloze(
    rows: Iterable[Row], lang: str, corrected: bool
) -> Iterator[Choice]:
  """XStoryCloze: how does a story of four sentences end?"""
  # Burmese has none between words, but one behind a sentence.
  gap = "" if corrected and lang in _NO_SPACES else " "
  for row in rows:
    with Strict().catch(row):
      data = {_column(name): value for name, value in row.data.items()}
      context = gap.join(
          fields.text(data, f"inputsentence{n}") for n in (1, 2, 3, 4)
      )
      endings = [
          fields.text(data, name) for name in ("sentencequiz1", "sentencequiz2")
      ]
      yield Choice(
          f"xstorycloze/{row.index}",
          tuple((context, f"{gap}{ending}") for ending in endings),
          _index(data, "answerrightending", 1), f"{row.index}",
      )


def xwinograd(
    rows: Iterable[Row], lang: str, corrected: bool
) -> Iterator[Choice]:
  """XWinograd: whom does a pronoun stand for? Its place is a `_`.

  Sentences that are the same up to there (a schema's two) are a cluster.
  """
  first: dict[frozenset[str], int] = {}
  for row in rows:
    with Strict().catch(row):
      sentence = fields.text(row.data, "sentence")
      before, place, after = sentence.partition("_")
      if not place or not after.strip():
        raise BadRow("wrong_value", "'sentence' has nothing behind a '_'")
      if not corrected:
        after = f" {after.strip()}"
      contexts = [
          before + fields.text(row.data, name)
          for name in ("option1", "option2")
      ]
      cluster = first.setdefault(frozenset(contexts), row.index)
      yield Choice(
          f"xwinograd/{lang}/{row.index}",
          tuple((context, after) for context in contexts),
          _index(row.data, "answer", 1), f"{lang}/{cluster}",
      )


def _read_xwinograd(path: pathlib.Path, lang: str) -> Iterator[Row]:
  """The hub's JSON, or the rows of a language in the authors' own table."""
  if path.suffix == ".jsonl":
    yield from XCOPA.read(path, lang)
    return
  bad, code, index = Strict(), _XWINOGRAD_CODES.get(lang, lang), 0
  for number, text, reason, detail in lines.texts(path):
    row = Row(str(path), number, index, text)
    if reason:
      bad.add(row, reason, detail)
    if not text.startswith(f"{code}\t"):
      continue
    with bad.catch(row):
      yield Row(str(path), number, index, _from_table(text))
    index += 1


def _from_table(text: str) -> dict:
  """A row of the table as the hub has it: the pronoun as `_`, two options."""
  try:
    _, _, _, sentence, tokens, pronoun, options = text.split("\t")
    tokens, pronoun, options = map(json.loads, (tokens, pronoun, options))
    begin, end = pronoun[1]
    places = _align(sentence, tokens)
    named = {f"option{n}": o[0] for n, o in enumerate(options, start=1)}
    (right,) = (n for n, o in enumerate(options, start=1) if o[3])
    cut = places[begin][0], places[end - 1][1]
  except (ValueError, TypeError, IndexError, KeyError) as e:
    raise BadRow("wrong_type", f"not as in XWinograd's table ({e})") from None
  return named | {
      "sentence": f"{sentence[: cut[0]]}_{sentence[cut[1] :]}",
      "answer": str(right),
  }


def _align(sentence: str, tokens: list[str]) -> list[tuple[int, int]]:
  """(begin, end) of each token in the sentence it was made of."""
  places, done = [], 0
  for token in tokens:
    token = _QUOTES.get(token, token)
    found = sentence.find(token, done)
    if found < 0 or sentence[done:found].strip():
      raise ValueError(f"{token!r} does not stand where it should")
    done = found + len(token)
    places.append((found, done))
  return places


_XWINOGRAD_CODES = {"ja": "jp"}
XWINOGRAD = Files(
    "xwinograd",
    ("{lang}.jsonl", "xwinograd_{lang}.jsonl", "dataset*.tsv"),
    "Muennighoff/xwinograd@{lang}", "test", _XWINOGRAD_CODES, _read_xwinograd,
)


def _lower_first(text: str, lang: str) -> str:
  if lang == "tr" and text[0] in "İI":
    return {"İ": "i", "I": "ı"}[text[0]] + text[1:]
  lower = text[0].lower()
  return (lower if len(lower) == 1 else text[0]) + text[1:]


def _column(name: str) -> str:
  """The authors' and the hub's names of XStoryCloze's columns are the same."""
  name = name.lower().replace("_", "")
  return name.replace("randomfifthsentencequiz", "sentencequiz")


def _index(data, name: str, first: int) -> int:
  """An answer out of two, counted from `first`, as a number or as text."""
  value = fields.number_or_text(data, name).strip()
  if value not in (str(first), str(first + 1)):
    raise BadRow("wrong_value", f"{name} is {value!r:.40}")
  return int(value) - first
