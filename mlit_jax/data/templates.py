"""Instruction templates by name: what stands around each turn."""

import dataclasses
import pathlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence

from mlit_jax.data.chat import Mark, Segment, grouped
from mlit_jax.data.tokenizer_base import Tokenizer
from mlit_jax.errors import UsageError
from mlit_jax.records import Message


@dataclasses.dataclass(frozen=True)
class Template:
  """What stands around each turn.

  Several messages of the user in a row are one turn: the first is the
  instruction, the others are what it is about.

  Attributes:
    name: how configs and manifests call it.
    before, after: role -> text put before and after the turn's content. Before
      the assistant's comes what asks for the answer; after it, what follows
      the end token. A role "input" sets the user's further messages apart;
      without it they follow the first, each on a line of its own.
    opening: stands before everything unless there is a system turn.
    opening_with_input: the same where the first turn has an input.
    lead, tail: text between the prompt and the answer, and between the answer
      and its end token, that is learnt with the answer. With a lead, the
      answer is tokenized as going on from the prompt; else as seqio tokenizes
      targets, as a text of its own.
    end: the special token that ends an answer, by default the tokenizer's.
    tokens: special tokens that the tokenizer must have.
    system_inside: the system's turn is a part of the user's first.
    strips: white space around contents is taken away.
    begins_turns: every turn of the user begins with the begin token.
  """

  name: str
  before: Mapping[str, str] = dataclasses.field(default_factory=dict)
  after: Mapping[str, str] = dataclasses.field(default_factory=dict)
  opening: str = ""
  opening_with_input: str = ""
  lead: str = ""
  tail: str = ""
  end: str = ""
  tokens: tuple[str, ...] = ()
  system_inside: bool = False
  strips: bool = False
  begins_turns: bool = False

  def segments(
      self, tokenizer: Tokenizer, messages: Sequence[Message]
  ) -> list[Segment]:
    """The conversation; after a user's turn, up to where the answer begins.

    Raises:
      UsageError: the tokenizer lacks a special token of the template.
    """
    self._check(tokenizer)
    begin = tokenizer.begin_ids
    segments = [] if self.begins_turns else [Segment(begin)]
    end = self.end_ids(tokenizer)[0]
    behind_end = False
    for pieces, answer in self._exchanges(messages, begin):
      continues = behind_end and not tokenizer.prefixes_after_special
      segments.append(Segment(tuple(pieces), continues=continues))
      if answer is not None:
        text = self.lead + answer + self.tail
        segments.append(Segment((text, end), True, bool(self.lead)))
      behind_end = True
    return segments

  def open_segments(
      self, tokenizer: Tokenizer, messages: Sequence[Message]
  ) -> list[Segment]:
    """What the model goes on from; the answer is a segment of its own.

    Raises:
      UsageError: the tokenizer lacks a special token of the template.
    """
    begun = ""
    if messages[-1].role == "assistant":
      *messages, last = messages
      begun = last.content
    answer = Segment((self.lead + begun,), True, bool(self.lead))
    return [*self.segments(tokenizer, messages), answer]

  def end_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end an answer; the one that is learnt first.

    Raises:
      UsageError: the tokenizer lacks a special token of the template.
    """
    self._check(tokenizer)
    own = (tokenizer.specials[self.end],) if self.end else ()
    return tuple(dict.fromkeys((*own, *tokenizer.end_ids)))

  def read(self, text: str) -> str:
    """An answer as it was meant, from the text that was decoded."""
    return text.removeprefix(self.lead).removesuffix(self.tail)

  def _check(self, tokenizer: Tokenizer) -> None:
    for token in (*self.tokens, self.end):
      if token and token not in tokenizer.specials:
        raise UsageError(
            f"template {self.name!r} needs the token {token!r}, which this"
            " tokenizer lacks; choose another template"
        )

  def _exchanges(
      self, messages: Sequence[Message], begin: Sequence[int]
  ) -> Iterator[tuple[list[str | int], str | None]]:
    """Yields what leads to an answer, and the answer (None: to be decoded)."""
    turns = grouped(messages)
    first = dict(reversed(turns))
    pieces: list[str | int] = []
    if "system" not in first:
      has_input = "input" in self.before and len(first.get("user", ())) > 1
      pieces.append(
          Mark(self.opening_with_input if has_input else self.opening)
      )
    held: list[str | int] = []
    for role, contents in turns:
      contents = [c.strip() if self.strips else c for c in contents]
      if role == "assistant":
        yield [*pieces, self._before(role)], "\n".join(contents)
        pieces = [self._after(role)]
      elif role == "system":
        inside = [self._before(role), "\n".join(contents), self._after(role)]
        (held if self.system_inside else pieces).extend(inside)
      else:
        pieces += begin if self.begins_turns else ()
        pieces += [self._before(role), *held, *self._asked(contents)]
        held = []
    if turns[-1][0] != "assistant":
      yield [*pieces, self._before("assistant")], None

  def _asked(self, contents: Sequence[str]) -> list[str]:
    """A turn of the user, from behind its first mark on."""
    if "input" not in self.before or len(contents) == 1:
      return ["\n".join(contents), self._after("user")]
    instruction, *inputs = contents
    return [
        instruction, self._after("user"), self._before("input"),
        "\n".join(inputs), self._after("input"),
    ]

  def _before(self, role: str) -> Mark:
    return Mark(self.before.get(role, ""))

  def _after(self, role: str) -> Mark:
    return Mark(self.after.get(role, ""))


# The turns, each on a line of its own: nothing in it is of any language, so
# that a template cannot favour one.
PLAIN = Template("plain", after={"system": "\n", "user": "\n"})
# The layout of Taori et al. (2023), with and without an input; the opening
# sentences are our own. A checkpoint tuned with the original ones wants them:
# see `from_file`.
ALPACA = Template(
    "alpaca",
    before={
        "user": "### Instruction:\n", "input": "### Input:\n",
        "assistant": "### Response:\n",
    },
    after={
        "system": "\n\n", "user": "\n\n", "input": "\n\n",
        "assistant": "\n\n",
    },
    opening="Here is a task to carry out. Answer it fully.\n\n",
    opening_with_input=(
        "Here is a task to carry out, and the text that it is about. Answer it"
        " fully.\n\n"
    ),
)
# Touvron et al. (2023b), 3.3 and the code published with it.
LLAMA2 = Template(
    "llama2",
    before={"user": "[INST] ", "system": "<<SYS>>\n"},
    after={"user": " [/INST]", "system": "\n<</SYS>>\n\n"},
    lead=" ",
    tail=" ",
    system_inside=True,
    strips=True,
    begins_turns=True,
)
# OpenAI's markup, as Qwen and many others use it.
CHATML = Template(
    "chatml",
    before={
        "system": "<|im_start|>system\n", "user": "<|im_start|>user\n",
        "assistant": "<|im_start|>assistant\n",
    },
    after={
        "system": "<|im_end|>\n", "user": "<|im_end|>\n", "assistant": "\n",
    },
    end="<|im_end|>",
    tokens=("<|im_start|>", "<|im_end|>"),
)
# Gemma Team (2024), section on formatting; the system's words as Gemma 3 has
# them, before the user's first.
GEMMA = Template(
    "gemma",
    before={
        "user": "<start_of_turn>user\n", "assistant": "<start_of_turn>model\n",
    },
    after={
        "system": "\n\n", "user": "<end_of_turn>\n", "assistant": "\n",
    },
    end="<end_of_turn>",
    tokens=("<start_of_turn>", "<end_of_turn>"),
    system_inside=True,
    strips=True,
)
TEMPLATES = {t.name: t for t in (PLAIN, ALPACA, LLAMA2, CHATML, GEMMA)}


def get(name: str) -> Template:
  """The template of that name, or in the file NAME.toml.

  Raises:
    UsageError: there is none; it lists the names.
  """
  if name.endswith(".toml"):
    return from_file(name)
  if name not in TEMPLATES:
    raise UsageError(
        f"unknown template {name!r}; known: {', '.join(TEMPLATES)}, or a"
        " file.toml"
    )
  return TEMPLATES[name]


def from_file(path: str) -> Template:
  """A template of the user's own: the attributes of `Template` as TOML.

  With `base = "alpaca"`, what the file leaves out is taken from there.

  Raises:
    UsageError: names the file and what is wrong with it.
  """
  try:
    with open(path, "rb") as file:
      values = tomllib.load(file)
  except OSError as e:
    raise UsageError(f"{path}: cannot be read: {e.strerror}") from None
  except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
    raise UsageError(f"{path}: not TOML ({e})") from None
  base = values.pop("base", PLAIN.name)
  if base not in TEMPLATES:
    raise UsageError(
        f"{path}: base {base!r} is not one of {', '.join(TEMPLATES)}"
    )
  values.setdefault("name", pathlib.Path(path).stem)
  kinds = {f.name: getattr(PLAIN, f.name) for f in dataclasses.fields(Template)}
  for name, value in values.items():
    if name not in kinds:
      raise UsageError(
          f"{path}: unknown field {name!r}; known: {', '.join(kinds)}"
      )
    kind = {tuple: list}.get(type(kinds[name]), type(kinds[name]))
    parts = value if kind is list else ()
    parts = value.values() if kind is dict and type(value) is kind else parts
    if type(value) is not kind or any(type(p) is not str for p in parts):
      raise UsageError(
          f"{path}: {name} must be {_KINDS[kind]}, not {value!r:.60}"
      )
    values[name] = tuple(value) if kind is list else value
  return dataclasses.replace(TEMPLATES[base], **values)


_KINDS = {
    str: "text", bool: "true or false", list: "a list of texts",
    dict: "a table of texts",
}
