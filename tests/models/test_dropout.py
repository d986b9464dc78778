"""Dropout: its share and scale, whose masks they are, and where T5X has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.models import dropout, encoder_decoder_layers
from mlit_jax.models.encoder_decoder import EncoderDecoder
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

CONFIG = EncoderDecoderConfig(
    family="t5", vocab_size=31, num_encoder_layers=2, num_decoder_layers=1,
    embed_dim=12, num_heads=2, head_dim=6, mlp_dim=20,
)
KEY = jax.random.key(3)


def test_a_share_is_left_out_and_the_rest_keeps_the_mean():
  x = np.random.default_rng(0).standard_normal((100, 20, 50)).astype("float32")
  found = np.asarray(dropout.drop_out(jnp.asarray(x), 0.3, KEY))
  kept = found != 0
  # Of 100,000 elements; four standard deviations.
  assert abs(kept.mean() - 0.7) < 4 * (0.3 * 0.7 / x.size) ** 0.5
  np.testing.assert_allclose(found[kept], x[kept] / np.float32(0.7), rtol=1e-6)
  # Masks of rows, places and elements are different ones.
  for axis in range(3):
    two = np.moveaxis(kept, axis, 0)[:2]
    assert 0.3 < (two[0] != two[1]).mean() < 0.54  # 2 x 0.3 x 0.7 = 0.42


def test_a_mask_may_be_shared_along_an_axis():
  x = jnp.ones((40, 30, 50))
  kept = np.asarray(dropout.drop_out(x, 0.2, KEY, shared=(0,))) != 0
  assert (kept == kept[:, :1]).all()
  assert abs(kept[:, 0].mean() - 0.8) < 4 * (0.2 * 0.8 / 2000) ** 0.5


def test_a_row_s_mask_is_its_draw_s():
  x = jnp.ones((4, 60))
  draws = jnp.asarray([[0, 1], [0, 2], [1, 1], [0, 1]])
  found = np.asarray(dropout.drop_out(x, 0.5, KEY, draws))
  np.testing.assert_array_equal(found[0], found[3])
  assert (found[0] != found[1]).any() and (found[0] != found[2]).any()
  fewer = np.asarray(dropout.drop_out(x[1:3], 0.5, KEY, draws[1:3]))
  np.testing.assert_array_equal(fewer, found[1:3])
  other = np.asarray(dropout.drop_out(x, 0.5, jax.random.key(4), draws))
  assert (found != other).any()


def test_attention_weights_are_dropped_out_by_key():
  """As T5X does: a key's weight is dropped for all queries, or for none."""
  places, heads, width = 6, 2, 6
  layer = encoder_decoder_layers.Attention(CONFIG, 0.4)
  x = jnp.asarray(
      np.random.default_rng(1).standard_normal((8, places, 12)), jnp.float32
  )
  row = encoder_decoder_layers.Row(jnp.tile(jnp.arange(places), (8, 1)))
  # Values that say which key they are of: what is mixed are the weights.
  values = jnp.broadcast_to(
      jnp.eye(places, width)[:, None], (8, places, heads, width)
  )
  kernel = np.random.default_rng(2).standard_normal((12, heads, width))
  params = {
      "query": jnp.asarray(kernel, jnp.float32) / 4,
      "key": jnp.zeros((12, heads, width)),
      "value": jnp.zeros((12, heads, width)),
      "out": jnp.eye(12).reshape(heads, width, 12),
  }
  keys = jnp.einsum("BSD,DNH->BSNH", x, jnp.asarray(kernel[::-1], jnp.float32))

  def weights(rngs):
    mixed = layer.apply(
        {"params": params}, x, (keys, values), row, row, False, rngs=rngs
    )
    return np.asarray(mixed).reshape(8, places, heads, places)

  ratio = weights({dropout.STREAM: KEY}) / weights({})
  np.testing.assert_allclose(
      ratio, np.where(ratio > 0, 1 / 0.6, 0), rtol=1e-4
  )
  assert (ratio == 0).any() and (ratio > 0).any()
  np.testing.assert_allclose(
      ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-4
  )
  assert (ratio[:, :, 0] != ratio[:, :, 1]).any()  # heads differ


@pytest.fixture(scope="module")
def hidden(random_params):
  params = jax.tree.map(jnp.asarray, random_params(CONFIG))
  rng = np.random.default_rng(0)
  tokens = rng.integers(1, 31, (4, 9))
  places = jnp.tile(jnp.arange(9), (4, 1))

  @jax.jit
  def dropped(rngs, draws, tokens):
    return EncoderDecoder(CONFIG, dropout=0.2).apply(
        {"params": params}, tokens, places[: len(tokens)], tokens,
        places[: len(tokens)], draws=draws, method="hidden", rngs=rngs,
    )

  def run(rngs, rows=slice(None)):
    draws = np.stack([np.full(4, 7), np.arange(4)], axis=1)
    return np.asarray(dropped(rngs, draws[rows], tokens[rows]))

  def without():
    return np.asarray(jax.jit(
        lambda tokens: EncoderDecoder(CONFIG).apply(
            {"params": params}, tokens, places, tokens, places,
            method="hidden", rngs={dropout.STREAM: KEY},
        )
    )(tokens))

  return run, without


@pytest.mark.long
def test_without_a_stream_or_a_rate_there_is_none(hidden):
  run, without = hidden
  np.testing.assert_array_equal(run({}), without())
  assert (run({dropout.STREAM: KEY}) != without()).any()


@pytest.mark.long
def test_rows_do_not_depend_on_their_neighbours(hidden):
  run, _ = hidden
  rngs = {dropout.STREAM: KEY}
  np.testing.assert_allclose(
      run(rngs, slice(2, 4)), run(rngs)[2:4], rtol=1e-5, atol=1e-6
  )


def test_final_states_share_a_mask_in_the_decoder(hidden):
  run, _ = hidden
  dropped = run({dropout.STREAM: KEY}) == 0
  assert dropped.any() and (dropped == dropped[:, :1]).all()
