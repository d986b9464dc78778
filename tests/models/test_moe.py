"""The mixture of experts against NumPy, and cut over devices."""

import dataclasses
import functools
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from mlit_jax import partitioning
from mlit_jax.models import decoder, moe
from mlit_jax.models.config import DecoderConfig

CONFIG = DecoderConfig(
    vocab_size=8, num_layers=2, embed_dim=4, num_heads=2, num_kv_heads=2,
    head_dim=2, mlp_dim=6, num_experts=4, experts_per_token=2,
)


def test_it_equals_a_loop_over_tokens_and_their_best_experts():
  rng = np.random.default_rng(0)
  d, f, e = CONFIG.embed_dim, CONFIG.mlp_dim, CONFIG.num_experts
  shapes = {
      "router": (d, e), "gate": (e, d, f), "up": (e, d, f), "down": (e, f, d),
  }
  params = {k: np.float32(rng.standard_normal(v)) for k, v in shapes.items()}
  x = np.float32(rng.standard_normal((2, 7, d)))
  found = jax.jit(moe.MixtureOfExperts(CONFIG).apply)({"params": params}, x)
  used = set()
  for place in np.ndindex(2, 7):
    scores = x[place] @ params["router"]
    best = np.argsort(scores)[-2:]
    used |= set(best.tolist())
    shares = np.exp(scores[best]) / np.exp(scores[best]).sum()
    expected = 0
    for expert, share in zip(best, shares):
      gate, up = (x[place] @ params[k][expert] for k in ("gate", "up"))
      hidden = gate / (1 + np.exp(-gate)) * up
      expected = expected + share * (hidden @ params["down"][expert])
    np.testing.assert_allclose(found[place], expected, rtol=1e-4, atol=1e-5)
  assert used == {0, 1, 2, 3}


@pytest.mark.long
@pytest.mark.parametrize(
    "length", [pytest.param(1, marks=pytest.mark.slow), 60]
)
def test_it_equals_every_expert_on_every_token_with_gradients(length):
  """An adapter of zeros makes all work on all; few and many tokens."""
  c = dataclasses.replace(CONFIG, embed_dim=16, num_experts=8)
  model = moe.MixtureOfExperts(c)
  x = jax.random.normal(jax.random.key(0), (2, length, 16))
  params = nn.meta.unbox(model.init(jax.random.key(1), x)["params"])
  # The first expert is everyone's, the last no one's.
  router = params["router"].at[:, 0].add(0.3 * jnp.sign(x[0, 0]))
  params["router"] = router.at[:, 7].set(router[:, :7].mean(axis=1))
  zero = {
      "a": jnp.zeros((1, 8, 16, 1)), "b": jnp.zeros((1, 8, 1, c.mlp_dim)),
      "scale": jnp.ones(()),
  }

  def loss(params, x, more):
    return jnp.sum(jnp.sin(model.apply({"params": params, **more}, x)))

  both = jax.jit(
      jax.value_and_grad(loss, argnums=(0, 1)),
      compiler_options={"xla_backend_optimization_level": 0},
  )
  found, expected = (
      both(params, x, more) for more in ({}, {"lora": {"gate": zero}})
  )
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(
          a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max()
      ),
      found, expected,
  )


def test_some_experts_give_their_part():
  rng = np.random.default_rng(0)
  kernels = [
      jnp.asarray(rng.standard_normal(shape), jnp.float32)
      for shape in ((4, 3, 5), (4, 3, 5), (4, 5, 3))
  ]
  x = jnp.asarray(rng.standard_normal((30, 3)), jnp.float32)
  chosen = jnp.asarray([rng.permutation(4)[:2] for _ in x])
  best = jnp.asarray(rng.random((30, 2)), jnp.float32)

  @functools.partial(jax.jit, static_argnames=("first", "last"))
  def run(first, last):
    here = [kernel[first:last] for kernel in kernels]
    return moe.grouped(
        x, chosen, best, *here, activation=jnp.tanh, first=first
    )

  parts = [run(i, i + 1) for i in range(4)]
  for i, part in enumerate(parts):
    used = np.any(np.asarray(chosen) == i, axis=1)
    assert np.asarray(part != 0).any(axis=1).tolist() == used.tolist()
  np.testing.assert_allclose(sum(parts), run(0, 4), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
      parts[2] + parts[3], run(2, 4), rtol=1e-4, atol=1e-5
  )


def test_experts_are_cut_over_the_expert_and_the_tensor_axis():
  mesh = AbstractMesh((1, 2, 2, 4, 1, 1), partitioning.MESH_AXES)
  shapes = jax.eval_shape(lambda: decoder.init_params(CONFIG, 0))
  mlp = partitioning.param_shardings(shapes, mesh)["blocks"]["mlp"]
  cut = "fsdp", "sequence"
  for name, spec in (
      ("router", (None, cut, "expert")),
      ("gate", (None, "expert", cut, "tensor")),
      ("up", (None, "expert", cut, "tensor")),
      ("down", (None, "expert", "tensor", cut)),
  ):
    assert mlp[name].spec == PartitionSpec(*spec), name


# Eight virtual devices need a process of their own.
_ON_EIGHT = """
import sys, jax, numpy as np
sys.path.insert(0, sys.argv[1])
import test_moe
for rows, shapes in ((8, ((1, 2, 2, 2), (2, 1, 1, 4))), (4, ((2, 1, 1, 4),))):
  one = test_moe.loss_and_gradients((1,), rows)
  for shape in shapes:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        one, test_moe.loss_and_gradients(shape, rows))
print("equal")
"""


def loss_and_gradients(mesh_shape, rows):
  """Of the sum of squared logits, on as many devices."""
  devices = jax.devices()[: int(np.prod(mesh_shape))]
  mesh = partitioning.make_mesh(mesh_shape, devices)
  boxed = jax.jit(lambda: decoder.init_params(CONFIG, 0))()
  params = jax.device_put(
      nn.meta.unbox(boxed), partitioning.param_shardings(boxed, mesh)
  )
  gate = params["blocks"]["mlp"]["gate"]
  assert gate.addressable_data(0).shape[1] == 4 // mesh.shape["expert"]
  tokens = np.random.default_rng(0).integers(0, 8, (rows, 6))
  if rows % mesh.size == 0:  # or else every device has every row
    tokens = jax.device_put(tokens, partitioning.batch_sharding(mesh))
  positions = jnp.broadcast_to(jnp.arange(6), (rows, 6))

  def loss(params):
    logits, _ = decoder.Decoder(CONFIG).apply(
        {"params": params}, tokens, positions
    )
    return jnp.mean(logits**2)

  with partitioning.activation_rules(mesh):
    return jax.device_get(jax.jit(jax.value_and_grad(loss))(params))


@pytest.mark.slow
def test_eight_devices_equal_one():
  flags = "--xla_force_host_platform_device_count=8"
  flags += " --xla_backend_optimization_level=0"
  flags += " --xla_llvm_disable_expensive_passes=true"
  done = subprocess.run(
      [sys.executable, "-c", _ON_EIGHT, os.path.dirname(__file__)],
      env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
      capture_output=True, text=True, timeout=300,
  )
  assert done.stdout == "equal\n", done.stderr
