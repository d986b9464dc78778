"""Attention's paths beside each other, on whatever device is here.

  python benchmarks/attention.py [LENGTH]

Forward and backward pass of packed rows, in bfloat16 (float32 on CPU): greatest
difference from plain attention in float32, relative to its greatest value;
milliseconds (least of five, paths taken in turn); temporary memory. A path that
cannot run here is left out, and why is said.
"""

import functools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from mlit_jax.models import attention, attention_paths, positions

ROWS, HEADS, ROUNDS = 2, 8, 5
CASES = {
    "LLaMA, heads of 128": (128, {}),
    "Pythia 2.8B, heads of 80": (80, {}),
    "Gemma 3, window 1024, heads of 256": (256, {"window": 1024}),
    "Gemma 2, soft cap, heads of 256": (256, {"softcap": 50.0}),
    "BLOOM, ALiBi, heads of 64": (
        64, {"bias": positions.alibi_bias(HEADS)},
    ),
    "T5's cross-attention, heads of 64": (64, {"causal": False}),
}


def make(length, head_dim, dtype):
  """Queries, keys, values, positions and segments of packed rows."""
  rng = np.random.default_rng(0)
  shape = ROWS, length, HEADS, head_dim
  arrays = [jnp.asarray(rng.standard_normal(shape), dtype) for _ in range(3)]
  places = np.tile(np.arange(length, dtype=np.int32), (ROWS, 1))
  cuts = np.asarray([[0.3], [0.8]]) * length
  segments = 1 + np.int32(places >= cuts)
  places = np.where(segments == 2, places - np.int32(cuts), places)
  return arrays, jnp.asarray(places), jnp.asarray(segments)


def build(path, arrays, places, segments, how):
  """The compiled forward and backward pass."""

  def loss(arrays):
    mixed = attention.attend(
        *arrays, query_positions=places, key_positions=places,
        query_segments=segments, key_segments=segments, path=path,
        scale=arrays[0].shape[-1] ** -0.5, **how,
    )
    return jnp.sum(jnp.sin(mixed.astype(jnp.float32))), mixed

  step = jax.jit(jax.value_and_grad(loss, has_aux=True))
  return step.lower(arrays).compile()


def results(step, arrays):
  (_, mixed), gradients = step(arrays)
  return jax.device_get([mixed, *gradients])


def difference(ours, theirs):
  return max(
      np.abs(np.float32(a) - b).max() / np.abs(b).max()
      for a, b in zip(ours, theirs, strict=True)
  )


def main(length):
  device = attention_paths.current_device()
  dtype = jnp.float32 if device.platform == "cpu" else jnp.bfloat16
  print(f"{jax.devices()[0].device_kind}, {device}, {ROWS} x {length} tokens")
  print(f"{HEADS} heads, {dtype.__name__}\n")
  print("| case | path | difference | ms | temporary MiB |")
  print("|---|---|---|---|---|")
  for name, (head_dim, how) in CASES.items():
    arrays, places, segments = make(length, head_dim, dtype)
    wide = [a.astype(jnp.float32) for a in arrays]
    with jax.default_matmul_precision("highest"):
      exact = results(build("plain", wide, places, segments, how), wide)
    steps = {}
    for path in attention.PATHS:
      try:
        steps[path] = build(path, arrays, places, segments, how)
      except ValueError as e:
        print(f"| {name} | {path} | left out: {str(e).split(': ')[-1]} | | |")
      except (NotImplementedError, RuntimeError) as e:  # it promised to run
        print(f"| {name} | {path} | FAILED: {str(e).splitlines()[0]} | | |")
    times = {path: [] for path in steps}
    for _ in range(ROUNDS):
      for path, step in steps.items():
        run = functools.partial(step, arrays)
        jax.block_until_ready(run())
        began = time.perf_counter()
        jax.block_until_ready(run())
        times[path].append(time.perf_counter() - began)
    for path, step in steps.items():
      memory = step.memory_analysis().temp_size_in_bytes / 2**20
      print(
          f"| {name} | {path} | {difference(results(step, arrays), exact):.1e}"
          f" | {1e3 * min(times[path]):.2f} | {memory:.0f} |"
      )


if __name__ == "__main__":
  main(int(sys.argv[1]) if len(sys.argv) > 1 else 2048)
