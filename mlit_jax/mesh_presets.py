"""How devices are shared out among the mesh's axes: presets, by name or size.

A preset names a way to cut a model. Which one fits follows from the bytes of
the training state, the memory of a device and the rows of a batch.
"""

import dataclasses
import math
from collections.abc import Callable

import flax.linen as nn
import jax

from mlit_jax.partitioning import PartitionError

# Of a device's memory, what the state may take before it is cut: the rest is
# for activations, gathered layers and the compiler's own.
_SHARE = 0.4
_WIDEST_TENSOR = 8  # beyond, a layer's exchanges cost more than its arithmetic


@dataclasses.dataclass(frozen=True)
class Case:
  """What of a run decides its mesh.

  Attributes:
    axes: logical axis -> every size that a parameter has along it, and
      "length" -> every number of places that a row has.
    num_devices: of all slices.
    rows: rows of a (micro)batch over all devices; None: as many as needed.
    state_bytes: parameters, optimiser state and gradients, uncut.
    device_bytes: memory of a device.
    num_slices: between which links are slow.
  """

  axes: dict[str, frozenset[int]]
  num_devices: int
  rows: int | None = None
  state_bytes: int = 0
  device_bytes: int = 16 << 30
  num_slices: int = 1

  @property
  def per_slice(self) -> int:
    return self.num_devices // self.num_slices

  def ways(self, name: str, limit: int) -> list[int]:
    """Divisors of `limit` into which an axis can be cut, ascending."""
    whole = math.gcd(*self.axes.get(name, ())) if name in self.axes else 1
    return [n for n in range(1, limit + 1) if not limit % n and not whole % n]


def logical_axes(abstract_params) -> dict[str, frozenset[int]]:
  """Sizes of every logical axis in boxed parameters."""
  found = {}
  shapes = nn.meta.unbox(abstract_params)
  names = nn.get_partition_spec(abstract_params)
  for leaf, spec in zip(
      jax.tree.leaves(shapes),
      jax.tree.leaves(names, is_leaf=lambda x: isinstance(x, tuple)),
      strict=True,
  ):
    for size, name in zip(leaf.shape, spec, strict=False):
      if name is not None:
        found.setdefault(name, set()).add(size)
  return {name: frozenset(sizes) for name, sizes in found.items()}


def _data(case: Case) -> dict[str, int]:
  return {"data": case.per_slice}


def _fsdp(case: Case, left: int | None = None) -> dict[str, int]:
  left = case.per_slice if left is None else left
  fsdp = case.ways("embed", left)[-1]
  return {"fsdp": fsdp, "data": left // fsdp}


def _fsdp_tensor(case: Case) -> dict[str, int]:
  able = [
      n for n in case.ways("heads", case.per_slice)
      if n <= _WIDEST_TENSOR and all(
          n in case.ways(name, case.per_slice)
          for name in ("kv_heads", "mlp", "vocab") if name in case.axes
      )
  ]
  tensor = _enough(case, able)
  return _fsdp(case, case.per_slice // tensor) | {"tensor": tensor}


def _enough(case: Case, able: list[int]) -> int:
  """Devices of a row: as few as let each have one, but two or more."""
  wanted = 2
  if case.rows is not None:
    wanted = max(2, -(-case.num_devices // case.rows))
  return next((n for n in able if n >= wanted), able[-1])


def _fsdp_sequence(case: Case) -> dict[str, int]:
  embed = case.ways("embed", case.per_slice)
  able = [n for n in case.ways("length", case.per_slice) if n in embed]
  if able[-1] == 1:
    raise PartitionError(
        "the preset 'fsdp_sequence' cuts rows, and"
        f" {case.per_slice} devices share out no row of"
        f" {' and '.join(map(str, sorted(case.axes.get('length', ()))))} places"
    )
  sequence = _enough(case, able)
  left = case.per_slice // sequence
  fsdp = max(n for n in case.ways("embed", left) if n * sequence in embed)
  return {"fsdp": fsdp, "data": left // fsdp, "sequence": sequence}


def _expert(case: Case) -> dict[str, int]:
  if "expert" not in case.axes:
    raise PartitionError("the preset 'expert' is for models with experts")
  experts = case.ways("expert", case.per_slice)[-1]
  return _fsdp(case, case.per_slice // experts) | {"expert": experts}


PRESETS: dict[str, tuple[Callable[[Case], dict[str, int]], str]] = {
    "data": (_data, "every device has the whole model and its own rows"),
    "fsdp": (_fsdp, "parameters cut along embed, gathered layer by layer"),
    "fsdp_tensor": (
        _fsdp_tensor, "the same, and heads, mlp and vocab cut: fewer rows"
    ),
    "fsdp_sequence": (
        _fsdp_sequence, "as fsdp, and rows cut: fewer or longer rows"
    ),
    "expert": (_expert, "experts on different devices, the rest as fsdp"),
}
NAMES = ("auto", *PRESETS)


def choose(preset: str, case: Case) -> tuple[dict[str, int], str]:
  """Sizes of the mesh, for `partitioning.make_mesh`, and why.

  Args:
    preset: one of NAMES; "auto" chooses among the others.
    case: the run.

  Raises:
    PartitionError: an unknown preset, one that the model cannot have, or
      devices that do not share out evenly over slices.
  """
  if preset not in NAMES:
    raise PartitionError(
        f"no partitioning preset {preset!r}; there are {', '.join(NAMES)}"
    )
  if case.num_devices % case.num_slices:
    raise PartitionError(
        f"{case.num_devices} devices do not share out over"
        f" {case.num_slices} slices"
    )
  reason = "as asked"
  if preset == "auto":
    preset, reason = _auto(case)
  shape = PRESETS[preset][0](case) | {"replica": case.num_slices}
  shape = {axis: n for axis, n in shape.items() if n > 1}
  return shape or {"data": 1}, f"{preset}: {reason}"


def _auto(case: Case) -> tuple[str, str]:
  gib = case.state_bytes / 2**30
  if case.per_slice == 1:
    return "data", "one device a slice"
  if case.state_bytes <= _SHARE * case.device_bytes:
    return "data", f"the whole state of {gib:.1f} GiB fits on a device"
  if "expert" in case.axes and case.ways("expert", case.per_slice)[-1] > 1:
    return "expert", f"experts; a state of {gib:.1f} GiB"
  if case.rows is not None and case.rows % case.num_devices:
    return "fsdp_tensor", (
        f"{case.rows} rows do not divide over {case.num_devices} devices"
    )
  return "fsdp", f"a state of {gib:.1f} GiB is too much for a device"
