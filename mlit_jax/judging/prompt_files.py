"""The words in which a judge is asked: our versioned files, or a user's.

Ours stand in prompts/, a file per language, and are put together from a task,
a form of verdict and the layout below. A user's file takes their place; it is
one of

- TOML with `system` (optional) and `user`, or any text, which is then what the
  user says;
- JSON Lines in FastChat's format, with an entry per kind of MT-Bench question.

Places are named {question}, {answer_a} and so on (`${...}` does, too). A file
that asks for no double brackets ([[A]]) has its verdicts read from lines of
their own.
"""

import dataclasses
import functools
import hashlib
import importlib.resources
import json
import os
import pathlib
import re
import tomllib
from collections.abc import Mapping

from mlit_jax import languages, records
from mlit_jax.errors import UsageError
from mlit_jax.judging import parsing

PLAIN = ":plain"
_PLACE = re.compile(r"\$?\{(\w+)\}")
_ALIASES = {
    "instruction": "question", "response": "answer", "lang1": "lang",
    "ref_answer_1": "reference_1", "ref_answer_2": "reference_2",
}
_EXAMPLES = {"rating": 2, "mt_bench": 5, "rubric": 3, "score_pair": 5}
# FastChat's names of its prompts: turn 1 and turn 2, without and with
# reference answers.
_FASTCHAT = {
    "mt_bench": "single-{}v1{}", "mt_bench_pair": "pair-{}{}",
    "side_by_side": "pair-{}{}",
}


@dataclasses.dataclass(frozen=True)
class Kind:
  """What a prompt is for.

  Attributes:
    protocol: the protocol's name.
    verdict: how the verdict is written: letters, number, two_numbers, yes_no.
    paired: whether two answers are shown.
    turn: which turn is judged.
    guided: whether a reference answer is shown.
  """

  protocol: str
  verdict: str
  paired: bool
  turn: int = 1
  guided: bool = False

  @property
  def name(self) -> str:
    turn = f"-turn{self.turn}" if self.turn > 1 else ""
    return self.protocol + turn + ("-reference" if self.guided else "")

  @property
  def places(self) -> tuple[str, ...]:
    """What is shown, in order."""
    sides = ("answer_a", "answer_b") if self.paired else ("answer",)
    turns = [""] if self.turn == 1 else [f"_{t + 1}" for t in range(self.turn)]
    before = {"correctness": ("context",), "rubric": ("rubric",)}
    return (
        *before.get(self.protocol, ()),
        *(f"question{t}" for t in turns),
        *(f"reference{t}" for t in turns if self.guided),
        *(side + t for side in sides for t in turns),
    )


@dataclasses.dataclass(frozen=True)
class Prompt:
  """A prompt with its places still open.

  Attributes:
    name: goes into every judgment; ends in PLAIN if the verdict stands without
      brackets.
    system, user: the two messages; no system message where it is "".
    again: what is added when a reply held no verdict.
  """

  name: str
  system: str
  user: str
  again: str

  def fill(
      self, fields: Mapping[str, str], again: bool = False
  ) -> tuple[records.Message, ...]:
    """The messages, with every field kept from passing for the prompt's own.

    Raises:
      UsageError: the prompt has a place for which there is no field.
    """

    def put(text: str) -> str:
      return _PLACE.sub(lambda place: self._field(place[1], fields), text)

    user = put(self.user) + (f"\n\n{self.again}" if again else "")
    messages = (records.Message("user", user),)
    if self.system:
      messages = (records.Message("system", put(self.system)), *messages)
    return messages

  def _field(self, name: str, fields: Mapping[str, str]) -> str:
    text = fields.get(name, fields.get(_ALIASES.get(name, "")))
    if text is None:
      raise UsageError(
          f"prompt {self.name}: nothing to put in {{{name}}}; there are"
          f" {', '.join(sorted(fields))}"
      )
    return parsing.neutralise(text, _marks(self.user))


class Ours:
  """The prompts of this project."""

  def __init__(self, language: str = "en"):
    """Takes a language's code, or `instruction` for that of each item.

    Raises:
      UsageError: there are no prompts in the language.
    """
    if language != "instruction":
      _ours(language)
    self._language = language

  def get(self, kind: Kind, lang: str) -> Prompt:
    """The prompt of a kind for an item in a language."""
    code = lang if self._language == "instruction" else self._language
    return _compose(kind, code)


class Theirs:
  """The prompts of a user's file."""

  def __init__(self, path: str | os.PathLike):
    """Reads a file.

    Raises:
      UsageError: it cannot be read, or has no such form.
    """
    self._path = pathlib.Path(path)
    try:
      text = self._path.read_text(encoding="utf-8")
      self._entries = _read(self._path, text)
    except (OSError, ValueError, KeyError, TypeError) as e:
      raise UsageError(
          f"{path}: no prompt file ({type(e).__name__}: {e}); expected text,"
          " TOML with 'user', or FastChat's judge prompts as .jsonl"
      ) from None

  def get(self, kind: Kind, lang: str) -> Prompt:
    """As of Ours; the language makes no difference.

    Raises:
      UsageError: the file has no prompt of this kind.
    """
    entry = ""
    if "" not in self._entries:
      entry = _fastchat_name(kind)
      if entry not in self._entries:
        raise UsageError(
            f"{self._path}: no prompt {entry!r} for {kind.name}; it has"
            f" {', '.join(self._entries)}"
        )
    elif kind.turn > 1 or kind.guided:
      raise UsageError(
          f"{self._path}: one prompt cannot ask for {kind.name}; give a .jsonl"
          " file in FastChat's format"
      )
    system, user = self._entries[entry]
    places = {_ALIASES.get(p, p) for p in _PLACE.findall(system + user)}
    sides = ("answer_a", "answer_b") if kind.paired else ("answer",)
    for side in sides:
      if not places & {side, f"{side}_{kind.turn}"}:
        raise UsageError(
            f"{self._path}: the prompt for {kind.name} does not show the answer"
            f" to judge; put {{{side}}} into it"
        )
    digest = hashlib.sha256(f"{system}\0{user}".encode()).hexdigest()[:8]
    plain = "" if "[[" in system + user else PLAIN
    name = f"{self._path.name}:{entry + ':' if entry else ''}{digest}{plain}"
    again = _ours("en")["verdicts"]["again"]
    return Prompt(name, system, user, again)


def _read(path: pathlib.Path, text: str) -> dict[str, tuple[str, str]]:
  """Entry -> (system, user); one entry "" where the file is one prompt."""
  if path.suffix == ".jsonl":
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return {
        row["name"]: (row["system_prompt"], row["prompt_template"])
        for row in rows
    }
  if path.suffix == ".toml":
    table = tomllib.loads(text)
    return {"": (table.get("system", ""), table["user"])}
  return {"": ("", text)}


def _fastchat_name(kind: Kind) -> str:
  pattern = _FASTCHAT.get(kind.protocol, kind.protocol)
  version = "math-v1" if kind.guided else "v2"
  if kind.protocol == "mt_bench":
    version = "math-" if kind.guided else ""
  return pattern.format(version, "-multi-turn" if kind.turn > 1 else "")


@functools.cache
def _ours(language: str) -> dict:
  folder = importlib.resources.files("mlit_jax.judging") / "prompts"
  file = folder / f"{language}.toml"
  if not file.is_file():
    known = sorted(f.name.removesuffix(".toml") for f in folder.iterdir())
    raise UsageError(
        f"there are no judge prompts in {language!r}, only in"
        f" {' '.join(known)}; use English ones (--prompt_language en) or a file"
        " of yours (--prompt_file)"
    )
  return tomllib.loads(file.read_text(encoding="utf-8"))


@functools.cache
def _compose(kind: Kind, language: str) -> Prompt:
  words = _ours(language)
  task = {"mt_bench_pair": "side_by_side"}.get(kind.protocol, kind.protocol)
  if kind.turn > 1:
    task += f"_turn{kind.turn}"
  form = words["verdicts"][kind.verdict].replace(
      "{example}", str(_EXAMPLES.get(kind.protocol, ""))
  )
  reference = words["tasks"]["reference"] if kind.guided else ""
  told = f"{words['tasks'][task]} {reference}".strip()
  user = "\n\n".join(
      f"<judge:{place}>\n{{{place}}}\n</judge:{place}>" for place in kind.places
  )
  return Prompt(
      f"{kind.name}-{words['version']}.{language}",
      f"{words['judge'].strip()}\n\n{told}\n\n{form}",
      user,
      words["verdicts"]["again"],
  )


@functools.cache
def _marks(template: str) -> list[re.Pattern]:
  return parsing.marks(template)


def language_name(code: str) -> str:
  """The English name of a language, or its code where there is none."""
  try:
    return languages.get(code).name
  except languages.UnknownLanguageError:
    return code
