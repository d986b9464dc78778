"""A model directory ready to answer: tokenizer, template, weights, engine."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from mlit_jax.data import chat, checkpoint_template, tokenizers
from mlit_jax.decoding.requests import Request, Result
from mlit_jax.errors import UsageError
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import huggingface, peft
from mlit_jax.records import Instruction, Message, Response
from mlit_jax.studies import session

# Of a prompt's tokens; beyond it the tokenizer lacks the script.
_MOST_UNKNOWN = 0.1


class PromptError(ValueError):
  """A prompt that this model cannot be asked."""


@dataclasses.dataclass(frozen=True)
class Question:
  """A prompt, and which model is to answer it.

  Attributes:
    prompt: whoever speaks twice in it is answered twice.
    name: of the model, for the response.
    adapter: which one answers; None: the base.
    options: how it is answered; None: as the others.
  """

  prompt: Instruction
  name: str
  adapter: str | None = None
  options: "Options | None" = None


@dataclasses.dataclass(frozen=True)
class Options:
  """How questions are answered.

  Attributes:
    max_new_tokens: of an answer.
    temperature, top_k, top_p, min_p, repetition_penalty, stop, logprobs: as of
      decoding.requests.Request.
    seed: every answer's own is drawn from it and from what is asked.
    truncate: whether a conversation that is too long loses its beginning;
      otherwise it fails.
  """

  max_new_tokens: int
  temperature: float = 0.0
  top_k: int = 0
  top_p: float = 1.0
  min_p: float = 0.0
  repetition_penalty: float = 1.0
  stop: tuple[str, ...] = ()
  logprobs: bool = False
  seed: int = 0
  truncate: bool = False


@dataclasses.dataclass(frozen=True)
class Answer:
  """A response, and what came with it.

  Attributes:
    response: the last answer, or why there is none.
    truncated: tokens that the prompts lost.
    unknown: tokens of the prompts that the tokenizer does not know.
    logprobs: of the last answer's tokens, if asked for.
  """

  response: Response
  truncated: int
  unknown: int
  logprobs: tuple[float, ...] = ()


class Answerer:
  """Turns messages into requests, and results into text.

  Attributes:
    config: the model's shape.
    params: its weights, as the engine has them: of `Engine.take`, or as they
      were read if they are kept for others, too.
    adapters: by name, each with its config.
  """

  def __init__(
      self,
      directory: str | os.PathLike,
      template: str,
      batch_size: int,
      *,
      adapters: Mapping[str, str | os.PathLike] | None = None,
      mesh_shape: tuple[int, int, int] = session.ROWS,
      dtype: str = "float32",
      cache_dtype: str | None = None,
      num_beams: int = 1,
      length_penalty: float = 1.0,
      keep_params: bool = False,
  ):
    """Loads the model.

    Args:
      directory: a model directory.
      template: puts prompts in words; `checkpoint` is the directory's own.
      batch_size: answers that go on together.
      adapters: PEFT directories by the names that questions give.
      mesh_shape: as of partitioning.make_mesh.
      dtype: of weights and activations.
      cache_dtype: of the cache; None: the same.
      num_beams: of beam search; 1: there is none.
      length_penalty: as of decoding.beam.BeamSearch.
      keep_params: whether `params` are of use for others; answers then need a
        second copy of them.
    """
    self._tokenizer = tokenizers.load(directory)
    self._form = checkpoint_template.find(template, directory)
    rows = huggingface.load_config(directory).vocab_size
    tokenizers.check_vocabulary(self._tokenizer, rows, directory)
    self.config, params = huggingface.load(
        directory, session.mesh(mesh_shape), dtype
    )
    self.adapters = {
        name: peft.load_adapter(place, self.config)
        for name, place in (adapters or {}).items()
    }
    self._engine = session.engine(
        self.config, self._form.end_ids(self._tokenizer), batch_size,
        mesh_shape, dtype, cache_dtype, num_beams, length_penalty,
    )
    self.params = params if keep_params else self._engine.take(params)

  @property
  def max_length(self) -> int:
    """Tokens that a prompt and its answer may have together."""
    return self._engine.max_length

  def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
    """Ids of a prompt, ready for the answer."""
    ids = chat.encode_prompt(self._tokenizer, self._form, messages)
    if isinstance(self.config, EncoderDecoderConfig):
      ids.append(self._tokenizer.eos_id)  # what an encoder reads has an end
    return tuple(ids)

  def generate(
      self,
      requests: Sequence[Request],
      follow: Callable[[Result], Request | None] | None = None,
  ) -> Iterator[Result]:
    """Yields a result per request, as they finish; see Engine.generate."""
    return self._engine.generate(
        self.params, requests, adapters=self.adapters, follow=follow,
        text=lambda: tokenizers.StreamDecoder(self._tokenizer),
    )

  def read(self, result: Result) -> str:
    """The text of an answer."""
    text = result.text
    if text is None:
      text = self._tokenizer.decode(result.tokens)
    return self._form.read(text)

  def answer(
      self, questions: Sequence[Question], options: Options
  ) -> Iterator[tuple[int, Answer]]:
    """Yields (index of the question, answer) as conversations end.

    A question that cannot be answered has a response that says why.
    """
    talks = [_Talk(self, i, q, options) for i, q in enumerate(questions)]
    first = []
    for index, talk in enumerate(talks):
      if request := talk.ask():
        first.append(request)
      else:
        yield index, talk.end()
    following: dict[str, Request] = {}
    # The engine asks for what follows a result after it has given that.
    for result in self.generate(
        first, lambda result: following.pop(result.id, None)
    ):
      talk = talks[int(result.id)]
      if talk.hear(result) and (request := talk.ask()):
        following[result.id] = request
      else:
        yield int(result.id), talk.end()

  def prepare(
      self, messages: Sequence[Message], options: Options
  ) -> tuple[tuple[int, ...], int, int]:
    """Ids of a prompt that fit, how many it lost, how many are unknown.

    Raises:
      PromptError: it is too long, or in a script that the tokenizer lacks.
    """
    ids = self.encode(messages)
    unknown = tokenizers.num_unknown(self._tokenizer, ids)
    if unknown > _MOST_UNKNOWN * len(ids):
      raise PromptError(
          f"{unknown} of the prompt's {len(ids)} tokens are unknown to the"
          " model's tokenizer: it lacks the script; take another model"
      )
    room = self.max_length - options.max_new_tokens
    begin = self._tokenizer.begin_ids
    if len(ids) <= room:
      return ids, 0, unknown
    if room <= len(begin):
      raise PromptError(
          f"{options.max_new_tokens} new tokens leave no room for a prompt in"
          f" the model's length of {self.max_length}; ask for fewer"
      )
    if not options.truncate:
      raise PromptError(
          f"{len(ids)} prompt tokens and {options.max_new_tokens} new ones"
          f" exceed the model's length of {self.max_length}; shorten one of"
          " them, or have the beginning dropped (--too_long truncate)"
      )
    lost = len(ids) - room
    kept = ids[lost + len(begin) :]
    return (*begin, *kept), lost, unknown


class _Talk:
  """A conversation under way."""

  def __init__(self, answerer, index: int, question: Question, options):
    self._answerer, self._index = answerer, index
    self._question, self._options = question, question.options or options
    self._turns = _turns(question.prompt.messages)
    self._turn, self._said = 0, []
    self._result: Result | None = None
    self._failure, self._truncated, self._unknown = "", 0, 0

  def ask(self) -> Request | None:
    """The next turn's request; None: it cannot be asked."""
    q, o = self._question, self._options
    self._said += self._turns[self._turn]
    self._turn += 1
    try:
      ids, lost, unknown = self._answerer.prepare(self._said, o)
    except (PromptError, UsageError, checkpoint_template.TemplateError) as e:
      self._failure = " ".join(str(e).split())
      return None
    self._truncated += lost
    self._unknown += unknown
    key = f"{o.seed}\n{q.prompt.id}\n{q.prompt.lang}\n{q.name}\n{self._turn}"
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) >> 1
    return Request(
        str(self._index), ids, o.max_new_tokens, o.temperature, seed, o.top_k,
        o.top_p, o.min_p, o.repetition_penalty, q.adapter, o.stop, o.logprobs,
    )

  def hear(self, result: Result) -> bool:
    """Takes an answer; whether there is more to ask."""
    self._result, self._failure = result, result.failure
    if self._failure or self._turn == len(self._turns):
      return False
    text = self._answerer.read(result)
    self._said.append(Message("assistant", text))
    return True

  def end(self) -> Answer:
    """What came of it."""
    q, result = self._question, self._result
    about = {
        "id": q.prompt.id, "lang": q.prompt.lang, "model": q.name,
        "messages": tuple(self._said) if len(self._turns) > 1 else (),
    }
    if self._failure:
      response = Response(
          response="", finish_reason="error", num_tokens=0,
          failure=self._failure, **about,
      )
      return Answer(response, self._truncated, self._unknown)
    response = Response(
        response=self._answerer.read(result),
        finish_reason=result.finish_reason, num_tokens=result.num_tokens,
        **about,
    )
    return Answer(response, self._truncated, self._unknown, result.logprobs)


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
  """What is said before each answer: a user who speaks twice is answered twice.

  A conversation that has answers already is one turn.
  """
  if any(m.role == "assistant" for m in messages):
    return [list(messages)]
  turns: list[list[Message]] = [[]]
  for m in messages:
    if turns[-1] and turns[-1][-1].role == "user":
      turns.append([])
    turns[-1].append(m)
  return turns
