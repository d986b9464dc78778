"""Nothing beside a request changes a bit of its answer."""

import codecs
import dataclasses
import functools
import random

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.decoding import adapters as adapters_lib
from mlit_jax.decoding.beam import BeamSearch
from mlit_jax.decoding.engine import Engine
from mlit_jax.decoding.requests import Request
from mlit_jax.models import cached_attention, decoder, kv_cache, lora
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.device import Device

CONFIG = DecoderConfig(
    vocab_size=40, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2,
    head_dim=6, mlp_dim=20, max_length=256,
)
ENDS = [38, 39]
MESH = partitioning.make_mesh()


@pytest.fixture(scope="module")
def params(random_params):
  return random_params(CONFIG, seed=1)


@pytest.fixture(scope="module")
def engine():
  return Engine(CONFIG, MESH, end_ids=ENDS, num_slots=5)


def some_requests(count, longest, seed=0, **more):
  rng = np.random.default_rng(seed)
  return [
      Request(
          f"{seed}-{i}", tuple(rng.integers(0, 37, size).tolist()),
          int(rng.integers(1, 30)), **more,
      )
      for i, size in enumerate(rng.integers(1, longest, count).tolist())
  ]


def answers(engine, params, requests, **more):
  found = {r.id: r for r in engine.generate(params, requests, **more)}
  assert found.keys() == {r.id for r in requests}
  return found


@pytest.mark.long
def test_neither_order_nor_long_neighbours_change_a_bit(engine, params):
  """Logprobs tell more than tokens: any bit would show."""
  short = some_requests(14, 30, logprobs=True)
  alone = answers(engine, params, short)
  assert {r.finish_reason for r in alone.values()} == {"stop", "length"}
  # With these the cache is four times as long, and slots are taken by others.
  long = [
      dataclasses.replace(r, tokens=tuple(range(30)) * 5, max_new_tokens=60)
      for r in some_requests(3, 30, seed=1)
  ]
  mixed = short + long
  random.Random(0).shuffle(mixed)
  together = answers(engine, params, mixed)
  assert {r.id: together[r.id] for r in short} == alone


@pytest.mark.slow
def test_the_number_of_slots_changes_no_token(engine, params):
  warm = [
      dataclasses.replace(r, temperature=1.0, top_k=9, seed=i)
      for i, r in enumerate(some_requests(6, 30, seed=2))
  ]
  requests = some_requests(6, 60) + warm
  few = answers(engine, params, requests)
  for count in (1, 12):
    other = Engine(CONFIG, MESH, end_ids=ENDS, num_slots=count)
    found = answers(other, params, requests[::-1])
    assert {i: r.tokens for i, r in found.items()} == {
        i: r.tokens for i, r in few.items()
    }


def cached(rng, rows, slots=512):
  """(query, cache) of 4 heads, 2 of keys, 8 wide."""
  query = jnp.asarray(rng.standard_normal((rows, 1, 4, 8)), jnp.float32)
  numbers = rng.standard_normal((2, rows, 2, slots, 8))
  return query, kv_cache.KVCache(*jnp.asarray(numbers, jnp.float32))


@functools.partial(jax.jit, static_argnames="softcap")
def attended(query, cache, visible, **how):
  visible = jnp.asarray(visible)[:, None]
  return cached_attention.attend(
      query, cache, positions=visible - 1, visible=visible, scale=0.5, **how
  )


def test_longer_caches_attend_to_the_same_bits():
  query, cache = cached(np.random.default_rng(0), 3)
  found = [
      attended(
          query, jax.tree.map(lambda x, s=size: x[:, :, :s], cache),
          [5, 64, 50],
      )
      for size in (64, 96, 128, 192, 448, 512)
  ]
  for other in found[1:]:
    np.testing.assert_array_equal(found[0], other)


@pytest.mark.parametrize("visible", [64, 50, 201])
def test_sums_over_longer_caches_are_the_same_bits(visible, monkeypatch):
  """Where all slots are read at once, as on accelerators.

  All scores are 0, because a CPU's exponentials differ with an array's size.
  """
  monkeypatch.setattr(
      cached_attention, "current_device", lambda: Device("tpu")
  )
  query, cache = cached(np.random.default_rng(0), 3, slots=3072)
  attend = jax.jit(functools.partial(cached_attention.attend, scale=0.5))
  seen = jnp.full((3, 1), visible)
  found = [
      attend(
          0 * query, jax.tree.map(lambda x, s=size: x[:, :, :s], cache),
          positions=seen - 1, visible=seen,
      )
      for size in (64, 96, 128, 192, 448, 512, 1536, 3072) if size >= visible
  ]
  mean = jnp.mean(cache.values[:, :, :visible], axis=2)
  np.testing.assert_allclose(found[0][:, 0, ::2], mean, rtol=1e-4, atol=1e-6)
  for other in found[1:]:
    np.testing.assert_array_equal(found[0], other)


def test_a_row_s_bits_depend_on_no_other_row():
  """However many rows are read beside it, and wherever it is."""
  rng = np.random.default_rng(0)
  query, cache = cached(rng, 64)
  lengths = rng.integers(1, 100, 64)
  alone = attended(query, cache, lengths)
  for long in ([63], [0], [0, 3], [0, 9], [20], [*range(64)]):
    others = lengths.copy()
    others[long] = rng.integers(400, 512, len(long))
    found = attended(query, cache, others)
    same = np.setdiff1d(np.arange(64), long)
    np.testing.assert_array_equal(found[same], alone[same])
  order = rng.permutation(64)
  moved = jax.tree.map(lambda x: x[order], (query, cache))
  np.testing.assert_array_equal(attended(*moved, lengths[order]), alone[order])


@pytest.mark.parametrize("device", ["cpu", "tpu"])
def test_attention_to_a_cache_by_hand(device, monkeypatch):
  """In double precision, with a window, a cap and a bias."""
  monkeypatch.setattr(
      cached_attention, "current_device", lambda: Device(device)
  )
  rng = np.random.default_rng(0)
  query, cache = cached(rng, 9)
  lengths = rng.integers(1, 512, 9)
  lengths[2] = 0

  def bias(queries, keys):
    distance = queries[:, :, None] - keys[:, None, :]
    return 0.01 * jnp.arange(4.0)[:, None, None] * distance[:, None]

  attend = jax.jit(functools.partial(
      cached_attention.attend, scale=0.5, window=70, softcap=2.0, bias=bias
  ))
  visible = jnp.asarray(lengths)[:, None]
  found = attend(query, cache, positions=visible - 1, visible=visible)
  assert not found[2].any()
  for b in set(range(9)) - {2}:
    places = np.arange(max(0, lengths[b] - 70), lengths[b])
    for n in range(4):
      k, v = (np.asarray(x, float)[b, n // 2, places] for x in cache[:2])
      scores = 2 * np.tanh(0.25 * k @ np.asarray(query, float)[b, 0, n])
      weights = np.exp(scores + 0.01 * n * (lengths[b] - 1 - places))
      np.testing.assert_allclose(
          found[b, 0, n], weights / weights.sum() @ v, rtol=2e-5, atol=1e-6
      )


@pytest.mark.long
def test_a_narrow_cache_is_close():
  """Of int8, an error of half a step: 1/254 of a head's largest number."""
  rng = np.random.default_rng(0)
  key, value = jnp.asarray(rng.standard_normal((2, 3, 9, 2, 8)), jnp.float32)
  query = jnp.asarray(rng.standard_normal((3, 1, 4, 8)), jnp.float32)
  places = jnp.broadcast_to(jnp.arange(9), (3, 9))
  found, sizes = {}, {}
  for name in ("float32", "bfloat16", "int8"):
    cache = kv_cache.write(
        kv_cache.empty((3, 2, 64, 8), name), None, places, key, value
    )
    sizes[name] = cache.keys.nbytes
    if name == "int8":
      back = cache.values * cache.value_scales
      step = np.abs(value).max(-1, keepdims=True) / 254
      error = np.abs(np.swapaxes(back, 1, 2)[:, :9] - value)
      assert (error <= 1.001 * step).all()
    found[name] = kv_cache.attend(query, cache, places[:, -1:], scale=0.4)
  assert sizes["float32"] == 4 * sizes["int8"] == 2 * sizes["bfloat16"]
  np.testing.assert_allclose(found["int8"], found["float32"], atol=0.02)
  np.testing.assert_allclose(found["bfloat16"], found["float32"], atol=0.02)
  assert not np.array_equal(found["int8"], found["float32"])


@pytest.mark.slow
def test_int8_decodes_nearly_the_same(engine, params):
  narrow = Engine(
      CONFIG, MESH, end_ids=ENDS, num_slots=5, cache_dtype=jnp.int8
  )
  requests = some_requests(12, 30, logprobs=True)
  exact, found = (answers(e, params, requests) for e in (engine, narrow))
  same = [exact[i].tokens[:3] == found[i].tokens[:3] for i in exact]
  assert sum(same) >= 9
  for i in exact:
    assert found[i].logprobs[0] == pytest.approx(exact[i].logprobs[0], abs=0.2)


@pytest.mark.long
@pytest.mark.parametrize("how", [
    {}, {"cache_dtype": jnp.int8}, {"num_beams": 2},
], ids=["greedy and sampled", "int8", "beams"])
def test_a_broken_answer_fails_alone(params, how):
  """An end token's numbers are NaN: only a prompt has it read to any use."""
  beams = "num_beams" in how
  kind = BeamSearch if beams else Engine
  broken = jax.tree.map(np.copy, params)
  broken["embedding"][ENDS[0]] = np.nan
  good = some_requests(9, 30, logprobs=True)
  if not beams:
    good += some_requests(9, 30, seed=1, temperature=1.0, logprobs=True)
  # Longer, so that what comes into their slots does not cover their NaN.
  bad = [
      dataclasses.replace(
          r, id=f"bad {r.id}", tokens=(*r.tokens, *[3] * 40, ENDS[0], 4)
      )
      for r in good
  ]
  engine = kind(CONFIG, MESH, end_ids=ENDS, num_slots=4, **how)
  expected = answers(engine, params, good)
  mixed = [r for pair in zip(bad, good, strict=True) for r in pair]
  found = answers(engine, broken, mixed)
  for request in bad:
    result = found.pop(request.id)
    assert (result.finish_reason, result.tokens) == ("error", ())
    assert result.failure.startswith("the model's logits are not finite")
  assert found == {i: expected[i] for i in found}
  # One number of the head is enough, which a maximum may pass over.
  one = jax.tree.map(np.copy, params)
  one["head"][7, 3] = np.nan
  found = answers(engine, one, good)
  assert {r.finish_reason for r in found.values()} == {"error"}


@pytest.fixture(scope="module")
def adapters():
  """Different ranks, scales and maps."""
  hows = [
      lora.LoraConfig(rank=2), lora.LoraConfig(r"mlp/(up|down)$", 3, 5.0),
      lora.LoraConfig(r"attention/", 4, 2.0),
  ]
  found = {}
  for i, how in enumerate(hows):
    rng = np.random.default_rng(i)
    make = functools.partial(lora.init, CONFIG, how, 0)
    shapes = nn.meta.unbox(jax.eval_shape(make))
    found[f"a{i}"] = jax.tree.map(
        lambda x, rng=rng: rng.standard_normal(x.shape).astype("float32") / 3,
        shapes,
    ), how
  return found


@pytest.mark.long
def test_adapters_at_once_equal_merged_models(engine, params, adapters):
  base = some_requests(3, 30)
  requests = [
      dataclasses.replace(r, id=f"{r.id} {name}", adapter=name)
      for name in (None, *adapters) for r in base
  ]
  stray = dataclasses.replace(base[0], id="stray", adapter="a7")
  random.Random(1).shuffle(requests)
  found = answers(engine, params, [*requests, stray], adapters=adapters)
  assert found.pop("stray").failure == (
      "unknown adapter 'a7'; there are: a0, a1, a2"
  )
  texts = set()
  for name in (None, *adapters):
    merged = params if name is None else lora.merge(params, *adapters[name])
    alone = answers(engine, merged, base)
    for r in base:
      assert found[f"{r.id} {name}"].tokens == alone[r.id].tokens
    texts.add(tuple(alone[r.id].tokens for r in base))
  assert len(texts) == 4


def test_adapters_of_experts_join():
  """Their b has an axis more before the rank."""
  config = dataclasses.replace(CONFIG, num_experts=3, experts_per_token=2)
  how = lora.LoraConfig(r"mlp/(gate|down)$|query$", 3, 6.0)
  shapes = nn.meta.unbox(jax.eval_shape(lambda: lora.init(config, how, 0)))
  tree = jax.tree.map(lambda x: np.ones(x.shape, "float32"), shapes)
  numbers, joined = adapters_lib.join(config, {"one": (tree, how)})
  assert numbers == {None: 0, "one": 1}
  for ours, theirs in zip(
      jax.tree.leaves(joined), jax.tree.leaves(tree), strict=True
  ):
    assert ours.shape == (2, 2, *theirs.shape[2:])
    assert not ours[:, 0].any() and len(np.unique(ours[:, 1])) == 1
  assert np.unique(joined["blocks"]["mlp"]["down"]["b"][:, 1]) == [how.scale]


@pytest.mark.long
def test_logprobs_equal_the_model(engine, params):
  """The full forward gives the same log-probabilities, by its log-softmax."""
  plain = some_requests(3, 30, seed=5, logprobs=True)
  found = answers(engine, params, plain)
  for request in plain:
    result = found[request.id]
    assert len(result.logprobs) == result.num_tokens
    text = jnp.asarray([request.tokens + result.tokens])
    positions = jnp.arange(text.size)[None]
    logits, _ = decoder.Decoder(CONFIG).apply(
        {"params": jax.tree.map(jnp.asarray, params)}, text, positions
    )
    logprobs = jax.nn.log_softmax(logits[0], axis=-1)
    first = len(request.tokens)
    expected = [
        logprobs[first + i - 1, token] for i, token in enumerate(result.tokens)
    ]
    np.testing.assert_allclose(
        result.logprobs[: len(expected)], expected, rtol=1e-4, atol=1e-4
    )


def test_a_result_can_be_followed_up(engine, params):
  requests, asked = some_requests(4, 20, seed=6), []

  def follow(result):
    if "+" in result.id:
      return None
    asked.append(result.id)
    return Request(f"{result.id}+", (*result.tokens, 3), 5)

  found = {r.id: r for r in engine.generate(params, requests, follow=follow)}
  assert sorted(found) == sorted([*asked, *(f"{i}+" for i in asked)])
  direct = answers(
      engine, params,
      [Request(f"{i}+", (*found[i].tokens, 3), 5) for i in asked],
  )
  assert {i: found[i] for i in direct} == direct


class OneByteEach:
  """The n-th token is the n-th byte of this text, whichever token it is."""

  letters = "אбé🙂中ה" * 9

  def __init__(self):
    self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    self._bytes = iter(self.letters.encode())

  def push(self, token):
    return self._utf8.decode(bytes([next(self._bytes)]))

  def flush(self):
    return self._utf8.decode(b"", final=True)


def test_stop_strings_end_answers_at_whole_characters(engine, params):
  whole = answers(engine, params, some_requests(8, 20, seed=7))
  reasons = set()
  for stop, size in (("🙂中", 13), ("б", 4)):
    requests = [
        dataclasses.replace(r, stop=("zz", stop))
        for r in some_requests(8, 20, seed=7)
    ]
    stopped = answers(engine, params, requests, text=OneByteEach)
    for name, result in stopped.items():
      tokens = whole[name].tokens
      reasons.add((result.finish_reason, result.ended))
      if len(tokens) >= size:
        assert result.tokens == tokens[:size]
        assert result.text == OneByteEach.letters.partition(stop)[0]
        assert (result.finish_reason, result.ended) == ("stop", False)
      else:
        assert result.tokens == tokens
        assert result.finish_reason == whole[name].finish_reason
        shown = OneByteEach.letters.encode()[: len(tokens)]
        assert result.text == shown.decode(errors="replace")
  assert len(reasons) > 1
