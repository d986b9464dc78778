"""The chunked loss equals the plain one, in less memory, on any mesh."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.training import loss as loss_lib
from mlit_jax.training.chunked_loss import chunked_cross_entropy


def make(vocab=53, places=6, width=8, seed=0):
  rng = np.random.default_rng(seed)
  hidden = rng.standard_normal((3, places, width)).astype("float32")
  head = rng.standard_normal((vocab, width)).astype("float32")
  targets = rng.integers(0, vocab, (3, places))
  weights = rng.choice([0, 0.5, 1], (3, places)).astype("float32")
  # Some targets are the likeliest token, and the ends of the vocabulary.
  targets[0] = np.argmax(hidden[0] @ head.T, axis=-1)
  targets[1, :2] = 0, vocab - 1
  weights[:2] = 1
  return hidden, head, jnp.asarray(targets), jnp.asarray(weights)


def plain(hidden, head, targets, weights, *, softcap=None, z_loss=0.0):
  logits = jnp.einsum("BTD,VD->BTV", hidden, head)
  if softcap is not None:
    logits = softcap * jnp.tanh(logits / softcap)
  return loss_lib.cross_entropy(logits, targets, weights, z_loss)


def assert_equal(ours, theirs, rtol=1e-5):
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    # Relative to the whole array, as small elements are sums of large ones.
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize(
    "chunk, how",
    [
        (16, {}),  # 53 columns: the last chunk reaches back
        (16, {"softcap": 2.0, "z_loss": 0.1}),
        (1000, {"softcap": 2.0}),
        pytest.param(53, {"z_loss": 0.1}, marks=pytest.mark.slow),
        pytest.param(1, {"softcap": 2.0}, marks=pytest.mark.slow),
    ],
)
def test_equals_plain_with_gradient(chunk, how):
  hidden, head, targets, weights = make()

  def total(loss, hidden, head, **how):
    found = loss(hidden, head, targets, weights, **how)
    return jnp.sum(found.total), found

  def run(loss, **how):
    step = jax.value_and_grad(total, argnums=(1, 2), has_aux=True)
    return jax.jit(lambda *xs: step(loss, *xs, **how))(hidden, head)

  ours = run(chunked_cross_entropy, chunk=chunk, **how)
  theirs = run(plain, **how)
  assert_equal(ours, theirs)
  assert sum(theirs[0][1].correct) > 5


def test_by_hand():
  # Probabilities 2/4, 1/4, 1/4; z = log 4.
  head = jnp.log(jnp.asarray([[2.0], [1.0], [1.0]]))
  found = chunked_cross_entropy(
      jnp.ones((1, 2, 1)), head, jnp.asarray([[0, 2]]), jnp.ones((1, 2)),
      z_loss=0.5, chunk=2,
  )
  expected = np.log(2) + np.log(4) + np.log(4) ** 2
  np.testing.assert_allclose(found.total, expected, rtol=1e-6)
  assert (found.weight, found.correct) == (2, 1)


def test_bfloat16_states_have_float32_logits():
  hidden, head, targets, weights = make(vocab=300, width=64)
  narrow = hidden.astype(jnp.bfloat16), head.astype(jnp.bfloat16)
  wide = [x.astype(jnp.float32) for x in narrow]

  def gradient(hidden, head):
    def total(hidden, head):
      return chunked_cross_entropy(
          hidden, head, targets, weights, chunk=64
      ).total.sum()

    return jax.value_and_grad(total, argnums=(0, 1))(hidden, head)

  (value, ours), (expected, theirs) = gradient(*narrow), gradient(*wide)
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  assert [x.dtype for x in ours] == [jnp.bfloat16] * 2
  ours = [x.astype(jnp.float32) for x in ours]
  assert_equal(ours, theirs, rtol=2e-2)


def test_great_logits_stay_finite():
  hidden = jnp.full((1, 1, 1), 1e4)
  head = jnp.asarray([[1.0], [0.0], [-1.0]])

  def total(hidden, head):
    return chunked_cross_entropy(
        hidden, head, jnp.asarray([[2]]), jnp.ones((1, 1)), chunk=1
    ).total.sum()

  value, gradient = jax.value_and_grad(total, argnums=(0, 1))(hidden, head)
  np.testing.assert_allclose(value, 2e4)
  np.testing.assert_allclose(gradient[1][:, 0], [1e4, 0, -1e4])


def test_on_a_cpu_no_logits_are_transposed():
  """The head's gradient is made of them; the hidden states are smaller."""
  hidden, head = jnp.zeros((2, 64, 32)), jnp.zeros((1000, 32))
  targets = jnp.zeros((2, 64), jnp.int32)

  @jax.jit
  @jax.grad
  def gradient(head):
    return jnp.sum(
        chunked_cross_entropy(
            hidden, head, targets, jnp.ones((2, 64)), chunk=256
        ).total
    )

  text = gradient.lower(head).compile().as_text()
  products = re.findall(r"= f32\[([\d,]+)\]\S* dot\(", text)
  assert "32,256" in products and "256,32" not in products


def test_no_logits_in_memory():
  """And no gradient of a head that is not trained."""
  vocab, places, width, chunk = 32000, 64, 32, 512
  hidden, head, targets, weights = make(vocab, places, width)

  def temporary(loss, argnums):
    step = jax.jit(jax.grad(
        lambda *xs: loss(*xs, targets, weights).total.sum(), argnums
    ))
    analysis = step.lower(hidden, head).compile().memory_analysis()
    return analysis.temp_size_in_bytes

  def chunked(*xs):
    return chunked_cross_entropy(*xs, chunk=chunk)

  logits = 4 * 3 * places * vocab
  assert temporary(plain, (0, 1)) > logits
  # Three arrays of a chunk: logits, their exponentials, their gradient.
  room = 3 * 4 * 3 * places * chunk + 8 * hidden.nbytes
  assert temporary(chunked, (0, 1)) < room < logits / 10
  assert temporary(chunked, (0,)) < room + head.nbytes


@pytest.mark.parametrize(
    "mesh", ["2x2x2", pytest.param("1x1x8", marks=pytest.mark.slow)]
)
def test_eight_devices_do_what_one_does(mesh, tmp_path):
  import chunked_loss_on_eight_devices as script

  done = subprocess.run(
      [sys.executable, script.__file__, tmp_path / "out.npz", mesh],
      env=os.environ | {
          "JAX_PLATFORMS": "cpu",
          "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
      },
      capture_output=True, text=True, timeout=300,
  )
  assert done.returncode == 0, done.stderr
  found = np.load(tmp_path / "out.npz")
  hidden, head, targets, weights = map(jnp.asarray, script.arrays())
  settings = dict(script.SETTINGS)
  del settings["chunk"]

  @jax.jit
  def step(hidden, head):
    return jax.value_and_grad(
        lambda *xs: plain(*xs, targets, weights, **settings).mean,
        argnums=(0, 1),
    )(hidden, head)

  value, (d_hidden, d_head) = step(hidden, head)
  assert_equal(
      [found["value"], found["d_hidden"], found["d_head"]],
      [value, d_hidden, d_head],
  )
  data, fsdp, tensor = (int(n) for n in mesh.split("x"))
  assert tuple(found["shard"]) == (
      script.VOCAB // tensor, script.WIDTH // fsdp
  )
  rows = script.BATCH // (data * fsdp)
  logits = 4 * rows * script.PLACES * script.VOCAB // tensor
  assert found["temporary"] < logits
