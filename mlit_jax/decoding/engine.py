"""The decoding engine: slots that are refilled as answers end.

Prompts are read a few at a time, of one padded length; their answers go on
together, token by token, in slots. When enough slots are free, the next prompts
are read. A request's answer depends on the model, its adapter, its tokens and
its seed alone, and on the number of slots only by rounding.

On a CPU the slots are two lanes, each in a thread of its own: while one waits
for memory, the other one computes (benchmarks/decode.py).
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mlit_jax import partitioning
from mlit_jax.decoding import adapters as adapters_lib
from mlit_jax.decoding import reading, stops
from mlit_jax.decoding import slots as slots_lib
from mlit_jax.decoding.lane import Lane, Model, rung
from mlit_jax.decoding.requests import Request, Result, fault
from mlit_jax.decoding.weights import Taken, Weights
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

_READ_TOGETHER = 512  # tokens of prompts, at most
_FEWEST = 32  # slots that are two lanes


class Engine:
  """Decodes with any parameters of one shape; they share its programs."""

  def __init__(
      self,
      model: DecoderConfig | EncoderDecoderConfig,
      mesh: Mesh,
      *,
      end_ids: Sequence[int],
      num_slots: int = 64,
      dtype: jax.typing.DTypeLike = jnp.float32,
      cache_dtype: jax.typing.DTypeLike | None = None,
      lanes: int | None = None,
  ):
    """Compiles nothing yet.

    Args:
      model: its shape.
      mesh: where it lives; slots are shared out over it.
      end_ids: tokens that end an answer.
      num_slots: answers that go on together.
      dtype: of activations.
      cache_dtype: of the cache, int8 for one; None: the same.
      lanes: threads that share the slots out; None: two on one CPU with slots
        enough, or else one.

    Raises:
      PartitionError: the slots do not divide over the mesh.
      ValueError: nor into lanes.
    """
    partitioning.check_batch(num_slots, mesh)
    if lanes is None:
      lanes = _lanes(num_slots, mesh)
    if lanes < 1 or num_slots % lanes:
      raise ValueError(
          f"{num_slots} slots do not divide into {lanes} lanes; choose another"
          " number"
      )
    self._config, self._mesh, self._lanes = model, mesh, lanes
    self._num_slots = num_slots // lanes  # of a lane
    self._end_ids = frozenset(end_ids)
    self._reader = reading.of(model, dtype, cache_dtype)
    self._weights = Weights(self._reader, mesh)
    self._programs = slots_lib.Programs(
        self._reader, mesh, self._num_slots, end_ids
    )

  @property
  def lanes(self) -> int:
    """Threads that share the slots out."""
    return self._lanes

  @property
  def max_length(self) -> int:
    """Tokens that a prompt and its answer may have together."""
    return self._reader.max_length

  def take(self, params: Mapping) -> Taken:
    """Weights for `generate` that the engine has for itself.

    Saves a second copy of the layers, and the time to make it at every call.

    Args:
      params: of the model; deleted, so that they must not be used again.
    """
    return self._weights.take(params)

  def give_back(self, taken: Taken) -> dict:
    """Undoes `take`.

    Args:
      taken: deleted, so that it must not be used again.
    """
    return self._weights.give_back(taken)

  def generate(
      self,
      params: Mapping | Taken,
      requests: Iterable[Request],
      *,
      adapters: Mapping[str, adapters_lib.Adapter] | None = None,
      text: Callable[[], stops.Text] | None = None,
      follow: Callable[[Result], Request | None] | None = None,
  ) -> Iterator[Result]:
    """Yields a result per request, as they finish.

    A request that cannot be decoded has a result that says why.

    Args:
      params: of the model; if they are not of `take`, they stay, and their
        layers are there twice until the last result.
      requests: prompts, in any order.
      adapters: what requests may ask for, by name.
      text: makes what turns tokens into text, for stop strings.
      follow: may give a request that goes on from a result.
    """
    numbers, joined = {None: 0}, {}
    if adapters:
      numbers, joined = adapters_lib.join(self._config, adapters)
    run = _Run(self, params, numbers, joined, text)
    yield from run.all(requests, follow)


class _Run:
  """One call of `generate`: what waits, and the lanes that take it."""

  def __init__(self, engine: Engine, params, numbers, adapters, text):
    e = self._engine = engine
    self._model = Model(
        e._weights.of_model(params), e._weights.of_adapters(adapters), numbers,
        e._end_ids, text, self._call,
    )
    self._waiting: collections.deque[Request] = collections.deque()
    self._lanes = [
        Lane(self._model, e._programs, e._reader, e._num_slots)
        for _ in range(e._lanes)
    ]
    self._extras = slots_lib.Extras(False, False)

  def all(self, requests, follow) -> Iterator[Result]:
    yield from self._queue(requests)
    alone = len(self._lanes) == 1
    executor = _Inline() if alone else futures.ThreadPoolExecutor(
        len(self._lanes), thread_name_prefix="decode"
    )
    busy: dict[futures.Future, Lane] = {}
    idle = list(self._lanes)
    with executor:
      while True:
        for lane in list(idle):
          if (work := self._next(lane)) is not None:
            idle.remove(lane)
            busy[executor.submit(*work)] = lane
        if not busy:
          return
        done, _ = futures.wait(busy, return_when=futures.FIRST_COMPLETED)
        for future in done:
          idle.append(busy.pop(future))
          for result in future.result():
            yield result
            further = follow and follow(result)
            if further is not None:
              yield from self._queue([further])

  def _next(self, lane: Lane) -> tuple | None:
    """What a lane does next, a function and its arguments; None: nothing."""
    rows = self._rows() if self._waiting else 0
    if rows and lane.free >= rows:
      return lane.begin, self._prompts(rows), rows, self._extras
    if lane.free == self._engine._num_slots:
      return None
    enough = self._engine._num_slots - rows if rows else 0
    return lane.go_on, enough, self._extras

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
    e, known = self._engine, self._model.numbers
    if request.stop and self._model.text is None:
      return "stop strings need a tokenizer's text"
    return fault(request, known, e._config.vocab_size, e.max_length)

  def _rows(self) -> int:
    """How many prompts are read together, of the length that is next."""
    ways = partitioning.batch_ways(self._engine._mesh)
    rows = _READ_TOGETHER // rung(len(self._waiting[0].tokens))
    return max(min(rows, self._engine._num_slots) // ways, 1) * ways

  def _prompts(self, rows: int) -> list[Request]:
    """The next requests, all of one padded length."""
    length = rung(len(self._waiting[0].tokens))
    found = []
    while (
        self._waiting and len(found) < rows
        and rung(len(self._waiting[0].tokens)) == length
    ):
      found.append(self._waiting.popleft())
    return found


class _Inline(futures.Executor):
  """Does at once what is submitted, in the thread that asks."""

  def submit(self, function, /, *args, **options) -> futures.Future:
    done = futures.Future()
    done.set_result(function(*args, **options))
    return done


def _lanes(num_slots: int, mesh: Mesh) -> int:
  if mesh.size > 1 or mesh.devices.flat[0].platform != "cpu":
    return 1  # several devices' collectives want one program at a time
  return 2 if num_slots >= _FEWEST and num_slots % 2 == 0 else 1


def _extras(request: Request) -> slots_lib.Extras:
  return slots_lib.Extras(
      request.temperature > 0 or request.repetition_penalty != 1,
      request.logprobs,
  )
