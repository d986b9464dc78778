"""What mlit_jax/cpu.py gains: milliseconds of the pocket model's step.

  python benchmarks/cpu.py          every setting three times, interleaved
"""

import os
import subprocess
import sys
import time

SETTINGS = {
    "as it comes": "none",
    "memory kept": "memory",
    "memory kept, a pool of twice the threads": "threads",
}
STEPS = 200


def measure(setting: str) -> None:
  """Prints median and mean of a step under one setting."""
  from mlit_jax import cpu

  if setting != "none":
    cpu.keep_freed_memory()
  if setting == "threads":
    os.environ["NPROC"] = str(2 * os.cpu_count())
  import jax
  import numpy as np

  from mlit_jax import partitioning
  from mlit_jax.models.config import DecoderConfig
  from mlit_jax.training import loop, optimizer
  from mlit_jax.training.step import Step, StepConfig

  model = DecoderConfig(4000, 2, 128, 4, 4, 32, 256, 256, tie_embeddings=True)
  mesh = partitioning.make_mesh()
  step = Step(model, StepConfig(optimizer.OptimizerConfig(4e-3)), mesh)
  rng = np.random.default_rng(0)
  rows = np.tile(np.arange(128, dtype=np.int32), (4, 1))
  batch = {
      "inputs": rng.integers(0, 4000, (4, 128)).astype(np.int32),
      "targets": rng.integers(0, 4000, (4, 128)).astype(np.int32),
      "segment_ids": np.ones((4, 128), np.int32),
      "positions": rows,
      "loss_positions": rows,
      "weights": np.ones((4, 128), np.float32),
  }
  times = []
  loop.run(
      step,
      step.start(step.init(0)),
      (batch for _ in range(STEPS)),
      loop.RunConfig((STEPS,)),
      report=lambda progress: times.append(time.perf_counter()),
  )
  steps = 1000 * np.diff(times)[10:]
  print(f"{np.median(steps):.1f} {np.mean(steps):.1f}", jax.__version__)


def main() -> None:
  if len(sys.argv) > 1:
    measure(sys.argv[1])
    return
  print("| setting | median, mean ms of each run |\n|---|---|")
  runs = {name: [] for name in SETTINGS}
  for _ in range(3):
    for name, setting in SETTINGS.items():
      out = subprocess.run(
          [sys.executable, __file__, setting], capture_output=True, text=True,
          check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"},
      )
      runs[name].append(", ".join(out.stdout.split()[:2]))
  for name, figures in runs.items():
    print(f"| {name} | {'; '.join(figures)} |")


if __name__ == "__main__":
  main()
