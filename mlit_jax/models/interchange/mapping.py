"""Checkpoints of others as our parameters, and back, piece by piece.

A `Group` says which of their tensors make which of our parameters. Loading
fills each device's part of a parameter as the tensors are read; saving makes
their tensors one after the other. Neither ever holds more than a few tensors.
"""

import dataclasses
import functools
import itertools
import math
import os
import pathlib
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlit_jax.models.interchange import storage
from mlit_jax.models.interchange.storage import Checkpoint, CheckpointError

# What older checkpoints carry although nothing reads it: frequencies and masks,
# which follow from the config, and a bias that T5's cross-attention never had.
_NOT_WEIGHTS = re.compile(
    r"(\.rotary_emb\.inv_freq|\.attention\.bias|\.(attn|attention)"
    r"\.masked_bias|\.EncDecAttention\.relative_attention_bias\.weight)$"
)
_STACKED = ("layer", "expert")
_FIRST = 5  # names that an error lists


@dataclasses.dataclass(frozen=True)
class Group:
  """Tensors of a checkpoint that together make parameters of ours.

  A name with "{layer}" stands for one tensor per layer, and the parameters are
  stacked over layers (leading axis L); with "{expert}" too, over layers and
  experts (leading axes L, E). The functions work on one layer's, one expert's
  arrays.

  Attributes:
    paths: our parameters, e.g. (("blocks", "attention", "query"),).
    names: tensors of the checkpoint.
    to_ours: NumPy tensors in the order of `names` -> arrays in the order of
      `paths`; they may be views.
    to_theirs: the inverse, bit for bit.
  """

  paths: tuple[tuple[str, ...], ...]
  names: tuple[str, ...]
  to_ours: Callable[..., tuple[np.ndarray, ...]]
  to_theirs: Callable[..., tuple[np.ndarray, ...]]

  def __post_init__(self):
    axes = {_axes(name) for name in self.names}
    if len(axes) != 1 or next(iter(axes)) not in ((), ("layer",), _STACKED):
      raise ValueError(
          f"names {self.names} must all hold the same of {{layer}} and"
          " {expert}, and {expert} only with {layer}"
      )

  @property
  def stacked(self) -> int:
    """Number of leading axes that the parameters are stacked over."""
    return len(_axes(self.names[0]))

  def fill(self, index: tuple[int, ...]) -> tuple[str, ...]:
    """The names of one layer (and expert)."""
    places = dict(zip(_STACKED, index, strict=False))
    return tuple(name.format(**places) for name in self.names)


def _axes(name: str) -> tuple[str, ...]:
  fields = {f for _, f, _, _ in string.Formatter().parse(name) if f}
  return tuple(axis for axis in _STACKED if axis in fields)


def load(
    files: Checkpoint,
    groups: Sequence[Group],
    abstract_params: Any,
    shardings: Any,
    dtype: jax.typing.DTypeLike,
) -> dict:
  """Reads a checkpoint into sharded parameters, tensor by tensor.

  Host memory holds the tensors of one group's one layer at a time, whatever
  the size of the model and the number of files.

  Args:
    files: the checkpoint.
    groups: how its tensors make our parameters; each parameter once.
    abstract_params: nested dicts with the parameters' shapes at the leaves.
    shardings: a jax Sharding per parameter, in the same nesting, or one for
      all.
    dtype: of the parameters.

  Returns:
    The parameters as jax arrays, each device holding its part alone.

  Raises:
    CheckpointError: tensors are missing, left over or of another shape; the
      message names the first few. Left over may be what nothing reads
      (_NOT_WEIGHTS), and copies of a tensor that is read (a tied head).
  """
  shapes = _flatten(abstract_params)
  if isinstance(shardings, jax.sharding.Sharding):
    where = dict.fromkeys(shapes, shardings)
  else:
    where = _flatten(shardings)
  made = [path for group in groups for path in group.paths]
  if sorted(made) != sorted(shapes):
    raise ValueError(
        f"the groups make {sorted(set(made) ^ set(shapes))} and the model"
        " does not, or the other way round, or one twice"
    )
  check(files, groups, abstract_params)
  dtype = np.dtype(dtype)

  def piece_size(group):
    return max(
        math.prod(shapes[path].shape[group.stacked :]) for path in group.paths
    )

  params = {}
  # The largest tensors while the least lies beside them.
  for group in sorted(groups, key=piece_size, reverse=True):
    arrays = _load_group(files, group, shapes, where, dtype)
    for path, array in zip(group.paths, arrays, strict=True):
      _set(params, path, array)
  return params


def _load_group(files, group, shapes, where, dtype) -> list[jax.Array]:
  """The parameters of one group."""
  full = [tuple(shapes[path].shape) for path in group.paths]
  parts = [  # per parameter {device: the slices of it that lie there}
      where[path].addressable_devices_indices_map(shape)
      for path, shape in zip(group.paths, full, strict=True)
  ]
  buffers = [{} for _ in group.paths]
  n = group.stacked
  if n:
    for shape, part, buffer in zip(full, parts, buffers, strict=True):
      for device, index in part.items():
        local = [
            len(range(*s.indices(d))) for s, d in zip(index, shape, strict=True)
        ]
        buffer[device] = jnp.zeros(local, dtype, device=device)
  for place in _places(full[0][:n]):
    if not any(_holds(i, place) for part in parts for i in part.values()):
      continue
    names = group.fill(place)
    pieces = group.to_ours(*(files.read(name) for name in names))
    for piece, part, buffer in zip(pieces, parts, buffers, strict=True):
      slices = {}  # devices that hold the same share one
      for device, index in part.items():
        if not _holds(index, place):
          continue
        key = str(index[n:])
        if key not in slices:
          value = storage.cast(piece[index[n:]], dtype, names[0])
          slices[key] = np.ascontiguousarray(value)
        value = jax.device_put(slices[key], device)
        if n:
          at = [p - (s.start or 0) for p, s in zip(place, index, strict=False)]
          value = _put(buffer[device], value, np.asarray(at, np.int32))
        # Else the host would run ahead and hold many tensors.
        buffer[device] = value.block_until_ready()
  return [
      jax.make_array_from_single_device_arrays(
          shape, where[path], [buffer[device] for device in part]
      )
      for path, shape, part, buffer in zip(
          group.paths, full, parts, buffers, strict=True
      )
  ]


@functools.partial(jax.jit, donate_argnums=0)
def _put(stack, piece, place):
  """Writes a layer (of an expert) into its stack, in place."""
  n = stack.ndim - piece.ndim
  start = [place[i] for i in range(n)] + [0] * piece.ndim
  return jax.lax.dynamic_update_slice(
      stack, piece.reshape((1,) * n + piece.shape), start
  )


def _places(sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
  """Every layer (and expert); once () for what is not stacked."""
  return itertools.product(*(range(size) for size in sizes))


def _holds(index: tuple[slice, ...], place: tuple[int, ...]) -> bool:
  return all(
      (s.start or 0) <= p < (p + 1 if s.stop is None else s.stop)
      for s, p in zip(index, place, strict=False)
  )


def check(
    files: Checkpoint, groups: Sequence[Group], abstract_params: Any
) -> None:
  """Raises CheckpointError unless the tensors are those that are wanted.

  Args:
    files: the checkpoint.
    groups: how its tensors make our parameters.
    abstract_params: nested dicts with the parameters' shapes at the leaves.
  """
  shapes = _flatten(abstract_params)
  # Before anything of a size is made that only the config claims. What is not
  # far off gets a better message below.
  numbers = sum(math.prod(files.shape(name)) for name in files.names())
  for path, leaf in shapes.items():
    if math.prod(leaf.shape) > 4 * numbers + 1_000_000:
      raise CheckpointError(
          f"{files.path}: by the config {'/'.join(path)} has the shape"
          f" {tuple(leaf.shape)}, far more than all tensors here together"
      )
  wanted, single = {}, []
  for group in groups:
    full = [tuple(shapes[path].shape) for path in group.paths]
    theirs = [a.shape for a in _theirs_of_nothing(group, full)]
    for place in _places(full[0][: group.stacked]):
      wanted |= dict(zip(group.fill(place), theirs, strict=True))
    single += group.names if not group.stacked else ()
  there = set(files.names())
  if missing := [name for name in wanted if name not in there]:
    raise CheckpointError(f"{files.path}: no tensor {_list(missing)}")
  for name, shape in wanted.items():
    if files.shape(name) != shape:
      raise CheckpointError(
          f"{files.file(name)}: {name!r} has shape {files.shape(name)}, the"
          f" config says {shape}"
      )
    if files.dtype(name) not in storage.FLOATS:
      raise CheckpointError(
          f"{files.file(name)}: {name!r} is of type {files.dtype(name)};"
          " quantized weights are not read"
      )
  surplus = [
      name
      for name in files.names()
      if name not in wanted
      and not _NOT_WEIGHTS.search(name)
      and not any(files.equal(name, other) for other in single)
  ]
  if surplus:
    raise CheckpointError(f"{files.path}: surplus tensor {_list(surplus)}")


def _theirs_of_nothing(group: Group, full) -> tuple[np.ndarray, ...]:
  """Arrays of the shapes that the checkpoint's tensors have."""
  pieces = [np.empty(shape[group.stacked :], np.float32) for shape in full]
  return group.to_theirs(*pieces)


def _list(names: list[str]) -> str:
  """At most _FIRST of the names and how many there are."""
  text = ", ".join(repr(name) for name in names[:_FIRST])
  if len(names) > _FIRST:
    text += f" and {len(names) - _FIRST} more"
  return text


def save(
    directory: str | os.PathLike,
    groups: Sequence[Group],
    params: Mapping,
    dtype: jax.typing.DTypeLike,
    max_shard_bytes: int,
) -> None:
  """Writes parameters as safetensors files of `groups`' names.

  Args:
    directory: exists; give a temporary one (exchange.replacing), for a failure
      leaves it half-written.
    groups: how our parameters make their tensors.
    params: nested dicts; the leaves are NumPy arrays, jax arrays that this
      process can read whole, or anything with a shape, a dtype and items that
      NumPy takes.
    dtype: of the tensors.
    max_shard_bytes: beyond it there are several files, with an index.

  Raises:
    CheckpointError: a parameter does not fit `dtype`.
  """
  storage.save(
      pathlib.Path(directory),
      Exported(groups, params),
      np.dtype(dtype),
      max_shard_bytes,
  )


class Exported:
  """Our parameters under the names and shapes of a checkpoint.

  The interface is `storage.Tensors`; a tensor is made when it is read.
  """

  def __init__(self, groups: Sequence[Group], params: Mapping):
    leaves = _flatten(params)
    made = [path for group in groups for path in group.paths]
    if sorted(made) != sorted(leaves):
      raise ValueError(
          f"parameters {sorted(set(made) ^ set(leaves))} are in no group, or"
          " not there"
      )
    self._about = {}  # name -> (shape, dtype, group, place, number)
    for group in groups:
      values = [leaves[path] for path in group.paths]
      full = [tuple(value.shape) for value in values]
      shapes = [a.shape for a in _theirs_of_nothing(group, full)]
      for place in _places(full[0][: group.stacked]):
        for number, name in enumerate(group.fill(place)):
          self._about[name] = (
              shapes[number], np.dtype(values[0].dtype), group, place, number,
          )
    self._leaves = leaves
    # Of a group's several tensors, the second comes right after the first.
    self._pieces = functools.lru_cache(maxsize=1)(self._make)

  def names(self) -> list[str]:
    """All names, group after group."""
    return list(self._about)

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of one tensor."""
    return self._about[name][0]

  def dtype(self, name: str) -> np.dtype:
    """The type of its numbers."""
    return self._about[name][1]

  def read(self, name: str) -> np.ndarray:
    """Makes one tensor."""
    _, _, group, place, number = self._about[name]
    return self._pieces(group, place)[number]

  def _make(self, group: Group, place: tuple[int, ...]):
    pieces = [np.asarray(self._leaves[path][place]) for path in group.paths]
    return group.to_theirs(*pieces)


def lazy(
    files: Checkpoint, groups: Sequence[Group], abstract_params: Any
) -> dict:
  """What `load` would read, as leaves that read when they are indexed.

  For `Exported`, so that one layout becomes another tensor by tensor.
  Arguments and errors as of `check`.

  Returns:
    Nested dicts; a leaf has a shape and a dtype, and is indexed by its layer
    (and expert), or by () if it is not stacked.
  """
  check(files, groups, abstract_params)
  shapes, params = _flatten(abstract_params), {}
  for group in groups:
    for number, path in enumerate(group.paths):
      leaf = _Lazy(files, group, number, tuple(shapes[path].shape))
      _set(params, path, leaf)
  return params


class _Lazy:
  """A parameter in a checkpoint."""

  def __init__(self, files, group: Group, number: int, shape: tuple[int, ...]):
    self.shape = shape
    self.dtype = files.dtype(group.fill((0,) * group.stacked)[0])
    self._files, self._group, self._number = files, group, number

  def __getitem__(self, place: tuple[int, ...]) -> np.ndarray:
    tensors = (self._files.read(name) for name in self._group.fill(place))
    return self._group.to_ours(*tensors)[self._number]


def _flatten(tree: Mapping, parents: tuple[str, ...] = ()) -> dict:
  """{path: leaf} of nested mappings."""
  found = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      found |= _flatten(value, (*parents, key))
    else:
      found[(*parents, key)] = value
  return found


def _set(tree: dict, path: tuple[str, ...], value) -> None:
  *parents, last = path
  for key in parents:
    tree = tree.setdefault(key, {})
  tree[last] = value
