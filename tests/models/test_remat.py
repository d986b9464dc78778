"""Remat policies: the same gradients, less memory."""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.models import remat
from mlit_jax.models.attention import attend


class Block(nn.Module):
  """Attention and MLP, as decoders have them."""

  route: str

  @nn.compact
  def __call__(self, x, _):
    width, heads = x.shape[-1], 4
    normed = nn.LayerNorm()(x)
    query, key, value = (
        nn.DenseGeneral((heads, width // heads), use_bias=False)(normed)
      for _ in range(3)
    )
    places = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
    mixed = attend(
        query, key, value, query_positions=places, key_positions=places,
        scale=0.2, path=self.route,
    )
    x = x + nn.Dense(width)(mixed.reshape(x.shape))
    return x + nn.Dense(width)(nn.silu(nn.Dense(4 * width)(x))), None


class Stack(nn.Module):
  """Blocks in a loop."""

  policy: str
  route: str

  @nn.compact
  def __call__(self, x):
    blocks = nn.scan(
        remat.remat(Block, self.policy), variable_axes={"params": 0},
        split_rngs={"params": True}, length=5,
    )
    return blocks(self.route, name="blocks")(x, None)[0]


def gradient(policy, path):
  model = Stack(policy, path)
  return jax.jit(jax.grad(lambda p, x: jnp.sum(model.apply(p, x) ** 2)))


def params(shape):
  return jax.jit(Stack("none", "plain").init)(
      jax.random.key(0), jnp.zeros(shape)
  )


@pytest.mark.long
@pytest.mark.parametrize(
    "path, policies",
    [
        ("blockwise", ("none", "full", "context", "dots")),
        pytest.param("plain", remat.NAMES, marks=pytest.mark.slow),
        pytest.param(
            "rows", ("none", "full", "context", "dots"), marks=pytest.mark.slow
        ),
    ],
)
def test_gradients_equal_and_memory_in_order(path, policies):
  shape = 2, 512, 64
  weights = params(shape)
  x = jax.random.normal(jax.random.key(1), shape)
  memory, found = {}, {}
  for policy in policies:
    compiled = gradient(policy, path).lower(weights, x).compile()
    memory[policy] = compiled.memory_analysis().temp_size_in_bytes
    found[policy] = compiled(weights, x)
  for policy in policies:
    pair = map(jax.tree.leaves, (found[policy], found["none"]))
    for ours, theirs in zip(*pair):
      np.testing.assert_allclose(
          ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max()
      )
  assert (
      memory["full"] < memory["context"] < memory["dots"] < memory["none"] / 1.5
  )
  # It is attention's outputs, and for blockwise the logarithms of the softmax's
  # sums, that "context" keeps for each of the five blocks.
  kept = memory["context"] - memory["full"]
  outputs = 5 * x.nbytes
  assert 0.5 * outputs < kept < 1.5 * outputs


@pytest.mark.long
@pytest.mark.tpu_compile
def test_context_spares_the_kernel_a_second_run():
  """And "offload" keeps it on the host."""
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  from jax.experimental import topologies

  os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
  topology = topologies.get_topology_desc("v5e:2x2", platform="tpu")
  mesh = partitioning.make_mesh((1, 1, 1), topology.devices[:1])
  shape = 2, 256, 64
  place = partitioning.replicated(mesh)
  arguments = jax.tree.map(
      lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place),
      (params(shape), jnp.zeros(shape)),
  )
  kernels, on_host = {}, {}
  with partitioning.activation_rules(mesh):
    for policy in ("full", "context", "offload"):
      compiled = gradient(policy, "auto").lower(*arguments).compile()
      text = compiled.as_text()
      kernels[policy] = text.count('custom_call_target="tpu_custom_call"')
      analysis = compiled.memory_analysis()
      on_host[policy] = analysis.host_temp_size_in_bytes
  # One forwards, two backwards; with "full" forwards once more.
  assert kernels == {"full": 4, "context": 3, "offload": 3}
  assert on_host["context"] == 0
  assert on_host["offload"] >= 5 * 4 * np.prod(shape)


def test_an_unknown_policy_is_refused():
  with pytest.raises(ValueError, match="no remat policy 'all'; there are"):
    remat.remat(Block, "all")
