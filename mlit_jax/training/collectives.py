"""What devices say to each other in a compiled program, read from its HLO.

XLA prints a loop's body once. How often it runs follows from the loop's
condition, so that a collective in a scan over layers counts once a layer.

A program for several TPU slices is that of one of them: what goes to the others
is sent to the host and received from it, with the collective's kind beside it
(as libtpu 0.0.42 writes it; `mlit plan` is tested with what it compiles).
"""

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

KINDS = (
    "all-gather", "all-reduce", "reduce-scatter", "all-to-all",
    "ragged-all-to-all", "collective-permute", "collective-broadcast",
)
# What a host does for a chip between slices.
_BETWEEN = {
    "ALL_GATHER": "all-gather", "ALL_REDUCE": "all-reduce",
    "REDUCE_SCATTER": "reduce-scatter", "ALL_TO_ALL": "all-to-all",
    "ONE_TO_ONE": "collective-permute",
}
_BITS = {"pred": 8, "token": 0}
_SHAPE = re.compile(r"\b(pred|token|[suf]\d+|bf16|f8\w+|c\d+)\[([\d,]*)\]")
_CONSTANT = re.compile(r"^s32\[\][^ ]* constant\((\d+)\)")
_COUNTER = re.compile(r"^s32\[\].* get-tuple-element\(.*index=(\d+)")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_CALLED = re.compile(
    r"\b(calls|condition|body|to_apply|branch_computations|"
    r"called_computations|true_computation|false_computation)="
    r"(\{[^}]*\}|%?[\w.\-]+)"
)


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective of a program.

  Attributes:
    kind: one of KINDS.
    bytes: the largest of what goes in and what comes out, on one device.
    group: devices that take part together; of what hosts do for them, one of
      each slice.
    times: how often a step does it.
    between_slices: whether a group reaches over slices.
  """

  kind: str
  bytes: int
  group: int
  times: int
  between_slices: bool = False

  @property
  def sent(self) -> float:
    """Bytes that each device sends in a step, along a ring."""
    share = (self.group - 1) / self.group
    if self.kind in ("collective-permute", "collective-broadcast"):
      share = 1.0
    return self.bytes * share * self.times * (1 + (self.kind == "all-reduce"))


def read(
    text: str, num_devices: int, per_slice: int | None = None
) -> list[Collective]:
  """All collectives of a compiled program.

  Args:
    text: its HLO, from `compiled.as_text()`.
    num_devices: for which it was compiled.
    per_slice: how many of them are in a slice; None: all.

  Raises:
    ValueError: hosts do something for chips that is not known here.
  """
  computations, entry = _computations(text)
  times = _times(computations, entry)
  found: dict[tuple, Collective] = {}
  for name, instructions in computations.items():
    for label, line in instructions.items():
      operation = re.search(r" ([a-z\-]+)\(", line)
      if not operation or not times.get(name):
        continue
      kind = operation[1].removesuffix("-start")
      result = line[: operation.start()]
      if transfer := re.search(r'_megascale_transfer_type="(\w+)"', line):
        one = _between(line, result, transfer[1], num_devices, per_slice)
        # Sent and received under one name.
        key = "host", re.search(r'_rendezvous="([^"]*)"', line)[1]
      elif kind in KINDS:
        group = _group(line, num_devices)
        size = _bytes(result, operation[1], kind, len(group))
        crosses = per_slice is not None and (
            len({i // per_slice for i in group}) > 1
        )
        one = Collective(kind, size, len(group), 1, crosses)
        channel = re.search(r"channel_id=(\d+)", line)
        # What is done bit by bit beside arithmetic is printed in every piece.
        key = kind, channel[1] if channel else label
      else:
        continue
      one = dataclasses.replace(one, times=times[name])
      if key not in found or one.times * one.bytes > (
          found[key].times * found[key].bytes
      ):
        found[key] = one
  return [c for c in found.values() if c.group > 1]


def _between(
    line: str, result: str, transfer: str, num_devices: int,
    per_slice: int | None,
) -> Collective:
  """What the host of a chip does for it with those of other slices, once."""
  if transfer not in _BETWEEN:
    raise ValueError(
        f"the program has a transfer {transfer} between slices; known:"
        f" {', '.join(_BETWEEN)}"
    )
  slices = num_devices // (per_slice or num_devices)
  if named := re.search(r'_megascale_target="\{([\d,]+)\}x', line):
    slices = len(_ints(named[1]))
  # Beside the array, a number that says which transfer it is.
  size = int(max(_sizes(result), default=0))
  return Collective(_BETWEEN[transfer], size, slices, 1, True)


def by_kind(
    collectives: list[Collective], between_slices: bool = False
) -> dict[str, dict[str, float]]:
  """Kind -> how many a step, their bytes, and the bytes a device sends.

  Args:
    collectives: of a program.
    between_slices: count those, or those within a slice.
  """
  found = {}
  for kind in KINDS:
    some = [
        c for c in collectives
        if c.kind == kind and c.between_slices == between_slices
    ]
    if some:
      found[kind] = {
          "count": sum(c.times for c in some),
          "bytes": sum(c.times * c.bytes for c in some),
          "sent": sum(c.sent for c in some),
      }
  return found


def lines(
    kinds: Mapping | None, between_slices: bool = False, often: str = "a step"
) -> list[str]:
  """What `by_kind` says, a line for each kind; None: the program is unread."""
  if kinds is None:
    return [] if between_slices else [
        "  between chips not known: this jax cannot read this libtpu's program;"
        " install the one that jax[tpu] names"
    ]
  where = " to another slice" if between_slices else ""
  return [
      f"  {kind:<20}{round(c['count'], 2):,g} {often},"
      f" {c['bytes'] / 1e9:,.3g} GB;"
      f" a chip sends {c['sent'] / 1e9:,.3g} GB{where}"
      for kind, c in kinds.items()
  ]


def _computations(text) -> tuple[dict[str, dict[str, str]], str]:
  """Computation -> instruction -> the rest of its line; and the entry."""
  found, current, entry = {}, None, ""
  for line in text.splitlines():
    if header := _HEADER.match(line):
      current = found.setdefault(header[2], {})
      entry = header[2] if header[1] else entry
    elif current is not None and (match := _INSTRUCTION.match(line)):
      current[match[2]] = match[3]
  return found, entry


def _times(computations, entry) -> dict[str, int]:
  """How often each computation runs in a step."""
  times = dict.fromkeys(computations, 0)

  def visit(name, count):
    times[name] += count
    for line in computations[name].values():
      if "=" not in line:
        continue
      called = {k: _names(v) for k, v in _CALLED.findall(line)}
      turns = 1
      if "body" in called:
        turns = _turns(
            line, computations, computations[name], called["condition"][0]
        )
      for names in called.values():
        for inner in names:
          if inner in computations:
            visit(inner, count * turns)

  visit(entry, 1)
  return times


def _names(text: str) -> list[str]:
  return re.findall(r"[\w.\-]+", text)


def _turns(
    line: str, computations: Mapping, around: Mapping, condition: str
) -> int:
  """A loop's turns: as XLA says, or what its condition counts up to.

  Where it stops by something else (no more requests), the most it can do. Of a
  loop whose first turn stands before it, one less.
  """
  if known := re.search(r'known_trip_count[^}]*"n":"(\d+)"', line):
    return int(known[1])
  bounds, waiting = [], [condition]
  while waiting:
    for inner in computations.get(waiting.pop(), {}).values():
      if bound := _CONSTANT.search(inner):
        bounds.append(int(bound[1]))
      for _, names in _CALLED.findall(inner):
        waiting += _names(names)
  if not bounds:
    return 1
  return max(bounds) - _start(line, computations, around, condition)


def _start(
    line: str, computations: Mapping, around: Mapping, condition: str
) -> int:
  """From where a loop counts; 0 where that is not to be seen."""
  counters = [
      int(found[1]) for inner in computations.get(condition, {}).values()
      if (found := _COUNTER.search(inner))
  ]
  begun = re.search(r" while\(%?([\w.\-]+)\)", line)
  values = begun and _operands(around.get(begun[1], ""))
  if len(counters) != 1 or not values or counters[0] >= len(values):
    return 0
  inner = around.get(values[counters[0]], "")
  while copied := re.search(r" copy\(%?([\w.\-]+)\)", inner):
    inner = around.get(copied[1], "")
  found = _CONSTANT.search(inner)
  return int(found[1]) if found else 0


def _operands(line: str) -> list[str]:
  """What a tuple is made of."""
  found = re.search(r" tuple\(([^)]*)\)", line)
  return re.findall(r"%([\w.\-]+)", found[1]) if found else []


def _sizes(result: str) -> list[float]:
  """Bytes of each array."""
  sizes = []
  for dtype, shape in _SHAPE.findall(result):
    bits = _BITS.get(dtype)
    if bits is None:
      bits = int(re.search(r"\d+", dtype)[0])
    sizes.append(math.prod(map(int, filter(None, shape.split(",")))) * bits / 8)
  return sizes


def _bytes(result: str, operation: str, kind: str, group: int) -> int:
  sizes = _sizes(result)
  # The beginning of a gather or a permute holds what goes in, too.
  paired = operation.endswith("-start") and kind != "all-reduce"
  size = int(max(sizes, default=0) if paired else sum(sizes))
  if kind == "reduce-scatter" and not paired:
    size *= group
  return size


def _group(line: str, num_devices: int) -> list[int]:
  """The devices of one group."""
  if found := re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", line):
    sizes = {k: int(n) for k, n in re.findall(r"'(\w+)'=(\d+)", found[1])}
    used = re.findall(r"'(\w+)'", found[2])
    grid = np.arange(math.prod(sizes.values())).reshape(tuple(sizes.values()))
    axes = list(sizes)
    return grid[
        tuple(slice(None) if axis in used else 0 for axis in axes)
    ].reshape(-1).tolist()
  if found := re.search(
      r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line
  ):
    grid = np.arange(num_devices).reshape(_ints(found[3]))
    if found[4]:
      grid = grid.transpose(_ints(found[4]))
    return grid.reshape(int(found[1]), int(found[2]))[0].tolist()
  if found := re.search(r"(?:replica_groups|source_target_pairs)=\{\{([\d,]+)",
                        line):
    return list(_ints(found[1]))
  return list(range(num_devices))


def _ints(text: str) -> tuple[int, ...]:
  return tuple(int(n) for n in text.split(","))
