"""Updates with rows cut over a mesh of eight devices; run as a script.

    python sequence_on_eight_devices.py OUT MESHES NAME...

test_sequence_axis.py starts it. OUT is a pickle: {NAME: [what `train` found on
one device, and on so many of the meshes]}; in float64. "splash" is one, too,
in float32.
"""

import math
import pickle
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mlit_jax import partitioning
from mlit_jax.models import attention, attention_kernels
from mlit_jax.models.attention_xla import Tokens
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.lora import LoraConfig
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.step import Step, StepConfig

# Longer than a block of attention, so that blocks are skipped.
ROWS, LENGTH, PLACES, INPUTS = 4, 272, 16, 136
OPTIMIZER = OptimizerConfig(1e-3, "constant", warmup_ratio=0)
_SHAPE = {
    "vocab_size": 40, "num_layers": 1, "embed_dim": 16, "num_heads": 4,
    "num_kv_heads": 2, "head_dim": 6, "mlp_dim": 24,
}
_T5 = EncoderDecoderConfig(
    family="mt5", vocab_size=40, num_encoder_layers=2, num_decoder_layers=2,
    embed_dim=16, num_heads=4, head_dim=6, mlp_dim=24,
)
_DECODER = DecoderConfig(**_SHAPE)
CASES = {
    "full": (_DECODER, {}),
    "lora": (_DECODER, {"lora": LoraConfig(rank=2, dropout=0.3)}),
    "parts": (
        DecoderConfig(**_SHAPE | {"num_layers": 3}),
        {"accumulation": 2, "loss": "chunked", "remat": "context"},
    ),
    "alibi": (DecoderConfig(**_SHAPE, position="alibi"), {"remat": "full"}),
    "experts": (
        DecoderConfig(**_SHAPE, num_experts=4, experts_per_token=2), {}
    ),
    "encoder-decoder": (_T5, {"dropout": 0.2}),
    "encoder-decoder, lora": (
        _T5, {"lora": LoraConfig(rank=2, dropout=0.3), "dropout": 0.2}
    ),
}
MESHES = ({"fsdp": 2, "sequence": 4}, {"data": 2, "tensor": 2, "sequence": 2})


def tokens(rng, length):
  """Packed rows: ids, segments, positions."""
  segments = np.zeros((ROWS, length), np.int32)
  positions = np.zeros_like(segments)
  for segment, place in zip(segments, positions):
    ends = np.sort(rng.integers(1, length, 4))
    for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends), start=1):
      segment[start:end] = i
      place[start:end] = np.arange(end - start)
  return rng.integers(0, 40, (ROWS, length), "int32"), segments, positions


def batches(model):
  rng = np.random.default_rng(0)
  found = []
  for _ in range(2):
    names = ("inputs", "segment_ids", "positions")
    batch = dict(zip(names, tokens(rng, LENGTH)))
    if model is _T5:
      names = [f"encoder_{n}" for n in ("inputs", "segment_ids", "positions")]
      batch |= dict(zip(names, tokens(rng, INPUTS)))
    shape = ROWS, PLACES
    batch["loss_positions"] = np.sort(rng.integers(0, LENGTH, shape, "int32"))
    batch["targets"] = rng.integers(0, 40, shape, "int32")
    batch["weights"] = rng.random(shape)
    found.append(batch)
  return found


def train(model, how, sizes):
  """Two updates; losses, gradient norms, parameters, how things lie."""
  devices = jax.devices()[: math.prod(sizes.values())]
  step = Step(
      model, StepConfig(OPTIMIZER, precision="float64", **how),
      partitioning.make_mesh(sizes, devices),
  )
  rng = np.random.default_rng(1)
  abstract = step.abstract_state()
  state = step.start(jax.tree.map(
      lambda x: rng.standard_normal(x.shape) / 4,
      abstract.base or abstract.params,
  ))
  said = []
  for batch in batches(model):
    placed = step.place(batch)
    state, metrics = step(state, placed, np.full(1, 1e-3), np.full(1, np.inf))
    said.append([float(metrics.loss[0]), float(metrics.grad_norm[0])])
  with partitioning.activation_rules(step.mesh, training=True):
    activation = jax.jit(
        lambda x: nn.with_logical_constraint(x, ("batch", "length", "embed"))
    )(jnp.zeros((ROWS, LENGTH, 16)))
  held = {
      jax.tree_util.keystr(path): x.sharding.shard_shape(x.shape)
      for path, x in jax.tree_util.tree_leaves_with_path(state.params)
  }
  return {
      "said": said, "params": jax.device_get(state.params), "held": held,
      "batch": {
          name: x.sharding.shard_shape(x.shape) for name, x in placed.items()
      },
      "activation": activation.sharding.shard_shape(activation.shape),
  }


def splash():
  """[splash on rows that are cut, plain]: values and gradients."""
  rng = np.random.default_rng(0)
  arrays = [
      jnp.asarray(rng.standard_normal((2, 512, heads, 16)), jnp.float32)
      for heads in (4, 2, 2)
  ]
  places = jnp.broadcast_to(jnp.arange(512), (2, 512))
  segments = 1 + (places > 300)
  onto = jnp.asarray(rng.standard_normal((2, 512, 4, 16)), jnp.float32)
  found = []
  for sizes in MESHES[1], {"fsdp": 1}:
    mesh = partitioning.make_mesh(
        sizes, jax.devices()[: math.prod(sizes.values())]
    )

    def run(arrays, window, mesh=mesh):
      queries = Tokens(places, segments)
      if mesh.size > 1:
        return attention_kernels.splash(
            *arrays, queries, queries, causal=True, window=window,
            window_values=(100, 1 << 30), softcap=None, scale=0.3,
            interpret=True,
        )
      return attention.attend(
          *arrays, query_positions=places, key_positions=places,
          query_segments=segments, key_segments=segments, window=window,
          scale=0.3, path="plain",
      )

    @jax.jit
    def both(arrays, window, run=run):
      mixed, pull = jax.vjp(lambda a: run(a, window), arrays)
      return mixed, pull(onto)

    with partitioning.activation_rules(mesh, training=True):
      found.append(
          jax.device_get([both(arrays, w) for w in (100, 1 << 30)])
      )
  return found


if __name__ == "__main__":
  out, meshes, *names = sys.argv[1:]
  assert jax.device_count() == 8
  result = {}
  for name in names:
    if name == "splash":
      result[name] = splash()
      continue
    result[name] = [
        train(*CASES[name], sizes)
        for sizes in ({"data": 1}, *MESHES[: int(meshes)])
    ]
  with open(out, "wb") as file:
    pickle.dump(result, file)
