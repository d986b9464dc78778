"""Slots in two threads: the same bits, and nothing left running."""

import dataclasses
import threading

import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.decoding.engine import Engine
from mlit_jax.decoding.requests import Request
from mlit_jax.models.config import DecoderConfig

CONFIG = DecoderConfig(
    vocab_size=40, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2,
    head_dim=6, mlp_dim=20, max_length=256,
)
ENDS = [38, 39]


def make(num_slots, **more):
  return Engine(
      CONFIG, partitioning.make_mesh(), end_ids=ENDS, num_slots=num_slots,
      **more,
  )


@pytest.fixture(scope="module")
def params(random_params):
  return random_params(CONFIG, seed=1)


@pytest.fixture(scope="module")
def engine():
  return make(8, lanes=2)


@pytest.fixture(scope="module")
def requests():
  """Short and long prompts; a third is sampled."""
  rng = np.random.default_rng(0)
  found = []
  for i, size in enumerate(rng.integers(1, 60, 30).tolist()):
    warm = {"temperature": 1.0, "seed": i} if i % 3 == 2 else {}
    tokens = tuple(rng.integers(0, 37, size).tolist())
    new = int(rng.integers(1, 30))
    found.append(Request(f"{i}", tokens, new, logprobs=True, **warm))
  return found


class Text:
  """Turns tokens into text, as `Engine.generate` wants it."""

  def push(self, token):
    return chr(ord("a") + token % 26)

  def flush(self):
    return ""


def threads_that_decode(engine, params, requests):
  """Names of the threads that put prompts with stop strings into slots."""
  found = []

  def text():
    found.append(threading.current_thread().name)
    return Text()

  asked = [dataclasses.replace(r, stop=("!",)) for r in requests]
  assert len(list(engine.generate(params, asked, text=text))) == len(asked)
  return set(found)


def decoding_threads():
  return [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_two_lanes_give_the_bits_of_one(engine, params, requests):
  """Of a lane as wide: programs have the same shapes."""
  alone = {r.id: r for r in make(4).generate(params, requests)}
  for order in (requests, requests[::-1]):
    assert {r.id: r for r in engine.generate(params, order)} == alone
  assert len({r.tokens for r in alone.values()}) > 20
  assert {r.finish_reason for r in alone.values()} == {"stop", "length"}


def test_both_lanes_decode(engine, params, requests):
  names = threads_that_decode(engine, params, requests)
  assert len(names) == 2 and all(n.startswith("decode") for n in names)


@pytest.mark.parametrize("num_slots, lanes", [(32, 2), (33, 1), (16, 1)])
def test_a_cpu_has_two_lanes_where_slots_are_many(num_slots, lanes):
  assert make(num_slots).lanes == lanes


@pytest.mark.parametrize("lanes", [0, 3])
def test_lanes_that_do_not_divide_the_slots_are_refused(lanes):
  with pytest.raises(ValueError, match=f"8 slots do not divide into {lanes}"):
    make(8, lanes=lanes)


def test_one_lane_decodes_where_it_is_asked(params, requests):
  short = [r for r in requests if len(r.tokens) < 32]
  names = threads_that_decode(make(8, lanes=1), params, short)
  assert names == {threading.current_thread().name}


def test_what_follows_is_asked_for_after_the_result_is_given(
    engine, params, requests
):
  """In the thread that asks, so that it need not be safe for several."""
  given, threads = [], set()

  def follow(result):
    threads.add(threading.current_thread())
    assert result.id == given[-1]
    if "+" in result.id:
      return None
    return Request(f"{result.id}+", (*result.tokens, 3), 5)

  for result in engine.generate(params, requests, follow=follow):
    given.append(result.id)
  assert threads == {threading.current_thread()}
  assert sorted(given) == sorted(
      x for r in requests for x in (r.id, f"{r.id}+")
  )


def test_who_stops_asking_leaves_no_thread(engine, params, requests):
  results = engine.generate(params, requests)
  next(results)
  assert decoding_threads()
  results.close()
  assert not decoding_threads()


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_failure_in_a_lane_reaches_who_asks(params, requests, lanes):
  engine = make(8, lanes=lanes)
  asked = [dataclasses.replace(r, stop=("!",)) for r in requests]

  def text():
    raise RuntimeError("no text")

  with pytest.raises(RuntimeError, match="no text"):
    list(engine.generate(params, asked, text=text))
  assert not decoding_threads()
  assert len(list(engine.generate(params, requests))) == len(requests)


def test_lanes_share_what_is_compiled(params, compiled):
  engine = make(8, lanes=2)
  asked = [Request(f"{i}", (i, 1, 2), 8) for i in range(30)]
  for _ in range(2):
    assert len(list(engine.generate(params, asked))) == len(asked)
  assert [compiled.count(f"jit({name})") for name in (
      "_empty", "_read", "_place", "_go_on"
  )] == [1, 1, 1, 1]
