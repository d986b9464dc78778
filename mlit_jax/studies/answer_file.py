"""Answers the prompts of a file: streamed, resumable, summarised.

Answers are appended to OUTPUT.part as they come, the newest last. When all are
there, OUTPUT is written in the order of the prompts, OUTPUT.summary.json beside
it, and the part is removed. A run that was killed goes on from its part. One
that is done is not done again, and another run's output is not written over.
"""

import collections
import contextlib
import fcntl
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from mlit_jax import languages, records
from mlit_jax.errors import UsageError
from mlit_jax.studies.answering import Answer, Answerer, Options, Question

_PART, _SUMMARY = ".part", ".summary.json"
_PERCENTILES = 10, 50, 90
# What a summary asks of a response.
_NEEDED = {"id", "lang", "response", "finish_reason", "num_tokens"}


def read_prompts(
    path: str | os.PathLike,
) -> list[records.Instruction | records.Response]:
  """The rows of a file; of one that is no prompt, a response that says why.

  Raises:
    RecordError: the file cannot be read.
  """
  rows = []
  for number, row in records.read_lines(path):
    if isinstance(row, records.RecordError):
      rows.append(_failed(number, {}, str(row)))
      continue
    try:
      rows.append(records.Instruction.from_row(row))
    except records.RecordError as e:
      rows.append(_failed(number, row, f"{path}:{number}: {e}"))
  return rows


def _failed(number: int, row: Mapping[str, Any], why: str) -> records.Response:
  """With the row's id and language, if these are text."""
  id_, lang = (
      value if isinstance(value, str) and value.strip() else other
      for value, other in (
          (row.get("id"), f"line {number}"), (row.get("lang"), "und"),
      )
  )
  return records.Response(
      id=id_, lang=lang, model="", response="", finish_reason="error",
      num_tokens=0, failure=why,
  )


def run(
    output: pathlib.Path,
    questions: Sequence[Question | records.Response],
    make: Callable[[], Answerer],
    options: Options,
    identity: Mapping[str, Any],
    show: Callable[[int, int, int], None],
) -> dict[str, Any]:
  """Answers what is not answered yet, and writes the files.

  Args:
    output: where to, JSON Lines.
    questions: what to ask; a response is taken as it is.
    make: loads the model; not called if nothing is left.
    options: how to answer.
    identity: everything that could change an answer; a part that was made
      otherwise is not gone on with.
    show: is told how many are answered, how many there are, and the tokens of
      this run.

  Returns:
    The summary; `new` is whether anything was left to do.

  Raises:
    UsageError: there is a part, or an output, of another run, or another
      process is at it.
  """
  part = output.with_name(output.name + _PART)
  output.parent.mkdir(parents=True, exist_ok=True)
  with _locked(part) as file:
    summary = _finished(output, identity)
    done = _read_part(part, identity, len(questions))
    if summary is not None or not done:
      file.truncate(0)
    if summary is not None:
      return summary | {"new": False}
    given = {
        i: {"response": q.to_row()}
        for i, q in enumerate(questions)
        if isinstance(q, records.Response)
    }
    left = [i for i in range(len(questions)) if i not in done | given]
    answerer = make() if left else None
    began, tokens = time.monotonic(), 0
    if not done:
      _append(file, {"run": identity})
    if answerer is not None:
      answers = answerer.answer([questions[i] for i in left], options)
      for index, answer in answers:
        done[left[index]] = row = _row(answer)
        _append(file, {"row": left[index], **row})
        tokens += answer.response.num_tokens
        show(len(done), len(questions) - len(given), tokens)
    seconds = time.monotonic() - began
    rows = [(done | given)[i] for i in range(len(questions))]
    summary = summarise(rows) | {
        "run": dict(identity), "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
    }
    # First: an output without it would be taken for somebody else's.
    records.write_json(output.with_name(output.name + _SUMMARY), summary)
    records.write_text(output, (_line(row["response"]) for row in rows))
    part.unlink()
  return summary | {"new": True}


@contextlib.contextmanager
def _locked(part: pathlib.Path) -> Iterator[TextIO]:
  """The part, to append to; nobody else has it.

  What is wrong with the model or the options leaves no file behind.

  Raises:
    UsageError: somebody has.
  """
  while True:
    with open(part, "a", encoding="utf-8") as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        raise UsageError(
            f"{part}: another mlit decode is writing it; wait for it, or write"
            " to another --output"
        ) from None
      about = os.fstat(file.fileno())
      # It may have been finished and removed while it was opened.
      if part.exists() and os.path.samestat(about, part.stat()):
        try:
          yield file
        finally:
          if part.exists() and not part.stat().st_size:
            part.unlink()
        return


def _finished(output: pathlib.Path, identity) -> dict[str, Any] | None:
  """The summary of this run if it is done; None: there is no output.

  Raises:
    UsageError: the output is of another run, or of something else.
  """
  if not output.exists():
    return None
  path = output.with_name(output.name + _SUMMARY)
  try:
    summary = json.loads(path.read_text(encoding="utf-8"))
    run = dict(summary["run"])
    dict(summary["failures"], answers=summary["answers"] + summary["failed"])
  except (OSError, ValueError, KeyError, TypeError):
    raise UsageError(
        f"{output}: is there already, without a summary of mlit decode; remove"
        " it, or write to another --output"
    ) from None
  if changed := _changed(run, identity):
    raise UsageError(
        f"{output}: holds the answers of a run with other {changed}; remove"
        " it, or write to another --output"
    )
  return summary


def _changed(before: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
  """What differs, by name."""
  now = json.loads(json.dumps(identity))
  return ", ".join(
      key for key in sorted(before.keys() | now.keys())
      if before.get(key) != now.get(key)
  )


def _read_part(
    part: pathlib.Path, identity, number: int
) -> dict[int, dict]:
  """What an earlier run answered; a line that was cut off is dropped."""
  data = part.read_bytes()
  whole = data.rfind(b"\n") + 1
  if whole < len(data):
    os.truncate(part, whole)
  rows: list[dict] = []
  for place, line in enumerate(data[:whole].splitlines(), 1):
    try:
      rows.append(dict(json.loads(line)))
      is_whole = isinstance(rows[0]["run"], dict) if place == 1 else (
          rows[-1]["row"] in range(number)
          and rows[-1]["response"].keys() >= _NEEDED
      )
    except (ValueError, TypeError, KeyError, AttributeError):
      is_whole = False
    if not is_whole:
      raise UsageError(
          f"{part}:{place}: damaged; remove the file to begin anew, or write"
          " to another --output"
      )
  if len(rows) < 2:  # nothing was answered
    return {}
  if changed := _changed(rows[0]["run"], identity):
    raise UsageError(
        f"{part}: begun with other {changed}; remove it, or write to another"
        " --output"
    )
  return {row.pop("row"): row for row in rows[1:]}


def _row(answer: Answer) -> dict[str, Any]:
  response = answer.response.to_row()
  if answer.logprobs:
    response["logprobs"] = [round(x, 6) for x in answer.logprobs]
  return {
      "response": response, "truncated": answer.truncated,
      "unknown": answer.unknown,
  }


def _append(file, row) -> None:
  file.write(_line(row))
  file.flush()
  os.fsync(file.fileno())


def _line(row) -> str:
  return json.dumps(
      row, ensure_ascii=False, separators=(",", ":"), allow_nan=False
  ) + "\n"


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Lengths, reasons, failures and languages of answers, over all models.

  Args:
    rows: of the part.
  """
  responses = [row["response"] for row in rows]
  answered = [r for r in responses if not r.get("failure")]
  failures = collections.Counter(
      r["failure"] for r in responses if r.get("failure")
  )
  return {
      "answers": len(answered),
      "failed": len(responses) - len(answered),
      "failures": dict(failures.most_common(20)),
      "finish_reasons": dict(
          collections.Counter(r["finish_reason"] for r in responses)
      ),
      "truncated": {
          "prompts": sum(row.get("truncated", 0) > 0 for row in rows),
          "tokens": sum(row.get("truncated", 0) for row in rows),
      },
      "unknown_tokens": sum(row.get("unknown", 0) for row in rows),
      "tokens": _lengths([r["num_tokens"] for r in answered]),
      "by_language": {
          lang: {
              "tokens": _lengths([r["num_tokens"] for r in group]),
              "language": found,
          }
          for lang, group, found in _by_language(answered)
      },
  }


def _by_language(
    answered: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, list, dict[str, int]]]:
  """Yields (asked in, responses, language found -> how many)."""
  from mlit_jax.judging import identification

  gate = identification.FastTextGate()
  groups = collections.defaultdict(list)
  for r in answered:
    groups[r["lang"]].append(r)
  known = [lang for lang in sorted(groups) if _is_known(lang)]
  for lang, group in sorted(groups.items()):
    found: collections.Counter[str] = collections.Counter()
    for r in group if lang in known else ():
      text = r["response"]
      finding = gate.identify(text, tuple(known)).lang if text.strip() else ""
      found[finding or "unclear"] += 1
    yield lang, group, dict(found.most_common())


def _is_known(lang: str) -> bool:
  try:
    return languages.get(lang).code == lang
  except languages.UnknownLanguageError:
    return False


def _lengths(counts: Sequence[int]) -> dict[str, float]:
  if not counts:
    return {"total": 0}
  ordered = sorted(counts)
  places = {
      f"p{p}": ordered[(len(ordered) - 1) * p // 100] for p in _PERCENTILES
  }
  return {
      "total": sum(counts), "mean": round(sum(counts) / len(counts), 2),
      **places, "longest": ordered[-1],
  }
