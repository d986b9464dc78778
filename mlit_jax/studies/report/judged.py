"""Reads judgments.jsonl of a study: what the judge said of which answers."""

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence

from mlit_jax import records

FILE_NAME = "judgments.jsonl"
_MIRRORED = {"a": "b", "b": "a"}


def read(
    directory: str | os.PathLike,
    systems: Sequence[str],
    questions: Mapping[str, Mapping[str, int]],
) -> dict[tuple, list]:
  """The judgments of what the page shows; without the file there are none.

  Args:
    directory: of the study.
    systems: as answers.Answers has them.
    questions: language -> id of a question -> its number.

  Returns:
    (language, number of the first system, of the second or None) -> for each
    question None or its findings, one for each turn and sample: [what was
    asked of which judge, turn, replies]. A reply is [whose answer stood first
    ("a" or "b"; "" where one was rated alone), verdict or score, failure,
    the judge's words, ...replies before it that held no verdict]. Verdicts are
    `a` where the system with the smaller number won.

  Raises:
    RecordError: a row does not fit; names file and line.
  """
  path = pathlib.Path(directory) / FILE_NAME
  if not path.exists():
    return {}
  rank = {name: i for i, name in enumerate(systems)}
  found: dict[tuple, dict] = collections.defaultdict(
      lambda: collections.defaultdict(dict)
  )
  for j in records.read_records(path, records.Judgment):
    number = questions.get(j.lang, {}).get(j.id)
    first, second = rank.get(j.system_a), rank.get(j.system_b)
    if number is None or first is None or (j.system_b and second is None):
      continue  # of an answer that the page does not show
    turned = second is not None and second < first
    if turned:
      first, second = second, first
    groups = found[j.lang, first, second][number]
    asked = f"{j.protocol}, judge {j.judge}"
    groups.setdefault((asked, j.turn, j.sample), []).append(
        _reply(j, turned, alone=second is None)
    )
  return {
      key: [
          [[asked, turn, replies] for (asked, turn, _), replies in
           sorted(rows[i].items())] if i in rows else None
          for i in range(len(questions[key[0]]))
      ]
      for key, rows in found.items()
  }


def _reply(j: records.Judgment, turned: bool, alone: bool) -> list:
  first, said = "a" if j.order == "ab" else "b", j.verdict
  if turned:
    first, said = _MIRRORED[first], _MIRRORED.get(said, said)
  if j.score is not None:
    said = j.score
  return ["" if alone else first, said, j.failure, j.raw, *j.earlier]


def without_words(rows: list) -> list:
  """The same findings without what the judge wrote."""
  return [
      row and [
          [asked, turn, [[*reply[:3], None] for reply in replies]]
          for asked, turn, replies in row
      ]
      for row in rows
  ]
