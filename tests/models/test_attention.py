"""Attention against a reference in NumPy, float64, and its paths' equality."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.models import (
    attention,
    attention_paths,
    attention_rows,
    attention_xla,
    decoder,
)
from mlit_jax.models.config import DecoderConfig

BATCH, HEADS, KV_HEADS, HEAD_DIM, BUCKETS = 2, 4, 2, 8, 6
XLA = "plain", "blockwise", "rows"
SCALE = 0.4


def make(length, keys=None, seed=0):
  """Random queries, keys, values, a table for the bias."""
  rng = np.random.default_rng(seed)
  keys = keys or length
  return {
      "query": rng.standard_normal((BATCH, length, HEADS, HEAD_DIM)),
      "key": rng.standard_normal((BATCH, keys, KV_HEADS, HEAD_DIM)),
      "value": rng.standard_normal((BATCH, keys, KV_HEADS, HEAD_DIM)),
      "table": rng.standard_normal((HEADS, BUCKETS)),
  }


def rows(length):
  return np.broadcast_to(np.arange(length, dtype=np.int32), (BATCH, length))


def packed(length):
  """Positions and segments of two rows that hold several sequences."""
  segments = np.zeros((BATCH, length), np.int32)
  positions = np.zeros((BATCH, length), np.int32)
  for row, sizes in enumerate(([7, 1, length - 11], [3, length // 2])):
    begin = 0
    for segment, size in enumerate(sizes, 1):
      segments[row, begin : begin + size] = segment
      positions[row, begin : begin + size] = np.arange(size)
      begin += size
  return positions, segments  # what is left is padding


def reference(arrays, how):
  """Query by query and head by head, in float64."""
  positions, key_positions = how["query_positions"], how["key_positions"]
  out = np.zeros(arrays["query"].shape)
  for b, t, n in np.ndindex(*out.shape[:3]):
    distance = positions[b, t] - key_positions[b].astype(int)
    seen = np.ones(len(distance), bool)
    if how.get("causal", True):
      seen &= distance >= 0
    if how.get("window") is not None:
      seen &= distance < how["window"]
    if how.get("query_segments") is not None:
      seen &= how["key_segments"][b] == how["query_segments"][b, t]
    if not seen.any():
      continue
    kv_head = n // (HEADS // KV_HEADS)
    scores = SCALE * arrays["key"][b, :, kv_head] @ arrays["query"][b, t, n]
    if how.get("softcap"):
      scores = how["softcap"] * np.tanh(scores / how["softcap"])
    if how.get("bias"):
      scores = scores + arrays["table"][n, np.abs(distance) % BUCKETS]
    weights = np.where(seen, np.exp(scores - scores[seen].max()), 0)
    out[b, t, n] = weights / weights.sum() @ arrays["value"][b, :, kv_head]
  return out


@functools.partial(jax.jit, static_argnames=("path", "causal", "softcap"))
def attend(arrays, how, bias, path, causal=True, softcap=None):
  """Of arrays alone, so that it has a gradient; `bias` True: uses the table."""
  table = arrays["table"]

  def buckets(positions, key_positions):
    distance = jnp.abs(positions[:, :, None] - key_positions[:, None, :])
    return jnp.moveaxis(table[:, distance % BUCKETS], 0, 1)

  return attention.attend(
      arrays["query"], arrays["key"], arrays["value"], **how, causal=causal,
      softcap=softcap, bias=None if bias is None else buckets, scale=SCALE,
      path=path,
  )


def arguments(how):
  """Of a case, those that are arrays, and whether there is a bias."""
  arrays = {
      k: v for k, v in how.items() if k not in ("causal", "softcap", "bias")
  }
  return arrays, how.get("bias")


def fixed(how):
  return {k: how[k] for k in ("causal", "softcap") if k in how}


def call(arrays, how, path):
  return attend(arrays, *arguments(how), path=path, **fixed(how))


def cases():
  length = 37  # no multiple of the block
  whole = {"query_positions": rows(length), "key_positions": rows(length)}
  positions, segments = packed(length)
  pack = {
      "query_positions": positions, "key_positions": positions,
      "query_segments": segments, "key_segments": segments,
  }
  # Nothing says that a row's segments ascend, or its positions.
  order = np.random.default_rng(2).permutation(length)
  shuffled = {name: array[:, order] for name, array in pack.items()}
  cached = {
      "query_positions": np.asarray([[9, 10, 11], [30, 31, 32]], np.int32),
      "key_positions": rows(37),
  }
  ones = np.ones((BATCH, 5), np.int32)
  cross = {
      "query_positions": rows(5), "key_positions": rows(length),
      "query_segments": ones * [[1], [2]], "key_segments": segments,
  }
  return {
      "causal": (length, whole),
      "whole blocks": (32, {
          "query_positions": rows(32), "key_positions": rows(32)
      }),
      "bidirectional": (length, whole | {"causal": False}),
      "window": (length, whole | {"window": np.int32(5)}),
      "soft cap": (length, whole | {"softcap": 1.5}),
      "bias": (length, whole | {"bias": True}),
      "packed": (length, pack),
      "shuffled": (length, shuffled),
      "everything": (length, pack | {
          "window": np.int32(9), "softcap": 2.0, "bias": True
      }),
      "packed, bidirectional, bias": (
          length, pack | {"causal": False, "bias": True}
      ),
      "cache": (3, cached | {"window": np.int32(20)}),
      "cross": (5, cross | {"causal": False}),
      # The second row's queries are of a segment that no key has.
      "no key": (5, cross | {
          "causal": False, "query_segments": ones * [[1], [9]]
      }),
  }


CASES = cases()
# Each of these features is in "everything" too; alone it tells what is wrong.
ALONE = ("bidirectional", "window", "soft cap", "bias", "packed")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(attention_xla, "BLOCK", 8)
  monkeypatch.setattr(attention_rows, "_FEWEST", 8)


@functools.partial(jax.jit, static_argnames=("path", "causal", "softcap"))
def with_gradient(arrays, how, bias, onto, **fixed):
  """Values, and the gradient of their projection on `onto`."""
  mixed, pull = jax.vjp(lambda a: attend(a, how, bias, **fixed), arrays)
  return mixed, pull(onto)[0]


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ALONE else [])
        for name in CASES
    ],
)
def test_values_and_gradients_are_the_references(name):
  length, how = CASES[name]
  arrays = make(length, how["key_positions"].shape[1])
  expected = reference(arrays, how)
  # The slope of a random projection along a random direction, by differences.
  rng = np.random.default_rng(1)
  onto = rng.standard_normal(expected.shape)
  along = {k: rng.standard_normal(a.shape) for k, a in arrays.items()}
  step = 1e-5

  def moved(sign):
    arrays_ = {k: a + sign * step * along[k] for k, a in arrays.items()}
    return np.sum(onto * reference(arrays_, how))

  slope = (moved(1) - moved(-1)) / (2 * step)
  gradients = {}
  for path in XLA:
    mixed, gradient = with_gradient(
        arrays, *arguments(how), onto.astype("float32"), path=path, **fixed(how)
    )
    np.testing.assert_allclose(mixed, expected, rtol=2e-5, atol=2e-6)
    found = sum(np.sum(gradient[k] * along[k]) for k in arrays)
    np.testing.assert_allclose(found, slope, rtol=2e-4, atol=1e-3)
    gradients[path] = gradient
  for path, name in itertools.product(gradients, arrays):
    np.testing.assert_allclose(
        gradients[path][name], gradients["plain"][name], rtol=1e-4, atol=1e-5,
        err_msg=f"{path}: {name}",
    )


def temporary_bytes(path, length, softcap):
  arrays = make(length)
  how = CASES["causal"][1] | {
      "query_positions": rows(length), "key_positions": rows(length),
      "softcap": softcap, "bias": True,
  }
  step = jax.jit(jax.grad(lambda a: jnp.sum(call(a, how, path) ** 2)))
  return step.lower(arrays).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.long
@pytest.mark.parametrize(
    "path", ["blockwise", pytest.param("rows", marks=[pytest.mark.slow])]
)
def test_memory_is_linear_in_length(path, monkeypatch):
  """Forward and backward, with soft cap and bias."""
  monkeypatch.setattr(attention_xla, "BLOCK", 128)
  monkeypatch.setattr(attention_rows, "_FEWEST", 32)
  short, long = (temporary_bytes(path, n, 3.0) for n in (512, 2048))
  assert long < 4.5 * short
  whole = temporary_bytes("plain", 2048, 3.0)
  assert whole > 4 * BATCH * HEADS * 2048**2 > 4 * long


@pytest.mark.long
@pytest.mark.parametrize(
    "path", ["blockwise", pytest.param("rows", marks=[pytest.mark.slow])]
)
def test_a_model_s_memory_is_linear_in_length(path, monkeypatch, random_params):
  """What layers share is computed before their scan: masks must not be."""
  monkeypatch.setattr(attention_xla, "BLOCK", 128)
  monkeypatch.setattr(attention_rows, "_FEWEST", 32)
  config = DecoderConfig(
      vocab_size=16, num_layers=6, embed_dim=8, num_heads=4, num_kv_heads=4,
      head_dim=2, mlp_dim=8,
  )
  params = random_params(config)
  monkeypatch.setattr(attention_paths, "choose", lambda *_: (path, ""))

  def temporary(length):
    def loss(params, tokens):
      run = decoder.Decoder(config).apply
      return jnp.sum(run({"params": params}, tokens, tokens, tokens)[0] ** 2)

    tokens = jax.ShapeDtypeStruct((BATCH, length), np.int32)
    compiled = jax.jit(jax.grad(loss)).lower(params, tokens).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary(2048) < 5 * temporary(512)


@pytest.mark.long
def test_bfloat16_stays_near_float32():
  length, how = CASES["everything"]
  wide = make(length)
  narrow = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), wide)
  exact = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), narrow)
  for path in XLA:
    mixed = call(narrow, how, path)
    assert mixed.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        mixed.astype(jnp.float32), call(exact, how, "plain"), atol=0.03
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"path": "flash"}, "no attention path 'flash'; there are ('plain'"),
        ({"path": "splash"}, "'splash' cannot do this: splash does not run on"),
        ({"query_segments": jnp.asarray(rows(8))}, "both, or none"),
        ({"causal": False, "window": 4}, "wants causal=True"),
    ],
)
def test_contradictions_are_refused(changes, message):
  arrays = jax.tree.map(jnp.float32, make(8))
  del arrays["table"]
  places = jnp.asarray(rows(8))
  with pytest.raises(ValueError) as error:
    attention.attend(
        **arrays, query_positions=places, key_positions=places, scale=1.0,
        **changes,
    )
  assert message in str(error.value)


def test_plain_attention_s_gradient_sums_no_scores():
  """The softmax's own sum is the only one: a CPU takes long for another."""
  arrays, onto = make(13), np.ones((BATCH, 13, HEADS, HEAD_DIM))
  how = {"query_positions": rows(13), "key_positions": rows(13)}
  text = with_gradient.lower(arrays, how, None, onto, path="plain").as_text()
  scores = f"{BATCH}x{KV_HEADS}x{HEADS // KV_HEADS}x13x13"
  sums = re.findall(
      rf"applies stablehlo.add across.*: \(tensor<{scores}x", text
  )
  assert len(sums) == 1


def test_sizes_of_compiled_blocks():
  """Every number of blocks fits one that is at most half as large again."""
  assert attention_rows._sizes(1) == [1]
  assert attention_rows._sizes(8) == [1, 2, 3, 4, 6, 8]
  assert attention_rows._sizes(11) == [1, 2, 3, 4, 6, 8, 11]
  for blocks in range(1, 130):
    sizes = attention_rows._sizes(blocks)
    assert sizes[-1] == blocks
    for wanted in range(1, blocks + 1):
      assert next(n for n in sizes if n >= wanted) <= 1.5 * wanted


def test_a_block_of_queries_gets_all_keys_that_it_sees():
  """And few others: a row of many sequences is not as dear as one of one."""
  rng = np.random.default_rng(0)
  for _ in range(20):
    lengths = rng.integers(1, 40, 12)
    segments = np.repeat(np.arange(1, 13), lengths)[:160]
    segments = np.pad(segments, (0, 160 - len(segments)))
    positions = np.concatenate([np.arange(n) for n in lengths])[:160]
    positions = np.pad(positions, (0, 160 - len(positions)))
    row = attention_xla.Tokens(positions[None], segments[None])
    cut = jax.tree.map(lambda x: jnp.asarray(x.reshape(20, 8)), row)
    rule = True, None, None, tuple(8 * n for n in attention_rows._sizes(20))
    first, which = attention_rows._ranges(rule, cut, cut, None)
    sizes = np.asarray(rule[3])[which]
    seen = np.asarray(attention_xla.visible(row, row, True, None))[0]
    for i in range(20):
      keys = np.flatnonzero(seen[8 * i : 8 * (i + 1)].any(axis=0))
      assert first[i] <= keys[0] and keys[-1] < first[i] + sizes[i]
      assert 0 <= first[i] <= 160 - sizes[i]
      if segments[8 * i] > 0:  # padding is one long sequence
        assert sizes[i] <= 1.5 * (keys[-1] - keys[0] + 1 + 2 * 8)
