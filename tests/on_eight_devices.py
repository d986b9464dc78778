"""Trains and decodes on meshes of eight virtual devices; run as a script.

    python on_eight_devices.py OUT 2x2x2 8x1x1

test_partitioning.py starts it: the devices of a process are fixed when JAX
starts. 1x1x1 is one of them alone. OUT is a pickle: {mesh: what
`train_and_decode` found}.
"""

import math
import os
import pickle
import sys

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np

from mlit_jax import partitioning
from mlit_jax.decoding.engine import Engine
from mlit_jax.decoding.requests import Request
from mlit_jax.models import decoder
from mlit_jax.models.config import DecoderConfig
from mlit_jax.training import loop
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.step import Step, StepConfig

CONFIG = DecoderConfig(
    vocab_size=40, num_layers=1, embed_dim=16, num_heads=4, num_kv_heads=2,
    head_dim=6, mlp_dim=24, max_length=64,
)
OPTIMIZER = OptimizerConfig(1e-3, "constant", warmup_ratio=0)
REQUESTS = [
    Request("one", (1, 5, 9), 7),
    Request("two", (1, 30, 31, 32, 33), 5),
    Request("three", (1, 2, 2), 6, temperature=1.0, seed=3),
]


def batches(rows=8, length=12, steps=3, vocab_size=40):
  """Random batches; the later rows have more to learn."""
  rng = np.random.default_rng(0)
  shape = rows, length
  return [
      {
          "inputs": rng.integers(0, vocab_size, shape, "int32"),
          "segment_ids": np.ones(shape, np.int32),
          "positions": np.broadcast_to(np.arange(length, dtype="int32"), shape),
          "loss_positions": np.broadcast_to(
              np.arange(0, length, 2, dtype="int32"), (rows, length // 2)
          ),
          "targets": rng.integers(0, vocab_size, (rows, length // 2), "int32"),
          # Rows of different weight: a mean per device would be wrong.
          "weights": np.float32(
              np.arange(length // 2) <= np.arange(rows)[:, None]
          ),
      }
      for _ in range(steps)
  ]


def params():
  """The same on every mesh; made by NumPy."""
  rng = np.random.default_rng(1)
  shapes = nn.meta.unbox(
      jax.eval_shape(lambda: decoder.init_params(CONFIG, 0))
  )
  return jax.tree.map(
      lambda x: (rng.standard_normal(x.shape) / 4).astype("float32"), shapes
  )


def train_and_decode(mesh_shape):
  """Losses, updated parameters, answers, and how the arrays lie."""
  devices = jax.devices()[: math.prod(mesh_shape)]
  mesh = partitioning.make_mesh(mesh_shape, devices)
  step = Step(CONFIG, StepConfig(OPTIMIZER), mesh)
  losses, live = [], set()

  def look(arrays):
    live.update(
        (a.shape, a.sharding.shard_shape(a.shape))
        # Small ones: metrics, the count of updates, the random key.
        for a in arrays if a.size > 2
    )

  def report(progress):
    losses.append(progress.loss)
    look(jax.live_arrays())

  dataset = grain.MapDataset.source(batches()).to_iter_dataset()
  how = loop.RunConfig((3,))
  trained = loop.run(
      step, step.start(params()), dataset, how, report=report
  ).params
  look(jax.tree.leaves(step.place(batches()[0])))
  engine = Engine(CONFIG, mesh, end_ids=[0], num_slots=8)
  answers = {r.id: r.tokens for r in engine.generate(trained, REQUESTS)}
  from_numpy = {r.id: r.tokens for r in engine.generate(params(), REQUESTS)}
  odd_batch = None
  try:
    dataset = grain.MapDataset.source(batches(rows=6)).to_iter_dataset()
    loop.run(step, step.start(params()), dataset, how)
  except partitioning.PartitionError as e:
    odd_batch = str(e)
  # What a logical constraint does to an activation on this mesh.
  with partitioning.activation_rules(mesh):
    constrained = jax.jit(
        lambda x: nn.with_logical_constraint(x, ("batch", "length", "embed"))
    )(jnp.zeros((8, 12, 16)))
  return {
      "losses": losses,
      "params": jax.device_get(trained),
      "answers": answers,
      "from_numpy": from_numpy,
      "lanes": Engine(CONFIG, mesh, end_ids=[0], num_slots=64).lanes,
      "live": live,
      "odd_batch": odd_batch,
      "activation": constrained.sharding.shard_shape(constrained.shape),
      "shards": shards(trained),
      "init": shards(step.init(0)),
      "placed": shards(step.start(params()).params),
  }


def shards(tree):
  """{path: (shape of a shard, number of different shards)}."""
  found = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    different = {str(s.index) for s in leaf.addressable_shards}
    shapes = {s.data.shape for s in leaf.addressable_shards}
    assert len(shapes) == 1, (name, shapes)
    found[name] = (shapes.pop(), len(different))
  return found


if __name__ == "__main__":
  out, *meshes = sys.argv[1:]
  assert jax.device_count() == 8, jax.devices()
  compiled, results = [], {}

  def listen(event, seconds, **about):
    if event.endswith("backend_compile_duration"):
      compiled.append(about["fun_name"])

  jax.monitoring.register_event_duration_secs_listener(listen)
  for name in meshes:
    compiled.clear()
    results[name] = train_and_decode(tuple(int(n) for n in name.split("x")))
    results[name]["compiled"] = list(compiled)
  with open(f"{out}.tmp", "wb") as file:
    pickle.dump(results, file)
  os.replace(f"{out}.tmp", out)
