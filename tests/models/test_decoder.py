"""The decoder: packing, chosen logits and the cache change nothing."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.models import decoder
from mlit_jax.models.config import DecoderConfig
from mlit_jax.training.loss import cross_entropy

CONFIG = DecoderConfig(
    vocab_size=31, num_layers=2, embed_dim=20, num_heads=6, num_kv_heads=2,
    head_dim=6, mlp_dim=33, rope_base=300.0,
)
# A row of three examples and padding.
LENGTHS, PADDING = (5, 1, 6), 3


@pytest.fixture(scope="module")
def apply(random_params):
  params = random_params(CONFIG)
  forward = jax.jit(decoder.Decoder(CONFIG).apply)

  def call(tokens, positions=None, **options):
    tokens = jnp.asarray(tokens)
    if positions is None:
      positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    options = {k: jax.tree.map(jnp.asarray, v) for k, v in options.items()}
    positions = jnp.asarray(positions)
    return forward({"params": params}, tokens, positions, **options)

  return call


@pytest.fixture(scope="module")
def packed():
  """tokens, positions, segment_ids: one row each."""
  rng = np.random.default_rng(3)
  positions = [np.arange(n) for n in LENGTHS] + [np.zeros(PADDING, int)]
  segments = np.repeat([1, 2, 3, 0], [*LENGTHS, PADDING])
  tokens = rng.integers(0, CONFIG.vocab_size, segments.size)
  return tokens[None], np.concatenate(positions)[None], segments[None]


def unpack(row, segments):
  """The three examples, each in a row of its own, padded behind."""
  rows = [row[segments == s] for s in (1, 2, 3)]
  return np.stack([np.pad(r, (0, max(LENGTHS) - r.size)) for r in rows])


def test_packed_equals_unpacked(apply, packed):
  tokens, positions, segments = packed
  logits, cache = apply(tokens, positions, segment_ids=segments)
  assert logits.shape == (1, 15, 31) and cache is None
  alone, _ = apply(unpack(tokens, segments))
  for i, length in enumerate(LENGTHS):
    part = np.asarray(logits)[segments == i + 1]
    np.testing.assert_allclose(
        part, alone[i, :length], rtol=1e-4, atol=1e-5, err_msg=f"example {i}"
    )
  # What stands in the other examples does matter without segment ids.
  mixed, _ = apply(tokens)
  assert np.abs(mixed - logits).max() > 0.1


def test_packed_loss_equals_unpacked_loss(apply, packed):
  tokens, positions, segments = packed
  targets = np.roll(tokens, -1, axis=1)
  weights = np.asarray(segments > 0, np.float32)
  weights[0, np.cumsum(LENGTHS) - 1] = 0  # an example's last token

  logits, _ = apply(tokens, positions, segment_ids=segments)
  whole = cross_entropy(logits, jnp.asarray(targets), jnp.asarray(weights))
  tokens, targets, weights = (
      unpack(x, segments) for x in (tokens, targets, weights)
  )
  logits, _ = apply(tokens)
  alone = cross_entropy(logits, jnp.asarray(targets), jnp.asarray(weights))
  assert whole.weight.sum() == alone.weight.sum() == 9
  np.testing.assert_allclose(whole.total.sum(), alone.total.sum(), rtol=1e-5)
  np.testing.assert_allclose(whole.mean, alone.mean, rtol=1e-5)


def test_padding_is_never_seen(apply, packed):
  tokens, positions, segments = packed
  other = np.where(segments == 0, 30 - tokens, tokens)
  assert (other != tokens).any()
  one, two = (
      apply(t, positions, segment_ids=segments)[0] for t in (tokens, other)
  )
  np.testing.assert_array_equal(one[:, :12], two[:, :12])


def test_no_token_sees_a_later_one(apply):
  tokens = np.arange(8)[None]
  changed = tokens.copy()
  changed[0, 5] = 20
  one, two = apply(tokens)[0], apply(changed)[0]
  np.testing.assert_array_equal(one[:, :5], two[:, :5])
  assert (np.abs(one - two)[:, 5:].max(-1) > 1e-3).all()


def test_logit_positions_equal_slices(apply, packed):
  tokens, positions, segments = packed
  tokens, positions, segments = (
      np.repeat(x, 2, axis=0) for x in (tokens, positions, segments)
  )
  tokens[1] = (tokens[1] + 7) % CONFIG.vocab_size
  # Places in the row, in any order, repeated or not.
  places = np.asarray([[0, 14, 6, 6], [11, 3, 5, 0]])
  full, _ = apply(tokens, positions, segment_ids=segments)
  some, _ = apply(
      tokens, positions, segment_ids=segments, logit_positions=places
  )
  expected = np.stack([np.asarray(full)[b, places[b]] for b in range(2)])
  assert some.shape == (2, 4, 31)
  np.testing.assert_allclose(some, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_cached_prefill_and_steps_equal_the_full_forward(apply):
  """Two prompts of different lengths, padded, then token by token."""
  rng = np.random.default_rng(5)
  lengths, new, width = np.asarray([3, 6]), 4, 6
  rows = rng.integers(0, CONFIG.vocab_size, (2, 10))
  prompt = np.where(np.arange(width) < lengths[:, None], rows[:, :width], 30)
  cache = decoder.init_cache(CONFIG, 2, width + new)
  assert cache.keys.shape == cache.values.shape == (2, 2, 2, 10, 6)
  logits, cache = apply(prompt, cache=cache)
  full, _ = apply(rows)
  full = np.asarray(full)
  for b, n in enumerate(lengths):
    np.testing.assert_allclose(
        logits[b, :n], full[b, :n], rtol=1e-4, atol=1e-5
    )
  for step in range(new):
    positions = (lengths + step)[:, None]
    tokens = np.take_along_axis(rows, positions, axis=1)
    logits, cache = apply(tokens, positions, cache=cache)
    expected = np.take_along_axis(full, positions[..., None], axis=1)
    np.testing.assert_allclose(
        logits, expected, rtol=1e-4, atol=1e-5, err_msg=f"step {step}"
    )


def test_left_padded_prompts_fill_the_cache_as_alone(apply):
  rng = np.random.default_rng(6)
  tokens = rng.integers(0, CONFIG.vocab_size, (2, 7))
  pad = np.asarray([3, 0])
  positions = np.maximum(np.arange(7) - pad[:, None], 0)
  segments = np.asarray(np.arange(7) >= pad[:, None], np.int32)
  cache = decoder.init_cache(CONFIG, 2, 9)
  logits, cache = apply(
      tokens, positions, segment_ids=segments, cache=cache
  )
  step = np.asarray([[4], [9]])
  after, _ = apply(step, 7 - pad[:, None], cache=cache)
  for b, n in enumerate(pad):
    row = np.concatenate([tokens[b, n:], step[b], np.zeros(n, int)])[None]
    alone = np.asarray(apply(row)[0])[0, : 8 - n]
    found = np.concatenate([logits[b, n:], after[b]])
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_hidden_states_and_the_head_make_the_logits(apply, random_params):
  params = jax.tree.map(jnp.asarray, {"params": random_params(CONFIG)})
  model, tokens = decoder.Decoder(CONFIG), jnp.arange(9)[None]
  hidden, _ = model.apply(params, tokens, tokens, method="hidden")
  assert hidden.shape == (1, 9, CONFIG.embed_dim)
  logits = model.apply(params, hidden, method="head")
  np.testing.assert_allclose(logits, apply(tokens)[0], rtol=1e-5, atol=1e-6)
  kernel = model.apply(params, method="head_kernel")
  np.testing.assert_array_equal(kernel, params["params"]["head"])


def test_a_normalised_head_and_the_logits_soft_cap_by_hand(random_params):
  config = DecoderConfig(
      **(vars(CONFIG) | {
          "vocab_size": 2, "embed_dim": 2, "normalize_head": True,
          "logit_softcap": 3.0,
      })
  )
  params = random_params(config)
  params["head"] = jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
  logits = decoder.Decoder(config).apply(
      {"params": params}, jnp.asarray([[[1.0, 2.0]]]), method="head"
  )
  np.testing.assert_allclose(
      logits[0, 0], [3 * np.tanh(2.2 / 3), 0], rtol=1e-6
  )


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_boxed_with_their_logical_axes(tied):
  config = DecoderConfig(
      **(vars(CONFIG) | {"tie_embeddings": tied, "num_layers": 6})
  )
  boxed = jax.eval_shape(lambda: decoder.init_params(config, 0))
  axes = jax.tree.map(tuple, nn.get_partition_spec(boxed))
  shapes = jax.tree.map(lambda x: x.shape, nn.meta.unbox(boxed))
  assert axes["embedding"] == ("vocab", "embed")
  assert shapes["embedding"] == (31, 20)
  assert ("head" in axes) is not tied
  block = axes["blocks"]
  assert block["attention"]["query"] == ("layers", "embed", "heads", "kv")
  assert block["attention"]["key"] == ("layers", "embed", "kv_heads", "kv")
  assert block["attention"]["out"] == ("layers", "heads", "kv", "embed")
  assert block["mlp"]["down"] == ("layers", "mlp", "embed")
  assert shapes["blocks"]["attention"]["out"] == (6, 6, 6, 20)
  assert shapes["blocks"]["mlp"]["down"] == (6, 33, 20)
  assert axes["final_norm"]["scale"] == ("embed",)


def test_the_loop_over_many_layers_equals_the_unrolled(random_params):
  """Up to four layers are unrolled; the fifth must not change the first four.

  A fifth block whose outgoing kernels are zero adds nothing to x.
  """
  four, five = (
      DecoderConfig(**(vars(CONFIG) | {"num_layers": n})) for n in (4, 5)
  )
  params = random_params(five)
  params["blocks"]["attention"]["out"][4] = 0
  params["blocks"]["mlp"]["down"][4] = 0
  short = params | {
      "blocks": jax.tree.map(lambda x: x[:4], params["blocks"])
  }
  tokens = jnp.arange(7)[None]
  one, two = (
      jax.jit(decoder.Decoder(c).apply)({"params": p}, tokens, tokens)[0]
      for c, p in ((four, short), (five, params))
  )
  np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_near_float32(apply, random_params):
  tokens = jnp.arange(9)[None]
  model = decoder.Decoder(CONFIG, dtype=jnp.bfloat16)
  params = {"params": random_params(CONFIG)}
  logits, _ = jax.jit(model.apply)(params, tokens, tokens)
  assert logits.dtype == jnp.float32
  exact = np.asarray(apply(tokens)[0])
  error = np.abs(logits - exact).max() / np.abs(exact).max()
  assert 1e-5 < error < 0.05


def test_init_is_seeded():
  make = jax.jit(
      lambda seed: nn.meta.unbox(decoder.init_params(CONFIG, seed))["head"]
  )
  one, same, other = map(make, (1, 1, 2))
  np.testing.assert_array_equal(one, same)
  assert np.abs(one - other).max() > 0.1
  np.testing.assert_allclose(one.std(), 20**-0.5, rtol=0.1)


@pytest.mark.long
@pytest.mark.parametrize("policy", ["full", "context"])
def test_remat_saves_memory_and_changes_no_gradient(random_params, policy):
  config = DecoderConfig(50, 3, 32, 4, 2, 8, 64, 512)
  params = random_params(config)
  rng = np.random.default_rng(0)
  tokens = jnp.asarray(rng.integers(0, 50, (2, 256)), jnp.int32)
  places = jnp.broadcast_to(jnp.arange(256), (2, 256))

  def gradient(remat):
    model = decoder.Decoder(config, remat=remat)

    def loss(params):
      logits, _ = model.apply({"params": params}, tokens, places)
      return jnp.mean(jnp.square(logits))

    made = jax.jit(jax.grad(loss)).lower(params).compile()
    return made(params), made.memory_analysis().temp_size_in_bytes

  (plain, much), (saved, less) = gradient("none"), gradient(policy)
  assert less < 0.9 * much
  for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(saved)):
    a = np.asarray(a)
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize("gated", [True, False])
def test_an_mlp_keeps_its_maps_and_its_hidden_layer(random_params, gated):
  """And nothing of the activation between them, of which there is more."""
  config = DecoderConfig(
      vocab_size=16, num_layers=8, embed_dim=8, num_heads=1, num_kv_heads=1,
      head_dim=8, mlp_dim=1024, gated_mlp=gated,
      activation="silu" if gated else "gelu_tanh",
  )

  def loss(params, tokens):
    run = decoder.Decoder(config).apply
    return jnp.sum(run({"params": params}, tokens, tokens)[0] ** 2)

  tokens = jax.ShapeDtypeStruct((1, 128), np.int32)
  compiled = jax.jit(jax.grad(loss)).lower(
      random_params(config), tokens
  ).compile()
  stack = 4 * 8 * 128 * 1024  # bytes: what all layers keep of one array
  kept = compiled.memory_analysis().temp_size_in_bytes / stack
  assert kept < (4.3 if gated else 3.1)
