"""T5X checkpoints as our encoder-decoder: T5, mT5, umT5.

Two formats: t5x_msgpack.py's, and later Orbax under checkpoint_<step>/state. In
both, layers lie apart (`encoder/layers_0/...`) or are scanned, one array with
all of them on axis 1 (`encoder/encoder/...`); here scanned layers are read as
if they lay apart. Nothing but the parameters is touched.
"""

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import (
    mapping,
    orbax_file,
    t5x_msgpack,
)
from mlit_jax.models.interchange.family import abstract_params
from mlit_jax.models.interchange.mapping import Group
from mlit_jax.models.interchange.stored import CheckpointError
from mlit_jax.models.interchange.t5_families import flipped, path, same

_ORBAX = "state"
_STACKS = ("encoder", "decoder")
_SCAN_AXIS = 1
_LAYER = re.compile(r"(encoder|decoder)/layers_(\d+)/")
# What no array tells, or tells of T5X alone: it scales tied logits.
_TOLD = ("family", "max_distance", "norm_eps")
_OWN = ("tie_embeddings", "scale_logits")


def matches(directory: pathlib.Path) -> bool:
  """Whether a directory looks like a T5X checkpoint."""
  if (directory / t5x_msgpack.FILE).is_file():
    return True
  metadata = directory / _ORBAX / orbax_file.METADATA
  return metadata.is_file() and b"\"('target'," in metadata.read_bytes()


class Tensors:
  """Parameters by name, one layer at a time: encoder/layers_0/mlp/wo/kernel.

  Only metadata is read when it is opened. The interface is that of
  `storage.TensorFiles`.
  """

  def __init__(self, directory: str | os.PathLike):
    """Opens checkpoint_<step>.

    Raises:
      CheckpointError: it is none, is damaged or incomplete, of a version not
        known, or an array is said to lie outside of it.
    """
    self.path = pathlib.Path(directory)
    if (self.path / t5x_msgpack.FILE).is_file():
      tree = t5x_msgpack.arrays(self.path)
    elif (self.path / _ORBAX).is_dir():
      tree = orbax_file.arrays(self.path / _ORBAX, "target")
    else:
      steps = sorted(p.name for p in self.path.glob("checkpoint_*"))
      raise CheckpointError(
          f"{self.path}: no T5X checkpoint: neither a file"
          f" {t5x_msgpack.FILE!r} nor a directory {_ORBAX!r}"
          + (f"; choose one of {', '.join(steps)} in it" if steps else "")
      )
    self._arrays: dict[str, tuple[Any, tuple]] = {}  # name: array, index
    for parts, array in _leaves(tree):
      if parts[0] not in _STACKS or parts[0] != parts[1]:
        self._arrays["/".join(parts)] = array, (...,)
        continue
      if len(array.shape) <= _SCAN_AXIS:
        raise CheckpointError(
            f"{self.path}: {'/'.join(parts)!r} of scanned layers has shape"
            f" {tuple(array.shape)}"
        )
      for layer in range(array.shape[_SCAN_AXIS]):
        name = "/".join((parts[0], f"layers_{layer}", *parts[2:]))
        self._arrays[name] = array, (slice(None),) * _SCAN_AXIS + (layer,)

  def names(self) -> list[str]:
    """All names."""
    return list(self._arrays)

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of one tensor."""
    array, index = self._find(name)
    shape = tuple(array.shape)
    if index == (...,):
      return shape
    return shape[:_SCAN_AXIS] + shape[_SCAN_AXIS + 1 :]

  def dtype(self, name: str) -> np.dtype:
    """The type of its numbers."""
    return np.dtype(self._find(name)[0].dtype)

  def file(self, name: str) -> pathlib.Path:
    """Where it lies, for errors."""
    self._find(name)
    return self.path

  def read(self, name: str) -> np.ndarray:
    """Reads one tensor; of scanned layers all, which are kept a while.

    Raises:
      CheckpointError: there is none of that name, or it is damaged.
    """
    array, index = self._find(name)
    # One layer must not keep the memory of all.
    return np.ascontiguousarray(array[index])

  def equal(self, name: str, other: str) -> bool:
    """Whether one is a copy of the other: T5X writes none."""
    return False

  def _find(self, name: str) -> tuple[Any, tuple]:
    if name not in self._arrays:
      raise CheckpointError(f"{self.path}: no parameter {name!r}")
    return self._arrays[name]


def _leaves(
    tree: Mapping, parents: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
  """Every array with its place, which has two parts or more."""
  for key, value in tree.items():
    if isinstance(value, Mapping):
      yield from _leaves(value, (*parents, key))
    else:
      yield ((*parents, key) if parents else (key, "")), value


def read_config(
    files: Tensors, like: EncoderDecoderConfig | None = None
) -> EncoderDecoderConfig:
  """The model's shape, read off the arrays.

  Args:
    files: the checkpoint.
    like: says what no array tells: the family, the largest distance of the
      position buckets, the norm's epsilon. None: T5's values, and the family
      is umt5 if layers have biases of their own, else t5.

  Raises:
    CheckpointError: arrays that every T5 has are missing or have odd shapes, or
      the checkpoint is no model like `like`.
  """
  layers = {stack: 0 for stack in _STACKS}
  for name in files.names():
    if found := _LAYER.match(name):
      stack = found[1]
      layers[stack] = max(layers[stack], int(found[2]) + 1)
  first = "encoder/layers_0"
  apart = f"{first}/relpos_bias/rel_embedding" in files.names()
  bias = f"{first if apart else 'encoder'}/relpos_bias/rel_embedding"

  def shape(name, rank):
    found = files.shape(name)
    if len(found) not in rank:
      raise CheckpointError(
          f"{files.path}: {name!r} has shape {found}; no T5 has"
      )
    return found

  heads, buckets = shape(bias, (2,))
  vocab, embed = shape("token_embedder/embedding", (2,))
  query = f"{first}/attention/query/kernel"
  width = math.prod(shape(query, (2, 3))[1:])
  if width % heads:
    raise CheckpointError(
        f"{files.path}: {query!r} of width {width} does not divide into"
        f" {heads} heads, as {bias!r} has"
    )
  tied = "decoder/logits_dense/kernel" not in files.names()
  try:
    config = EncoderDecoderConfig(
        family="umt5" if apart else "t5",
        vocab_size=vocab,
        num_encoder_layers=layers["encoder"],
        num_decoder_layers=layers["decoder"],
        embed_dim=embed,
        num_heads=heads,
        head_dim=width // heads,
        mlp_dim=shape(f"{first}/mlp/wo/kernel", (2,))[0],
        num_buckets=buckets,
        gated_mlp=f"{first}/mlp/wi_0/kernel" in files.names(),
        tie_embeddings=tied,
        scale_logits=tied,
    )
    if like is None:
      return config
    told = {name: getattr(like, name) for name in _TOLD}
    config = dataclasses.replace(config, **told)
  except ValueError as e:
    raise CheckpointError(f"{files.path}: {e}") from None
  if config.bias_per_layer is not apart:
    raise CheckpointError(
        f"{files.path}: position biases per {'layer' if apart else 'stack'},"
        f" which no {like.family} has"
    )
  for field in dataclasses.fields(config):
    ours, theirs = getattr(config, field.name), getattr(like, field.name)
    if ours != theirs and field.name not in _OWN:
      raise CheckpointError(
          f"{files.path}: {field.name} is {ours}, but {theirs} in the model"
          " that it should be like"
      )
  return config


def groups(config: EncoderDecoderConfig, files: Tensors) -> tuple[Group, ...]:
  """How their tensors make our parameters.

  Args:
    config: shape of the model.
    files: the checkpoint; kernels of attention have their heads apart or not.
  """
  c = config
  d, n, h = c.embed_dim, c.num_heads, c.head_dim
  query = "encoder/layers_0/attention/query/kernel"
  apart = len(files.shape(query)) == 3
  inward = (d, n, h) if apart else (d, n * h)
  outward = (n, h, d) if apart else (n * h, d)
  found = [same("embedding", "token_embedder/embedding")]
  if not c.tie_embeddings:
    found.append(flipped("head", "decoder/logits_dense/kernel"))

  def attention(ours, theirs):
    for kernel in ("query", "key", "value"):
      yield Group(
          (path(f"{ours}/{kernel}"),), (f"{theirs}/{kernel}/kernel",),
          lambda w: (w.reshape(d, n, h),), lambda w: (w.reshape(inward),),
      )
    yield Group(
        (path(f"{ours}/out"),), (f"{theirs}/out/kernel",),
        lambda w: (w.reshape(n, h, d),), lambda w: (w.reshape(outward),),
    )

  mlp = {"down": "wo", "up": "wi"}
  if c.gated_mlp:
    mlp = {"down": "wo", "gate": "wi_0", "up": "wi_1"}
  for stack in _STACKS:
    blocks, layer = f"{stack}/blocks", f"{stack}/layers_{{layer}}"
    first = layer if c.bias_per_layer else stack
    bias = "blocks/relative_bias" if c.bias_per_layer else "relative_bias"
    own = "attention" if stack == "encoder" else "self_attention"
    found += [
        same(f"{stack}/final_norm/scale", f"{stack}/{stack}_norm/scale"),
        flipped(f"{stack}/{bias}", f"{first}/relpos_bias/rel_embedding"),
        same(
            f"{blocks}/attention_norm/scale",
            f"{layer}/pre_{own}_layer_norm/scale",
        ),
        *attention(f"{blocks}/attention", f"{layer}/{own}"),
        same(f"{blocks}/mlp_norm/scale", f"{layer}/pre_mlp_layer_norm/scale"),
        *(
            same(f"{blocks}/mlp/{ours}", f"{layer}/mlp/{theirs}/kernel")
            for ours, theirs in mlp.items()
        ),
    ]
    if stack == "decoder":
      found += [
          same(
              f"{blocks}/cross_norm/scale",
              f"{layer}/pre_cross_attention_layer_norm/scale",
          ),
          *attention(
              f"{blocks}/cross_attention", f"{layer}/encoder_decoder_attention"
          ),
      ]
  return tuple(found)


def load(
    directory: str | os.PathLike,
    like: EncoderDecoderConfig | None = None,
    shardings: Any = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> tuple[EncoderDecoderConfig, dict]:
  """Reads checkpoint_<step>.

  Args:
    directory: the checkpoint.
    like: see `read_config`.
    shardings, dtype: as of `mapping.load`.

  Raises:
    CheckpointError: names what is wrong, and where.
  """
  files = Tensors(directory)
  config = read_config(files, like)
  return config, mapping.load(
      files, groups(config, files), abstract_params(config),
      shardings or jax.sharding.SingleDeviceSharding(jax.devices()[0]), dtype,
  )
