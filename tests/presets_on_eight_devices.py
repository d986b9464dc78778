"""Logits and gradients on meshes of eight virtual devices; run as a script.

    python presets_on_eight_devices.py OUT

test_mesh_presets.py starts it: the devices of a process are fixed when JAX
starts. OUT is a pickle: {(model, preset): what `compute` found}.
"""

import pickle
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mlit_jax import mesh_presets, partitioning
from mlit_jax.models import decoder
from mlit_jax.models.config import DecoderConfig

_SHAPE = {
    "vocab_size": 40, "num_layers": 1, "embed_dim": 16, "num_heads": 4,
    "num_kv_heads": 2, "head_dim": 8, "mlp_dim": 24,
}
MODELS = {
    "dense": DecoderConfig(**_SHAPE),
    "experts": DecoderConfig(**_SHAPE, num_experts=4, experts_per_token=2),
}
# The mesh that each preset should choose, by hand.
CASES = {
    ("dense", "fsdp_tensor"): {"fsdp": 4, "tensor": 2},
    ("dense", "fsdp_sequence"): {"fsdp": 4, "sequence": 2},
    ("dense", "two slices"): {"fsdp": 4, "replica": 2},
    ("experts", "expert"): {"expert": 4, "fsdp": 2},
    ("experts", "fsdp_tensor"): {"fsdp": 4, "tensor": 2},
}


def mesh_of(model, preset):
  if preset == "alone":
    return partitioning.make_mesh((1,), jax.devices()[:1])
  boxed = jax.eval_shape(lambda: decoder.init_params(model, 0))
  case = mesh_presets.Case(
      mesh_presets.logical_axes(boxed) | {"length": frozenset({12})}, 8,
      num_slices=2 if preset == "two slices" else 1,
  )
  shape, _ = mesh_presets.choose(
      "fsdp" if preset == "two slices" else preset, case
  )
  return partitioning.make_mesh(shape)


def compute(config, mesh):
  """Logits, gradients of their weighted sum of squares, and how they lie."""
  boxed = jax.eval_shape(lambda: decoder.init_params(config, 0))
  rng = np.random.default_rng(1)
  params = jax.tree.map(
      lambda x: (rng.standard_normal(x.shape) / 4).astype("float32"),
      nn.meta.unbox(boxed),
  )
  params = jax.device_put(params, partitioning.param_shardings(boxed, mesh))
  tokens = rng.integers(0, 40, (8, 12), "int32")
  tokens = jax.device_put(tokens, partitioning.token_sharding(mesh))
  positions = jnp.broadcast_to(jnp.arange(12), (8, 12))

  def loss(params):
    logits, _ = decoder.Decoder(config).apply(
        {"params": params}, tokens, positions
    )
    # Rows of different weight: what is lost between devices shows.
    weights = 1 + jnp.arange(8)[:, None, None]
    return jnp.mean(weights * logits**2), logits

  with partitioning.activation_rules(mesh, training=True):
    (_, logits), gradients = jax.jit(
        jax.value_and_grad(loss, has_aux=True)
    )(params)

  return {
      "logits": jax.device_get(logits),
      "gradients": jax.device_get(gradients),
      "logits_shard": logits.sharding.shard_shape(logits.shape),
      "head_shard": params["head"].sharding.shard_shape((40, 16)),
      "shape": {axis: n for axis, n in mesh.shape.items() if n > 1},
  }


if __name__ == "__main__":
  assert jax.device_count() == 8, jax.devices()
  found = {}
  for name, preset in [(name, "alone") for name in MODELS] + list(CASES):
    found[name, preset] = compute(MODELS[name], mesh_of(MODELS[name], preset))
  with open(sys.argv[1], "wb") as file:
    pickle.dump(found, file)
