"""Reads answers.jsonl of a study into rows, language by language."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from mlit_jax import languages as languages_lib
from mlit_jax import records

FILE_NAME = "answers.jsonl"


@dataclasses.dataclass(frozen=True)
class Answers:
  """All rows of the file.

  Attributes:
    systems: names of the systems that answered anything.
    languages: code -> language, of every prompt and every answer.
    rows: code of the prompt's language -> rows [id, prompt, reference,
      answers], with one entry per system of `systems`: [text, code of the
      language found or "", 1 if exact else 0], or None if it was not asked.
  """

  systems: Sequence[str]
  languages: Mapping[str, languages_lib.Language]
  rows: Mapping[str, Sequence[list]]


def read(
    directory: str | os.PathLike, codes: Sequence[str], systems: Sequence[str]
) -> Answers:
  """Reads and checks answers.jsonl; without the file there are no rows.

  Args:
    directory: of the study.
    codes: the study's languages; their order is kept, others follow.
    systems: the study's systems, likewise.

  Raises:
    RecordError: a row does not fit; names file and line.
  """
  found = list(rows(directory))
  used = {row["lang"] for row in found} | {
      answer["found"] for row in found for answer in row["answers"].values()
  }
  languages = {code: languages_lib.get(code) for code in sorted(used - {""})}
  answered = {name for row in found for name in row["answers"]}
  ordered = [name for name in systems if name in answered]
  ordered += sorted(answered.difference(systems))
  blocks = {}
  for row in found:
    given = [row["answers"].get(name) for name in ordered]
    blocks.setdefault(row["lang"], []).append([
        row["id"],
        row["prompt"],
        row["reference"],
        [a and [a["text"], a["found"], int(a["exact"])] for a in given],
    ])
  rank = {code: i for i, code in enumerate(codes)}
  order = sorted(blocks, key=lambda code: (rank.get(code, len(rank)), code))
  return Answers(ordered, languages, {code: blocks[code] for code in order})


def responses(
    directory: str | os.PathLike, systems: Sequence[str]
) -> tuple[list[records.Instruction], dict[str, list[records.Response]]]:
  """The questions that some systems were all asked, and what they answered.

  Args:
    directory: of the study.
    systems: their names.

  Returns:
    The instructions, with references, and system -> responses.

  Raises:
    RecordError: a row does not fit, there is no such system, or no question
      that all were asked.
  """
  found = list(rows(directory))
  path = pathlib.Path(directory) / FILE_NAME
  if not found:
    raise records.RecordError(f"{path}: there are no answers")
  known = dict.fromkeys(name for row in found for name in row["answers"])
  if strange := [name for name in systems if name not in known]:
    raise records.RecordError(
        f"{path}: no system {strange[0]!r}; there are {', '.join(known)}"
    )
  asked = [row for row in found if all(x in row["answers"] for x in systems)]
  if not asked:
    raise records.RecordError(
        f"{path}: no question was asked of all of {', '.join(systems)}"
    )
  prompts = [
      records.Instruction(
          row["id"], row["lang"], (records.Message("user", row["prompt"]),),
          row["reference"],
      )
      for row in asked
  ]
  return prompts, {
      name: [
          records.Response(
              row["id"], row["lang"], name, row["answers"][name]["text"],
              "stop", 0,
          )
          for row in asked
      ]
      for name in systems
  }


def rows(directory: str | os.PathLike) -> Iterator[dict]:
  """The rows of answers.jsonl, checked; none without the file.

  Raises:
    RecordError: a row does not fit; names file and line.
  """
  path = pathlib.Path(directory) / FILE_NAME
  if not path.exists():
    return
  seen = set()
  for number, row in records.read_jsonl(path):
    try:
      _check(row)
      key = row["id"], row["lang"]
      if key in seen:
        raise ValueError(f"a second row for {' '.join(key)}")
      seen.add(key)
      used = {row["lang"], *(a["found"] for a in row["answers"].values())}
      for code in sorted(used - {""}):
        languages_lib.get(code)
    except ValueError as e:
      raise records.RecordError(f"{path}:{number}: {e}") from None
    yield row


def _check(row: dict) -> None:
  for key in ("id", "lang", "prompt", "reference"):
    _check_text(row, key, "the row")
  given = row.get("answers")
  if not isinstance(given, dict):
    raise ValueError("the row needs 'answers': {system: {text, found, exact}}")
  for system, answer in given.items():
    where = f"the answer of {system!r}"
    if not isinstance(answer, dict):
      raise ValueError(f"{where} must be {{text, found, exact}}")
    _check_text(answer, "text", where)
    _check_text(answer, "found", where)
    if not isinstance(answer.get("exact"), bool):
      raise ValueError(f"{where} needs 'exact': true or false")


def _check_text(row: dict, key: str, where: str) -> None:
  if not isinstance(row.get(key), str):
    raise ValueError(f"{where} needs {key!r}, a text")
  try:
    row[key].encode("utf-8")
  except UnicodeEncodeError:
    raise ValueError(f"{where}: {key!r} holds a lone surrogate") from None
