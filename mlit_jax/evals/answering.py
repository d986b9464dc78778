"""A model writes answers to a benchmark's questions."""

import dataclasses
from collections.abc import Sequence

from mlit_jax.data import chat, tokenizers
from mlit_jax.decoding.requests import Request
from mlit_jax.evals.items import Question
from mlit_jax.evals.scoring import LanguageModel
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.records import Message


@dataclasses.dataclass(frozen=True)
class Answer:
  """What was written.

  Attributes:
    text: without white space around it, up to where it was stopped.
    is_cut: whether the prompt was too long and lost its beginning.
    failure: why there is no answer; "": there is one.
    unknown: tokens of the prompt that stand for what the tokenizer does not
      know.
  """

  text: str
  is_cut: bool
  failure: str = ""
  unknown: int = 0


def answer(
    model: LanguageModel,
    questions: Sequence[Question],
    form: chat.Form | None,
    *,
    max_new_tokens: int,
    stop: str,
    batch_size: int,
) -> list[Answer]:
  """Greedy answers, in the order of the questions.

  Args:
    model: writes.
    questions: what is asked.
    form: puts a prompt as a user's turn; None: the prompt is text that the
      model goes on from, until `stop`.
    max_new_tokens: at most, and no more than `limit` says.
    stop: text that ends an answer that is no turn.
    batch_size: questions answered together.
  """
  new = limit(model, max_new_tokens)
  room = model.room(new)
  requests, about, found = [], [], {}
  for i, question in enumerate(questions):
    ids, is_cut = _fit(model, form, question, room)
    unknown = tokenizers.num_unknown(model.tokenizer, ids)
    about.append((is_cut, unknown))
    if len(ids) > room:
      found[i] = Answer(
          "", is_cut, f"what stands around a prompt has {len(ids)} tokens, and"
          f" {room} are left beside {new} new ones; take a shorter template",
          unknown,
      )
      continue
    stops = (stop,) if form is None else ()
    requests.append(Request(f"{i}", tuple(ids), new, stop=stops))
  end = () if form is None else tuple(form.end_ids(model.tokenizer))
  for result in model.generate(requests, batch_size, end):
    text = result.text or ""
    if form is not None:
      text = form.read(model.tokenizer.decode(result.tokens))
    i = int(result.id)
    is_cut, unknown = about[i]
    found[i] = Answer(text.strip(), is_cut, result.failure, unknown)
  return [found[i] for i in range(len(questions))]


def limit(model: LanguageModel, max_new_tokens: int) -> int:
  """Tokens that an answer may have: prompts have half of a short model."""
  return max(1, min(max_new_tokens, model.max_length // 2))


def _fit(model, form, question: Question, room: int) -> tuple[list[int], bool]:
  """Ids of a prompt, and whether it lost its beginning.

  What stands around the prompt stays: begin tokens, template, cue.
  """
  text = question.prompt
  ids = _encode(model, form, question, text)
  if len(ids) <= room:
    return ids, False
  if form is None:
    begin = model.tokenizer.begin_ids
    return [*begin, *ids[len(ids) - room + len(begin) :]], True
  low, high = 0, len(text)
  while low < high:
    middle = (low + high) // 2
    if len(_encode(model, form, question, text[middle:])) <= room:
      high = middle
    else:
      low = middle + 1
  return _encode(model, form, question, text[low:]), True


def _encode(model, form, question: Question, text: str) -> list[int]:
  if form is None:
    return model.prompt(text + question.cue)
  ids = chat.encode_prompt(model.tokenizer, form, [Message("user", text)])
  # What an encoder reads has an end.
  ends = isinstance(model.config, EncoderDecoderConfig)
  return [*ids, model.tokenizer.eos_id] if ends else ids
