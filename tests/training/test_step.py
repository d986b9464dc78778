"""The step alone: parts of a batch, types, encoder-decoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.models import encoder_decoder
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.lora import LoraConfig
from mlit_jax.training import precision
from mlit_jax.training.loss import cross_entropy
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.step import Step, StepConfig

CONFIG = DecoderConfig(
    vocab_size=31, num_layers=1, embed_dim=16, num_heads=2, num_kv_heads=2,
    head_dim=8, mlp_dim=24,
)
T5 = EncoderDecoderConfig("mt5", 31, 1, 1, 16, 2, 8, 24)
OPTIMIZER = OptimizerConfig(1e-2, weight_decay=0.1, eps=1e-3)
RATES, LIMITS = np.asarray([1e-2]), np.asarray([np.inf])


def batch(rows=4, length=10, seed=0):
  rng = np.random.default_rng(seed)
  shape = rows, length
  # Rows of different weight: a mean over parts would be wrong.
  weights = np.arange(length) < 1 + 2 * np.arange(rows)[:, None]
  return {
      "inputs": rng.integers(0, 31, shape, "int32"),
      "segment_ids": np.ones(shape, np.int32),
      "positions": np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
      "loss_positions": np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
      "targets": rng.integers(0, 31, shape, "int32"),
      "weights": weights.astype(np.float32),
  }


def encoder_batch(seed=3):
  rng = np.random.default_rng(seed)
  return batch(seed=seed - 3) | {
      "encoder_inputs": rng.integers(0, 31, (4, 7), "int32"),
      "encoder_segment_ids": np.ones((4, 7), np.int32),
      "encoder_positions": np.tile(np.arange(7, dtype=np.int32), (4, 1)),
  }


def make(model=CONFIG, optimizer=OPTIMIZER, **how):
  return Step(model, StepConfig(optimizer, **how), partitioning.make_mesh())


def once(step, params, data):
  state, metrics = step(step.start(params), step.place(data), RATES, LIMITS)
  return state, jax.device_get(metrics)


def close(one, other, **tolerance):
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other
  )


@pytest.fixture(scope="module")
def params(random_params):
  return random_params(CONFIG)


@pytest.fixture(scope="module")
def plain(params):
  return once(make(loss="whole"), params, batch())


@pytest.mark.long
@pytest.mark.parametrize(
    "how",
    [
        {"accumulation": 2},
        {"accumulation": 4, "remat": "full", "loss": "chunked"},
    ],
)
def test_parts_recomputation_and_chunks_change_nothing(params, plain, how):
  state, metrics = once(make(**how), params, batch())
  expected, their_metrics = plain
  close(metrics, their_metrics, rtol=1e-5)
  close(state.params, expected.params, rtol=1e-4, atol=1e-6)
  assert int(state.updates[0]) == 1


@pytest.mark.long
def test_bfloat16_is_near_and_keeps_float32_weights(params, plain):
  state, metrics = once(make(precision="bfloat16"), params, batch())
  assert {x.dtype for x in jax.tree.leaves(state.params)} == {
      np.dtype("float32")
  }
  assert metrics.loss[0] == pytest.approx(plain[1].loss[0], rel=1e-2)
  assert metrics.loss[0] != plain[1].loss[0]


@pytest.mark.long
def test_bfloat16_weights_move_by_less_than_their_spacing(params):
  """Rounded to nearest, steps of 1e-6 would leave nearly all as they are."""
  step = make(
      optimizer=OptimizerConfig(1e-6, weight_decay=0, eps=1e-3),
      precision="bfloat16_params",
  )
  state, data = step.start(params), step.place(batch())
  start = jax.device_get(state.params["head"]).astype("float64")
  assert state.params["head"].dtype == jnp.bfloat16
  moments = [x for x in jax.tree.leaves(state.opt_state) if x.ndim]
  assert {x.dtype for x in moments} == {np.dtype("float32")}
  for _ in range(20):
    state, _ = step(state, data, np.asarray([1e-4]), LIMITS)
  change = jax.device_get(state.params["head"]).astype("float64") - start
  assert 0.002 < np.mean(change != 0) < 0.9
  assert int(state.updates[0]) == 20


def test_stochastic_rounding_has_the_right_mean():
  x = jnp.asarray([1 + 1 / 512, -3.0001, 1e-3, 0.0, np.inf], jnp.float32)
  keys = jax.random.split(jax.random.key(0), 20_000)
  drawn = jax.vmap(lambda key: precision.round_stochastically(x, key))(keys)
  drawn = np.asarray(drawn.astype(jnp.float32), "float64")
  below = x.astype(jnp.bfloat16).astype(jnp.float32)
  spacing = np.abs(np.asarray(x)) * 2.0**-7
  mean = drawn[:, :4].mean(axis=0)
  # Five standard errors of a mean of 20,000 draws over one spacing.
  assert (np.abs(mean - x[:4]) <= 5 * spacing[:4] / 2 / 20_000**0.5).all()
  assert len(set(drawn[:, 0])) == 2 and abs(below[0] - x[0]) > 1e-3
  assert (drawn[:, 3] == 0).all() and np.isinf(drawn[:, 4]).all()


@pytest.mark.slow
def test_an_encoder_decoder_steps_down_its_gradient():
  data = encoder_batch()
  data["encoder_segment_ids"][:, 5:] = 0
  step = make(
      T5, OptimizerConfig(1e-2, "constant", optimizer="lion", weight_decay=0,
                          clip_norm=0),
      accumulation=2, remat="full", loss="chunked",
  )
  start = jax.device_get(step.init(0))
  model = encoder_decoder.EncoderDecoder(T5)
  x = jax.tree.map(jnp.asarray, data)

  def loss(params):
    logits = model.apply(
        {"params": params}, x["encoder_inputs"], x["encoder_positions"],
        x["inputs"], x["positions"], x["encoder_segment_ids"],
        x["segment_ids"],
    )
    return cross_entropy(logits, x["targets"], x["weights"]).mean

  expected, gradient = jax.value_and_grad(loss)(start)
  state, metrics = once(step, start, data)
  assert metrics.loss[0] == pytest.approx(float(expected), rel=1e-5)

  def check(new, old, g):
    sure = np.abs(g) > 1e-6  # Lion's first direction is the gradient's sign
    np.testing.assert_allclose(
        (new - old)[sure], -1e-2 * np.sign(g)[sure], rtol=1e-3
    )
    return sure.mean()

  shares = jax.tree.map(check, jax.device_get(state.params), start, gradient)
  assert np.mean(jax.tree.leaves(shares)) > 0.7
  abstract = step.abstract_batch(4, 10, input_length=7)
  assert {k: v.shape for k, v in abstract.items()} == {
      k: v.shape for k, v in data.items()
  }


@pytest.mark.slow
def test_dropout_is_the_row_s_in_parts_and_off_in_evaluation():
  data = encoder_batch()
  dropped = make(T5, dropout=0.3)
  start = jax.device_get(dropped.init(0))
  state, metrics = once(dropped, start, data)
  in_parts, others = once(make(T5, dropout=0.3, accumulation=2), start, data)
  np.testing.assert_allclose(metrics.loss, others.loss, rtol=1e-5)
  close(state.params, in_parts.params, rtol=1e-4, atol=1e-5)
  none = make(T5)
  _, without = once(none, start, data)
  assert abs(float(metrics.loss[0] - without.loss[0])) > 1e-3
  # Evaluation has none, bit by bit; the next step has another.
  one, two = (
      s.evaluate(s.start(start), s.place(data)).total for s in (dropped, none)
  )
  np.testing.assert_array_equal(one, two)
  later = dropped.start(start)
  later = later._replace(updates=later.updates + 1)
  _, next_ = dropped(
      later, dropped.place(data), np.full(1, 1e-3), np.full(1, np.inf)
  )
  assert abs(float(metrics.loss[0] - next_.loss[0])) > 1e-5


@pytest.mark.long
def test_two_adapters_of_an_encoder_decoder_are_two_runs():
  """With dropout of the base and of the adapters, each from its own step."""
  how = {"lora": LoraConfig("", 2, 4.0, dropout=0.2), "dropout": 0.1}
  rng = np.random.default_rng(4)

  def random(x):
    return (rng.standard_normal(x.shape) / 4).astype(x.dtype)

  both = make(T5, num_adapters=2, accumulation=2, **how)
  adapters = jax.tree.map(random, both.abstract_state().params)
  assert {"encoder", "decoder"} == set(adapters)
  start = jax.device_get(both.init(0))
  parts = [encoder_batch(), encoder_batch(seed=7)]
  joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), *parts)
  order = np.asarray([0, 4, 5, 1, 2, 6, 3, 7])  # each one's own order stays
  joined["adapter_ids"] = np.repeat(np.arange(2, dtype=np.int32), 4)
  joined = {name: x[order] for name, x in joined.items()}
  both_rates, no_limits = np.asarray([1e-2, 3e-3]), np.full(2, np.inf)
  state = both.start(start, 5, adapters)
  for _ in range(2):
    state, metrics = both(state, both.place(joined), both_rates, no_limits)
  alone = make(T5, **how)
  for k, data in enumerate(parts):
    own = jax.tree.map(lambda x, k=k: x[:, k : k + 1], adapters)
    theirs = alone.start(start, 5, own)
    for _ in range(2):
      theirs, other = alone(
          theirs, alone.place(data), both_rates[k : k + 1], LIMITS
      )
    np.testing.assert_allclose(metrics.loss[k], other.loss[0], rtol=1e-5)
    found = jax.tree.map(lambda x, k=k: x[:, k : k + 1], state.params)
    close(found, theirs.params, rtol=1e-4, atol=1e-6)
    changed = jax.tree.map(lambda a, b: np.any(a != b), found, own)
    assert all(jax.tree.leaves(changed))
  close(state.base, start)  # frozen


def test_validation_measures_the_cross_entropy_without_z_loss(params, plain):
  regular = make(loss="whole", z_loss=1.0)
  _, metrics = once(regular, params, batch())
  found = regular.evaluate(regular.start(params), regular.place(batch()))
  assert float(found.mean) == pytest.approx(plain[1].loss[0], rel=1e-6)
  assert metrics.loss[0] > plain[1].loss[0] + 1  # what is trained has it


def test_wrong_configs_are_refused():
  for how, message in (
      ({"precision": "float16"}, "unknown precision 'float16'; known: "),
      ({"remat": "some"}, "unknown remat 'some'; known: "),
      ({"accumulation": 0}, "accumulation=0 must be 1 or more"),
      ({"dropout": 1.0}, r"dropout=1.0 must be in \[0, 1\)"),
      ({"num_adapters": 2}, "num_adapters=2 without lora; full tuning trains"),
  ):
    with pytest.raises(ValueError, match=message):
      StepConfig(OPTIMIZER, **how)
  with pytest.raises(ValueError, match="pattern 'mlp/gate_up' matches no"):
    make(T5, lora=LoraConfig("mlp/gate_up"))
  with pytest.raises(ValueError, match="dropout is for encoder-decoders"):
    make(dropout=0.1)
  step = make(accumulation=3)
  with pytest.raises(partitioning.PartitionError) as error:
    once(step, jax.device_get(step.init(0)), batch())
  assert str(error.value) == (
      "a batch of 4 rows does not divide into accumulation = 3 parts"
  )


def test_the_state_is_donated_and_the_base_is_not(params):
  """An update takes no second copy; several runs may share one base."""
  step = make(lora=LoraConfig(rank=2, dropout=0.0))
  state = step.start(params)
  once_more, _ = step(state, step.place(batch()), RATES, LIMITS)
  used_up = state.params, state.opt_state
  assert all(x.is_deleted() for x in jax.tree.leaves(used_up))
  assert not any(x.is_deleted() for x in jax.tree.leaves(state.base))
  jax.tree.map(np.testing.assert_array_equal, once_more.base, state.base)


def test_what_is_compiled_ahead_has_adapters_and_optimiser():
  step = make(lora=LoraConfig(rank=3), num_adapters=5)
  rows = step.abstract_batch(10, 16)
  assert rows["adapter_ids"].shape == (10,)
  lowered = step.lower(rows)
  shapes = [tuple(x.shape) for x in jax.tree.leaves(lowered.in_avals)]
  a, moment = (1, 5, 16, 3), (5, 1, 16, 3)  # of query, key and value
  assert shapes.count(a) == 3 and shapes.count(moment) == 6
  assert (31, 16) in shapes  # the base
