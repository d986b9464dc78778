"""Cross-entropy by hand and against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.training import loss as loss_lib

cross_entropy = jax.jit(loss_lib.cross_entropy)  # as it is used; and faster


def test_by_hand():
  # Probabilities 1/2, 1/4, 1/4 and 1/10, 8/10, 1/10.
  logits = jnp.log(jnp.asarray([[[2.0, 1.0, 1.0], [1.0, 8.0, 1.0]]]))
  loss = cross_entropy(logits, jnp.asarray([[1, 1]]), jnp.ones((1, 2)))
  np.testing.assert_allclose(loss.total, np.log(4) + np.log(1.25), rtol=1e-6)
  assert (loss.weight, loss.correct) == (2, 1)
  np.testing.assert_allclose(loss.mean, (np.log(4) + np.log(1.25)) / 2)


def test_tokens_of_no_weight_count_for_nothing():
  # Equal ones, none likelier than the target; without weight, a wrong and a
  # right one.
  logits = jnp.asarray([[[0.0, 0], [50, -50], [0, 0], [50, -50]]])
  targets, weights = jnp.asarray([[0, 1, 1, 0]]), jnp.asarray([[1.0, 0, 1, 0]])
  loss = cross_entropy(logits, targets, weights)
  np.testing.assert_allclose(loss.total, 2 * np.log(2), rtol=1e-6)
  np.testing.assert_allclose(loss.mean, np.log(2), rtol=1e-6)
  assert (loss.weight, loss.correct) == (2, 2)


def test_a_batch_without_loss_tokens_is_zero_and_has_no_gradient():
  def mean(logits):
    zeros = jnp.zeros((1, 2), jnp.int32)
    return cross_entropy(logits, zeros, jnp.zeros((1, 2))).mean

  value, gradient = jax.value_and_grad(mean)(jnp.ones((1, 2, 3)))
  assert value == 0
  np.testing.assert_array_equal(gradient, 0)


def test_weights_below_one_are_weights():
  logits = jnp.zeros((1, 2, 4))
  loss = cross_entropy(
      logits, jnp.zeros((1, 2), jnp.int32), jnp.asarray([[0.25, 0.5]])
  )
  np.testing.assert_allclose(loss.mean, np.log(4), rtol=1e-6)


def test_great_logits_stay_finite():
  logits = jnp.asarray([[[1e4, 0.0, -1e4]]])
  loss = cross_entropy(logits, jnp.asarray([[2]]), jnp.ones((1, 1)))
  np.testing.assert_allclose(loss.total, 2e4)


def test_rows_of_parts_are_the_whole():
  """What gradient accumulation and several hosts rely on."""
  rng = np.random.default_rng(0)
  logits = jnp.asarray(rng.standard_normal((4, 5, 6)), "float32")
  targets = jnp.asarray(rng.integers(0, 6, (4, 5)))
  # Unequal parts: a mean of means would be wrong.
  weights = jnp.asarray(rng.random((4, 5)) < [[0.2], [0.2], [0.8], [0.8]])
  weights = weights.astype("float32")
  whole = cross_entropy(logits, targets, weights)
  parts = [
      cross_entropy(logits[i], targets[i], weights[i])
      for i in (slice(0, 2), slice(2, 4))
  ]
  joined = loss_lib.TokenLoss(*map(jnp.concatenate, zip(*parts, strict=True)))
  np.testing.assert_allclose(joined.mean, whole.mean, rtol=1e-6)
  np.testing.assert_array_equal(joined.correct, whole.correct)


@pytest.mark.torch
def test_equals_torch_with_gradient():
  torch = pytest.importorskip("torch")
  rng = np.random.default_rng(1)
  logits = 3 * rng.standard_normal((3, 7, 11)).astype("float32")
  targets = rng.integers(0, 11, (3, 7))
  weights = (rng.random((3, 7)) < 0.6).astype("float32")

  def mean(logits):
    return cross_entropy(
        logits, jnp.asarray(targets), jnp.asarray(weights)
    ).mean

  value, gradient = jax.value_and_grad(mean)(jnp.asarray(logits))
  theirs = torch.tensor(logits, requires_grad=True)
  loss = torch.nn.functional.cross_entropy(
      theirs.flatten(0, 1),
      torch.tensor(np.where(weights > 0, targets, -100)).flatten(),
  )
  loss.backward()
  np.testing.assert_allclose(value, loss.item(), rtol=1e-6)
  np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=1e-7)
