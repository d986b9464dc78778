"""Rows of anyone's files, by the columns they have."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from mlit_jax.data.quality import BadRow
from mlit_jax.data.sources import by_language, fields
from mlit_jax.data.sources.source import Source
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction, Message

# What a column is called where it is not named; the first that is there.
_COLUMNS = {
    "id": ("id",),
    "lang": ("lang", "language"),
    "messages": ("messages", "conversations", "conversation"),
    "system": ("system",),
    "prompt": ("prompt", "instruction", "question"),
    "input": ("input", "context"),
    "response": ("response", "output", "completion", "answer"),
}
_OWN = ("id", "lang", "messages", "response")


def _rows(
    path, bad, wanted, *, lang="", files="", split="train", prefix="",
    columns=None, turns="all",
):
  fields.check_turns(turns)
  named = _parse_columns(columns)
  for code, row in by_language.rows(
      path, bad, wanted, lang=lang, files=files, split=split
  ):
    with bad.catch(row):
      row_columns = _find(row.data, named)
      messages, response = _turns(row.data, row_columns)
      if turns == "first":
        messages, response = fields.first_turn(messages, response)
      if "id" in row_columns:
        id_ = fields.number_or_text(row.data, row_columns["id"])
        id_ = f"{prefix}/{id_}" if prefix else id_
      else:
        id_ = f"{prefix or _stem(path)}/{row.index}"
      rest = {
          key: value
          for key, value in row.data.items()
          if key not in (*row_columns.values(), *_OWN)
          and value is not None and _is_json(value)
      }
      yield row, Instruction(
          id=id_,
          lang=code or _language(row.data, row_columns),
          messages=messages,
          response=response,
          extra=rest,
      )


def _parse_columns(columns: Mapping[str, str] | str | None) -> dict[str, str]:
  if isinstance(columns, str):
    pairs = [pair.partition("=") for pair in columns.split(",") if pair]
    columns = {key.strip(): value.strip() for key, _, value in pairs}
  for key, value in (columns or {}).items():
    if key not in _COLUMNS or not value:
      raise UsageError(
          f"columns: {key!r} = {value!r}; expected some of"
          f" {' '.join(_COLUMNS)}, each with the name of a column"
      )
  return dict(columns or {})


def _find(row: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, str]:
  """Which column of the row is what."""
  found = dict(named)
  for key, names in _COLUMNS.items():
    # Where rows of several kinds stand in one table, columns are there empty.
    present = [x for x in names if row.get(x) is not None]
    if key not in found and present:
      found[key] = present[0]
    # A reply that should be there but is null is a bad row.
    elif key == "response" and key not in found:
      nulls = [x for x in names if x in row]
      found |= {"response": nulls[0]} if nulls else {}
  return found


def _turns(
    row: Mapping[str, Any], columns: Mapping[str, str]
) -> tuple[tuple[Message, ...], str]:
  if "messages" in columns:
    messages, response = fields.conversation(row.get(columns["messages"]))
  elif "prompt" in columns:
    context = fields.optional(row, columns.get("input", ""))
    messages = fields.ask(fields.text(row, columns["prompt"]), context)
    response = ""
  else:
    raise BadRow(
        "missing_field",
        f"no prompt and no messages; the row has {sorted(map(str, row))}; say"
        " which column is what with the option 'columns'",
    )
  system = fields.optional(row, columns.get("system", ""))
  if system and messages[0].role != "system":
    messages = (Message("system", system), *messages)
  if not response and "response" in columns:
    response = fields.text(row, columns["response"])
  return messages, response


def _language(row: Mapping[str, Any], columns: Mapping[str, str]) -> str:
  if "lang" not in columns:
    raise BadRow(
        "missing_field",
        "the row does not say its language; add it, e.g. \"lang\": \"es\", or"
        " give the option 'lang'",
    )
  return fields.language(fields.text(row, columns["lang"]))


def _stem(path: str | os.PathLike) -> str:
  name = pathlib.PurePath(os.fspath(path).partition("@")[0]).name
  return name.partition(".")[0] or "rows"


def _is_json(value: Any) -> bool:
  try:
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
  except (TypeError, ValueError):
    return False
  return True


ROWS = Source(
    name="rows",
    summary="your own rows: prompts and responses, Alpaca's columns, lists of"
    " messages (role and content, or from and value), or other columns",
    files=".jsonl, .json, .csv, .tsv, .parquet (.gz for texts), a folder with"
    " <lang>.jsonl and so on, a folder of `datasets` or TFDS, hf:NAME[@CONFIG]"
    " or tfds:NAME",
    licence="your own",
    languages="as the rows, the file names or the option 'lang' say",
    options={
        **by_language.OPTIONS,
        "lang": "language of rows that do not say it",
        "prefix": "put before the ids, as PREFIX/ID; rows without an id get the"
        " file's name and their number, from 0",
        "columns": "which column is what, e.g. prompt=question,response=answer;"
        f" known are {' '.join(_COLUMNS)}",
        "turns": "all, or first: the first question and its reply",
    },
    instructions=_rows,
)
