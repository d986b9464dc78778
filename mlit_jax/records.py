"""The rows that travel between the steps, and checked JSONL in and out.

An `Instruction` is a prompt with its (reference) response, a `Response` a
model's answer to one, a `Judgment` one reply of a judge. Files are JSON Lines
in UTF-8. A file is written under a temporary name and then renamed, so one
that exists is whole.
"""

import dataclasses
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

FAILURES = ("refused", "unparsable", "out_of_range", "transport", "empty")
ORDERS = ("ab", "ba")
_ROLES = ("system", "user", "assistant")


class RecordError(ValueError):
  """A row that cannot be used; the message names the field and the fix."""


@dataclasses.dataclass(frozen=True)
class Message:
  """One turn: role is system, user or assistant."""

  role: str
  content: str


@dataclasses.dataclass(frozen=True)
class Instruction:
  """A prompt in one language and, for training or as reference, its response.

  Attributes:
    id: the parallel id: the same in every language that has the item.
    lang: the language code.
    messages: the turns, the last one the user's.
    response: what the assistant should answer; "" where there is none.
    extra: further fields of the row, kept as they are.
  """

  id: str
  lang: str
  messages: tuple[Message, ...]
  response: str = ""
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @classmethod
  def from_row(cls, row: Mapping[str, Any]) -> Self:
    """Reads `messages`, or `prompt` for raw text, and checks every field."""
    row = dict(row)
    fields = _take(row, id=str, lang=str)
    messages = _take_messages(row)
    response = _take(row, optional=True, response=str).get("response", "")
    for name, value in row.items():
      _check_text(name, json.dumps([name, value], ensure_ascii=False))
    return cls(**fields, messages=messages, response=response, extra=row)

  def to_row(self) -> dict[str, Any]:
    row = {"id": self.id, "lang": self.lang}
    row["messages"] = [dataclasses.asdict(m) for m in self.messages]
    if self.response:
      row["response"] = self.response
    return {**row, **self.extra}

  @property
  def prompt(self) -> str:
    """The last user turn."""
    return self.messages[-1].content


@dataclasses.dataclass(frozen=True)
class Response:
  """A model's answer to one instruction.

  Attributes:
    finish_reason: `stop` (an end token or stop string) or `length`.
    num_tokens: number of generated tokens, the end token included.
    failure: "" or what kept the model from answering (the response is "").
  """

  id: str
  lang: str
  model: str
  response: str
  finish_reason: str
  num_tokens: int
  messages: tuple[Message, ...] = ()
  failure: str = ""

  @classmethod
  def from_row(cls, row: Mapping[str, Any]) -> Self:
    row = dict(row)
    fields = _take(
        row, id=str, lang=str, model=str, response=str, finish_reason=str,
        num_tokens=int,
    )
    messages = _take_messages(row) if "messages" in row else ()
    failure = _take(row, optional=True, failure=str).get("failure", "")
    return cls(**fields, messages=messages, failure=failure)

  def to_row(self) -> dict[str, Any]:
    row = {"id": self.id, "lang": self.lang}
    if self.messages:
      row["messages"] = [dataclasses.asdict(m) for m in self.messages]
    for key in ("model", "response", "finish_reason", "num_tokens"):
      row[key] = getattr(self, key)
    if self.failure:
      row["failure"] = self.failure
    return row


@dataclasses.dataclass(frozen=True)
class Judgment:
  """One judgment, whatever the protocol.

  Attributes:
    protocol: e.g. side_by_side, rating.
    judge: the judge's specification, e.g. `reference`.
    system_a, system_b: the systems compared; system_b is "" when one is rated.
    order: `ab` if system_a's answer was shown first, `ba` if system_b's was.
    raw: the judge's reply, word for word.
    verdict: the winner, `a`, `b` or `tie`, already translated from the order
      shown back to the systems; "" for protocols that score, or on failure.
    score: the number given by protocols that score, else None. There is a
      verdict or a score or a failure, and never two of them.
    scores: the numbers behind a verdict, e.g. {"a": 8, "b": 5}, of protocols
      that give one to each system.
    failure: "" or one of FAILURES; a failure has no verdict and no numbers.
    gate: the language gate's finding per system, e.g. {"a": "en", "b": "he"}.
    gate_confidence: how sure it was, 0 to 1, e.g. {"a": 0.98, "b": 0.7}.
    turn: which turn of the conversation was judged, from 1.
    sample: which of several replies to the same question this is, from 0.
    prompt: name, version and language of the prompt the judge was given; ""
      if it was given none.
    earlier: replies in which no verdict was found, after which the judge was
      asked once more.
    finish_reason: why the reply ended, `stop` or `length`; "" if unknown. A
      reply that was cut off (`length`) holds no verdict.
    revision: the model that replied, in its provider's words.
    usage: tokens paid for, e.g. {"input": 812, "output": 96}.
    extra: further fields of the row, kept as they are.
  """

  id: str
  lang: str
  protocol: str
  judge: str
  system_a: str
  system_b: str
  order: str
  raw: str
  verdict: str = ""
  score: float | None = None
  scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
  failure: str = ""
  gate: Mapping[str, str] = dataclasses.field(default_factory=dict)
  gate_confidence: Mapping[str, float] = dataclasses.field(
      default_factory=dict
  )
  turn: int = 1
  sample: int = 0
  prompt: str = ""
  earlier: tuple[str, ...] = ()
  finish_reason: str = ""
  revision: str = ""
  usage: Mapping[str, int] = dataclasses.field(default_factory=dict)
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    numbers = [*self.scores.values()]
    if self.score is not None:
      numbers.append(self.score)
    if self.order not in ORDERS:
      raise RecordError(f"order {self.order!r} is not one of {ORDERS}")
    if self.failure and self.failure not in FAILURES:
      raise RecordError(f"failure {self.failure!r} is not one of {FAILURES}")
    if self.failure and (self.verdict or numbers):
      raise RecordError("a failed judgment can have no verdict and no score")
    if self.verdict not in ("", "a", "b", "tie"):
      raise RecordError(f"verdict {self.verdict!r} is not a, b or tie")
    if self.verdict and self.score is not None:
      raise RecordError("a judgment has a verdict or a score, not both")
    # Without any of them it would pass for a tie.
    if not (self.failure or self.verdict or self.score is not None):
      raise RecordError("a judgment needs a verdict, a score or a failure")
    # Also true of NaN, and of whole numbers that no float can hold.
    if bad := [x for x in numbers if not abs(x) <= sys.float_info.max]:
      raise RecordError(f"'score' must be finite, not {bad[0]!r:.60}")
    if self.scores and self.scores.keys() != {"a", "b"}:
      raise RecordError(f"'scores' are of a and b, not {[*self.scores]!r:.60}")
    if self.turn < 1 or self.sample < 0:
      raise RecordError("'turn' counts from 1 and 'sample' from 0")

  @classmethod
  def from_row(cls, row: Mapping[str, Any]) -> Self:
    row = dict(row)
    fields = _take(
        row, id=str, lang=str, protocol=str, judge=str, system_a=str,
        system_b=str, order=str, raw=str,
    )
    fields |= _take(
        row, optional=True, verdict=str, failure=str, turn=int, sample=int,
        prompt=str, finish_reason=str, revision=str,
    )
    for name, kind in (
        ("gate", str), ("gate_confidence", float), ("scores", float),
        ("usage", int),
    ):
      fields |= _take_map(row, name, kind)
    earlier = row.pop("earlier", [])
    if not isinstance(earlier, list) or not all(
        isinstance(x, str) for x in earlier
    ):
      raise RecordError(f"'earlier' must be a list of texts, not {earlier!r}")
    score = row.pop("score", None)
    if not _is_number(score) and score is not None:
      raise RecordError(f"'score' must be a number, not {score!r}")
    if row or earlier:
      _check_text("the row", json.dumps([row, earlier], ensure_ascii=False))
    return cls(**fields, score=score, earlier=tuple(earlier), extra=row)

  def to_row(self) -> dict[str, Any]:
    row = {
        name: getattr(self, name)
        for name in (
            "id", "lang", "protocol", "judge", "system_a", "system_b", "order",
            "raw", "failure",
        )
    }
    if self.score is not None:
      row["score"] = self.score
    else:
      row["verdict"] = self.verdict
    row["gate"] = dict(self.gate)
    # What a protocol has no use for would only fill the file.
    if self.turn != 1:
      row["turn"] = self.turn
    for name in ("sample", "prompt", "finish_reason", "revision"):
      if value := getattr(self, name):
        row[name] = value
    for name, kind in (
        ("gate_confidence", dict), ("scores", dict), ("earlier", list),
        ("usage", dict),
    ):
      if value := getattr(self, name):
        row[name] = kind(value)
    return {**row, **self.extra}


def read_jsonl(path: str | os.PathLike) -> Iterator[tuple[int, dict]]:
  """Yields (line number, row) of a JSON Lines file.

  Raises:
    RecordError: naming file and line, for a line that is not a JSON object and
      for a last line without its newline (the file was cut off).
  """
  for number, row in read_lines(path, whole=True):
    if isinstance(row, RecordError):
      raise row
    yield number, row


def read_lines(
    path: str | os.PathLike, whole: bool = False
) -> Iterator[tuple[int, dict | RecordError]]:
  """The same, with an error in place of a line that is no JSON object.

  Args:
    path: of the file.
    whole: whether the last line must have its newline, as what we write has.

  Raises:
    RecordError: the file cannot be read.
  """
  try:
    with open(path, "rb") as file:
      for number, line in enumerate(file, start=1):
        if line.strip():
          yield number, _parse_line(f"{path}:{number}", line, whole)
  except OSError as e:
    raise RecordError(f"{path}: cannot be read: {e.strerror}") from None


def read_records(path: str | os.PathLike, cls) -> list:
  """All records of a file as `cls` (Instruction, Response or Judgment).

  Raises:
    RecordError: naming file and line of the first row that does not fit.
  """
  records = []
  for number, row in read_jsonl(path):
    try:
      records.append(cls.from_row(row))
    except RecordError as e:
      raise RecordError(f"{path}:{number}: {e}") from None
  return records


def write_records(path: str | os.PathLike, records: Iterable) -> None:
  """Writes records as JSON Lines, all or nothing."""
  encoder = json.JSONEncoder(
      ensure_ascii=False, separators=(",", ":"), allow_nan=False
  )
  write_text(path, (encoder.encode(r.to_row()) + "\n" for r in records))


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes one JSON document with sorted keys, all or nothing.

  Raises:
    ValueError: the value holds NaN or infinity, which JSON does not have.
  """
  text = json.dumps(
      value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False
  )
  write_text(path, [text, "\n"])


def write_text(path: str | os.PathLike, pieces: Iterable[str]) -> None:
  """Writes to a temporary name beside `path`, flushes, then renames."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(
      dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
  )
  try:
    with os.fdopen(handle, "w", encoding="utf-8") as file:
      file.writelines(pieces)
      file.flush()
      os.fsync(file.fileno())
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, 0o666 & ~umask)
    os.replace(temporary, path)
  except BaseException:
    os.unlink(temporary)
    raise


def _take(row: dict, *, optional: bool = False, **fields: type) -> dict:
  taken = {}
  for name, kind in fields.items():
    if name not in row:
      if optional:
        continue
      raise RecordError(f"the row has no {name!r}; it has {sorted(row)}")
    value = row.pop(name)
    if not isinstance(value, kind) or isinstance(value, bool):
      raise RecordError(
          f"{name!r} must be {_KIND_NAMES[kind]}, not {value!r:.60}"
      )
    if kind is str:
      _check_text(name, value)
      if name in ("id", "lang") and not value.strip():
        raise RecordError(f"{name!r} is empty")
    taken[name] = value
  return taken


def _take_map(row: dict, name: str, kind: type) -> dict[str, dict]:
  """{name: the object} if the row has it, its values checked."""
  found = _take(row, optional=True, **{name: dict})
  if not found:
    return {}
  for value in found[name].values():
    if not (_is_number(value) if kind is float else isinstance(value, kind)):
      raise RecordError(
          f"{name!r} must hold {_KIND_NAMES[kind]}, not {value!r:.60}"
      )
  _check_text(name, json.dumps(found, ensure_ascii=False))
  return found


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


_KIND_NAMES = {
    str: "text", int: "a whole number", float: "a number", dict: "an object",
}


def _take_messages(row: dict) -> tuple[Message, ...]:
  if "prompt" in row and "messages" in row:
    raise RecordError("the row has both 'prompt' and 'messages'; keep one")
  if "prompt" in row:
    prompt = _take(row, prompt=str)["prompt"]
    turns = [{"role": "user", "content": prompt}]
  else:
    turns = row.pop("messages", None)
  if not isinstance(turns, list) or not turns:
    raise RecordError(
        "'messages' must be a list of {role, content} (or give 'prompt')"
    )
  messages = []
  for turn in turns:
    if not isinstance(turn, dict):
      raise RecordError(f"a message must be an object, not {turn!r:.40}")
    fields = _take(dict(turn), role=str, content=str)
    if fields["role"] not in _ROLES:
      raise RecordError(f"role {fields['role']!r} is not one of {_ROLES}")
    messages.append(Message(**fields))
  if messages[-1].role != "user" or not messages[-1].content.strip():
    raise RecordError("the last message must be the user's and not empty")
  return tuple(messages)


def _parse_line(where: str, line: bytes, whole: bool) -> dict | RecordError:
  if not line.endswith(b"\n" if whole else (b"\n", b"}")):
    return RecordError(
        f"{where}: the last line has no newline: the file was cut off; write it"
        " again, or end the line if it is whole"
    )
  try:
    row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    if b"\\u" in line:  # nothing else makes half of a surrogate pair
      json.dumps(row, ensure_ascii=False).encode()
  except UnicodeDecodeError:
    return RecordError(f"{where}: not UTF-8; save the file as UTF-8")
  except UnicodeEncodeError:
    return RecordError(f"{where}: a lone surrogate; write a whole character")
  # RecursionError: nested too deeply. ValueError: also a number of thousands of
  # digits.
  except (ValueError, RecursionError) as e:
    is_syntax = isinstance(e, json.JSONDecodeError)
    reason = f"{e.msg} at column {e.colno}" if is_syntax else e
    return RecordError(
        f"{where}: not JSON ({reason}); one JSON object a line is expected"
    )
  if not isinstance(row, dict):
    return RecordError(f"{where}: expected a JSON object, not {row!r:.40}")
  return row


def _refuse_constant(name: str):
  # Python reads NaN and Infinity; JSON, and other readers, know neither.
  raise ValueError(f"{name} is no JSON number")


def _check_text(name: str, value: str) -> None:
  try:
    value.encode("utf-8")
  except UnicodeEncodeError:
    raise RecordError(f"{name!r} holds a lone surrogate") from None
