"""What lies on the device: slots, each with an answer under way.

Programs have fixed shapes: so many slots, so many prompts of a padded length
read together. So a request's numbers do not depend on what else is decoded.

Axes: B slots, R prompts read together, T their padded length, V vocab, I steps.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from mlit_jax import partitioning
from mlit_jax.decoding import adapters as adapters_lib
from mlit_jax.decoding import reading, sampling
from mlit_jax.decoding.reading import Lengths

STEPS = 16  # of one call, at most
# In place of a token: none was wanted; logits are not finite, and none comes.
NOTHING, BROKEN = -1, -2


class Prompts(NamedTuple):
  """Prompts that are read together, and the slots they go to.

  Attributes:
    tokens, lengths: the prompts, padded at their end.
    limits: tokens that each may write.
    adapters: which adapter each asks for, by number.
    choice: how each chooses.
  """

  tokens: Int[Array, "R T"]
  lengths: Int[Array, "R"]
  limits: Int[Array, "R"]
  adapters: Int[Array, "R"]
  choice: sampling.Choice


class Slots(NamedTuple):
  """Answers under way.

  Attributes:
    cache: the model's.
    token, position: the last token chosen, which is not read yet, and where it
      stands.
    count: tokens chosen so far.
    limits, adapters, choice: as of Prompts.
    running: whether the answer goes on.
    seen: tokens of the answer and of what it goes on from.
  """

  cache: Any
  token: Int[Array, "B"]
  position: Int[Array, "B"]
  count: Int[Array, "B"]
  limits: Int[Array, "B"]
  adapters: Int[Array, "B"]
  choice: sampling.Choice
  running: Bool[Array, "B"]
  seen: Bool[Array, "B V"]


class Extras(NamedTuple):
  """What some answers ask for, and others need not pay for.

  Attributes:
    sampling: temperatures and repetition penalties.
    logprobs: log-probabilities.
  """

  sampling: bool
  logprobs: bool


class Programs:
  """Jitted functions over slots; they donate the slots they are given."""

  def __init__(
      self,
      reader: reading.Causal | reading.EncoderDecoder,
      mesh: Mesh | AbstractMesh,
      num_slots: int,
      end_ids: Sequence[int],
  ):
    """Compiles nothing yet.

    Args:
      reader: of the model.
      mesh: slots are shared out over its rows, heads over its tensor axis.
      num_slots: B.
      end_ids: tokens that end an answer.
    """
    self._reader, self._num_slots = reader, num_slots
    self._variables = functools.partial(variables, stacked=reader.stacked)
    self._end_ids = jnp.asarray(list(end_ids), jnp.int32)
    shapes = jax.eval_shape(
        functools.partial(self._empty, lengths=Lengths(1, 1))
    )
    shardings = _shardings(shapes, mesh, reader.batch_axis)
    whole = partitioning.replicated(mesh)
    self.empty = jax.jit(
        self._empty, static_argnames="lengths", out_shardings=shardings
    )
    self.resize = jax.jit(
        self._resize, static_argnames="lengths", out_shardings=shardings
    )
    self.read = jax.jit(
        self._read, static_argnames="extras", out_shardings=(None, whole)
    )
    self.place = jax.jit(
        self._place, donate_argnums=0, out_shardings=shardings
    )
    self.clean = jax.jit(
        self._clean, donate_argnums=0, out_shardings=shardings
    )
    self.go_on = jax.jit(
        self._go_on, static_argnames="extras", donate_argnames="slots",
        out_shardings=(shardings, whole),
    )

  def _empty(self, *, lengths: Lengths) -> Slots:
    zeros = jnp.zeros(self._num_slots, jnp.int32)
    real = jnp.zeros(self._num_slots, jnp.float32)
    return Slots(
        cache=self._reader.empty(self._num_slots, lengths), token=zeros,
        position=zeros, count=zeros, limits=zeros, adapters=zeros,
        choice=sampling.Choice(real, zeros, real, real, real + 1, zeros),
        running=zeros > 0,
        seen=jnp.zeros(
            (self._num_slots, self._reader.config.vocab_size), bool
        ),
    )

  def _resize(self, slots: Slots, *, lengths: Lengths) -> Slots:
    return slots._replace(cache=self._reader.resize(slots.cache, lengths))

  def _read(
      self, params: Mapping, adapters: Mapping, prompts: Prompts,
      extras: Extras,
  ) -> tuple[Slots, tuple[Int[Array, "R"], Float[Array, "R"]]]:
    """Reads prompts: rows for the slots; the first tokens and logprobs.

    Args:
      params, adapters: of `weights.Weights`.
      prompts: what to read.
      extras: what they ask for.
    """
    p, vocab = prompts, self._reader.config.vocab_size
    own = self._variables(params, adapters, p.adapters)
    logits, cache, position = self._reader.read(own, p.tokens, p.lengths)
    before, lengths = self._reader.before_answers(p.tokens, p.lengths)
    padding = jnp.arange(before.shape[1]) >= lengths[:, None]
    rows = jnp.arange(len(before))
    seen = jnp.zeros((len(before), vocab), bool)
    seen = seen.at[rows[:, None], jnp.where(padding, vocab, before)].set(
        True, mode="drop"
    )
    count = jnp.zeros_like(p.lengths)
    token, logprobs, fine = _choose(logits, p.choice, seen, count, extras)
    read = Slots(
        cache, token, position, count + 1, p.limits, p.adapters, p.choice,
        fine & self._goes_on(token, count + 1, p.limits),
        seen.at[rows, token].set(True),
    )
    return read, (jnp.where(fine, token, BROKEN), logprobs)

  def _place(
      self, slots: Slots, read: Slots, places: Int[Array, "R"]
  ) -> Slots:
    """Rows in their places; what is behind them in a cache stays.

    Args:
      slots: where to put them.
      read: of `read`.
      places: of each row; a row that is there twice has the same place.
    """

    def at(row, slots):
      def one(old, rows, axis):
        rows = jax.lax.dynamic_index_in_dim(rows, row, axis)
        start = [0] * old.ndim
        start[axis] = places[row]
        return jax.lax.dynamic_update_slice(old, rows.astype(old.dtype), start)

      def part(old, rows, axis):
        return jax.tree.map(lambda o, r: one(o, r, axis), old, rows)

      rest = part(slots._replace(cache=()), read._replace(cache=()), 0)
      cache = part(slots.cache, read.cache, self._reader.batch_axis)
      return rest._replace(cache=cache)

    return jax.lax.fori_loop(0, len(places), at, slots)

  def _clean(self, slots: Slots) -> Slots:
    """Without the NaN of broken answers: 0 times NaN, in what comes, is NaN."""

    def finite(x):
      if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
      return jnp.where(jnp.isfinite(x), x, jnp.zeros_like(x))

    return slots._replace(cache=jax.tree.map(finite, slots.cache))

  def _goes_on(self, token, count, limits):
    return jnp.all(token[:, None] != self._end_ids, axis=1) & (count < limits)

  def _go_on(
      self, params: Mapping, adapters: Mapping, slots: Slots,
      stays: Bool[Array, "B"], enough: Int[Array, ""], extras: Extras,
  ) -> tuple[Slots, tuple[Int[Array, "I B"], Float[Array, "I B"]]]:
    """Up to STEPS tokens more: the slots, tokens (or what is none), logprobs.

    Args:
      params, adapters: of `weights.Weights`.
      slots: those under way.
      stays: whether a slot's answer goes on, if it has not ended.
      enough: stops once no more answers than these are under way.
      extras: what the answers ask for.
    """
    # Once for all the steps.
    own = self._variables(params, adapters, slots.adapters)
    tokens = jnp.full((STEPS, self._num_slots), NOTHING)
    logprobs = jnp.zeros(tokens.shape, jnp.float32)

    def wanted(carry):
      index, slots, *_ = carry
      return (index < STEPS) & (jnp.sum(slots.running) > enough)

    def step(carry):
      index, slots, tokens, logprobs = carry
      s = slots
      # An answer that has ended has nothing to read.
      position = jnp.where(s.running, s.position, 0)
      logits, cache = self._reader.step(own, s.token, position, s.cache)
      token, logprob, fine = _choose(
          logits, s.choice, s.seen, s.count, extras
      )
      token = jnp.where(s.running, token, s.token)
      said = jnp.where(fine, token, BROKEN)
      tokens = tokens.at[index].set(jnp.where(s.running, said, NOTHING))
      logprobs = logprobs.at[index].set(logprob)
      count = s.count + s.running
      slots = s._replace(
          cache=cache, token=token, position=s.position + s.running,
          count=count,
          running=s.running & fine & self._goes_on(token, count, s.limits),
          seen=s.seen.at[jnp.arange(len(token)), token].set(True),
      )
      return index + 1, slots, tokens, logprobs

    slots = slots._replace(running=slots.running & stays)
    _, slots, tokens, logprobs = jax.lax.while_loop(
        wanted, step, (0, slots, tokens, logprobs)
    )
    return slots, (tokens, logprobs)


def _choose(logits, choice, seen, count, extras: Extras):
  """The next tokens, their log-probabilities (0: not wanted), if they count.

  They do not where the highest logit, which any NaN is, is not finite.
  """
  token = best = sampling.likeliest(logits)
  highest = jnp.take_along_axis(logits, best[:, None], axis=1)[:, 0]
  if extras.sampling:
    token = sampling.next_token(logits, choice, seen, count)
  logprobs = jnp.zeros(token.shape, jnp.float32)
  if extras.logprobs:
    logprobs = sampling.logprobs(logits, token)
  return token, logprobs, jnp.isfinite(highest)


def variables(
    params: Mapping, adapters: Mapping, ids: Int[Array, "R"], stacked: bool
) -> dict:
  """What a model is applied to: parameters, and each row's adapter.

  Args:
    params, adapters: of `weights.Weights`.
    ids: the number of each row's adapter.
    stacked: of the reader.
  """
  if not adapters:
    return {"params": params}
  rows = adapters_lib.of_rows(adapters, ids, stacked)
  return {"params": params, "lora": rows}


def _shardings(
    slots: Slots, mesh: Mesh | AbstractMesh, batch_axis: int
) -> Slots:
  """Rows as of a batch; of caches the heads over tensor."""
  rows = partitioning.BATCH

  def cached(x):
    spec = [None] * x.ndim
    spec[batch_axis] = rows
    if x.ndim > 3 and x.shape[-3] % mesh.shape["tensor"] == 0:
      spec[-3] = "tensor"
    return NamedSharding(mesh, PartitionSpec(*spec))

  split = NamedSharding(mesh, PartitionSpec(rows))
  split = jax.tree.map(lambda _: split, slots)
  return split._replace(cache=jax.tree.map(cached, slots.cache))
