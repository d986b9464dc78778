"""Peak memory of loading a checkpoint of 1 GB in 1, 4 and 16 files, on CPU.

  python benchmarks/load.py [MEGABYTES]      prints a Markdown table

The device's memory is the host's here, so the model itself counts, once. The
goal: under 1.3 GB above what a process holds after its imports, whatever the
number of files.
"""

import dataclasses
import math
import os
import pathlib
import subprocess
import sys
import tempfile

FILES = (1, 4, 16)


def config(megabytes: int):
  """A LLaMA of about that size in float32."""
  from mlit_jax.models.config import DecoderConfig

  wide = DecoderConfig(
      vocab_size=32000, num_layers=14, embed_dim=1024, num_heads=16,
      num_kv_heads=16, head_dim=64, mlp_dim=2944,
  )
  if megabytes >= 1000:
    return wide
  return dataclasses.replace(
      wide, vocab_size=8000, embed_dim=512, num_heads=8, num_kv_heads=8,
      mlp_dim=1408, num_layers=max(1, round((megabytes - 33) / 12.8)),
  )


def write(directory: pathlib.Path, megabytes: int, files: int) -> int:
  """Writes a checkpoint in about `files` files; returns its bytes."""
  import jax
  import numpy as np

  from mlit_jax.models.interchange import family, huggingface, mapping

  model = config(megabytes)
  params = jax.tree.map(
      lambda x: np.ones(x.shape, x.dtype), family.abstract_params(model)
  )
  size = sum(x.nbytes for x in jax.tree.leaves(params))
  directory.mkdir()
  limit = size if files == 1 else math.ceil(size / (files - 0.5))
  mapping.save(directory, huggingface.groups(model), params, "float32", limit)
  return size


def load(directory: pathlib.Path, megabytes: int) -> None:
  """Prints by how many MB (10^6 bytes) loading it raised the peak."""
  import jax
  from jax.sharding import SingleDeviceSharding

  from mlit_jax.models.interchange import family, huggingface, mapping, storage

  model = config(megabytes)
  abstract, groups = family.abstract_params(model), huggingface.groups(model)
  where = SingleDeviceSharding(jax.devices()[0])
  before = _peak()
  params = mapping.load(
      storage.TensorFiles(directory), groups, abstract, where, "float32"
  )
  jax.block_until_ready(params)
  print(round((_peak() - before) / 1e6))


def _peak() -> int:
  """Peak resident memory of this process so far, in bytes."""
  status = pathlib.Path("/proc/self/status").read_text()
  line = next(x for x in status.splitlines() if x.startswith("VmHWM"))
  return int(line.split()[1]) * 1024


def main() -> None:
  megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
  print("| files | checkpoint, MB | peak above the imports, MB |")
  print("|---|---|---|")
  for files in FILES:
    with tempfile.TemporaryDirectory() as folder:
      directory = pathlib.Path(folder) / "model"
      size = write(directory, megabytes, files)
      found = len(list(directory.glob("*.safetensors")))
      out = subprocess.run(
          [sys.executable, __file__, directory, str(megabytes)], check=True,
          capture_output=True, text=True,
          env={**os.environ, "JAX_PLATFORMS": "cpu"},
      )
    print(f"| {found} | {size / 1e6:.0f} | {out.stdout.strip()} |", flush=True)


if __name__ == "__main__":
  if len(sys.argv) == 3:
    load(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
  else:
    main()
