"""Beam search, as transformers does it.

Axes: G prompts, N beams of each, M candidates, V vocab, W tokens written.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from mlit_jax import partitioning
from mlit_jax.decoding import adapters as adapters_lib
from mlit_jax.decoding import reading, slots
from mlit_jax.decoding.lane import rung
from mlit_jax.decoding.requests import NOT_FINITE, Request, Result, fault
from mlit_jax.decoding.weights import Taken, Weights
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

_LOW = -1e9  # score of what is not there


class _Search(NamedTuple):
  """Where a search stands.

  Attributes:
    index: tokens written so far.
    cache, position, logits: the model's, a row per beam.
    scores, tokens, logprobs: of beams that go on; a score is the sum of its
      tokens' log-probabilities.
    ended_scores, ended_tokens, ended_logprobs, ended_lengths: of the best that
      have ended; a score is divided by length ** length_penalty.
    ended: which of these there are.
    is_open: whether a prompt's search goes on.
    fine: whether the logits that it read were finite.
  """

  index: Int[Array, ""]
  cache: Any
  position: Int[Array, "G*N"]
  logits: Float[Array, "G*N V"]
  scores: Float[Array, "G N"]
  tokens: Int[Array, "G N W"]
  logprobs: Float[Array, "G N W"]
  ended_scores: Float[Array, "G N"]
  ended_tokens: Int[Array, "G N W"]
  ended_logprobs: Float[Array, "G N W"]
  ended_lengths: Int[Array, "G N"]
  ended: Bool[Array, "G N"]
  is_open: Bool[Array, "G"]
  fine: Bool[Array, "G"]


class BeamSearch:
  """Finds likely answers; is asked as the Engine is."""

  def __init__(
      self,
      model: DecoderConfig | EncoderDecoderConfig,
      mesh: Mesh,
      *,
      end_ids: Sequence[int],
      num_beams: int,
      length_penalty: float = 1.0,
      num_slots: int = 64,
      dtype: jax.typing.DTypeLike = jnp.float32,
      cache_dtype: jax.typing.DTypeLike | None = None,
  ):
    """Compiles nothing yet.

    Args:
      model: its shape.
      mesh: where it lives; beams are shared out over it.
      end_ids: tokens that end an answer.
      num_beams: N.
      length_penalty: scores are divided by length to this power; above 0
        favours long answers.
      num_slots: beams that go on together, of as many prompts as have room.
      dtype: of activations.
      cache_dtype: of the cache, as of Engine.
    """
    self._config, self._mesh, self._num_beams = model, mesh, num_beams
    self._end_ids, self._penalty = frozenset(end_ids), length_penalty
    ways = partitioning.batch_ways(mesh)
    self._rows = max(num_slots // num_beams // ways, 1) * ways
    self._reader = reading.of(model, dtype, cache_dtype)
    self._weights = Weights(self._reader, mesh)
    self._run = jax.jit(self._search, static_argnames="room")

  @property
  def max_length(self) -> int:
    """Tokens that a prompt and its answer may have together."""
    return self._reader.max_length

  def take(self, params: Mapping) -> Taken:
    """As of Engine."""
    return self._weights.take(params)

  def generate(
      self,
      params: Mapping | Taken,
      requests: Iterable[Request],
      *,
      adapters: Mapping[str, adapters_lib.Adapter] | None = None,
      text=None,
      follow=None,
  ) -> Iterator[Result]:
    """As of Engine; the results have scores. Nothing is sampled or stopped."""
    del text
    numbers, joined = {None: 0}, {}
    if adapters:
      numbers, joined = adapters_lib.join(self._config, adapters)
    params = self._weights.of_model(params)
    joined = self._weights.of_adapters(joined)
    asked = list(requests)
    while asked:
      results, fit = [], []
      for request in asked:
        if reason := self._fault(request, numbers):
          results.append(Result(request.id, (), "error", failure=reason))
        else:
          fit.append(request)
      asked = []
      found = self._batches(params, joined, numbers, fit)
      for result in itertools.chain(results, found):
        yield result
        if follow and (further := follow(result)) is not None:
          asked.append(further)

  def _fault(self, request: Request, numbers) -> str:
    if request.temperature or request.repetition_penalty != 1:
      return "beam search takes no temperature and no repetition penalty"
    if request.stop:
      return "beam search takes no stop strings"
    return fault(
        request, numbers, self._config.vocab_size, self.max_length
    )

  def _batches(self, params, adapters, numbers, requests) -> Iterator[Result]:
    """Prompts of one padded length, with room for as much, together."""

    def shape(request):
      return rung(len(request.tokens)), rung(request.max_new_tokens)

    requests.sort(key=shape)
    for (length, room), group in itertools.groupby(requests, key=shape):
      group = list(group)
      for start in range(0, len(group), self._rows):
        batch = group[start : start + self._rows]
        # Rows left over repeat the first.
        rows = batch + batch[:1] * (self._rows - len(batch))
        tokens = np.zeros((self._rows, length), np.int32)
        for row, r in enumerate(rows):
          tokens[row, : len(r.tokens)] = r.tokens

        columns = [
            np.asarray(column, np.int32)
            for column in zip(
                *((len(r.tokens), r.max_new_tokens, numbers[r.adapter])
                  for r in rows), strict=True,
            )
        ]
        with partitioning.activation_rules(self._mesh):
          found = jax.device_get(
              self._run(params, adapters, tokens, *columns, room=room)
          )
        for row, request in enumerate(batch):
          yield self._result(request, *(x[row] for x in found))

  def _result(self, request, tokens, logprobs, length, score, fine) -> Result:
    if not fine:
      return Result(request.id, (), "error", failure=NOT_FINITE)
    written = tokens[:length].tolist()
    ended = written[-1] in self._end_ids
    return Result(
        request.id, tuple(written[:-1] if ended else written),
        "stop" if ended else "length", ended,
        logprobs=tuple(logprobs[:length].tolist()) if request.logprobs else (),
        score=float(score),
    )

  def _search(
      self, params, adapters, tokens, lengths, limits, ids, *, room: int
  ) -> tuple[
      Int[Array, "G W"], Float[Array, "G W"], Int[Array, "G"],
      Float[Array, "G"], Bool[Array, "G"],
  ]:
    """Each prompt's best answer, its log-probabilities, length and score.

    And whether it counts: its logits were finite.
    """
    rows, beams = len(tokens), self._num_beams
    axis = self._reader.batch_axis
    repeat = functools.partial(jnp.repeat, repeats=beams)
    variables = functools.partial(
        slots.variables, params, adapters, stacked=self._reader.stacked
    )
    logits, cache, position = self._reader.read(
        variables(ids), tokens, lengths
    )
    cache = self._reader.resize(
        cache, self._reader.lengths(tokens.shape[1], room)
    )
    none = jnp.full((rows, beams), _LOW)
    nothing = jnp.zeros((rows, beams, room), jnp.int32)
    unlikely = jnp.zeros(nothing.shape, jnp.float32)
    fine = _finite(logits, rows)[:, 0]
    start = _Search(
        jnp.int32(0), jax.tree.map(lambda x: repeat(x, axis=axis), cache),
        repeat(position), repeat(logits, axis=0),
        none.at[:, 0].set(0.0),  # at first all beams are one
        nothing, unlikely, none, nothing, unlikely, nothing[..., 0], none == 0,
        fine, fine,
    )
    own = variables(repeat(ids))
    found = jax.lax.while_loop(
        lambda s: jnp.any(s.is_open),
        functools.partial(self._step, own, limits), start,
    )
    return (
        found.ended_tokens[:, 0], found.ended_logprobs[:, 0],
        found.ended_lengths[:, 0], found.ended_scores[:, 0],
        found.fine,
    )

  def _step(self, variables, limits, s: _Search) -> _Search:
    """One token more for every beam."""
    rows, beams = s.scores.shape
    vocab = s.logits.shape[-1]
    logprobs = jax.nn.log_softmax(s.logits, axis=-1).reshape(rows, beams, vocab)
    sums = (s.scores[..., None] + logprobs).reshape(rows, -1)
    # So many that beams are left, even if all ends are among the best.
    many = max(2, 1 + len(self._end_ids)) * beams
    best, place = jax.lax.top_k(sums, min(many, sums.shape[-1]))
    parent, token = place // vocab, place % vocab

    def longer(old, new):
      old = jnp.take_along_axis(old, parent[..., None], axis=1)
      return old.at[:, :, s.index].set(new)

    tokens = longer(s.tokens, token)
    written = longer(
        s.logprobs,
        jnp.take_along_axis(logprobs.reshape(rows, -1), place, axis=1),
    )
    ends = jnp.asarray(sorted(self._end_ids), jnp.int32)
    length = s.index + 1
    over = jnp.any(token[..., None] == ends, axis=-1)
    over |= (length >= limits)[:, None]

    divisor = length.astype(jnp.float32) ** self._penalty
    # What ends below the N best does not count.
    counts = over & (jnp.arange(best.shape[1]) < beams) & s.is_open[:, None]
    scores = jnp.where(counts, best / divisor, 2 * _LOW)
    merged, order = jax.lax.top_k(
        jnp.concatenate([s.ended_scores, scores], axis=1), beams
    )

    def chosen(old, new, order=order):
      both = jnp.concatenate([old, new], axis=1)
      order = order.reshape(*order.shape, *[1] * (both.ndim - 2))
      return jnp.take_along_axis(both, order, axis=1)

    ended = chosen(s.ended, counts)
    scores, order = jax.lax.top_k(jnp.where(over, best + _LOW, best), beams)
    kept = order[..., None]
    goes_on, token = (
        jnp.take_along_axis(x, order, axis=1) for x in (parent, token)
    )
    row = (goes_on + beams * jnp.arange(rows)[:, None]).reshape(-1)
    cache = jax.tree.map(
        lambda x: jnp.take(x, row, axis=self._reader.batch_axis), s.cache
    )
    logits, cache = self._reader.step(
        variables, token.reshape(-1), s.position, cache
    )
    # The best that may yet come, were it to end now (a heuristic, but theirs).
    worst = jnp.where(ended, jnp.min(merged, axis=1, keepdims=True), _LOW)
    hope = jnp.any(scores[:, :1] / divisor > worst, axis=1)
    is_open = s.is_open & hope & (length < limits)
    # What is read after the end does not matter, nor what dead beams read.
    dead = scores < _LOW / 2
    fine = s.fine & (jnp.all(_finite(logits, rows) | dead, axis=1) | ~is_open)
    return _Search(
        length, cache, s.position + 1, logits, scores,
        jnp.take_along_axis(tokens, kept, axis=1),
        jnp.take_along_axis(written, kept, axis=1), merged,
        chosen(s.ended_tokens, tokens), chosen(s.ended_logprobs, written),
        chosen(s.ended_lengths, jnp.full(best.shape, length)), ended,
        is_open & fine, fine,
    )


def _finite(logits, rows: int):
  """[G N]: whether a beam's highest logit is finite; a NaN is the highest."""
  highest = jnp.max(jnp.where(jnp.isnan(logits), jnp.inf, logits), axis=-1)
  return jnp.isfinite(highest).reshape(rows, -1)
