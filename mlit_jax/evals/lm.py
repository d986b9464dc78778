"""Log-likelihoods of continuations, batched.

Axes: B batch, C contexts, T length, P scored tokens, V vocab.
"""

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
from mlit_jax.decoding.reading import START_ID
from mlit_jax.evals import prefixes
from mlit_jax.evals.prefixes import Group, Pair
from mlit_jax.models import decoder, encoder_decoder
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange.family import ModelConfig

_LEAST = 8  # tokens in a row, to which it is padded
# Up to here rows are padded to powers of two, beyond to quarters of them: each
# length is compiled once, which takes as long as some hundred rows of a model.
_COARSE = 32
_FEW = 32  # rows that are scored together, however few there are
# Tokens of contexts that are kept at a time: of a model of 7 billion parameters
# in bfloat16, 4 GB.
_KEPT = 8192


@dataclasses.dataclass(frozen=True)
class Score:
  """What a continuation got.

  Attributes:
    logprob: natural logarithm of its probability, given the context.
    num_tokens: of the continuation.
    is_greedy: whether each token is the likeliest at its place.
    unknown: tokens, the context's too, that stand for what the tokenizer does
      not know; whoever has it counts them.
    is_cut: whether the context lost its beginning; whoever cuts it says so.
  """

  id: str
  logprob: float
  num_tokens: int
  is_greedy: bool
  unknown: int = 0
  is_cut: bool = False


class _Batch(NamedTuple):
  """Rows for one call: what is read, and what is predicted where."""

  tokens: np.ndarray
  segments: np.ndarray
  places: np.ndarray
  targets: np.ndarray
  counts: np.ndarray


class Scorer:
  """Scores with any parameters of one shape; they share its programs.

  What contexts share at their beginning is read once into a cache, and every
  pair goes on from there; an item's options, and items that differ in a word,
  share most. An encoder-decoder reads the context in its encoder.
  """

  def __init__(
      self,
      model: ModelConfig,
      mesh: Mesh,
      *,
      batch_size: int = 32,
      dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Compiles nothing yet.

    Args:
      model: its shape.
      mesh: where it lives; rows are shared out over it.
      batch_size: rows scored together.
      dtype: of activations and of the cache; sums are in float32.
    """
    partitioning.check_batch(batch_size, mesh)
    self._config, self._mesh, self._size = model, mesh, batch_size
    self._dtype = dtype
    self._encodes = isinstance(model, EncoderDecoderConfig)
    module = encoder_decoder if self._encodes else decoder
    abstract = jax.eval_shape(functools.partial(module.init_params, model), 0)
    if self._encodes:
      self._model = encoder_decoder.EncoderDecoder(model, dtype)
    else:
      self._model = decoder.Decoder(model, dtype)
    self._param_shardings = partitioning.param_shardings(abstract, mesh)
    self._whole = jax.jit(self._score_whole)
    self._both = jax.jit(self._score_encoded)
    self._read = jax.jit(self._read_contexts, static_argnames="room")
    self._join = jax.jit(
        lambda caches: jax.tree.map(
            lambda *parts: jnp.concatenate(parts, axis=1), *caches
        )
    )
    self._go_on = jax.jit(self._score_from_cache)

  def score(self, params: dict, pairs: Sequence[Pair]) -> Iterator[Score]:
    """Yields a score per pair, as batches finish (the longest first)."""
    params = jax.device_put(params, self._param_shardings)
    size = min(self._size, max(_FEW, _power(len(pairs))))
    size += -size % self._rows_per_device()
    if self._encodes:
      with partitioning.activation_rules(self._mesh):
        yield from self._encoded(params, pairs, size)
      return
    groups = prefixes.groups(pairs)
    alone = [group.pairs[0] for group in groups if not group.prefix]
    with partitioning.activation_rules(self._mesh):
      yield from self._alone(params, alone, size)
      yield from self._shared(params, [g for g in groups if g.prefix], size)

  def _alone(self, params, pairs, size: int) -> Iterator[Score]:
    order = sorted(
        pairs, key=lambda p: -(len(p.context) + len(p.continuation))
    )
    for start in range(0, len(order), size):
      rows = order[start : start + size]
      batch = self._batch(
          [(p.context, p.continuation, len(p.context) - 1) for p in rows],
          size,
      )
      yield from _scores(rows, *self._whole(params, **self._put(batch)))

  def _encoded(self, params, pairs, size: int) -> Iterator[Score]:
    order = sorted(
        pairs, key=lambda p: (-len(p.context), -len(p.continuation))
    )
    for start in range(0, len(order), size):
      rows = order[start : start + size]
      read = self._batch([(p.context, (), 0) for p in rows], size)
      # The start token, and of the continuation all but the last.
      said = self._batch(
          [((START_ID,), p.continuation, 0) for p in rows], size
      )
      put = self._put(read)
      yield from _scores(
          rows,
          *self._both(
              params, put["tokens"], put["segments"], **self._put(said)
          ),
      )

  def _shared(
      self, params, groups: list[Group], size: int
  ) -> Iterator[Score]:
    """As many prefixes at a time as may be kept; the longest first."""
    groups = sorted(groups, key=lambda g: (-len(g.prefix), g.prefix))
    start = 0
    while start < len(groups):
      length = _bucket(len(groups[start].prefix))
      room, end = 0, start
      while end < len(groups):
        rest = max(len(p) for p, _ in _rests(groups[end]))
        further = max(room, _power(_bucket(rest)))
        if end > start and (end + 1 - start) * (length + further) > _KEPT:
          break
        room, end = further, end + 1
      yield from self._from_prefixes(
          params, groups[start:end], length, room, size
      )
      start = end

  def _from_prefixes(
      self, params, groups: Sequence[Group], length: int, room: int,
      num_rows: int,
  ) -> Iterator[Score]:
    size = min(num_rows, _power(len(groups)))
    size += -size % self._rows_per_device()
    caches = []
    for start in range(0, len(groups), size):
      taken = groups[start : start + size]
      read = self._batch([(g.prefix, (), 0) for g in taken], size, length)
      put = self._put(read)
      caches.append(
          self._read(params, put["tokens"], put["segments"], room=room)
      )
    # Few shapes: what is more than one is a power of two of them.
    caches += [caches[-1]] * (_power(len(caches)) - len(caches))
    cache = self._join(caches) if len(caches) > 1 else caches[0]
    rows = [
        (owner, len(group.prefix), rest, pair)
        for owner, group in enumerate(groups)
        for rest, pair in _rests(group)
    ]
    rows.sort(key=lambda row: (-len(row[2]), -len(row[3].continuation)))
    for start in range(0, len(rows), num_rows):
      taken = rows[start : start + num_rows]
      batch = self._batch(
          [
              (pair.context[begin:], pair.continuation,
               len(pair.context) - begin - 1)
              for _, begin, _, pair in taken
          ],
          num_rows,
      )
      owners = np.zeros(num_rows, np.int32)
      starts = np.zeros(num_rows, np.int32)
      owners[: len(taken)] = [owner for owner, *_ in taken]
      starts[: len(taken)] = [begin for _, begin, *_ in taken]
      found = self._go_on(
          params, cache, owners=owners, starts=starts, **self._put(batch)
      )
      yield from _scores([pair for *_, pair in taken], *found)

  def _rows_per_device(self) -> int:
    return partitioning.batch_ways(self._mesh)

  def _batch(self, rows, size: int, length: int = 0) -> _Batch:
    """Rows (read, predicted, place of the first prediction), padded."""
    longest = max(len(read) + max(len(after) - 1, 0) for read, after, _ in rows)
    length = length or _bucket(longest)
    if not self._encodes:
      length = min(length, self._config.max_length)
    scored = min(length, _bucket(max(len(after) for _, after, _ in rows)))
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

  def _score_encoded(
      self, params, inputs, input_segments, tokens, segments, places, targets,
      counts,
  ):
    def positions(x):
      return jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape)

    logits = self._model.apply(
        {"params": params}, inputs, positions(inputs), tokens,
        positions(tokens), input_segments, segments, logit_positions=places,
    )
    return _sums(logits, targets, counts)

  def _read_contexts(self, params, tokens, segments, *, room: int):
    size, length = tokens.shape
    cache = decoder.init_cache(
        self._config, size, length + room, self._dtype
    )
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


def _rests(group: Group) -> Iterator[tuple[tuple[int, ...], Pair]]:
  """What is read of each pair beside the prefix: all but the last token."""
  begin = len(group.prefix)
  for pair in group.pairs:
    yield (*pair.context[begin:], *pair.continuation[:-1]), pair


def _bucket(size: int) -> int:
  """The length that a row is padded to: few of them, and close."""
  power = _power(size)
  step = power if power <= _COARSE else power // 4
  return max(_LEAST, -(-size // step) * step)


def _power(size: int) -> int:
  power = 1
  while power < size:
    power *= 2
  return power
