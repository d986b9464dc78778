"""FastChat's files: questions, answers, references, judgments; in and out.

They are the files of MT-Bench (Zheng et al., 2023), and of its translations:
`question.jsonl`, `model_answer/*.jsonl`, `reference_answer/*.jsonl` and
`model_judgment/*_single.jsonl` or `*_pair.jsonl`. A question of two turns is
an Instruction of two user turns; its answer is a Response whose messages hold
the conversation so far. What our rows have no field for is kept in `extra`, so
that a file comes out as it went in.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlit_jax import languages, records
from mlit_jax.judging import pairs

# What FastChat writes where the judge's API failed.
_ERROR = "$ERROR$"
_WINNERS = {"model_1": "a", "model_2": "b", "tie": "tie"}
_PAIR_FIELDS = (
    "question_id", "model_1", "model_2", "g1_winner", "g2_winner", "judge",
    "g1_user_prompt", "g1_judgment", "g2_user_prompt", "g2_judgment", "turn",
    "tstamp",
)
_SINGLE_FIELDS = (
    "question_id", "model", "judge", "user_prompt", "judgment", "score",
    "turn", "tstamp",
)


def is_fastchat(path: str | os.PathLike) -> bool:
  """Whether the file's first row has a question_id.

  Raises:
    RecordError: the file cannot be read.
  """
  return "question_id" in next(_rows(path), ("", {}))[1]


def read_questions(
    path: str | os.PathLike,
    lang: str,
    references: str | os.PathLike | None = None,
) -> list[records.Instruction]:
  """Reads question.jsonl.

  Args:
    path: the file.
    lang: the language of questions that do not name one.
    references: a file of reference answers; they take the place of those in
      the questions.

  Raises:
    RecordError: a row does not fit; names file and line.
  """
  right = {}
  if references is not None:
    for where, row in _rows(references):
      right[str(_get(where, row, "question_id"))] = _turns(where, row)
  found = []
  for where, row in _rows(path):
    id_ = str(_get(where, row, "question_id"))
    turns = _texts(where, row.get("turns"))
    own = _language(where, row.get("lang")) or lang
    extra = {k: v for k, v in row.items() if k != "turns"}
    if id_ in right:
      extra["reference"] = list(right[id_])
    messages = tuple(records.Message("user", turn) for turn in turns)
    found.append(records.Instruction(id_, own, messages, extra=extra))
  return found


def read_answers(
    path: str | os.PathLike, questions: Sequence[records.Instruction]
) -> list[records.Response]:
  """Reads model_answer/*.jsonl, the first choice of each.

  A file may answer more questions than are given; the others are left out.

  Raises:
    RecordError: a row does not fit; names file and line.
  """
  asked = {question.id: question for question in questions}
  found = []
  for where, row in _rows(path):
    question = asked.get(str(_get(where, row, "question_id")))
    if question is None:
      continue
    turns = _turns(where, row)
    if len(turns) != len(question.messages):
      raise records.RecordError(
          f"{where}: {len(turns)} answers to {len(question.messages)} turns"
      )
    messages = []
    for asked_turn, turn in zip(question.messages, turns, strict=True):
      messages += [asked_turn, records.Message("assistant", turn)]
    tokens = row["choices"][0].get("num_tokens", 0)
    if not isinstance(tokens, int):
      raise records.RecordError(f"{where}: 'num_tokens' must be a whole number")
    model = row.get("model_id", row.get("model-id", pathlib.Path(path).stem))
    found.append(
        records.Response(
            question.id, question.lang, str(model), turns[-1], "stop",
            tokens, messages=tuple(messages[:-1]),
        )
    )
  return found


def write_questions(
    path: str | os.PathLike, questions: Iterable[records.Instruction]
) -> None:
  """Writes question.jsonl."""
  _write(
      path,
      (
          {
              "question_id": _number(q.id), **q.extra,
              "turns": [m.content for m in q.messages if m.role == "user"],
          }
          for q in questions
      ),
  )


def write_answers(
    path: str | os.PathLike, responses: Iterable[records.Response]
) -> None:
  """Writes model_answer/*.jsonl; a failed response is an empty answer."""
  _write(
      path,
      (
          {
              "question_id": _number(r.id), "answer_id": f"{r.model}/{r.id}",
              "model_id": r.model,
              "choices": [{
                  "index": 0,
                  "turns": [
                      m.content for m in r.messages if m.role == "assistant"
                  ] + [r.response],
              }],
              "tstamp": 0.0,
          }
          for r in responses
      ),
  )


def read_judgments(
    path: str | os.PathLike, lang: str
) -> list[records.Judgment]:
  """Reads model_judgment/*_single.jsonl or *_pair.jsonl.

  Verdicts and scores are those in the file. FastChat reads a reply otherwise
  than we do (the first letter in the alphabet wins, not the last in the
  reply); protocols.reparse reads the replies our way.

  Args:
    path: the file.
    lang: the language of its questions.

  Raises:
    RecordError: a row does not fit; names file and line.
  """
  found = []
  for where, row in _rows(path):
    try:
      found += _pair(row, lang) if "model_1" in row else [_single(row, lang)]
    except (KeyError, TypeError, ValueError) as e:
      raise records.RecordError(
          f"{where}: no judgment of FastChat's ({type(e).__name__}: {e})"
      ) from None
  return found


def write_judgments(
    path: str | os.PathLike,
    judgments: Sequence[records.Judgment],
    user_prompts: Mapping[tuple, str] | None = None,
) -> None:
  """Writes model_judgment/*.jsonl: pairs if two systems were compared.

  FastChat has no kinds of failure: every one becomes `error`, or a score of
  -1.

  Args:
    path: the file.
    judgments: of one protocol.
    user_prompts: what the judge was told, by `prompt_key`.
  """
  told = user_prompts or {}
  if any(j.system_b for j in judgments):
    rows = (_pair_row(p, told) for p in pairs.pair_up(judgments))
  else:
    rows = (_single_row(j, told) for j in judgments)
  _write(path, rows)


def prompt_key(row) -> tuple:
  """The question that a Request or a Judgment belongs to."""
  return row.id, row.lang, row.turn, row.order, row.sample


def _single(row: Mapping[str, Any], lang: str) -> records.Judgment:
  score, raw = row["score"], row["judgment"]
  failed = score == -1
  return records.Judgment(
      **_common(row, lang), protocol="mt_bench", system_a=row["model"],
      system_b="", order="ab", raw=raw,
      score=None if failed else score, failure=_failure(raw) if failed else "",
      extra=_extra(row, _SINGLE_FIELDS, row["user_prompt"]),
  )


def _pair(row: Mapping[str, Any], lang: str) -> list[records.Judgment]:
  found = []
  for game, order in (("g1", "ab"), ("g2", "ba")):
    winner, raw = row[f"{game}_winner"], row[f"{game}_judgment"]
    failed = winner == "error"
    found.append(
        records.Judgment(
            **_common(row, lang), protocol="mt_bench_pair",
            system_a=row["model_1"], system_b=row["model_2"], order=order,
            raw=raw, verdict="" if failed else _WINNERS[winner],
            failure=_failure(raw) if failed else "",
            extra=_extra(row, _PAIR_FIELDS, row[f"{game}_user_prompt"]),
        )
    )
  return found


def _common(row: Mapping[str, Any], lang: str) -> dict[str, Any]:
  model, prompt = row["judge"]
  return {
      "id": str(row["question_id"]), "lang": lang, "judge": model,
      "prompt": prompt, "turn": row.get("turn", 1),
  }


def _extra(row, fields, user_prompt: str) -> dict[str, Any]:
  kept = {k: v for k, v in row.items() if k not in fields}
  return kept | {
      "question_id": row["question_id"], "tstamp": row["tstamp"],
      "user_prompt": user_prompt,
  }


def _failure(raw: str) -> str:
  if raw == _ERROR:
    return "transport"
  return "unparsable" if raw.strip() else "empty"


def _single_row(j: records.Judgment, told) -> dict[str, Any]:
  return _row(j) | {
      "model": j.system_a,
      "user_prompt": _told(j, told),
      "judgment": _raw(j),
      "score": -1 if j.failure else j.score,
  }


def _pair_row(pair: pairs.Pair, told) -> dict[str, Any]:
  winners = {ours: theirs for theirs, ours in _WINNERS.items()}
  row = _row(pair.ab) | {
      "model_1": pair.ab.system_a, "model_2": pair.ab.system_b
  }
  for game, j in (("g1", pair.ab), ("g2", pair.ba)):
    row |= {
        f"{game}_winner": "error" if j.failure else winners[j.verdict],
        f"{game}_user_prompt": _told(j, told),
        f"{game}_judgment": _raw(j),
    }
  return row


def _row(j: records.Judgment) -> dict[str, Any]:
  kept = {k: v for k, v in j.extra.items() if k != "user_prompt"}
  return {
      "question_id": _number(j.id), "tstamp": 0.0, **kept,
      "judge": [j.judge, j.prompt], "turn": j.turn,
  }


def _told(j: records.Judgment, told) -> str:
  return j.extra.get("user_prompt", told.get(prompt_key(j), ""))


def _raw(j: records.Judgment) -> str:
  return j.raw or (_ERROR if j.failure == "transport" else "")


def _number(id_: str) -> int | str:
  """FastChat's ids are numbers where they can be."""
  return int(id_) if id_.isdecimal() and str(int(id_)) == id_ else id_


def _write(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
  records.write_text(
      path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
  )


def _rows(path: str | os.PathLike) -> Iterator[tuple[str, dict]]:
  """(file:line, row); the last line may lack its newline, as some files do."""
  try:
    lines = pathlib.Path(path).read_text(encoding="utf-8").split("\n")
  except OSError as e:
    raise records.RecordError(f"{path}: cannot be read: {e.strerror}") from None
  except UnicodeDecodeError:
    raise records.RecordError(
        f"{path}: not UTF-8; save the file as UTF-8"
    ) from None
  for number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    where = f"{path}:{number}"
    try:
      row = json.loads(line)
      json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
      raise records.RecordError(f"{where}: a lone surrogate") from None
    except (ValueError, RecursionError):
      raise records.RecordError(f"{where}: not JSON") from None
    if not isinstance(row, dict):
      raise records.RecordError(f"{where}: expected a JSON object")
    yield where, row


def _get(where: str, row: Mapping[str, Any], name: str) -> Any:
  if name not in row:
    raise records.RecordError(f"{where}: the row has no {name!r}")
  return row[name]


def _turns(where: str, row: Mapping[str, Any]) -> tuple[str, ...]:
  try:
    turns = row["choices"][0]["turns"]
  except (KeyError, IndexError, TypeError):
    raise records.RecordError(
        f"{where}: the row has no choices[0].turns"
    ) from None
  return _texts(where, turns)


def _texts(where: str, turns: Any) -> tuple[str, ...]:
  if (
      not isinstance(turns, list) or not turns
      or not all(isinstance(turn, str) for turn in turns)
  ):
    raise records.RecordError(f"{where}: 'turns' must be a list of texts")
  return tuple(turns)


def _language(where: str, name: Any) -> str:
  """A code for a language's code or name; "" for none."""
  if not name:
    return ""
  try:
    return languages.get(str(name)).code
  except languages.UnknownLanguageError as e:
    raise records.RecordError(f"{where}: {e}") from None
