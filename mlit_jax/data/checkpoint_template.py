"""The chat template that a checkpoint ships, in Jinja as transformers reads it.

It is rendered in a process of its own (jinja_worker.py), with limits. What an
answer is, the template says with {% generation %}; where it does not, an answer
is what its conversation has more than the one before it.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence

from mlit_jax.data import special_tokens, templates
from mlit_jax.data.chat import Form, Mark, Segment, grouped
from mlit_jax.data.tokenizer_base import Tokenizer
from mlit_jax.errors import UsageError
from mlit_jax.records import Message

FILE_NAME = "chat_template.jinja"
NAME = "checkpoint"
_MAX_CHARS, _MAX_BYTES, _SECONDS = 10_000_000, 1 << 30, 10.0
# Characters that Unicode keeps free of any meaning: one for the end of an
# answer, one around the number of a special token that a message spells, one
# where an answer that is begun goes on.
_CLOSE, _SPELT, _GOES_ON = "\ufdd0", "\ufdd1", "\ufdd2"
_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


class TemplateError(ValueError):
  """A checkpoint's chat template that cannot be used; one line says why."""


def find(name: str, directory: str | os.PathLike | None) -> Form:
  """A template by name.

  Args:
    name: `checkpoint` is the one in the model directory, `checkpoint:DIR` that
      in another; else as of `templates.get`.
    directory: of the model; None: there is none.

  Raises:
    UsageError: there is no template of that name, or no directory.
    TemplateError: the directory has none.
  """
  kind, _, place = name.partition(":")
  if kind != NAME:
    return templates.get(name)
  if not place and directory is None:
    raise UsageError("the template 'checkpoint' needs a model's directory")
  return CheckpointTemplate.from_directory(place or directory)


def fingerprint(name: str, directory: str | os.PathLike | None) -> str:
  """SHA-256 of what a template says, wherever it is written; as of `find`."""
  form = find(name, directory)
  said = {"source": form.source, "variables": dict(form.variables)} if (
      isinstance(form, CheckpointTemplate)
  ) else dataclasses.asdict(form)
  text = json.dumps(said, sort_keys=True, default=dict)
  return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclasses.dataclass(frozen=True)
class CheckpointTemplate:
  """A Jinja chat template.

  Attributes:
    source: the template.
    variables: what it may use beside the messages: bos_token and so on.
    where: its file, for errors.
    now: the time that templates see, in ISO 8601; "" is the clock's. A date in
      the prompt makes today's ids other than tomorrow's.
    seconds: the longest that a rendering may take.
  """

  source: str
  variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
  where: str = "the chat template"
  now: str = ""
  seconds: float = _SECONDS

  name = NAME

  @classmethod
  def from_directory(cls, directory: str | os.PathLike, now: str = ""):
    """Reads `chat_template.jinja`, or tokenizer_config.json's chat_template.

    Raises:
      TemplateError: there is none, or it cannot be read.
    """
    directory = pathlib.Path(directory)
    config = directory / special_tokens.TOKENIZER_CONFIG
    values = special_tokens.read_json(config)
    path, source = directory / FILE_NAME, None
    try:
      source = path.read_text(encoding="utf-8")
    except FileNotFoundError:
      path, source = config, values.get("chat_template")
    except (OSError, UnicodeDecodeError) as e:
      raise TemplateError(f"{path}: cannot be read: {e}") from None
    if isinstance(source, list):
      named = {e.get("name"): e.get("template") for e in source}
      source = named.get("default")
    if not isinstance(source, str):
      raise TemplateError(
          f"{directory}: the checkpoint ships no chat template (neither"
          f" {FILE_NAME} nor chat_template in {config.name}); choose one of"
          f" {', '.join(templates.TEMPLATES)}"
      )
    return cls(source, special_tokens.named(directory), str(path), now)

  def render(
      self, messages: Sequence[Message], add_generation_prompt: bool = False
  ) -> str:
    """The text, as transformers' apply_chat_template gives it.

    Raises:
      TemplateError: the template fails, or takes too long or too much.
    """
    return self._render(_turns(messages), add_generation_prompt).replace(
        _CLOSE, ""
    )

  def segments(
      self, tokenizer: Tokenizer, messages: Sequence[Message]
  ) -> list[Segment]:
    """The conversation; after a user's turn, up to where the answer begins.

    Raises:
      TemplateError: the template fails, or does not say what is an answer.
    """
    is_prompt = messages[-1].role != "assistant"
    spelt = list(tokenizer.specials)
    turns = _hide(_turns(messages), tokenizer)
    marked = self._render(turns, is_prompt)
    text = marked.replace(_CLOSE, "")
    try:
      answers = self._answers(turns, marked, tokenizer)
    except TemplateError:
      # A prompt can be read although one could not learn from it.
      if not is_prompt:
        raise
      answers = []
    segments, start = [], 0
    for number, stop in enumerate([*itertools.chain(*answers), len(text)]):
      behind_special = text.endswith(tuple(spelt), 0, start)
      fresh = behind_special and tokenizer.prefixes_after_special
      is_answer, continues = number % 2 == 1, start > 0 and not fresh
      segments.append(
          Segment(_pieces(text[start:stop], tokenizer), is_answer, continues)
      )
      start = stop
    return segments

  def open_segments(
      self, tokenizer: Tokenizer, messages: Sequence[Message]
  ) -> list[Segment]:
    """What the model goes on from: the whole text as one segment.

    An answer that is begun is cut as transformers' `continue_final_message`
    cuts it.

    Raises:
      TemplateError: the template fails, or changes the answer that is begun.
    """
    turns = _hide(_turns(messages), tokenizer)
    is_begun = messages[-1].role == "assistant"
    if is_begun:
      turns[-1]["content"] += f"{_GOES_ON} "
    text = self._render(turns, not is_begun).replace(_CLOSE, "")
    if is_begun:
      text, mark, behind = text.rpartition(_GOES_ON)
      if not mark:
        raise TemplateError(
            f"{self.where}: leaves out an answer that is begun; use another"
            " --template"
        )
      # Without the space behind the mark the template strips contents.
      text = text if behind.startswith(" ") else text.rstrip()
    return [Segment(_pieces(text, tokenizer))]

  def end_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end an answer: turns' ends in the template, the tokenizer's."""
    turns = [
        tokenizer.specials[end]
        for end in special_tokens.TURN_ENDS
        if end in tokenizer.specials and end in self.source
    ]
    return tuple(dict.fromkeys((*turns, *tokenizer.end_ids)))

  def read(self, text: str) -> str:
    """An answer as it was meant, from the text that was decoded."""
    return text.strip()

  def _answers(self, turns, marked: str, tokenizer) -> list[tuple[int, int]]:
    """Where answers with their end tokens stand in the text without marks."""
    said = [n for n, turn in enumerate(turns) if turn["role"] == "assistant"]
    stops: Sequence[int | None] = [None] * len(said)
    text = marked.replace(_CLOSE, "")
    if _GENERATION.search(self.source):
      *parts, _ = marked.split(_CLOSE)
      stops = list(itertools.accumulate(map(len, parts)))
      if len(stops) != len(said):
        raise TemplateError(
            f"{self.where}: {len(said)} answers, but {len(stops)} parts between"
            " {% generation %} and {% endgeneration %}"
        )
    end_ids = self.end_ids(tokenizer)
    ends = tuple(t for t, id_ in tokenizer.specials.items() if id_ in end_ids)
    answers = []
    for n, stop in zip(said, stops, strict=True):
      before = self._render(turns[:n], True).replace(_CLOSE, "")
      after = text[:stop]
      if stop is None:
        after = self._render(turns[: n + 1], False).replace(_CLOSE, "")
      if not (text.startswith(after) and after.startswith(before)):
        raise TemplateError(
            f"{self.where}: a conversation does not begin as its first {n + 1}"
            " turns do, so that an answer cannot be learnt as it would be"
            " decoded; use another --template"
        )
      answers.append((len(before), self._end(text, len(before), after, ends)))
    return answers

  def _end(self, text: str, start: int, after: str, ends: tuple) -> int:
    """Where the end token of the answer that closes `after` ends."""
    inside = after.rstrip()
    if len(inside) > start and inside.endswith(ends):
      return len(inside)
    for end in ends:
      if text.startswith(end, len(after)):
        return len(after) + len(end)
    raise TemplateError(
        f"{self.where}: no end token ({' or '.join(ends)}) behind an answer, so"
        " that a model would not learn to stop; use another --template"
    )

  def _render(self, turns: Sequence[dict], ask: bool) -> str:
    """The text, with a mark behind each {% generation %} part."""
    worker = self.__dict__.get("_worker")
    if worker is None or not worker.is_alive():
      worker = _Worker(self)
      object.__setattr__(self, "_worker", worker)
    return worker.ask({
        **self.variables, "messages": turns, "tools": None, "documents": None,
        "add_generation_prompt": ask,
    })

  def __getstate__(self):
    # A process stays where it is.
    return {k: v for k, v in self.__dict__.items() if k != "_worker"}


class _Worker:
  """The process that renders one template."""

  def __init__(self, template: CheckpointTemplate):
    self._where, self._seconds = template.where, template.seconds
    # Nothing else of the environment: a template has no business with it.
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {"PYTHONPATH": path} | {
        k: v for k, v in os.environ.items() if k == "TZ"
    }
    script = pathlib.Path(__file__).with_name("jinja_worker.py")
    self._process = subprocess.Popen(
        [sys.executable, "-P", str(script)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=environment,
    )
    self._finalizer = weakref.finalize(self, _stop, self._process)
    self.ask({
        "template": template.source, "now": template.now, "mark": _CLOSE,
        "seconds": template.seconds, "max_chars": _MAX_CHARS,
        "max_bytes": _MAX_BYTES,
    })

  def is_alive(self) -> bool:
    return self._process.poll() is None

  def ask(self, request: Mapping) -> str:
    """Sends one request; the text that comes back."""
    try:
      self._process.stdin.write(json.dumps(request) + "\n")
      self._process.stdin.flush()
      line = self._process.stdout.readline()
    except BrokenPipeError:
      line = ""
    if line:
      answer = json.loads(line)
      error = answer.get("error")
    elif (code := self._process.wait()) == -signal.SIGALRM:
      error = f"it takes longer than {self._seconds:g} seconds"
    else:
      error = f"its process ended with {code}"
    if error is not None:
      reason = " ".join(error.split())[:300]
      raise TemplateError(f"{self._where}: cannot be rendered: {reason}")
    return answer["text"]


def _stop(process: subprocess.Popen) -> None:
  process.kill()
  process.wait()
  process.stdin.close()
  process.stdout.close()


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
  """Messages as templates see them; many allow one turn of a role only."""
  turns = [
      {"role": role, "content": "\n".join(contents)}
      for role, contents in grouped(messages)
  ]
  for turn in turns:
    for mark in (_CLOSE, _SPELT, _GOES_ON):
      if mark in turn["content"]:
        raise TemplateError(
            f"U+{ord(mark):04X} in a message is no character of any text; take"
            " it out"
        )
  return turns


def _hide(turns: list[dict], tokenizer: Tokenizer) -> list[dict]:
  """The turns, with numbers for special tokens that contents spell."""
  spelt = list(tokenizer.specials)
  return [
      turn | {
          "content": tokenizer.special_pattern.sub(
              lambda m: f"{_SPELT}{spelt.index(m[0])}{_SPELT}", turn["content"]
          )
      }
      for turn in turns
  ]


def _pieces(text: str, tokenizer: Tokenizer) -> tuple[str, ...]:
  """The template's text, and between it what _hide has hidden."""
  spelt = list(tokenizer.specials)
  parts = re.split(f"{_SPELT}([0-9]+){_SPELT}", text)
  return tuple(
      spelt[int(part)] if n % 2 else Mark(part) for n, part in enumerate(parts)
  )
