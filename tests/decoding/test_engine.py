"""The engine: answers by hand, and independent of their neighbours."""

import dataclasses
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.decoding.engine import Engine
from mlit_jax.decoding.requests import Request, Result
from mlit_jax.models import decoder
from mlit_jax.models.config import DecoderConfig

CONFIG = DecoderConfig(
    vocab_size=16, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2,
    head_dim=6, mlp_dim=20, max_length=40,
)
END, NEW = 15, 8


@pytest.fixture(scope="module")
def engine(compiled):
  return Engine(CONFIG, partitioning.make_mesh(), end_ids=[END], num_slots=4)


@pytest.fixture(scope="module")
def params(random_params):
  """A model whose answers depend on the whole prompt."""
  return random_params(CONFIG, seed=1)


@pytest.fixture(scope="module")
def counting(random_params):
  """A model that counts: after token k it says k + 1, up to END."""
  params = jax.tree.map(np.zeros_like, random_params(CONFIG))
  params["embedding"] = np.eye(16, dtype=np.float32)
  params["head"] = np.roll(np.eye(16, dtype=np.float32), 1, axis=0)
  for scale in (params["final_norm"], params["blocks"]["mlp_norm"]):
    scale["scale"] += 1
  return params


def answers(engine, params, requests):
  results = list(engine.generate(params, requests))
  assert len({r.id for r in results}) == len(results)
  return {r.id: r for r in results}


@pytest.fixture(scope="module")
def requests():
  """Prompts of 1 to 30 tokens, two buckets; some sampled."""
  rng = np.random.default_rng(0)
  found = []
  for i, length in enumerate((1, 30, 5, 16, 17, 3, 12, 2, 9)):
    tokens = tuple(rng.integers(0, END, length).tolist())
    warm = {"temperature": 1.0, "seed": i} if i % 3 == 2 else {}
    found.append(Request(f"r{i}", tokens, NEW, **warm))
  return found


@pytest.mark.parametrize(
    "last, limit, expected, reason, num_tokens",
    [
        (3, 8, range(4, 12), "length", 8),
        (11, 8, (12, 13, 14), "stop", 4),
        (14, 8, (), "stop", 1),  # the end at once
        (14, 1, (), "stop", 1),
        (12, 3, (13, 14), "stop", 3),  # the end as the last that may come
        (12, 2, (13, 14), "length", 2),  # it would have come, one too late
        (5, 1, (6,), "length", 1),
    ],
)
def test_answers_by_hand(
    engine, counting, last, limit, expected, reason, num_tokens
):
  # A neighbour sets the batch's limit, another ends first.
  requests = [
      Request("neighbour", (1,), NEW), Request("asked", (1, 0, last), limit),
      Request("short", (1, 14), NEW),
  ]
  result = answers(engine, counting, requests)["asked"]
  assert result == Result("asked", tuple(expected), reason, reason == "stop")
  assert result.num_tokens == num_tokens <= limit


def test_the_end_token_in_a_prompt_does_not_end_the_answer(engine, counting):
  found = answers(engine, counting, [Request("a", (END, 7), NEW)])["a"]
  assert found.tokens == (8, 9, 10, 11, 12, 13, 14)
  # After END the model counts on from 0.
  found = answers(engine, counting, [Request("a", (2, END), NEW)])["a"]
  assert found.tokens == tuple(range(8))


def test_greedy_equals_the_model_without_a_cache(engine, params, requests):
  """Every token is the likeliest of the full forward over all before it."""
  forward = jax.jit(decoder.Decoder(CONFIG).apply)
  rows = [dataclasses.replace(r, temperature=0.0) for r in requests]
  positions = jnp.broadcast_to(jnp.arange(40), (len(rows), 40))
  found = answers(engine, params, rows)
  texts = [
      (*r.tokens, *found[r.id].tokens, END)[: len(r.tokens) + NEW]
      for r in rows
  ]
  padded = np.asarray([t + (0,) * (40 - len(t)) for t in texts], np.int32)
  logits, _ = forward({"params": params}, jnp.asarray(padded), positions)
  best = np.argmax(logits, axis=-1)
  seen = set()
  for row, (request, text) in enumerate(zip(rows, texts, strict=True)):
    first = len(request.tokens)
    assert text[first:] == tuple(best[row, first - 1 : len(text) - 1])
    seen |= set(text[first:])
    # An END ends it, and where there is none it has its length.
    ended = found[request.id].finish_reason == "stop"
    assert ended == (text[-1] == END) and END not in text[first:-1]
    assert ended or len(text) == first + NEW
  assert len(seen) > 5  # not one and the same token


@pytest.mark.long
def test_an_answer_does_not_depend_on_its_neighbours(engine, params, requests):
  expected = answers(engine, params, requests)
  assert len({r.tokens for r in expected.values()}) > 6
  assert {r.finish_reason for r in expected.values()} == {"stop", "length"}
  for request in requests:  # alone
    assert answers(engine, params, [request]) == {
        request.id: expected[request.id]
    }
  for seed in range(3):  # in other orders, with other neighbours
    chosen = random.Random(seed).sample(requests, 5 + seed)
    found = answers(engine, params, chosen)
    assert found == {r.id: expected[r.id] for r in chosen}


def test_an_answer_does_not_depend_on_the_batch_size(engine, params, requests):
  pairs = Engine(CONFIG, partitioning.make_mesh(), end_ids=[END], num_slots=2)
  assert answers(pairs, params, requests) == answers(engine, params, requests)


def test_an_answer_does_not_depend_on_the_batch_s_limit(
    engine, params, requests
):
  """A shorter answer is the longer one's beginning."""
  whole = answers(engine, params, requests)
  shorter = [
      dataclasses.replace(r, max_new_tokens=1 + i % NEW)
      for i, r in enumerate(requests)
  ]
  for request in shorter:
    with_others = [*(r for r in requests if r.id != request.id), request]
    result = answers(engine, params, with_others)[request.id]
    limit = request.max_new_tokens
    assert result.tokens == whole[request.id].tokens[:limit]
    stopped = whole[request.id].num_tokens <= limit
    stopped &= whole[request.id].finish_reason == "stop"
    assert result.finish_reason == ("stop" if stopped else "length")


def test_samples_depend_on_the_seed(engine, params):
  def texts(seeds):
    rows = [Request(f"{s}", (1, 2, 3), NEW, 1.5, s) for s in seeds]
    found = answers(engine, params, rows)
    return [found[f"{s}"].tokens for s in seeds]

  one, same = texts(range(8)), texts(range(8))
  assert one == same and len(set(one)) > 5


def test_one_program_serves_every_model_of_a_shape(
    engine, params, counting, requests, compiled
):
  before = compiled.count("jit(_go_on)")
  prompts = [dataclasses.replace(r, id=f"{r.id}b") for r in requests]
  for model in (params, counting, jax.device_put(params)):
    answers(engine, model, requests + prompts)
  # With and without sampling; none if they were there.
  assert compiled.count("jit(_go_on)") - before <= 2
  before = compiled.count("jit(_go_on)")
  answers(engine, counting, requests)
  assert compiled.count("jit(_go_on)") == before


def test_its_mesh_is_not_in_use_between_results(engine, counting):
  requests = [Request(f"{i}", (i,), NEW) for i in range(9)]
  results = engine.generate(counting, requests)
  next(results)
  assert jax.sharding.get_abstract_mesh().empty
  assert len(list(results)) == 8


def test_no_requests_no_results(engine, params):
  assert list(engine.generate(params, [])) == []


@pytest.mark.parametrize(
    "wrong, message",
    [
        (
            {"tokens": (1,) * 33},
            "33 prompt tokens and 8 new ones exceed the model's length of 40;"
            " shorten one of them",
        ),
        (
            {"tokens": ()}, "the prompt is empty; give at least one token",
        ),
        (
            {"max_new_tokens": 0}, "max_new_tokens is 0; give at least 1",
        ),
        (
            {"tokens": (1, 16)},
            "token 16 is not one of the model's 16; use the model's own"
            " tokenizer",
        ),
        (
            {"tokens": (-1, 2)},
            "token -1 is not one of the model's 16; use the model's own"
            " tokenizer",
        ),
        ({"temperature": -0.5}, "temperature -0.5 must be a number from 0 up"),
        (
            {"temperature": float("nan")},
            "temperature nan must be a number from 0 up",
        ),
        ({"seed": 2**31}, "seed 2147483648 must lie between 0 and 2**31 - 1"),
        ({"top_p": 1.5}, "top_p 1.5 must be a number from 0 to 1"),
        ({"top_p": 0.0}, "top_p and repetition_penalty must be above 0"),
        ({"top_k": -1}, "top_k -1 must be a whole number from 0 up"),
        ({"adapter": "he"}, "unknown adapter 'he'; there are: none"),
        ({"stop": ("a", "")}, "stop strings need a tokenizer's text"),
    ],
)
def test_a_request_that_does_not_fit_fails_alone(
    engine, params, requests, wrong, message
):
  good = requests[0]
  bad = dataclasses.replace(good, **{"id": "bad", "tokens": (1, 2)} | wrong)
  found = answers(engine, params, [good, bad])
  assert found["bad"] == Result("bad", (), "error", failure=message)
  assert found[good.id] == answers(engine, params, [good])[good.id]


def test_the_longest_request_that_fits_is_decoded(engine, counting):
  request = Request("a", (9,) * 31 + (3,), NEW)
  assert answers(engine, counting, [request])["a"].tokens == tuple(range(4, 12))
