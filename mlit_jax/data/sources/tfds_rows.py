"""Rows of TFDS datasets, by name or as built in a folder.

Apart from data/tasks.py this is the only module that imports TensorFlow, and
it is imported only where a TFDS dataset is read.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping

from mlit_jax.data.native_stderr import silenced
from mlit_jax.data.sources import lines
from mlit_jax.data.sources.source import SourceError

# TensorFlow's C++ tells of its kernels and missing GPUs as it loads.
with silenced():
  import tensorflow as tf
  import tensorflow_datasets as tfds

  # It only reads data here: the accelerators are JAX's.
  tf.config.set_visible_devices([], "GPU")


def read(location: str, split: str) -> Iterator[tuple[str, lines.Parsed]]:
  """(place, row), as rows.read takes them, in the order they were built in.

  Args:
    location: a folder that a TFDS builder wrote (the one with features.json);
      or the name of a dataset that is built already, `name`, `name/config` or
      `name:version`, in the folder that TFDS_DATA_DIR names (by default
      ~/tensorflow_datasets). Nothing is downloaded and no builder is run.
    split: which split; TFDS's slices are allowed (`train[:10%]`).

  Raises:
    SourceError: it is not there.
  """
  data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
  try:
    if (pathlib.Path(location) / "features.json").is_file():
      builder = tfds.builder_from_directory(location)
    else:
      builder = tfds.core.read_only_builder.builder_from_files(
          location, data_dir=os.path.expanduser(data_dir)
      )
    data = builder.as_dataset(
        split=split,
        shuffle_files=False,
        read_config=tfds.ReadConfig(
            interleave_cycle_length=1, try_autocache=False
        ),
    )
  # Also its DatasetNotFoundError.
  except (ValueError, OSError, AssertionError, KeyError) as e:
    problem = " ".join(str(e).split())
    raise SourceError(
        f"tfds:{location}: cannot be loaded ({problem:.300}); build it with"
        f" `tfds build` and put it into {data_dir}, or give the folder that"
        " holds its features.json"
    ) from None
  place = f"tfds:{location}:{split}"
  return ((place, row) for row in _rows(data))


def _rows(data) -> Iterator[lines.Parsed]:
  for number, row in enumerate(tfds.as_numpy(data), start=1):
    try:
      yield number, _plain(row), "", ""
    except UnicodeDecodeError as e:
      yield number, repr(row), "not_utf8", f"not UTF-8 at byte {e.start}"


def _plain(value):
  """NumPy values as Python's, bytes as texts."""
  if isinstance(value, Mapping):
    return {key: _plain(x) for key, x in value.items()}
  if isinstance(value, bytes):
    return value.decode()
  if hasattr(value, "tolist"):
    value = value.tolist()
  if isinstance(value, list | tuple):
    return [_plain(x) for x in value]
  return value.decode() if isinstance(value, bytes) else value
