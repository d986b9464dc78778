"""Device mesh and logical axis rules.

Parameters and activations name their axes (`batch length embed heads kv_heads
kv expert mlp vocab layers`, T5X's names); a rule maps a name to axes of the
mesh. There is one table of rules, because an axis of size 1 cuts nothing: what
a preset (mesh_presets.py) chooses is the mesh's sizes.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# data: rows of the batch. fsdp: rows of the batch, and parameters along embed.
# tensor: heads, mlp and vocab. expert: rows of the batch, and experts.
# sequence: places of a row, and parameters along embed. replica: rows of the
# batch, over slices, between which links are slow.
MESH_AXES = ("data", "fsdp", "tensor", "expert", "sequence", "replica")
BATCH = ("replica", "data", "fsdp", "expert")
RULES = (
    ("batch", BATCH),
    ("length", None),
    ("embed", ("fsdp", "sequence")),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("kv", None),
    ("expert", "expert"),
    ("mlp", "tensor"),
    ("vocab", "tensor"),
    ("layers", None),
)
# Activations keep their embed axis whole: of them it is rows that fsdp cuts,
# and places that sequence cuts in training.
_ACTIVATION_RULES = dict(RULES) | {"embed": None}
_TRAINING_RULES = _ACTIVATION_RULES | {"length": "sequence"}


class PartitionError(ValueError):
  """A mesh that does not fit the devices, or an axis that does not divide."""


def make_mesh(
    shape: Mapping[str, int] | Sequence[int] = (-1,),
    devices: Sequence | None = None,
) -> Mesh:
  """A mesh with the axes MESH_AXES.

  Neighbours on the mesh are neighbours on the wires, where the devices say how
  they are wired.

  Args:
    shape: size of each axis, by name or in their order; axes that are left out
      have size 1. One size may be -1 and takes what is left.
    devices: the devices to use; all of them by default.

  Raises:
    PartitionError: an unknown axis, or the shape does not multiply to the
      number of devices, or `replica` is not the number of slices.
  """
  devices = list(jax.devices() if devices is None else devices)
  said = _said(shape)
  shape = {axis: said.get(axis, 1) for axis in MESH_AXES}
  sizes = list(shape.values())
  if any(n < 1 and n != -1 for n in sizes) or sizes.count(-1) > 1:
    raise PartitionError(
        f"mesh {_text(said)}: sizes must be positive, at most one of them -1"
    )
  known = math.prod(n for n in sizes if n != -1)
  if len(devices) % known or (-1 not in sizes and len(devices) != known):
    raise PartitionError(
        f"mesh {_text(said)} needs {'a multiple of ' * (-1 in sizes)}{known}"
        f" devices; there are {len(devices)}"
    )
  shape = {
      axis: len(devices) // known if n == -1 else n
      for axis, n in shape.items()
  }
  # On the wires: slices outermost, tensor innermost.
  order = ("replica", "data", "fsdp", "expert", "sequence", "tensor")
  grid = _grid([shape[axis] for axis in order], devices)
  places = [order.index(axis) for axis in MESH_AXES]
  return Mesh(np.transpose(grid, places), MESH_AXES)


def _said(shape) -> dict[str, int]:
  if isinstance(shape, Mapping):
    if unknown := sorted(set(shape) - set(MESH_AXES)):
      raise PartitionError(
          f"no mesh axis {unknown[0]!r}; there are {', '.join(MESH_AXES)}"
      )
    return dict(shape)
  if len(shape) > len(MESH_AXES):
    raise PartitionError(
        f"mesh {tuple(shape)} has more sizes than the {len(MESH_AXES)} axes"
        f" {MESH_AXES}"
    )
  return dict(zip(MESH_AXES, shape, strict=False))


def _text(shape: Mapping[str, int]) -> str:
  return " x ".join(f"{axis}={n}" for axis, n in shape.items())


def _grid(sizes, devices):
  """Devices as an array of these sizes, the first of them over slices."""
  if getattr(devices[0], "platform", "") != "tpu":
    return np.asarray(devices).reshape(sizes)
  slices = num_slices(devices)
  if slices == 1:
    return mesh_utils.create_device_mesh(
        sizes, devices, allow_split_physical_axes=True
    )
  if sizes[0] != slices:
    raise PartitionError(
        f"the devices lie in {slices} slices: give the mesh replica={slices}"
    )
  return mesh_utils.create_hybrid_device_mesh(
      [1, *sizes[1:]], [slices] + [1] * (len(sizes) - 1), devices,
      allow_split_physical_axes=True,
  )


def num_slices(devices: Sequence) -> int:
  """How many TPU slices the devices are of; other devices make one."""
  if getattr(devices[0], "platform", "") != "tpu":
    return 1
  return len({getattr(d, "slice_index", None) or 0 for d in devices})


def param_shardings(abstract_params, mesh: Mesh):
  """The NamedSharding of every parameter, from its logical axes.

  Args:
    abstract_params: boxed parameters, real or from `jax.eval_shape`.
    mesh: where they will live.

  Raises:
    PartitionError: a parameter's axis is not divisible by its mesh axis; the
      message names the parameter, the axis and both sizes.
  """
  specs = nn.get_partition_spec(abstract_params)
  shapes = nn.meta.unbox(abstract_params)

  def one(path, leaf, names):
    spec = nn.logical_to_mesh_axes(tuple(names), RULES)
    for name, size, axes in zip(names, leaf.shape, spec, strict=False):
      axes = (axes,) if isinstance(axes, str) else axes or ()
      cut = [axis for axis in axes if mesh.shape[axis] > 1]
      ways = math.prod(mesh.shape[axis] for axis in cut)
      if size % ways:
        raise PartitionError(
            f"parameter {jax.tree_util.keystr(path)}: axis {name!r} of size"
            f" {size} does not divide over mesh axis {' x '.join(cut)!r} of"
            f" size {ways}; choose another mesh shape"
        )
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(one, shapes, specs)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Rows of a batch over every axis that cuts the batch."""
  return NamedSharding(mesh, PartitionSpec(BATCH))


def token_sharding(mesh: Mesh) -> NamedSharding:
  """Of a training batch's arrays [B T]: rows, and places over `sequence`."""
  return NamedSharding(mesh, PartitionSpec(BATCH, "sequence"))


def batch_ways(mesh: Mesh) -> int:
  """Into how many parts the mesh cuts a batch."""
  return math.prod(mesh.shape[axis] for axis in BATCH)


def check_batch(size: int, mesh: Mesh) -> None:
  """Raises PartitionError unless the rows divide over the mesh."""
  ways = batch_ways(mesh)
  if size % ways:
    cut = [axis for axis in BATCH if mesh.shape[axis] > 1]
    raise PartitionError(
        f"a batch of {size} rows does not divide over {' x '.join(cut)} ="
        f" {ways} devices; choose a multiple of {ways}"
    )


def check_lengths(lengths: Mapping[str, int], mesh: Mesh) -> None:
  """Raises PartitionError unless rows so long divide over the mesh.

  Args:
    lengths: name, for the message -> places of a row.
    mesh: whose axis `sequence` cuts them.
  """
  ways = mesh.shape["sequence"]
  for name, length in lengths.items():
    if length % ways:
      raise PartitionError(
          f"{name}: {length} places of a row do not divide over sequence ="
          f" {ways} devices; choose a multiple of {ways}"
      )


def host_part(mesh: Mesh) -> tuple[int, int]:
  """(index, number) of the part of every batch that this host reads.

  Hosts whose devices hold the same rows (another axis goes across them) read
  the same part.

  Raises:
    PartitionError: the parts of two hosts overlap.
  """
  ways = math.prod(mesh.shape[axis] for axis in BATCH)
  places = batch_sharding(mesh).devices_indices_map((ways,))
  parts: dict[int, set[int]] = {}
  for device, (rows,) in places.items():
    held = range(ways)[rows]
    parts.setdefault(device.process_index, set()).update(held)
  found = sorted({tuple(sorted(part)) for part in parts.values()})
  if sum(map(len, found)) != ways:
    raise PartitionError(
        f"mesh {dict(mesh.shape)}: the rows of one host are a part of another"
        " one's; choose axes that divide the devices of a host, or are"
        " multiples of them"
    )
  mine = tuple(sorted(parts[jax.process_index()]))
  return found.index(mine), len(found)


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())


def parts(name: str) -> int:
  """Into how many parts the mesh in use cuts a logical axis; 1 without one."""
  axes, = nn.logical_to_mesh_axes((name,))
  mesh = jax.sharding.get_abstract_mesh()
  if axes is None or mesh.empty:
    return 1
  axes = (axes,) if isinstance(axes, str) else axes
  return math.prod(mesh.shape[axis] for axis in axes)


def lay_as_param(x: jax.Array, *names: str | None) -> jax.Array:
  """Cuts an array inside a program as a parameter with these axes is cut."""
  if jax.sharding.get_abstract_mesh().empty:
    return x
  spec = nn.logical_to_mesh_axes(names, RULES)
  return jax.lax.with_sharding_constraint(x, spec)


def look_up(table: jax.Array, tokens: jax.Array, dtype) -> jax.Array:
  """Rows of an embedding [V D] for tokens [B T], cut as activations are.

  From the table's cut, along embed, one axis of the mesh moves after the other:
  the compiler does so by exchanging parts, and what it does to all of them at
  once is to put the whole batch together on every device.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return jnp.take(table, tokens, axis=0).astype(dtype)
  rows, length = nn.logical_to_mesh_axes(("batch", "length"))
  outer = tuple(axis for axis in rows or () if axis in ("replica", "data"))
  tokens = jax.lax.with_sharding_constraint(tokens, PartitionSpec(outer))
  x = jnp.take(table, tokens, axis=0).astype(dtype)
  for spec in (
      (outer, None, ("fsdp", "sequence")), (outer, length, "fsdp"),
      ((*outer, "fsdp"), length), (rows, length),
  ):
    x = jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))
  return x


class Layout(NamedTuple):
  """How an array lies on a mesh: a row of the table that `layout` makes.

  Attributes:
    path: of the array in its tree.
    shape: of all of it.
    dtype: of its elements.
    spec: the mesh axes that cut each of its axes.
    bytes_per_device: of the part that one device holds.
  """

  path: str
  shape: tuple[int, ...]
  dtype: str
  spec: tuple[str | tuple[str, ...] | None, ...]
  bytes_per_device: int


def layout(tree) -> list[Layout]:
  """How arrays lie, from arrays or ShapeDtypeStructs with NamedShardings.

  Mesh axes of size 1 are left out: they cut nothing.
  """
  found = []
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    mesh = leaf.sharding.mesh

    def real(axes, mesh=mesh):
      axes = (axes,) if isinstance(axes, str) else axes or ()
      axes = tuple(axis for axis in axes if mesh.shape[axis] > 1)
      return axes[0] if len(axes) == 1 else axes or None

    spec = leaf.sharding.spec
    found.append(
        Layout(
            jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape,
            leaf.dtype.name,
            tuple(map(real, spec)) + (None,) * (leaf.ndim - len(spec)),
            math.prod(leaf.sharding.shard_shape(leaf.shape))
            * leaf.dtype.itemsize,
        )
    )
  return found


def layout_table(rows: Sequence[Layout]) -> str:
  """The rows as text, aligned, with a last line for the sum."""
  cells = [("array", "shape", "type", "cut along", "bytes/device")]
  cells += [
      (
          row.path, "x".join(map(str, row.shape)) or "-", row.dtype,
          ", ".join(
              f"{'+'.join((a,) if isinstance(a, str) else a)}:{i}"
              for i, a in enumerate(row.spec) if a
          ) or "-",
          f"{row.bytes_per_device:,}",
      )
      for row in rows
  ]
  total = sum(row.bytes_per_device for row in rows)
  cells.append(("all", "", "", "", f"{total:,}"))
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  return "\n".join(
      "  ".join(
          cell.rjust(width) if i == 4 else cell.ljust(width)
          for i, (cell, width) in enumerate(zip(row, widths, strict=True))
      )
      for row in cells
  )


@contextlib.contextmanager
def activation_rules(mesh: Mesh, training: bool = False):
  """Context in which the model's logical constraints hold on this mesh.

  Args:
    mesh: where activations lie.
    training: whether `sequence` cuts rows; in decoding, whose calls have one
      place a row, its devices do the same.
  """
  rules = _TRAINING_RULES if training else _ACTIVATION_RULES
  with nn.logical_axis_rules(tuple(rules.items())), jax.set_mesh(mesh):
    yield
