"""Answers under way in slots of their own, taken further call by call."""

import bisect
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mlit_jax.decoding import reading, sampling, stops
from mlit_jax.decoding import slots as slots_lib
from mlit_jax.decoding.requests import NOT_FINITE, Request, Result

# Lengths that prompts are padded to, and caches have: few, so that few programs
# are compiled, and close, so that little is read and attended to in vain.
_LADDER = [32, 64] + [size << k for k in range(20) for size in (96, 128)]
_SHORTEST = 64  # of a cache


def rung(length: int) -> int:
  """The length that so many tokens are padded to."""
  return _LADDER[bisect.bisect_left(_LADDER, length)]


class Model(NamedTuple):
  """What answers come from.

  Attributes:
    params, adapters: of `weights.Weights`.
    numbers: an adapter's name -> its number.
    end_ids: tokens that end an answer.
    text: makes what turns tokens into text, for stop strings.
    call: runs a program on the mesh.
  """

  params: Any
  adapters: Any
  numbers: Mapping[str | None, int]
  end_ids: frozenset[int]
  text: Callable[[], stops.Text] | None
  call: Callable[..., Any]


@dataclasses.dataclass
class _Answer:
  """An answer under way."""

  request: Request
  stop: stops.Stop | None
  tokens: list[int] = dataclasses.field(default_factory=list)
  logprobs: list[float] = dataclasses.field(default_factory=list)


class Lane:
  """Slots of which each has an answer under way, or is free.

  Not for several threads: a lane does one thing after the other.
  """

  def __init__(
      self,
      model: Model,
      programs: slots_lib.Programs,
      reader: reading.Causal | reading.EncoderDecoder,
      num_slots: int,
  ):
    self._model, self._programs, self._reader = model, programs, reader
    self._answers: list[_Answer | None] = [None] * num_slots
    self._slots, self._lengths = None, reading.Lengths(0, 0)

  @property
  def free(self) -> int:
    """Slots without an answer."""
    return self._answers.count(None)

  def begin(
      self, requests: Sequence[Request], rows: int, extras: slots_lib.Extras
  ) -> list[Result]:
    """Reads prompts into free slots; results of answers that have ended.

    Args:
      requests: of one rung, at most `rows`.
      rows: that the program has.
      extras: what answers ask for.
    """
    length = rung(len(requests[0].tokens))
    places = [i for i, a in enumerate(self._answers) if a is None]
    places = places[: len(requests)]
    for place, request in zip(places, requests, strict=True):
      stop = None
      if request.stop:
        stop = stops.Stop(request.stop, self._model.text())
      self._answers[place] = _Answer(request, stop)
    self._make_room(shrink=True)
    repeated = [i % len(requests) for i in range(rows)]
    prompts = self._prompts([requests[i] for i in repeated], length)
    m = self._model
    read, chosen = m.call(
        self._programs.read, m.params, m.adapters, prompts, extras=extras
    )
    self._slots = m.call(
        self._programs.place, self._slots, read,
        np.asarray([places[i] for i in repeated], np.int32),
    )
    tokens, logprobs = jax.device_get(chosen)
    self._clean(tokens)
    return [
        result for row, place in enumerate(places)
        for result in self._take(place, tokens[row : row + 1], logprobs[row:])
    ]

  def go_on(self, enough: int, extras: slots_lib.Extras) -> list[Result]:
    """Some tokens more for every answer; results of those that have ended.

    Args:
      enough: stops once no more answers than these are under way.
      extras: what answers ask for.
    """
    self._make_room()
    stays = np.asarray([a is not None for a in self._answers])
    m = self._model
    self._slots, chosen = m.call(
        self._programs.go_on, m.params, m.adapters, self._slots, stays,
        np.int32(enough), extras=extras,
    )
    tokens, logprobs = jax.device_get(chosen)
    self._clean(tokens)
    found = []
    for place in np.flatnonzero(stays):
      written = tokens[:, place] != slots_lib.NOTHING
      found += self._take(
          int(place), tokens[written, place], logprobs[written, place]
      )
    return found

  def _clean(self, tokens: np.ndarray) -> None:
    """Whoever has a broken answer's slot next is to see nothing of it."""
    if (tokens == slots_lib.BROKEN).any():
      self._slots = self._model.call(self._programs.clean, self._slots)

  def _prompts(self, requests: Sequence[Request], length: int):
    tokens = np.zeros((len(requests), length), np.int32)
    for row, r in enumerate(requests):
      tokens[row, : len(r.tokens)] = r.tokens

    def column(values, kind=np.int32):
      return np.asarray(list(values), kind)

    def real(name):
      return column((getattr(r, name) for r in requests), np.float32)

    numbers = self._model.numbers
    return slots_lib.Prompts(
        tokens,
        lengths=column(len(r.tokens) for r in requests),
        limits=column(r.max_new_tokens for r in requests),
        adapters=column(numbers[r.adapter] for r in requests),
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
    call = self._model.call
    if self._slots is None:
      self._slots = call(self._programs.empty, lengths=needed)
    else:
      now = self._lengths
      needed = reading.Lengths(*(
          want if want > have or (shrink and 2 * want <= have) else have
          for want, have in zip(needed, now, strict=True)
      ))
      if needed == now:
        return
      self._slots = call(self._programs.resize, self._slots, lengths=needed)
    self._lengths = needed

  def _take(self, place: int, tokens, logprobs) -> list[Result]:
    """Adds tokens to an answer; the result, if it has ended."""
    answer = self._answers[place]
    for token, logprob in zip(tokens.tolist(), logprobs, strict=False):
      if token == slots_lib.BROKEN:
        self._answers[place] = None
        asked = answer.request.id
        return [Result(asked, (), "error", failure=NOT_FINITE)]
      answer.logprobs.append(float(logprob))
      ended = token in self._model.end_ids
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
      return [_result(answer, reason, ended)]
    return []


def _result(answer: _Answer, reason: str, ended: bool) -> Result:
  text = answer.stop and answer.stop.text()
  return Result(
      answer.request.id, tuple(answer.tokens), reason, ended, text,
      tuple(answer.logprobs) if answer.request.logprobs else (),
  )
