"""Device mesh and logical axis rules.

Parameters and activations name their axes (`batch length embed heads kv_heads
kv expert mlp vocab layers`, T5X's names); a rule maps a name to a mesh axis.
The mesh has the axes `data` (rows of the batch), `fsdp` (rows of the batch,
parameters cut along embed) and `tensor` (heads, experts, mlp, vocab cut).
"""

import contextlib
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data", "fsdp", "tensor")
RULES = (
    ("batch", ("data", "fsdp")),
    ("length", None),
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("kv", None),
    ("expert", "tensor"),  # before mlp, which then stays whole in an expert
    ("mlp", "tensor"),
    ("vocab", "tensor"),
    ("layers", None),
)
# Activations keep their embed axis whole: it is the batch that fsdp cuts.
_ACTIVATION_RULES = tuple(
    (name, None if name == "embed" else axis) for name, axis in RULES
)


class PartitionError(ValueError):
  """A mesh that does not fit the devices, or an axis that does not divide."""


def make_mesh(
    shape: Sequence[int] = (-1, 1, 1), devices: Sequence | None = None
) -> Mesh:
  """A mesh with axes (data, fsdp, tensor).

  Args:
    shape: size of each axis; one may be -1 and takes what is left.
    devices: the devices to use; all of them by default.

  Raises:
    PartitionError: the shape does not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  shape = list(shape)
  sizes_fit = all(n > 0 or n == -1 for n in shape) and shape.count(-1) <= 1
  if len(shape) != len(MESH_AXES) or not sizes_fit:
    raise PartitionError(
        f"mesh {tuple(shape)} must give {len(MESH_AXES)} sizes"
        f" {MESH_AXES}, at most one of them -1"
    )
  if -1 in shape:
    known = int(np.prod([n for n in shape if n != -1]))
    if len(devices) % known:
      raise PartitionError(
          f"mesh {tuple(shape)}: {len(devices)} devices are not a multiple of"
          f" {known}"
      )
    shape[shape.index(-1)] = len(devices) // known
  if int(np.prod(shape)) != len(devices):
    raise PartitionError(
        f"mesh {tuple(shape)} needs {int(np.prod(shape))} devices; there are"
        f" {len(devices)}"
    )
  return Mesh(np.asarray(devices).reshape(shape), MESH_AXES)


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
    for name, size, axis in zip(names, leaf.shape, spec, strict=False):
      if axis is not None and size % mesh.shape[axis]:
        raise PartitionError(
            f"parameter {jax.tree_util.keystr(path)}: axis {name!r} of size"
            f" {size} does not divide over mesh axis {axis!r} of size"
            f" {mesh.shape[axis]}; choose another mesh shape"
        )
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(one, shapes, specs)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Rows of a batch over data and fsdp."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def check_batch(size: int, mesh: Mesh) -> None:
  """Raises PartitionError unless the rows divide over the mesh."""
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  if size % ways:
    raise PartitionError(
        f"a batch of {size} rows does not divide over data x fsdp ="
        f" {ways} devices; choose a multiple of {ways}"
    )


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


@contextlib.contextmanager
def activation_rules(mesh: Mesh):
  """Context in which the model's logical constraints hold on this mesh."""
  with nn.logical_axis_rules(_ACTIVATION_RULES), jax.set_mesh(mesh):
    yield
