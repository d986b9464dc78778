"""Layers against hand-computed values and NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.models import layers
from mlit_jax.models.config import DecoderConfig


def test_rms_norm_by_hand():
  norm = layers.RMSNorm(eps=0.5)
  x = jnp.asarray([[[3.0, 4.0]]])  # mean square 12.5
  scale = jnp.asarray([2.0, 10.0])
  out = norm.apply({"params": {"scale": scale}}, x)
  np.testing.assert_allclose(
      out[0, 0], [6 / 13**0.5, 40 / 13**0.5], rtol=1e-6
  )


def test_rms_norm_computes_in_float32():
  # In bfloat16 the squares would round, in float16 they would be infinite.
  x = jnp.full((1, 1, 4), 400.0, jnp.float16)
  out = layers.RMSNorm(eps=1e-6).apply({"params": {"scale": jnp.ones(4)}}, x)
  assert out.dtype == jnp.float16
  np.testing.assert_array_equal(out, np.ones((1, 1, 4)))


def test_a_norm_s_offset_is_added_to_its_scale():
  norm = layers.RMSNorm(eps=0.5, offset=1.0)
  x = jnp.asarray([[[3.0, 4.0]]])
  out = norm.apply({"params": {"scale": jnp.asarray([1.0, -1.0])}}, x)
  np.testing.assert_allclose(out[0, 0], [6 / 13**0.5, 0], rtol=1e-6)
  made = norm.init(jax.random.key(0), x)["params"]["scale"]
  assert made.names == ("embed",)
  np.testing.assert_array_equal(made.value, 0)


def test_layer_norm_by_hand():
  norm = layers.LayerNorm(eps=1.5)
  x = jnp.asarray([[[1.0, 3.0, 2.0, 2.0]]])  # mean 2, variance 0.5
  params = {"scale": jnp.asarray([1.0, 2, 3, 4]), "bias": jnp.arange(4.0)}
  out = norm.apply({"params": params}, x)
  np.testing.assert_allclose(
      out[0, 0], [-(2**-0.5), 1 + 2 / 2**0.5, 2, 3], rtol=1e-6
  )


def test_gated_mlp_by_hand():
  config = DecoderConfig(
      vocab_size=3, num_layers=1, embed_dim=2, num_heads=1, num_kv_heads=1,
      head_dim=2, mlp_dim=1,
  )
  params = {
      "gate": jnp.asarray([[1.0], [0.0]]), "up": jnp.asarray([[0.0], [1.0]]),
      "down": jnp.asarray([[1.0, -2.0]]),
  }
  out = layers.MLP(config).apply(
      {"params": params}, jnp.asarray([[[2.0, 3.0]]])
  )
  hidden = 2 / (1 + np.exp(-2.0)) * 3  # silu(2) * 3
  np.testing.assert_allclose(out[0, 0], [hidden, -2 * hidden], rtol=1e-6)


def test_plain_mlp_by_hand():
  config = DecoderConfig(
      vocab_size=3, num_layers=1, embed_dim=2, num_heads=1, num_kv_heads=1,
      head_dim=2, mlp_dim=1, gated_mlp=False, mlp_bias=True, activation="gelu",
  )
  params = {
      "up": jnp.asarray([[1.0], [0.0]]), "up_bias": jnp.asarray([-1.0]),
      "down": jnp.asarray([[1.0, -2.0]]), "down_bias": jnp.asarray([0.0, 5.0]),
  }
  out = layers.MLP(config).apply(
      {"params": params}, jnp.asarray([[[2.0, 3.0]]])
  )
  hidden = 0.8413447  # 1 times the normal distribution's share below 1
  np.testing.assert_allclose(out[0, 0], [hidden, 5 - 2 * hidden], rtol=1e-5)


@pytest.fixture(scope="module")
def attention():
  """A layer with G = 3, its parameters, and an input."""
  config = DecoderConfig(
      vocab_size=3, num_layers=1, embed_dim=10, num_heads=6, num_kv_heads=2,
      head_dim=4, mlp_dim=1, rope_base=20.0,
  )
  rng = np.random.default_rng(0)
  shapes = {
      "query": (10, 6, 4), "key": (10, 2, 4), "value": (10, 2, 4),
      "out": (6, 4, 10),
  }
  params = {
      k: rng.standard_normal(v).astype("float32") / 3 for k, v in shapes.items()
  }
  x = rng.standard_normal((2, 5, 10)).astype("float32")
  return jax.jit(layers.Attention(config).apply), params, x


def test_attention_equals_head_by_head(attention):
  """Head n uses key/value head n // G, softmax over what it sees."""
  apply, params, x = attention
  rows = layers.Rows(jnp.broadcast_to(jnp.arange(5), (2, 5)))
  out, cache = apply({"params": params}, x, rows)
  assert cache is None
  expected = np.zeros((2, 5, 10))
  # A pair of halves is a complex number.
  turn = np.exp(1j * np.arange(5)[:, None] * 20.0 ** -np.array([0, 0.5]))
  for b in range(2):
    for n in range(6):
      kernels = params["query"][:, n], params["key"][:, n // 3]
      heads = (x[b] @ kernel for kernel in kernels)
      q, k = (turn * (h[:, :2] + 1j * h[:, 2:]) for h in heads)
      v = x[b] @ params["value"][:, n // 3]
      scores = (q @ k.conj().T).real / 4**0.5
      for t in range(5):
        weights = np.exp(scores[t, : t + 1])
        mixed = weights / weights.sum() @ v[: t + 1]
        expected[b, t] += mixed @ params["out"][n]
  np.testing.assert_allclose(out, expected, rtol=2e-5, atol=1e-5)


def test_the_cache_keeps_a_token_at_its_position(attention):
  apply, params, x = attention
  empty = layers.KVCache(*np.full((2, 3, 2, 2, 9, 4), 7, "float32"))
  rows = layers.Rows(jnp.asarray([[4, 5], [0, 1]]))
  _, cache = apply({"params": params}, x[:, :2], rows, True, empty, 1)
  for other in (0, 2):  # layers
    np.testing.assert_array_equal(cache.keys[other], 7.0)
    np.testing.assert_array_equal(cache.values[other], 7.0)
  keys, cached = (np.swapaxes(np.asarray(x)[1], 1, 2) for x in cache[:2])
  values = np.einsum("BTD,DKH->BTKH", x[:, :2], params["value"])
  np.testing.assert_allclose(cached[0, 4:6], values[0], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(cached[1, :2], values[1], rtol=1e-5, atol=1e-6)
  for untouched in (cached[0, :4], keys[0, 6:], keys[1, 2:]):
    np.testing.assert_array_equal(untouched, 7.0)


def test_padding_is_not_written_to_the_cache(attention):
  apply, params, x = attention
  empty = layers.KVCache(*np.full((2, 1, 2, 2, 3, 4), 7, "float32"))
  rows = layers.Rows(
      jnp.asarray([[0, 0, 1], [0, 1, 2]]), jnp.asarray([[0, 1, 1], [1, 1, 0]])
  )
  _, cache = apply({"params": params}, x[:, :3], rows, True, empty, 0)
  values = np.einsum("BTD,DKH->BTKH", x[:, :3], params["value"])
  cached = np.swapaxes(np.asarray(cache.values)[0], 1, 2)
  np.testing.assert_allclose(cached[0, :2], values[0, 1:], rtol=1e-5)
  np.testing.assert_allclose(cached[1, :2], values[1, :2], rtol=1e-5)
  np.testing.assert_array_equal(cached[:, 2], 7.0)


class _Maps(nn.Module):
  """A linear map with a bias, and one for each of several experts."""

  @nn.compact
  def __call__(self, x):
    sizes = {"D": 30, "N": 20, "H": 50, "E": 3}
    axes = {"D": "embed", "N": "heads", "H": "kv", "E": "expert"}
    one = layers.linear(self, "one", "BD,DNH->BNH", x, sizes, axes, bias=True)
    many = layers.linear(
        self, "many", "BNH,ENHD->BED", one, sizes, axes, stacked="E"
    )
    return one, many


def test_linear_maps_are_named_cut_and_scaled_by_their_fan_in():
  boxed = _Maps().init(jax.random.key(0), jnp.ones((2, 30)))["params"]
  assert {name: leaf.names for name, leaf in boxed.items()} == {
      "one": ("embed", "heads", "kv"), "one_bias": ("heads", "kv"),
      "many": ("expert", "heads", "kv", "embed"),
  }
  params = nn.meta.unbox(boxed)
  np.testing.assert_allclose(params["one"].std(), 30**-0.5, rtol=0.02)
  np.testing.assert_allclose(params["many"].std(), 1000**-0.5, rtol=0.02)
  np.testing.assert_array_equal(params["one_bias"], np.zeros((20, 50)))


def test_linear_by_numpy():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 30)).astype("float32")
  params = {
      "one": rng.standard_normal((30, 20, 50)).astype("float32"),
      "one_bias": rng.standard_normal((20, 50)).astype("float32"),
      "many": rng.standard_normal((3, 20, 50, 30)).astype("float32"),
  }
  one, many = _Maps().apply({"params": params}, jnp.asarray(x))
  expected = (x @ params["one"].reshape(30, 1000)).reshape(2, 20, 50)
  expected += params["one_bias"]
  np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)
  for e in range(3):
    mapped = expected.reshape(2, 1000) @ params["many"][e].reshape(1000, 30)
    np.testing.assert_allclose(many[:, e], mapped, rtol=1e-4, atol=1e-2)
