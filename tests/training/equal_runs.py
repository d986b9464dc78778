"""One run in several ways; a script for test_equal_runs.py.

    python equal_runs.py OUT float64|float32

Fifty steps at learning rate 1e-3 on the same examples: a row each, packed,
accumulated, recomputed in chunks, and on meshes of eight devices. OUT is JSON:
{way: the loss of every step}.
"""

import json
import sys

import grain
import jax
import numpy as np

from mlit_jax import partitioning
from mlit_jax.models.config import DecoderConfig
from mlit_jax.training import loop
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.step import Step, StepConfig

CONFIG = DecoderConfig(
    vocab_size=40, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2,
    head_dim=6, mlp_dim=24, max_length=64,
)
STEPS, EXAMPLES, LENGTH = 50, 16, 12
WAYS = {
    "plain": {},
    "packed": {"packed": True},
    "accumulated": {"accumulation": 4},
    "recomputed": {"remat": "full", "loss": "chunked"},
    "fsdp": {"mesh": (2, 4, 1)},
    "sharded, packed, accumulated": {
        "mesh": (2, 2, 2), "packed": True, "accumulation": 2,
    },
    "sequence, packed": {"mesh": (1, 2, 1, 1, 4), "packed": True},
}


def examples(rng):
  """Sixteen of unequal length; what is learnt of each differs."""
  found = []
  for n in rng.integers(3, LENGTH // 2 + 1, EXAMPLES):
    tokens = rng.integers(1, 40, n + 1, "int32")
    weights = (np.arange(n) >= rng.integers(0, n)).astype("float64")
    found.append((tokens, weights))
  return found


def batch(chosen, packed):
  """A row for each, or one for each two neighbours."""
  rows = [chosen[i : i + 1 + packed] for i in range(0, EXAMPLES, 1 + packed)]
  shape = len(rows), LENGTH
  fields = {
      n: np.zeros(shape, np.int32)
      for n in ("inputs", "segment_ids", "positions", "targets")
  }
  weights = np.zeros(shape)
  for r, row in enumerate(rows):
    start = 0
    for segment, (tokens, learnt) in enumerate(row, start=1):
      n = len(learnt)
      part = r, slice(start, start + n)
      fields["inputs"][part], fields["targets"][part] = tokens[:-1], tokens[1:]
      fields["segment_ids"][part] = segment
      fields["positions"][part] = np.arange(n)
      weights[part] = learnt
      start += n
  places = np.tile(np.arange(LENGTH, dtype=np.int32), (len(rows), 1))
  return fields | {"loss_positions": places, "weights": weights}


def losses(precision, params, packed=False, mesh=(1, 1, 1), **how):
  rng = np.random.default_rng(0)
  steps = [batch(examples(rng), packed) for _ in range(2)] * (STEPS // 2)
  devices = jax.devices()[: int(np.prod(mesh))]
  step = Step(
      CONFIG,
      StepConfig(
          OptimizerConfig(1e-3, "linear"), precision=precision, **how
      ),
      partitioning.make_mesh(mesh, devices),
  )
  seen = []
  dataset = grain.MapDataset.source(steps).to_iter_dataset()
  loop.run(
      step, step.start(params), dataset, loop.RunConfig((STEPS,)),
      report=lambda p: seen.append(p.loss),
  )
  return seen


def main(out, precision):
  step = Step(
      CONFIG, StepConfig(OptimizerConfig(1e-3)),
      partitioning.make_mesh((1, 1, 1), jax.devices()[:1]),
  )
  rng = np.random.default_rng(1)
  params = jax.tree.map(
      lambda x: rng.standard_normal(x.shape).astype(precision) / 4,
      step.abstract_state().params,
  )
  found = {name: losses(precision, params, **how) for name, how in WAYS.items()}
  with open(out, "w", encoding="utf-8") as f:
    json.dump(found, f)


if __name__ == "__main__":
  assert jax.device_count() == 8
  main(*sys.argv[1:])
