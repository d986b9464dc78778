"""The encoder-decoder: the cache, packing and padding change nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mlit_jax import partitioning
from mlit_jax.models import encoder_decoder
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

CONFIG = EncoderDecoderConfig(
    family="t5", vocab_size=31, num_encoder_layers=2, num_decoder_layers=3,
    embed_dim=20, num_heads=4, head_dim=6, mlp_dim=33, num_buckets=8,
    max_distance=12,
)


@pytest.fixture(scope="module")
def apply(random_params):
  params = random_params(CONFIG)
  apply = jax.jit(
      encoder_decoder.EncoderDecoder(CONFIG).apply,
      static_argnames=("method", "length"),
  )

  def call(*args, **options):
    args = [jax.tree.map(jnp.asarray, x) for x in args]
    return apply({"params": params}, *args, **options)

  return call


def places(tokens):
  return np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)


@pytest.fixture(scope="module")
def rows():
  """Inputs [2, 9] and outputs [2, 7]."""
  rng = np.random.default_rng(0)
  return rng.integers(0, 31, (2, 9)), rng.integers(0, 31, (2, 7))


@pytest.mark.long
def test_prefill_and_steps_equal_the_full_forward(apply, rows):
  """Two prefixes of different lengths, padded, then token by token."""
  inputs, tokens = rows
  seen = np.ones_like(inputs)
  seen[0, 5:] = 0
  full = apply(
      inputs, places(inputs), tokens, places(tokens), input_segments=seen
  )
  cache = apply(inputs, places(inputs), seen, length=7, method="start")
  assert cache.own.keys.shape == (3, 2, 4, 7, 6)
  assert cache.cross.values.shape == (3, 2, 4, 9, 6)
  lengths = np.asarray([2, 4])
  prefix = np.where(np.arange(4) < lengths[:, None], tokens[:, :4], 30)
  logits, cache = apply(prefix, places(prefix), cache, method="step")
  for row, n in enumerate(lengths):
    np.testing.assert_allclose(
        logits[row, :n], full[row, :n], rtol=1e-4, atol=1e-5
    )
  for step in range(3):
    at = (lengths + step)[:, None]
    logits, cache = apply(
        np.take_along_axis(tokens, at, 1), at, cache, method="step"
    )
    expected = np.take_along_axis(np.asarray(full), at[..., None], 1)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_padding_is_never_seen(apply, rows):
  inputs, tokens = rows
  seen = (np.arange(9) < 6) * np.ones_like(inputs)
  segments = (np.arange(7) < 5) * np.ones_like(tokens)
  first = apply(
      inputs, places(inputs), tokens, places(tokens), seen, segments
  )
  second = apply(
      np.where(seen, inputs, 30 - inputs), places(inputs),
      np.where(segments, tokens, 30 - tokens), places(tokens), seen, segments,
  )
  np.testing.assert_array_equal(first[:, :5], second[:, :5])
  assert np.isfinite(first).all()


def test_no_token_sees_a_later_one_but_inputs_do(apply, rows):
  inputs, tokens = rows
  base = apply(inputs, places(inputs), tokens, places(tokens))
  changed = tokens.copy()
  changed[:, 4] = (changed[:, 4] + 1) % 31
  other = apply(inputs, places(inputs), changed, places(tokens))
  np.testing.assert_array_equal(base[:, :4], other[:, :4])
  assert (np.abs(base - other)[:, 4:].max(-1) > 1e-4).all()
  changed = inputs.copy()
  changed[:, 8] = (changed[:, 8] + 1) % 31
  encoded = [
      apply(x, places(x), np.ones_like(x), length=1, method="start").cross.keys
      for x in (inputs, changed)
  ]
  assert (np.abs(encoded[0] - encoded[1]).max((0, 1, 3, 4)) > 1e-4).all()


def test_logit_positions_equal_slices(apply, rows):
  inputs, tokens = rows
  full = apply(inputs, places(inputs), tokens, places(tokens))
  at = np.asarray([[6, 0], [3, 3]])
  some = apply(
      inputs, places(inputs), tokens, places(tokens), logit_positions=at
  )
  expected = np.stack([np.asarray(full)[b, at[b]] for b in range(2)])
  np.testing.assert_allclose(some, expected, rtol=1e-5, atol=1e-6)


def test_hidden_and_head_are_the_two_halves(apply, rows):
  inputs, tokens = rows
  full = apply(inputs, places(inputs), tokens, places(tokens))
  hidden = apply(
      inputs, places(inputs), tokens, places(tokens), method="hidden"
  )
  assert hidden.shape == (2, 7, 20)
  np.testing.assert_allclose(
      apply(hidden, method="head"), full, rtol=1e-5, atol=1e-6
  )


def test_activations_are_of_the_dtype_and_logits_float32():
  model = encoder_decoder.EncoderDecoder(CONFIG, jnp.bfloat16)
  tokens = jnp.zeros((2, 3), jnp.int32)

  def shapes(method):
    return jax.eval_shape(
        lambda key: model.init_with_output(key, *(tokens,) * 4, method=method),
        jax.random.key(0),
    )

  hidden, variables = shapes("hidden")
  assert hidden.dtype == jnp.bfloat16
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("f4")}
  assert shapes("__call__")[0].dtype == jnp.float32


@pytest.mark.parametrize("family", ["t5", "umt5"])
def test_parameters_lie_on_a_mesh(family):
  mesh = partitioning.make_mesh()
  config = dataclasses.replace(CONFIG, family=family)
  shapes = jax.eval_shape(lambda: encoder_decoder.init_params(config, 0))
  shardings = partitioning.param_shardings(shapes, mesh)
  stack = shardings["decoder"]
  assert stack["blocks"]["cross_attention"]["key"].spec == P(
      None, ("fsdp", "sequence"), "tensor", None
  )
  if family == "t5":
    assert stack["relative_bias"].spec == P(None, "tensor")
  else:
    assert stack["blocks"]["relative_bias"].spec == P(None, None, "tensor")


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("family", "bart", "family must be one of"),
        ("num_heads", 0, "num_heads must be a positive whole number: 0"),
        ("head_dim", 6.0, "head_dim must be a positive whole number: 6.0"),
        ("norm_eps", 0, "norm_eps must be a positive number: 0"),
        ("tie_embeddings", 1, "tie_embeddings must be true or false: 1"),
        ("num_buckets", 10, "num_buckets=10 must be a multiple of 4"),
        ("max_distance", 4, "max_distance=4 must be more than half"),
    ],
)
def test_wrong_configs_are_refused(field, value, words):
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(CONFIG, **{field: value})


def test_an_mt5_does_not_scale():
  with pytest.raises(ValueError, match="an mt5 has no scale_logits"):
    dataclasses.replace(CONFIG, family="mt5", scale_logits=True)
