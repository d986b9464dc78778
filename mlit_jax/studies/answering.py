"""A model directory ready to answer: tokenizer, template, weights, engine."""

import os
from collections.abc import Iterator, Sequence

from mlit_jax.data import chat, checkpoint_template, tokenizers
from mlit_jax.decoding.engine import Request, Result
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import huggingface
from mlit_jax.records import Message
from mlit_jax.studies import session


class Answerer:
  """Turns messages into requests, and results into text.

  Attributes:
    config: the model's shape.
  """

  def __init__(
      self, directory: str | os.PathLike, template: str, batch_size: int
  ):
    """Loads the model.

    Args:
      directory: a model directory.
      template: puts prompts in words; `checkpoint` is the directory's own.
      batch_size: prompts decoded together.
    """
    self._tokenizer = tokenizers.load(directory)
    self._form = checkpoint_template.find(template, directory)
    rows = huggingface.load_config(directory).vocab_size
    tokenizers.check_vocabulary(self._tokenizer, rows, directory)
    self.config, self._params = huggingface.load(directory)
    end = self._form.end_ids(self._tokenizer)[0]
    self._engine = session.engine(self.config, end, batch_size)

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

  def generate(self, requests: Sequence[Request]) -> Iterator[Result]:
    """Yields a result per request, as batches finish."""
    return self._engine.generate(self._params, requests)

  def read(self, result: Result) -> str:
    """The text of an answer."""
    return self._form.read(self._tokenizer.decode(result.tokens))
