"""A model directory as a judge: what `judging.local` asks."""

import hashlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.data import checkpoint_template
from mlit_jax.judging import judges


class Generator:
  """Answers a judge's prompts through the decoding engine, as one batch.

  Attributes:
    identity: what could change a reply; see judging.local.
  """

  def __init__(
      self,
      directory: pathlib.Path,
      *,
      template: str = "plain",
      temperature: float = 0,
      max_tokens: int = 1024,
      batch_size: int = 64,
  ):
    """Reads nothing but the files' hashes; the model is loaded when asked.

    Args:
      directory: the model's.
      template: puts the prompts in words.
      temperature: of the sampling.
      max_tokens: the longest reply.
      batch_size: prompts decoded together.

    Raises:
      OSError: there is no such directory.
    """
    self._directory, self._template = directory, template
    checkpoint_template.find(template, directory)
    self._temperature, self._max_tokens = temperature, max_tokens
    self._batch_size = batch_size
    self._revision = fingerprint(directory)
    self.identity: dict[str, Any] = {
        "model": self._revision, "template": template,
        "temperature": temperature, "max_tokens": max_tokens,
    }

  def __call__(
      self,
      prompts: Sequence[Sequence[records.Message]],
      seeds: Sequence[int],
  ) -> Iterator[tuple[int, judges.Reply]]:
    """Yields (index, reply) as batches finish.

    A prompt that does not fit the model is a failed request (`transport`).
    """
    from mlit_jax.decoding.requests import Request
    from mlit_jax.studies.answering import Answerer

    answerer = Answerer(self._directory, self._template, self._batch_size)
    longest = answerer.max_length
    requests, lengths = [], {}
    for index, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
      tokens = answerer.encode(prompt)
      if len(tokens) + self._max_tokens > longest:
        told = (
            f"{len(tokens)} prompt tokens and {self._max_tokens} of the reply"
            f" exceed the judge's length of {longest}"
        )
        yield index, judges.Reply(told, "transport")
        continue
      lengths[str(index)] = len(tokens)
      requests.append(
          Request(
              str(index), tuple(tokens), self._max_tokens, self._temperature,
              seed,
          )
      )
    for result in answerer.generate(requests):
      if result.failure:
        yield int(result.id), judges.Reply(result.failure, "transport")
        continue
      yield int(result.id), judges.Reply(
          answerer.read(result),
          finish_reason=result.finish_reason,
          revision=self._revision[:12],
          usage={"input": lengths[result.id], "output": result.num_tokens},
      )


def fingerprint(directory: pathlib.Path) -> str:
  """SHA-256 over a model directory's files, names and contents."""
  whole = hashlib.sha256()
  for path in sorted(directory.iterdir()):
    if path.is_file():
      with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
      whole.update(f"{path.name} {digest}\n".encode())
  return whole.hexdigest()
