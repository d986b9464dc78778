"""`mlit convert`: checkpoints as Hugging Face directories."""

import re

from mlit_jax.commands import overrides
from mlit_jax.errors import UsageError

SUMMARY = "write a checkpoint as a Hugging Face directory"
EXAMPLE = (
    "mlit convert runs/train/checkpoints/500 exported --like base_model"
    " --dtype bfloat16"
)
_DTYPES = ("float32", "bfloat16", "float16")
_UNITS = {
    "": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
}


def add_arguments(parser) -> None:
  parser.add_argument(
      "source", metavar="SRC", help="a Hugging Face directory (safetensors or"
      " .bin), a T5X checkpoint (checkpoint_<step>), or the directory of a"
      " training checkpoint's step; LoRA adapters in it become directories in"
      " PEFT's layout"
  )
  parser.add_argument(
      "destination", metavar="DST", help="the directory to make; it must not"
      " exist, or be empty"
  )
  parser.add_argument(
      "--like", metavar="DIR", help="a model directory whose config.json and"
      " tokenizer a training checkpoint gets; for T5X (default: T5's own"
      " numbers) its family, largest distance, epsilon and token ids"
  )
  parser.add_argument(
      "--adapter", metavar="DIR", help="a LoRA adapter in PEFT's layout, which"
      " is merged into the weights"
  )
  parser.add_argument(
      "--dtype", choices=_DTYPES, help="of the weights; default: as they are"
  )
  parser.add_argument(
      "--max-shard-size", default="5GB", metavar="SIZE",
      help="largest size of a file with weights, e.g. 500MB (default: 5GB)",
  )


def run(args) -> int:
  overrides.refuse(args.overrides)
  import pathlib
  import time

  limit = _bytes(args.max_shard_size)
  source = pathlib.Path(args.source)
  destination = pathlib.Path(args.destination)
  for path in filter(None, (args.source, args.like, args.adapter)):
    if not pathlib.Path(path).is_dir():
      raise UsageError(f"{path}: no such directory")
  if destination.exists() and (
      not destination.is_dir() or any(destination.iterdir())
  ):
    raise UsageError(
        f"{destination}: exists already; choose another directory or remove it"
    )
  from mlit_jax.models.interchange import convert
  from mlit_jax.studies.progress import Progress

  progress, began = Progress(), time.monotonic()
  name = f"convert {source.name}"
  progress.begin(1, 0)
  progress.started(name)

  def show(number: int, total: int) -> None:
    progress.show(name, f"{number}/{total} tensors")

  try:
    number = convert.convert(
        source, destination, like=args.like, adapter=args.adapter,
        dtype=args.dtype, max_shard_bytes=limit, show=show,
    )
    progress.finished(name, time.monotonic() - began)
  finally:
    progress.end()
  print(f"{number} tensors: {destination}")
  return 0


def _bytes(text: str) -> int:
  found = re.fullmatch(r"(\d+) ?([KMG]I?B)?", text.upper())
  if not found or not int(found[1]):
    raise UsageError(
        f"--max-shard-size {text!r} is no size; write e.g. 500MB or 5GB"
    )
  return int(found[1]) * _UNITS[found[2] or ""]
