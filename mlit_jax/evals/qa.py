"""XQuAD and MLQA: questions about a text, answered with words of the text."""

import json
import pathlib
from collections.abc import Iterable, Iterator

from mlit_jax.data.quality import BadRow
from mlit_jax.data.sources import fields, lines
from mlit_jax.evals import answer_matching, labels
from mlit_jax.evals.items import (
    BenchmarkError,
    Files,
    Question,
    Row,
    Strict,
)


def questions(rows: Iterable[Row], lang: str) -> Iterator[Question]:
  """Asks in the language itself; questions about one text are a cluster.

  It has the name of the first of their ids, which are parallel: the same in
  every language that has them.
  """
  rows = list(rows)
  clusters: dict[str, str] = {}
  for row in rows:
    context, id_ = row.data.get("context"), row.data.get("id")
    if isinstance(context, str) and isinstance(id_, str):
      clusters[context] = min(id_, clusters.get(context, id_))
  context_label, question_label, answer_label = labels.table("qa")[lang]
  for row in rows:
    with Strict().catch(row):
      data = row.data
      context = fields.text(data, "context")
      answers = data.get("answers")
      texts = answers.get("text") if isinstance(answers, dict) else None
      if not texts or not all(isinstance(t, str) and t for t in texts):
        raise BadRow("wrong_type", "'answers' must be {'text': [an answer]}")
      yield Question(
          fields.text(data, "id"),
          f"{context_label}: {context}\n\n{question_label}:"
          f" {fields.text(data, 'question')}\n\n{answer_label}:",
          tuple(texts), clusters[context],
      )


def xquad_scores(
    question: Question, answer: str, lang: str
) -> dict[str, float]:
  """SQuAD's exact match and F1, and containment."""
  return _scores(question, answer, lang, {"": answer_matching.squad})


def mlqa_scores(question: Question, answer: str, lang: str) -> dict[str, float]:
  """MLQA's exact match and F1 in both versions, and containment."""
  return _scores(
      question, answer, lang,
      {"": answer_matching.mlqa, "_2026": answer_matching.mlqa_2026},
  )


def _scores(question, answer, lang, versions) -> dict[str, float]:
  found = {}
  for suffix, normalise in versions.items():
    asked = (answer, question.references, lang, normalise)
    found[f"exact_match{suffix}"] = answer_matching.exact_match(*asked)
    found[f"f1{suffix}"] = answer_matching.f1(*asked)
  found["contains"] = answer_matching.contains(answer, question.references)
  return found


def _read_squad(path: pathlib.Path, lang: str) -> Iterator[Row]:
  """A file of SQuAD's form as the hub's rows."""
  if path.suffix == ".jsonl":
    yield from Files.read(path, lang)
    return
  with lines.open_bytes(path) as file:
    raw = lines.call(path, file.read)
  index = 0
  try:
    for article in json.loads(raw)["data"]:
      for paragraph in article["paragraphs"]:
        for asked in paragraph["qas"]:
          answers = [answer["text"] for answer in asked["answers"]]
          yield Row(str(path), 1, index, {
              "id": asked["id"], "context": paragraph["context"],
              "question": asked["question"], "answers": {"text": answers},
          })
          index += 1
  except (ValueError, TypeError, KeyError, RecursionError) as e:
    raise BenchmarkError(
        f"{path}: not of SQuAD's form ({type(e).__name__}: {e}); fetch it again"
    ) from None


XQUAD = Files(
    "xquad", ("xquad.{lang}.json", "xquad.{lang}.jsonl"),
    "google/xquad@xquad.{lang}", "validation", read=_read_squad,
)
MLQA = Files(
    "mlqa",
    (
        "test-context-{lang}-question-{lang}.json",
        "MLQA_V1/test/test-context-{lang}-question-{lang}.json",
        "test/test-context-{lang}-question-{lang}.json",
    ),
    "facebook/mlqa@mlqa.{lang}.{lang}", "test", read=_read_squad,
)
XQUAD_LANGUAGES = tuple("ar de el en es hi ro ru th tr vi zh".split())
MLQA_LANGUAGES = tuple("ar de en es hi vi zh".split())
