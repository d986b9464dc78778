"""Schedules by hand, AdamW against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlit_jax.training import optimizer
from mlit_jax.training.optimizer import OptimizerConfig


@pytest.mark.parametrize(
    "options, num_steps, expected",
    [
        # Warm-up of 2 steps, then half a cosine over 8.
        (
            {"schedule": "cosine", "warmup_ratio": 0.2},
            10,
            {0: 1.0, 1: 2.0, 2: 2.0, 4: 1 + 2**-0.5, 6: 1.0, 8: 1 - 2**-0.5},
        ),
        (
            {"schedule": "cosine", "warmup_ratio": 0.0, "final_ratio": 0.1},
            4,
            {0: 2.0, 2: 1.1, 3: 2 * (0.1 + 0.9 * (1 - 2**-0.5) / 2)},
        ),
        (
            {"schedule": "linear", "warmup_ratio": 0.5},
            8,
            {0: 0.5, 3: 2.0, 4: 2.0, 5: 1.5, 7: 0.5},
        ),
        (
            {"schedule": "linear", "warmup_ratio": 0, "final_ratio": 0.5},
            4,
            {0: 2.0, 1: 1.75, 3: 1.25, 4: 1.0},
        ),
        (
            {"schedule": "constant", "warmup_ratio": 0.01},
            101,  # 1.01 steps of warm-up are 2
            {0: 1.0, 1: 2.0, 50: 2.0, 100: 2.0},
        ),
        ({}, 1, {0: 2.0}),
    ],
)
def test_the_learning_rate_by_hand(options, num_steps, expected):
  config = OptimizerConfig(2.0, **options)
  rates = {s: optimizer.learning_rate(config, s, num_steps) for s in expected}
  assert rates == pytest.approx(expected, rel=1e-12)


def test_a_wrong_config_is_refused():
  with pytest.raises(ValueError) as error:
    OptimizerConfig(1.0, schedule="step")
  assert str(error.value) == (
      "unknown schedule 'step'; known: ('cosine', 'linear', 'constant',"
      " 'rsqrt')"
  )
  with pytest.raises(ValueError) as error:
    OptimizerConfig(1.0, warmup_ratio=1.0)
  assert str(error.value) == "warmup_ratio=1.0 must lie in [0, 1)"


def test_the_first_step_by_hand():
  """Adam's first direction is the gradient's sign, then the decay."""
  config = OptimizerConfig(1.0, weight_decay=0.1, clip_norm=0)
  transform = optimizer.make(config)
  params = jnp.asarray([2.0, -4.0])
  direction, _ = transform.update(
      jnp.asarray([1e-3, -50.0]), transform.init(params), params
  )
  np.testing.assert_allclose(direction, [1.2, -1.4], rtol=1e-4)


def test_clipping_is_by_the_global_norm():
  """Seen through eps: a great one makes Adam's first direction g / eps."""
  config = OptimizerConfig(1.0, weight_decay=0, clip_norm=1.0, eps=1e3)
  transform = optimizer.make(config)
  params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}

  def direction(a, b):
    gradient = {"a": jnp.asarray([a]), "b": jnp.asarray([b])}
    found, _ = transform.update(gradient, transform.init(params), params)
    return [1e3 * float(found[k][0]) for k in "ab"]

  assert direction(30.0, 40.0) == pytest.approx([0.6, 0.8], rel=2e-3)
  assert direction(0.3, 0.4) == pytest.approx([0.3, 0.4], rel=2e-3)


@pytest.mark.torch
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_ten_steps_equal_torch(clip_norm):
  torch = pytest.importorskip("torch")
  config = OptimizerConfig(
      3e-2, "linear", b1=0.85, b2=0.97, eps=1e-5, weight_decay=0.2,
      clip_norm=clip_norm,
  )
  rng = np.random.default_rng(0)
  start = {"a": rng.standard_normal((5, 3)), "b": rng.standard_normal(4)}
  start = {k: v.astype("float32") for k, v in start.items()}
  theirs = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start.items()}
  adam = torch.optim.AdamW(
      theirs.values(), betas=(0.85, 0.97), eps=1e-5, weight_decay=0.2
  )
  transform = optimizer.make(config)
  ours = jax.tree.map(jnp.asarray, start)
  state = transform.init(ours)
  for step in range(10):
    rate = optimizer.learning_rate(config, step, 10)
    # Below and above the norm at which it is clipped.
    size = 10.0 ** rng.uniform(-2, 1)
    gradient = {
        k: (size * rng.standard_normal(v.shape)).astype("float32")
        for k, v in start.items()
    }
    direction, state = transform.update(
        jax.tree.map(jnp.asarray, gradient), state, ours
    )
    ours = jax.tree.map(lambda p, d, r=rate: p - r * d, ours, direction)
    for k, parameter in theirs.items():
      parameter.grad = torch.tensor(gradient[k])
    if clip_norm:
      torch.nn.utils.clip_grad_norm_(theirs.values(), clip_norm)
    adam.param_groups[0]["lr"] = rate
    adam.step()
    for k in start:
      np.testing.assert_allclose(
          ours[k], theirs[k].detach().numpy(), rtol=1e-5, atol=1e-6,
          err_msg=f"{k} after step {step + 1}",
      )
  assert np.abs(ours["a"] - start["a"]).max() > 0.05


def test_adafactor_sees_each_kernel_of_a_stack_as_a_matrix():
  """As optax's, whose defaults are T5X's, does on one layer's matrix."""
  config = OptimizerConfig(
      1.0, "constant", warmup_ratio=0, optimizer="adafactor"
  )
  names = {"w": ("layers", "embed", "heads", "kv"), "b": ("layers", "embed")}
  transform = optimizer.make(config, names)
  rng = np.random.default_rng(0)

  def draw():
    # The layers differ: one mean over all of them would be seen.
    scale = np.array([0.1, 1.0, 30.0])
    return {
        "w": jnp.asarray(
            scale[:, None, None, None] * rng.standard_normal((3, 130, 4, 33)),
            "float32",
        ),
        "b": jnp.asarray(
            scale[:, None] * rng.standard_normal((3, 130)), "float32"
        ),
    }

  params = draw()
  state = transform.init(params)
  rows = {x.shape for x in jax.tree.leaves(state)}
  assert (3, 130, 132) not in rows and {(3, 130), (3, 132)} <= rows
  theirs = optax.adafactor(1.0)
  layers = [
      {"w": params["w"][i].reshape(130, 132), "b": params["b"][i]}
      for i in range(3)
  ]
  states = [theirs.init(p) for p in layers]
  for _ in range(3):
    gradient = draw()
    direction, state = transform.update(gradient, state, params)
    for i in range(3):
      g = {"w": gradient["w"][i].reshape(130, 132), "b": gradient["b"][i]}
      update, states[i] = theirs.update(g, states[i], layers[i])
      np.testing.assert_allclose(
          direction["w"][i].reshape(130, 132), -update["w"], rtol=1e-5
      )
      np.testing.assert_allclose(direction["b"][i], -update["b"], rtol=1e-5)


def test_lion_is_optax_s():
  config = OptimizerConfig(1.0, optimizer="lion", weight_decay=0.5, clip_norm=0)
  transform = optimizer.make(config)
  params = jnp.asarray([2.0, -4.0])
  direction, _ = transform.update(
      jnp.asarray([1e-3, -50.0]), transform.init(params), params
  )
  np.testing.assert_allclose(direction, [2.0, -3.0], rtol=1e-6)


def test_an_optimizer_s_own_numbers_hold_where_the_config_leaves_them_open():
  for name, decay, clip in (
      ("adamw", 0.01, 1.0), ("lion", 0.01, 1.0), ("adafactor", 0.0, 0.0),
  ):
    config = OptimizerConfig(1.0, optimizer=name)
    assert (config.weight_decay, config.clip_norm) == (decay, clip)
  config = OptimizerConfig(1.0, optimizer="adafactor", clip_norm=2.0)
  assert config.clip_norm == 2
  with pytest.raises(ValueError, match="unknown optimizer 'adam'; known: "):
    OptimizerConfig(1.0, optimizer="adam")


def test_rsqrt_and_steps_of_warm_up():
  config = OptimizerConfig(2.0, "rsqrt", warmup_steps=4)
  rates = [optimizer.learning_rate(config, s, 100) for s in (0, 3, 4, 15, 99)]
  assert rates == pytest.approx([0.5, 2.0, 2 * 0.8**0.5, 1.0, 0.4])
