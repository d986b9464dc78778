"""Rotary embeddings and ALiBi against hand-computed values."""

import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.models import positions
from mlit_jax.models.config import DecoderConfig, RopeScaling

SIZES = {
    "vocab_size": 3, "num_layers": 1, "embed_dim": 4, "num_heads": 1,
    "num_kv_heads": 1, "mlp_dim": 1,
}


def frequencies(base, head_dim, scaling=None, lengths=None):
  config = DecoderConfig(**SIZES, head_dim=head_dim)
  return positions.frequencies(config, base, scaling, lengths)


def test_rotate_turns_the_pairs_of_halves():
  # H = 4, base 100: the pairs (0, 2) and (1, 3) turn by p and p / 10 radians.
  x = jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
  turned = positions.rotate(x, jnp.asarray([[2]]), frequencies(100.0, 4))
  cos, sin = np.cos([2.0, 0.2]), np.sin([2.0, 0.2])
  expected = [
      1 * cos[0] - 3 * sin[0], 2 * cos[1] - 4 * sin[1],
      3 * cos[0] + 1 * sin[0], 4 * cos[1] + 2 * sin[1],
  ]
  np.testing.assert_allclose(turned[0, 0, 0], expected, rtol=1e-6)


def test_rotate_leaves_position_zero_and_lengths():
  x = np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype("float32")
  places = jnp.asarray([[0, 5, 900], [0, 1, 2]])
  turned = positions.rotate(jnp.asarray(x), places, frequencies(10000.0, 6))
  turned = np.asarray(turned)
  np.testing.assert_array_equal(turned[:, 0], x[:, 0])
  np.testing.assert_allclose(
      np.linalg.norm(turned, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5
  )
  assert not np.allclose(turned[0, 1], x[0, 1])


def test_rotated_products_depend_on_the_distance_alone():
  rng = np.random.default_rng(1)
  pair = jnp.asarray(rng.standard_normal((1, 2, 1, 8)), "float32")

  def product(i, j):
    turned = positions.rotate(
        pair, jnp.asarray([[i, j]]), frequencies(50.0, 8)
    )
    q, k = np.asarray(turned)[0, :, 0]
    return q @ k

  np.testing.assert_allclose(product(7, 3), product(104, 100), rtol=1e-4)
  assert abs(product(7, 3) - product(7, 4)) > 1e-2


def test_rotate_leaves_what_is_not_rotated():
  x = jnp.arange(1.0, 7.0).reshape(1, 1, 1, 6)
  turned = positions.rotate(x, jnp.asarray([[2]]), jnp.asarray([1.0]), 3.0)
  cos, sin = np.cos(2.0), np.sin(2.0)
  expected = [3 * (cos - 2 * sin), 3 * (2 * cos + sin), 3, 4, 5, 6]
  np.testing.assert_allclose(turned[0, 0, 0], expected, rtol=1e-5)


def test_a_fraction_of_a_head_has_frequencies_of_its_own_width():
  config = DecoderConfig(**SIZES, head_dim=16, rotary_fraction=0.25)
  np.testing.assert_allclose(
      positions.frequencies(config, 100.0), [1, 0.1], rtol=1e-6
  )


def test_linear_and_llama3_scaling_by_hand():
  # Base 100, four pairs: 1, 10^-0.5, 0.1, 10^-1.5 radians per position.
  plain = 10.0 ** -np.asarray([0, 0.5, 1, 1.5])
  linear = RopeScaling("linear", 4.0)
  np.testing.assert_allclose(
      frequencies(100.0, 8, linear), plain / 4, rtol=1e-6
  )
  # In 2 pi 10 tokens they turn 10, 3.16, 1, 0.316 times: the first is kept,
  # the last divided, and those between 1 and 4 turns blended.
  scaling = RopeScaling("llama3", 8.0, round(20 * np.pi))
  share = (scaling.original_length * plain / (2 * np.pi) - 1) / 3
  share = np.clip(share, 0, 1)
  assert share[0] == 1 and 0 < share[1] < 1 and share[3] == 0
  np.testing.assert_allclose(
      frequencies(100.0, 8, scaling),
      plain * (share + (1 - share) / 8), rtol=1e-5,
  )


def test_dynamic_scaling_grows_with_the_sequence():
  scaling = RopeScaling("dynamic", 2.0, 10)
  lengths = jnp.asarray([[5, 10, 20]])
  found = frequencies(100.0, 4, scaling, lengths)
  # (2 * 20 / 10 - 1) ^ (4 / 2) = 9 times the base.
  np.testing.assert_allclose(
      found[0], [[1, 0.1], [1, 0.1], [1, 900**-0.5]], rtol=1e-5
  )


def test_lengths_of_sequences():
  places = jnp.asarray([[0, 0, 1, 2, 0, 1], [0, 1, 2, 3, 4, 5]])
  segments = jnp.asarray([[0, 1, 1, 1, 2, 2], [3, 3, 3, 3, 3, 3]])
  np.testing.assert_array_equal(
      positions.sequence_lengths(places, segments),
      [[1, 3, 3, 3, 2, 2], [6] * 6],
  )
  np.testing.assert_array_equal(
      positions.sequence_lengths(places, None), [[3] * 6, [6] * 6]
  )


@pytest.mark.parametrize(
    "heads, exponents",
    [
        (1, [8]), (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        # Not a power of two (Press et al.'s code): 4 of 4, then 2 of 8.
        (6, [2, 4, 6, 8, 1, 3]),
    ],
)
def test_alibi_slopes(heads, exponents):
  np.testing.assert_allclose(
      positions.alibi_slopes(heads), 0.5 ** np.asarray(exponents), rtol=1e-6
  )


def test_alibi_bias_falls_with_the_distance():
  bias = positions.alibi_bias(2)(jnp.asarray([[4]]), jnp.asarray([[0, 3, 4]]))
  np.testing.assert_allclose(
      bias, [[[[-4 / 16, -1 / 16, 0]], [[-4 / 256, -1 / 256, 0]]]], rtol=1e-6
  )


@pytest.mark.torch
@pytest.mark.parametrize(
    "fields",
    [
        {"rope_type": "linear", "factor": 3.0},
        {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
        },
        {"rope_type": "yarn", "factor": 4.0},
        {"rope_type": "yarn", "factor": 4.0, "truncate": False},
        {
            "rope_type": "yarn", "factor": 4.0, "mscale": 0.7,
            "mscale_all_dim": 1.3, "beta_fast": 8, "beta_slow": 2,
            "original_max_position_embeddings": 256,
        },
        {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.8},
    ],
)
def test_scaled_frequencies_equal_transformers(fields):
  transformers = pytest.importorskip("transformers")
  from transformers import modeling_rope_utils

  from mlit_jax.models.interchange.families import FAMILIES

  values = {
      "vocab_size": 3, "hidden_size": 128, "intermediate_size": 5,
      "num_hidden_layers": 1, "num_attention_heads": 2, "rope_theta": 500.0,
      "max_position_embeddings": 512, "rope_scaling": fields,
  }
  ours = FAMILIES["llama"].read_config({"model_type": "llama", **values})
  theirs, factor = modeling_rope_utils.ROPE_INIT_FUNCTIONS[fields["rope_type"]](
      transformers.LlamaConfig(**values), "cpu"
  )
  found = positions.frequencies(ours, ours.rope_base, ours.rope_scaling)
  np.testing.assert_allclose(found, theirs.numpy(), rtol=1e-5)
  assert ours.rope_scaling.attention_factor == pytest.approx(factor)
  again = FAMILIES["llama"].write_config(ours)
  theirs, again_factor = modeling_rope_utils.ROPE_INIT_FUNCTIONS[
      fields["rope_type"]
  ](transformers.LlamaConfig(**again), "cpu")
  np.testing.assert_allclose(found, theirs.numpy(), rtol=1e-5)
  assert again_factor == pytest.approx(factor)
