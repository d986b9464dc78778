"""TPU slices by the names that gcloud gives them, and what a chip can do.

Figures of the chips are those of Google Cloud's documentation, pages "TPU v4",
"TPU v5e", "TPU v5p" and "TPU v6e" (as of 2026); v4's links from Jouppi et al.
2023 (TPU v4, table 4). What memory a program may use is what XLA's compiler for
the chip says, which is less than the chip has.
"""

import dataclasses
import math
import re

GIB = 1 << 30


class AcceleratorError(ValueError):
  """An accelerator that does not exist; says which there are."""


@dataclasses.dataclass(frozen=True)
class Chip:
  """A TPU chip.

  Attributes:
    name: its generation.
    kinds: what JAX calls its devices.
    flops: peak operations per second in bfloat16.
    memory: bytes of HBM that a program may use.
    memory_bandwidth: of HBM, bytes per second.
    link_bandwidth: of a link between chips, bytes per second, one way.
    network_bandwidth: between slices, bytes per second and chip, one way;
      None: not published.
    cores: by which a slice is named: its chips (1) or its cores (2 each).
    wrap: a dimension of the slice is closed to a ring if it is a multiple.
    shapes: of slices, by their number of chips.
    options: for the topology's description.
  """

  name: str
  kinds: tuple[str, ...]
  flops: float
  memory: int
  memory_bandwidth: float
  link_bandwidth: float
  network_bandwidth: float | None
  cores: int
  wrap: int
  shapes: tuple[tuple[int, ...], ...]
  options: tuple[tuple[str, str], ...] = ()


_FLAT = (
    (1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16),
)
_DEEP = (
    (2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4), (4, 4, 4), (4, 4, 8),
    (4, 8, 8), (8, 8, 8), (8, 8, 16), (8, 16, 16),
)
CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            "v4", ("TPU v4",), 275e12, int(30.75 * GIB), 1228e9, 50e9, None, 2,
            4, _DEEP,
            # Two cores as one device, as on a real slice.
            (("chip_config_name", "megacore"),),
        ),
        Chip(
            "v5e", ("TPU v5 lite", "TPU v5e"), 197e12, int(15.75 * GIB), 819e9,
            50e9, 25e9 / 8, 1, 16, _FLAT,
        ),
        Chip(
            "v5p", ("TPU v5", "TPU v5p"), 459e12, int(95.73 * GIB), 2765e9,
            100e9, 50e9 / 8, 2, 4, _DEEP,
        ),
        Chip(
            "v6e", ("TPU v6 lite", "TPU v6e"), 918e12, int(31.24 * GIB),
            1638e9, 100e9, 100e9 / 8, 1, 16, _FLAT,
        ),
    )
}

# Other processes may be compiling, too; no host is asked who it is, and
# nothing is said of its being no TPU's.
_QUIET = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1", "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3", "TPU_MIN_LOG_LEVEL": "3",
}


def chip_of(device) -> Chip | None:
  """The chip that a device is; None: it is no TPU of these."""
  for chip in CHIPS.values():
    if device.device_kind in chip.kinds:
      return chip
  return None


def memory(device) -> int | None:
  """Bytes that a program may use on a device; None: it does not say."""
  if (chip := chip_of(device)) is not None:
    return chip.memory
  try:
    return (device.memory_stats() or {}).get("bytes_limit")
  except Exception:  # devices that are mere descriptions, or cannot tell
    return None


@dataclasses.dataclass(frozen=True)
class Slices:
  """One or several slices of a TPU.

  Attributes:
    chip: of which they are made.
    shape: chips of a slice along each dimension.
    number: of slices.
  """

  chip: Chip
  shape: tuple[int, ...]
  number: int = 1

  @property
  def per_slice(self) -> int:
    return math.prod(self.shape)

  @property
  def num_chips(self) -> int:
    return self.per_slice * self.number

  @property
  def topology(self) -> str:
    """The name by which XLA's compiler knows a slice."""
    return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

  @property
  def name(self) -> str:
    """gcloud's name, if the shape is the one that it gives by default."""
    family = "v5litepod" if self.chip.name == "v5e" else self.chip.name
    name = f"{family}-{self.per_slice * self.chip.cores}"
    if self.shape not in self.chip.shapes:
      name = self.topology
    return f"{self.number}x{name}" if self.number > 1 else name

  @property
  def link_bandwidth(self) -> float:
    """Bytes per second that a chip can send to its neighbours in all.

    A dimension of two chips has one link; a longer one has two if it is a
    ring. A line is used to its ends and back: it counts as one. Slices in three
    dimensions have rings only where all of them are long enough (Google Cloud's
    pages "TPU v4" and "TPU v5p").
    """
    links, wrap = 0, self.chip.wrap
    torus = len(self.shape) < 3 or all(n % wrap == 0 for n in self.shape)
    for size in self.shape:
      ring = torus and size > 2 and size % wrap == 0
      links += 2 if ring else int(size > 1)
    return links * self.chip.link_bandwidth

  def larger(self) -> "Slices | None":
    """The next shape with more chips, or None."""
    more = [s for s in self.chip.shapes if math.prod(s) > self.per_slice]
    return dataclasses.replace(self, shape=more[0]) if more else None

  def devices(self) -> list:
    """Devices to compile for, described by the compiler; there are none here.

    Raises:
      AcceleratorError: libtpu is not installed, or it knows no such slice.
    """
    import os

    try:
      import libtpu  # noqa: F401
    except ImportError:
      raise AcceleratorError(
          "compiling for TPUs needs libtpu: install the extra `tpu`"
          ' (pip install "mlit-jax[tpu]")'
      ) from None
    for name, value in _QUIET.items():
      os.environ.setdefault(name, value)
    from jax.experimental import topologies

    options = dict(self.chip.options)
    if self.number > 1:
      options["num_slices"] = self.number
    if self.num_chips == 1:
      options["chips_per_host_bounds"] = (1,) * 3
    try:
      return topologies.get_topology_desc(
          self.topology, platform="tpu", **options
      ).devices
    except Exception as e:  # the plugin's own kinds of errors
      raise AcceleratorError(
          f"libtpu knows no slice {self.topology}: {str(e).splitlines()[0]}"
      ) from e


def parse(text: str) -> Slices:
  """Slices by name: v5litepod-16, v5e-16, v4-32, v5e:4x4, 2xv5p-64.

  As with gcloud, the number after v4 and v5p counts cores, two a chip, and
  after v5e and v6e chips.

  Raises:
    AcceleratorError: there is no such accelerator.
  """
  found = re.fullmatch(
      r"(?:(\d+)x)?(v[0-9]+[a-z]*)(?:-(\d+)|:(\d+(?:x\d+){1,2}))",
      text.strip().lower(),
  )
  name = found and {"v5litepod": "v5e", "v5lite": "v5e"}.get(
      found[2], found[2]
  )
  if not found or name not in CHIPS:
    raise AcceleratorError(
        f"no accelerator {text!r}; write e.g. v5litepod-16, v5e:4x4, v4-32 or"
        f" 2xv5p-64; generations: {', '.join(CHIPS)}"
    )
  chip, number = CHIPS[name], int(found[1] or 1)
  if not number:
    raise AcceleratorError(f"{text!r}: the number of slices must be above 0")
  if found[4]:
    shape = tuple(int(n) for n in found[4].split("x"))
    if len(shape) != len(chip.shapes[0]) or not all(shape):
      raise AcceleratorError(
          f"{text!r}: a slice of {name} has {len(chip.shapes[0])} dimensions,"
          f" e.g. {name}:{'x'.join(map(str, chip.shapes[3]))}"
      )
    return Slices(chip, shape, number)
  by_size = {math.prod(s) * chip.cores: s for s in chip.shapes}
  if int(found[3]) not in by_size:
    raise AcceleratorError(
        f"no accelerator {text!r}; there are"
        f" {', '.join(f'{found[2]}-{n}' for n in by_size)} (or give the shape,"
        f" like {name}:{'x'.join(map(str, chip.shapes[3]))})"
    )
  return Slices(chip, by_size[int(found[3])], number)
