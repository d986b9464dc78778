"""The decoding engine: batched, cached, jitted.

Requests are put in batches of a fixed size by prompt length; a batch is read
at once (prefill) and then continued token by token until every row has ended.
A request's answer depends on the model, its tokens and its seed alone.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mlit_jax import partitioning
from mlit_jax.decoding import reading, sampling
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

# Prompts are padded to a power of two, so that few programs are compiled.
_SMALLEST_BUCKET = 32


class RequestError(ValueError):
  """A request that does not fit the model; names it."""


@dataclasses.dataclass(frozen=True)
class Request:
  """A prompt to continue.

  Attributes:
    id: names the request in results and errors.
    tokens: the prompt, begin token first.
    max_new_tokens: where to stop at the latest.
    temperature: 0 decodes greedily.
    seed: of the samples.
  """

  id: str
  tokens: tuple[int, ...]
  max_new_tokens: int
  temperature: float = 0.0
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Result:
  """A finished request.

  Attributes:
    id: the request's.
    tokens: what was generated, without the end token.
    finish_reason: `stop` (the end token came) or `length`.
  """

  id: str
  tokens: tuple[int, ...]
  finish_reason: str

  @property
  def num_tokens(self) -> int:
    """Tokens generated, the end token included."""
    return len(self.tokens) + (self.finish_reason == "stop")


class Engine:
  """Decodes with any parameters of one shape; they share its programs."""

  def __init__(
      self,
      model: DecoderConfig | EncoderDecoderConfig,
      mesh: Mesh,
      *,
      eos_id: int,
      batch_size: int = 64,
  ):
    """Compiles nothing yet.

    Args:
      model: its shape.
      mesh: where it lives; rows are shared out over it.
      eos_id: the token that ends an answer.
      batch_size: requests decoded together.
    """
    partitioning.check_batch(batch_size, mesh)
    self._config, self._mesh = model, mesh
    self._reader = reading.of(model)
    self._eos_id, self._batch_size = eos_id, batch_size
    make = functools.partial(self._reader.module.init_params, model)
    abstract = jax.eval_shape(make, 0)
    self._param_shardings = partitioning.param_shardings(abstract, mesh)
    self._decode = jax.jit(
        self._decode_batch, static_argnames=("max_new_tokens",)
    )

  @property
  def max_length(self) -> int:
    """Tokens that a prompt and its answer may have together."""
    return self._reader.max_length

  def generate(
      self, params: dict, requests: Sequence[Request]
  ) -> Iterator[Result]:
    """Yields a result per request, as batches finish.

    Raises:
      RequestError: a prompt is empty, is with its answer longer than the
        model's length, or has a token that the model lacks; a temperature or a
        seed cannot be. Checked before anything is decoded.
    """
    for request in requests:
      self._check(request)
    params = jax.device_put(params, self._param_shardings)
    order = sorted(requests, key=lambda r: (_bucket(r), len(r.tokens)))
    for start in range(0, len(order), self._batch_size):
      yield from self._finish(params, order[start : start + self._batch_size])

  def _check(self, request: Request) -> None:
    c, prompt, new = self._config, request.tokens, request.max_new_tokens
    if not prompt or new < 1:
      fault = "nothing to decode; give a prompt and max_new_tokens >= 1"
    elif len(prompt) + new > self.max_length:
      fault = (
          f"{len(prompt)} prompt tokens and {new} new ones exceed the model's"
          f" length of {self.max_length}; shorten one of them"
      )
    elif strange := [t for t in prompt if not 0 <= t < c.vocab_size]:
      fault = (
          f"token {strange[0]} is not one of the model's {c.vocab_size}; use"
          " the model's own tokenizer"
      )
    elif not 0 <= request.temperature < math.inf:
      fault = f"temperature {request.temperature} must be a number from 0 up"
    elif not 0 <= request.seed < 2**31:
      fault = f"seed {request.seed} must lie between 0 and 2**31 - 1"
    else:
      return
    raise RequestError(f"request {request.id!r}: {fault}")

  def _finish(self, params, requests) -> Iterator[Result]:
    length = _bucket(requests[-1])
    new = max(r.max_new_tokens for r in requests)
    tokens = np.full((self._batch_size, length), self._eos_id, np.int32)
    columns = {
        name: np.full(self._batch_size, empty, kind)
        for name, empty, kind in (
            ("lengths", 1, np.int32), ("limits", 0, np.int32),
            ("temperature", 0, np.float32), ("seeds", 0, np.int32),
        )
    }
    for row, r in enumerate(requests):
      tokens[row, : len(r.tokens)] = r.tokens
      values = (len(r.tokens), r.max_new_tokens, r.temperature, r.seed)
      for column, value in zip(columns.values(), values, strict=True):
        column[row] = value
    placed = jax.device_put(
        {"tokens": tokens, **columns}, partitioning.batch_sharding(self._mesh)
    )
    with partitioning.activation_rules(self._mesh):
      out, counts, stopped = jax.device_get(
          self._decode(params, **placed, max_new_tokens=new)
      )
    for row, request in enumerate(requests):
      reason = "stop" if stopped[row] else "length"
      answer = tuple(int(t) for t in out[row, : counts[row]])
      yield Result(request.id, answer, reason)

  def _decode_batch(
      self, params, tokens, lengths, limits, temperature, seeds, *,
      max_new_tokens,
  ):
    """Tokens [B, max_new_tokens], how many of them count, and who stopped."""
    batch = len(tokens)
    choose = functools.partial(
        sampling.next_token, temperature=temperature, seeds=seeds
    )
    logits, state = self._reader.begin(params, tokens, lengths, max_new_tokens)
    token = choose(logits, position=lengths)
    out = jnp.zeros((batch, max_new_tokens), jnp.int32)

    def unfinished(carry):
      index, *_, running = carry
      return jnp.any(running) & (index < max_new_tokens)

    def step(carry):
      index, token, state, out, counts, running = carry
      running = running & (token != self._eos_id) & (counts < limits)
      out = out.at[:, index].set(jnp.where(running, token, 0))
      counts = counts + running
      logits, state = self._reader.go_on(params, token, lengths, index, state)
      following = choose(logits, position=lengths + index + 1)
      # A finished row repeats its last choice, which tells why it ended.
      token = jnp.where(running, following, token)
      return index + 1, token, state, out, counts, running

    zero = jnp.zeros(batch, jnp.int32)
    start = (0, token, state, out, zero, limits > 0)
    _, token, _, out, counts, _ = jax.lax.while_loop(unfinished, step, start)
    # A full row's next token was chosen too; it does not count any more.
    return out, counts, (token == self._eos_id) & (counts < limits)


def _bucket(request: Request) -> int:
  size = _SMALLEST_BUCKET
  while size < len(request.tokens):
    size *= 2
  return size
