"""The decoding engine: slots that are refilled as answers end.

Prompts are read a few at a time, of one padded length; their answers go on
together, token by token, in slots. When enough slots are free, the next prompts
are read. A request's answer depends on the model, its adapter, its tokens and
its seed alone, and on the number of slots only by rounding.
"""

import bisect
import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from mlit_jax import partitioning
from mlit_jax.decoding import adapters as adapters_lib
from mlit_jax.decoding import reading, sampling, stops
from mlit_jax.decoding import slots as slots_lib
from mlit_jax.decoding.requests import Request, Result, fault
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

# Lengths that prompts are padded to, and caches have: few, so that few programs
# are compiled, and close, so that little is read and attended to in vain.
_LADDER = [32, 64] + [size << k for k in range(20) for size in (96, 128)]
_SHORTEST = 64  # of a cache
_READ_TOGETHER = 512  # tokens of prompts, at most


@dataclasses.dataclass
class _Answer:
  """An answer under way."""

  request: Request
  stop: stops.Stop | None
  tokens: list[int] = dataclasses.field(default_factory=list)
  logprobs: list[float] = dataclasses.field(default_factory=list)


class Engine:
  """Decodes with any parameters of one shape; they share its programs."""

  def __init__(
      self,
      model: DecoderConfig | EncoderDecoderConfig,
      mesh: Mesh | AbstractMesh,
      *,
      end_ids: Sequence[int],
      num_slots: int = 64,
      dtype: jax.typing.DTypeLike = jnp.float32,
      cache_dtype: jax.typing.DTypeLike | None = None,
  ):
    """Compiles nothing yet.

    Args:
      model: its shape.
      mesh: where it lives; slots are shared out over it.
      end_ids: tokens that end an answer.
      num_slots: answers that go on together.
      dtype: of activations.
      cache_dtype: of the cache, int8 for one; None: the same.
    """
    partitioning.check_batch(num_slots, mesh)
    self._config, self._mesh, self._num_slots = model, mesh, num_slots
    self._end_ids = frozenset(end_ids)
    self._reader = reading.of(model, dtype, cache_dtype)
    abstract = jax.eval_shape(lambda: self._reader.module.init_params(model, 0))
    self._param_shardings = partitioning.param_shardings(abstract, mesh)
    self._programs = slots_lib.Programs(
        self._reader, mesh, num_slots, end_ids
    )

  @property
  def max_length(self) -> int:
    """Tokens that a prompt and its answer may have together."""
    return self._reader.max_length

  def generate(
      self,
      params: Mapping,
      requests: Iterable[Request],
      *,
      adapters: Mapping[str, adapters_lib.Adapter] | None = None,
      text: Callable[[], stops.Text] | None = None,
      follow: Callable[[Result], Request | None] | None = None,
  ) -> Iterator[Result]:
    """Yields a result per request, as they finish.

    A request that cannot be decoded has a result that says why.

    Args:
      params: of the model.
      requests: prompts, in any order.
      adapters: what requests may ask for, by name; of decoders alone.
      text: makes what turns tokens into text, for stop strings.
      follow: may give a request that goes on from a result.
    """
    numbers, joined = {None: 0}, {}
    if adapters:
      numbers, joined = adapters_lib.join(self._config, adapters)
    run = _Run(self, params, numbers, joined, text)
    yield from run.all(requests, follow)


class _Run:
  """One call of `generate`."""

  def __init__(self, engine: Engine, params, numbers, adapters, text):
    e = engine
    self._engine, self._programs, self._reader = e, e._programs, e._reader
    self._numbers, self._text = numbers, text
    params = jax.device_put(params, e._param_shardings)
    self._params = self._call(self._programs.prepare, params)
    whole = partitioning.replicated(e._mesh)
    self._adapters = adapters and self._call(
        self._programs.prepare, jax.device_put(adapters, whole)
    )
    self._ways = partitioning.batch_ways(e._mesh)
    self._num_slots = e._num_slots
    self._waiting: collections.deque[Request] = collections.deque()
    self._answers: list[_Answer | None] = [None] * self._num_slots
    self._slots, self._lengths = None, reading.Lengths(0, 0)
    self._extras = slots_lib.Extras(False, False)

  def all(self, requests, follow) -> Iterator[Result]:
    yield from self._queue(requests)
    while self._waiting or any(self._answers):
      results = self._begin() if self._has_room() else self._go_on()
      for result in results:
        yield result
        further = follow and follow(result)
        if further is not None:
          yield from self._queue([further])

  def _call(self, program, *args, **options):
    """On this mesh, and no longer: whoever asked goes on between results."""
    with partitioning.activation_rules(self._engine._mesh):
      return program(*args, **options)

  def _queue(self, requests: Iterable[Request]) -> Iterator[Result]:
    """Long prompts first: short ones then fill up the end.

    Prompts of like length then lie beside each other, as attention on CPUs
    likes it (models/cached_attention.py).
    """
    fit = list(self._waiting)
    for request in requests:
      if reason := self._fault(request):
        yield Result(request.id, (), "error", failure=reason)
      else:
        fit.append(request)
        # Asked for once, it stays: programs change less often.
        self._extras = slots_lib.Extras(*(
            a or b for a, b in zip(self._extras, _extras(request), strict=True)
        ))
    fit.sort(key=lambda r: (rung(len(r.tokens)), r.max_new_tokens))
    self._waiting = collections.deque(reversed(fit))

  def _fault(self, request: Request) -> str:
    e = self._engine
    if request.adapter not in self._numbers:
      known = ", ".join(str(n) for n in self._numbers if n) or "none"
      return f"unknown adapter {request.adapter!r}; there are: {known}"
    if request.stop and self._text is None:
      return "stop strings need a tokenizer's text"
    return fault(request, e._config.vocab_size, e.max_length)

  def _rows(self) -> int:
    """How many prompts are read together, of the length that is next."""
    rows = _READ_TOGETHER // rung(len(self._waiting[0].tokens))
    rows = max(min(rows, self._num_slots) // self._ways, 1)
    return rows * self._ways

  def _free(self) -> list[int]:
    return [i for i, answer in enumerate(self._answers) if answer is None]

  def _has_room(self) -> bool:
    return bool(self._waiting) and len(self._free()) >= self._rows()

  def _begin(self) -> Iterator[Result]:
    """Reads the next prompts, all of one padded length."""
    rows, length = self._rows(), rung(len(self._waiting[0].tokens))
    places, requests = [], []
    for place in self._free()[:rows]:
      if not self._waiting or rung(len(self._waiting[0].tokens)) != length:
        break
      requests.append(self._waiting.popleft())
      places.append(place)
      stop = None
      if requests[-1].stop:
        stop = stops.Stop(requests[-1].stop, self._text())
      self._answers[place] = _Answer(requests[-1], stop)
    self._make_room(shrink=True)
    repeated = [i % len(requests) for i in range(rows)]
    prompts = self._prompts([requests[i] for i in repeated], length)
    read, chosen = self._call(
        self._programs.read, self._params, self._adapters, prompts,
        extras=self._extras,
    )
    self._slots = self._call(
        self._programs.place, self._slots, read,
        np.asarray([places[i] for i in repeated], np.int32),
    )
    tokens, logprobs = jax.device_get(chosen)
    for row, place in enumerate(places):
      yield from self._take(place, tokens[row : row + 1], logprobs[row:])

  def _prompts(self, requests: Sequence[Request], length: int):
    tokens = np.zeros((len(requests), length), np.int32)
    for row, r in enumerate(requests):
      tokens[row, : len(r.tokens)] = r.tokens

    def column(values, kind=np.int32):
      return np.asarray(list(values), kind)

    def real(name):
      return column((getattr(r, name) for r in requests), np.float32)

    return slots_lib.Prompts(
        tokens,
        lengths=column(len(r.tokens) for r in requests),
        limits=column(r.max_new_tokens for r in requests),
        adapters=column(self._numbers[r.adapter] for r in requests),
        choice=sampling.Choice(
            real("temperature"), column(r.top_k for r in requests),
            real("top_p"), real("min_p"), real("repetition_penalty"),
            column(r.seed for r in requests),
        ),
    )

  def _make_room(self, shrink: bool = False) -> None:
    """A cache for all answers and the next steps, not much too long."""
    needed = [
        self._reader.lengths(
            rung(len(a.request.tokens)),
            min(len(a.tokens) + slots_lib.STEPS, a.request.max_new_tokens),
        )
        for a in self._answers if a is not None
    ]
    needed = reading.Lengths(*(
        rung(max(_SHORTEST, *sizes)) if any(sizes) else 0
        for sizes in zip(*needed, strict=True)
    ))
    if self._slots is None:
      self._slots = self._call(self._programs.empty, lengths=needed)
    else:
      now = self._lengths
      needed = reading.Lengths(*(
          want if want > have or (shrink and 2 * want <= have) else have
          for want, have in zip(needed, now, strict=True)
      ))
      if needed == now:
        return
      self._slots = self._call(
          self._programs.resize, self._slots, lengths=needed
      )
    self._lengths = needed

  def _go_on(self) -> Iterator[Result]:
    """Some tokens more for every answer."""
    self._make_room()
    enough = self._num_slots - self._rows() if self._waiting else 0
    stays = np.asarray([a is not None for a in self._answers])
    self._slots, chosen = self._call(
        self._programs.go_on, self._params, self._adapters, self._slots, stays,
        np.int32(enough), extras=self._extras,
    )
    tokens, logprobs = jax.device_get(chosen)
    for place in np.flatnonzero(stays):
      written = tokens[:, place] >= 0
      yield from self._take(
          int(place), tokens[written, place], logprobs[written, place]
      )

  def _take(self, place: int, tokens, logprobs) -> Iterator[Result]:
    """Adds tokens to an answer; the result, if it has ended."""
    answer = self._answers[place]
    for token, logprob in zip(tokens.tolist(), logprobs, strict=False):
      answer.logprobs.append(float(logprob))
      ended = token in self._engine._end_ids
      if not ended:
        answer.tokens.append(token)
      found = answer.stop is not None and (
          answer.stop.flush() if ended else answer.stop.push(token)
      )
      if ended or found:
        reason = "stop"
      elif len(answer.tokens) == answer.request.max_new_tokens:
        reason = "length"
      else:
        continue
      self._answers[place] = None
      yield _result(answer, reason, ended)
      return


def _extras(request: Request) -> slots_lib.Extras:
  return slots_lib.Extras(
      request.temperature > 0 or request.repetition_penalty != 1,
      request.logprobs,
  )


def _result(answer: _Answer, reason: str, ended: bool) -> Result:
  text = answer.stop and answer.stop.text()
  return Result(
      answer.request.id, tuple(answer.tokens), reason, ended, text,
      tuple(answer.logprobs) if answer.request.logprobs else (),
  )


def rung(length: int) -> int:
  """The length that so many tokens are padded to."""
  return _LADDER[bisect.bisect_left(_LADDER, length)]
