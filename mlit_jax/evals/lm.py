"""Log-likelihoods of continuations, batched.

Axes: B batch, C contexts, T length, P scored tokens, V vocab.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from mlit_jax import partitioning
from mlit_jax.models import decoder
from mlit_jax.models.config import DecoderConfig

_SMALLEST = 16


@dataclasses.dataclass(frozen=True)
class Pair:
  """A continuation to score, in tokens.

  Attributes:
    id: names it in results.
    context: what is given; at least one token.
    continuation: what is scored; both fit the model (pairs.truncate).
  """

  id: str
  context: tuple[int, ...]
  continuation: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Score:
  """What a continuation got.

  Attributes:
    logprob: natural logarithm of its probability, given the context.
    num_tokens: of the continuation.
    is_greedy: whether each token is the likeliest at its place.
  """

  id: str
  logprob: float
  num_tokens: int
  is_greedy: bool


class _Batch(NamedTuple):
  """Rows for one call: what is read, and what is predicted where."""

  tokens: np.ndarray
  segments: np.ndarray
  places: np.ndarray
  targets: np.ndarray
  counts: np.ndarray


class Scorer:
  """Scores with any parameters of one shape; they share its programs.

  Pairs with one context share its computation: the context is read once into a
  cache, and every continuation goes on from there.
  """

  def __init__(
      self, model: DecoderConfig, mesh: Mesh, *, batch_size: int = 32
  ):
    """Compiles nothing yet.

    Args:
      model: shape of the decoder.
      mesh: where it lives; rows are shared out over it.
      batch_size: rows scored together.
    """
    partitioning.check_batch(batch_size, mesh)
    self._config, self._mesh, self._size = model, mesh, batch_size
    self._model = decoder.Decoder(model)
    abstract = jax.eval_shape(functools.partial(decoder.init_params, model), 0)
    self._param_shardings = partitioning.param_shardings(abstract, mesh)
    self._whole = jax.jit(self._score_whole)
    self._read = jax.jit(self._read_contexts, static_argnames="room")
    self._go_on = jax.jit(self._score_from_cache)

  def score(self, params: dict, pairs: Sequence[Pair]) -> Iterator[Score]:
    """Yields a score per pair, as batches finish (the longest first)."""
    params = jax.device_put(params, self._param_shardings)
    contexts = collections.defaultdict(list)
    for pair in pairs:
      contexts[pair.context].append(pair)
    alone, shared = [], []
    for context, group in contexts.items():
      # What is saved must be more than what a cache costs.
      worth = len(group) > 1 and len(context) > _SMALLEST // 2
      (shared if worth else alone).extend(group)
    with partitioning.activation_rules(self._mesh):
      yield from self._alone(params, alone)
      yield from self._shared(params, shared, contexts)

  def _alone(self, params, pairs) -> Iterator[Score]:
    order = sorted(
        pairs, key=lambda p: -(len(p.context) + len(p.continuation))
    )
    for start in range(0, len(order), self._size):
      rows = order[start : start + self._size]
      batch = self._batch(
          [(p.context, p.continuation, len(p.context) - 1) for p in rows],
          self._size,
      )
      yield from _scores(rows, *self._whole(params, **self._put(batch)))

  def _shared(self, params, pairs, contexts) -> Iterator[Score]:
    distinct = sorted({p.context for p in pairs}, key=lambda c: (-len(c), c))
    while distinct:
      taken, rows = [], []
      while distinct and len(rows) + len(contexts[distinct[0]]) <= self._size:
        owner = len(taken)
        taken.append(distinct.pop(0))
        rows += [(owner, p) for p in contexts[taken[-1]]]
      if not taken:  # more continuations than a batch holds
        yield from self._alone(params, contexts[distinct.pop(0)])
        continue
      yield from self._from_contexts(params, taken, rows)

  def _from_contexts(self, params, contexts, rows) -> Iterator[Score]:
    number = _bucket(len(contexts), 1)
    number += -number % self._rows_per_device()
    # The context's last token is read with the continuations: what it predicts
    # is their first token.
    read = self._batch([(c[:-1], (), 0) for c in contexts], number)
    batch = self._batch(
        [(p.context[-1:], p.continuation, 0) for _, p in rows], self._size
    )
    owners = np.zeros(self._size, np.int32)
    starts = np.zeros(self._size, np.int32)
    for row, (owner, pair) in enumerate(rows):
      owners[row], starts[row] = owner, len(pair.context) - 1
    put = self._put(read)
    cache = self._read(
        params, put["tokens"], put["segments"], room=batch.tokens.shape[1]
    )
    found = self._go_on(
        params, cache, owners=owners, starts=starts, **self._put(batch)
    )
    yield from _scores([p for _, p in rows], *found)

  def _rows_per_device(self) -> int:
    return self._mesh.shape["data"] * self._mesh.shape["fsdp"]

  def _batch(self, rows, size: int) -> _Batch:
    """Rows (read, predicted, place of the first prediction), padded."""
    length = max(len(read) + max(len(after) - 1, 0) for read, after, _ in rows)
    length = min(_bucket(length, _SMALLEST), self._config.max_length)
    scored = _bucket(max(len(after) for _, after, _ in rows), 1)
    tokens = np.zeros((size, length), np.int32)
    segments = np.zeros((size, length), np.int32)
    places = np.zeros((size, scored), np.int32)
    targets = np.zeros((size, scored), np.int32)
    counts = np.zeros(size, np.int32)
    for i, (read, after, place) in enumerate(rows):
      whole = (*read, *after[:-1])
      tokens[i, : len(whole)], segments[i, : len(whole)] = whole, 1
      places[i, : len(after)] = place + np.arange(len(after))
      targets[i, : len(after)], counts[i] = after, len(after)
    return _Batch(tokens, segments, places, targets, counts)

  def _put(self, batch: _Batch) -> dict:
    return jax.device_put(
        batch._asdict(), partitioning.batch_sharding(self._mesh)
    )

  def _score_whole(self, params, tokens, segments, places, targets, counts):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    logits, _ = self._model.apply(
        {"params": params}, tokens, positions, segments, logit_positions=places
    )
    return _sums(logits, targets, counts)

  def _read_contexts(self, params, tokens, segments, *, room: int):
    size, length = tokens.shape
    cache = decoder.init_cache(self._config, size, length + room)
    positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
    # The head is not asked for more than one place.
    _, cache = self._model.apply(
        {"params": params}, tokens, positions, segments, cache,
        logit_positions=jnp.zeros((size, 1), jnp.int32),
    )
    return cache

  def _score_from_cache(
      self, params, cache, tokens, segments, places, targets, counts, owners,
      starts,
  ):
    cache = jax.tree.map(lambda x: jnp.take(x, owners, axis=1), cache)
    positions = starts[:, None] + jnp.arange(tokens.shape[1])
    logits, _ = self._model.apply(
        {"params": params}, tokens, positions, segments, cache,
        logit_positions=places,
    )
    return _sums(logits, targets, counts)


def _sums(
    logits: Float[Array, "B P V"],
    targets: Int[Array, "B P"],
    counts: Int[Array, "B"],
) -> tuple[Float[Array, "B"], Bool[Array, "B"]]:
  """Summed log-probabilities of the targets, and whether all are likeliest."""
  chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  logprobs = chosen - jax.nn.logsumexp(logits, axis=-1)
  counted = jnp.arange(targets.shape[1]) < counts[:, None]
  greedy = (jnp.argmax(logits, axis=-1) == targets) | ~counted
  return jnp.sum(jnp.where(counted, logprobs, 0), axis=1), greedy.all(axis=1)


def _scores(pairs: Sequence[Pair], logprobs, greedy) -> Iterator[Score]:
  logprobs, greedy = jax.device_get((logprobs, greedy))
  for row, pair in enumerate(pairs):
    yield Score(
        pair.id, float(logprobs[row]), len(pair.continuation),
        bool(greedy[row]),
    )


def _bucket(size: int, smallest: int) -> int:
  while smallest < size:
    smallest *= 2
  return smallest
