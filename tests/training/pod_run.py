"""A small run on one host or several; a script for test_pod_training.py.

    python pod_run.py WORKDIR PRECISION [KIND] [DEATH]

Appends a line to WORKDIR/losses.jsonl for every step. KIND: full | adapters
(two at once, with dropout) | tensor, sequence (hosts share their rows).
DEATH = HOST:STEP: that host kills itself (-9) when the step is reported and
the last checkpoint due by then has its name: the others still wait for it to
finish that one. DEATH = slow:STEP: nobody does, but
from that step on each takes two seconds, so that a signal still finds the run.
"""

import dataclasses
import json
import os
import pathlib
import signal
import sys
import time

import killed_run
import numpy as np

from mlit_jax import distributed
from mlit_jax.errors import PREEMPTED, Preempted

ROWS, BATCH, NUM_STEPS, EVERY = 16, 8, 50, 12


def rows():
  """Random ones, the later with more to learn; every other for adapter 1."""
  rng = np.random.default_rng(0)
  places = np.arange(killed_run.LENGTH, dtype=np.int32)
  found = []
  for i in range(ROWS):
    tokens = rng.integers(
        3, killed_run.CONFIG.vocab_size, len(places) + 1, "int32"
    )
    found.append({
        "inputs": tokens[:-1], "positions": places, "loss_positions": places,
        "segment_ids": np.ones_like(places), "targets": tokens[1:],
        "weights": np.float32(places <= i % len(places)),
        "adapter_ids": np.int32(i % 2),
    })
  return found


def train(workdir, precision, kind="full", death=""):
  import jax

  if precision == "float64":
    jax.config.update("jax_enable_x64", True)
  from mlit_jax import partitioning
  from mlit_jax.data import batches
  from mlit_jax.models.lora import LoraConfig
  from mlit_jax.training import loop, preemption
  from mlit_jax.training.optimizer import OptimizerConfig
  from mlit_jax.training.step import Step, StepConfig

  index = jax.process_index()
  adapters = kind == "adapters"
  config = StepConfig(
      OptimizerConfig(1e-3, "linear", warmup_ratio=0.1), precision=precision,
      lora=LoraConfig(rank=2, alpha=4.0, dropout=0.3) if adapters else None,
      num_adapters=2 if adapters else 1,
  )
  # Parameters lie in parts on all hosts.
  shared = kind in ("tensor", "sequence")
  mesh = partitioning.make_mesh({kind if shared else "fsdp": -1})
  model = dataclasses.replace(
      killed_run.CONFIG, vocab_size=24, num_kv_heads=2
  )
  step = Step(model, config, mesh)
  source = rows()
  if not adapters:
    for row in source:
      del row["adapter_ids"]
  dataset = batches.batches(
      source, BATCH, seed=1, epochs=NUM_STEPS * BATCH // ROWS,
      host=partitioning.host_part(mesh),
  )
  host_to_die, _, last = death.partition(":")
  checkpoints = workdir / "checkpoints"

  def report(progress):
    if index == 0:
      with open(workdir / "losses.jsonl", "a", encoding="utf-8") as f:
        line = [progress.step, progress.losses, progress.grad_norms]
        f.write(json.dumps(line) + "\n")
      print("step", progress.step, flush=True)
    if host_to_die == "slow" and progress.step >= int(last):
      time.sleep(2)
    if host_to_die == str(index) and progress.step == int(last):
      # Written beside the steps, which are short here.
      while not (checkpoints / str(progress.step // EVERY * EVERY)).exists():
        time.sleep(0.001)
      (workdir / "death").touch()
      os.kill(os.getpid(), signal.SIGKILL)

  with preemption.Watch() as watch:
    result = loop.run(
        step, step.start(step.init(0)), dataset,
        loop.RunConfig((NUM_STEPS,) * config.num_adapters),
        checkpoints=(checkpoints, EVERY), report=report,
        preempted=watch.asked,
    )
  return result


def work(workdir, *options):
  try:
    train(pathlib.Path(workdir), *options)
  except Preempted as e:
    print(e, flush=True)
    raise
  return 0


def main():
  try:
    return distributed.run(lambda: work(*sys.argv[1:]))
  except Preempted:
    return PREEMPTED


if __name__ == "__main__":
  sys.exit(main())
