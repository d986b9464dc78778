"""A small run that kills itself; a script for test_loop.py, and its parts.

    python killed_run.py START CHECKPOINTS STEP WAIT

starts from the pickled parameters START, dies (kill -9) when step STEP is
reported, and first waits for the checkpoint of step WAIT to be there (0: for
none). Prints the steps that it did.
"""

import os
import pathlib
import pickle
import signal
import sys
import time

import grain
import numpy as np

from mlit_jax import partitioning
from mlit_jax.models.config import DecoderConfig
from mlit_jax.training import loop
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.step import Step, StepConfig

CONFIG = DecoderConfig(
    vocab_size=23, num_layers=1, embed_dim=16, num_heads=2, num_kv_heads=1,
    head_dim=8, mlp_dim=24,
)
OPTIMIZER = OptimizerConfig(1e-2, "linear", warmup_ratio=0.1)
ROWS, LENGTH, BATCH = 8, 10, 4
EVERY, NUM_STEPS = 3, 12


def make_step():
  return Step(CONFIG, StepConfig(OPTIMIZER), partitioning.make_mesh())


def run(step, start, dataset, num_steps, **options):
  """From parameters; a loop.Result."""
  config = loop.RunConfig((num_steps,))
  return loop.run(step, step.start(start), dataset, config, **options)


def rows():
  """Every row a sequence of its own, all of which is learnt."""
  rng = np.random.default_rng(0)
  places = np.arange(LENGTH, dtype=np.int32)
  found = []
  for _ in range(ROWS):
    tokens = rng.integers(3, CONFIG.vocab_size, LENGTH + 1, "int32")
    found.append({
        "inputs": tokens[:-1], "positions": places, "loss_positions": places,
        "segment_ids": np.ones(LENGTH, np.int32), "targets": tokens[1:],
        "weights": np.ones(LENGTH, np.float32),
    })
  return found


def dataset(num_steps, source=None):
  """Shuffled batches, as data/batches.py makes them."""
  epochs = num_steps * BATCH // ROWS
  shuffled = grain.MapDataset.source(source or rows()).seed(1).shuffle()
  batches = shuffled.repeat(epochs).batch(BATCH, drop_remainder=True)
  return batches.to_iter_dataset(
      grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
  )


def main(start, directory, last, wait):
  def report(progress):
    print(progress.step, flush=True)
    if progress.step == last:
      deadline = time.monotonic() + 60
      while wait and not (pathlib.Path(directory) / str(wait)).exists():
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.01)
      os.kill(os.getpid(), signal.SIGKILL)

  run(
      make_step(), pickle.loads(pathlib.Path(start).read_bytes()),
      dataset(NUM_STEPS), NUM_STEPS, checkpoints=(directory, EVERY),
      report=report,
  )


if __name__ == "__main__":
  main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
