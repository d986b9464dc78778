"""How fast a run is: tokens a second, utilisation, time left."""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterable

from mlit_jax.training import accelerators

_WINDOW = 20  # steps
# Peaks of one device in bfloat16, dense: NVIDIA's data sheets (SXM modules).
_GPUS = {"A100": 312e12, "H100": 989.4e12, "H200": 989.4e12}


@dataclasses.dataclass(frozen=True)
class Rates:
  """Of the last steps.

  Attributes:
    tokens: real ones, without padding, a second.
    places: with padding, a second.
    mfu: model FLOPs utilisation: the operations that real tokens need, as a
      share of what the devices could do; None where that is not known.
    left: seconds until the last step.
  """

  tokens: float
  places: float
  mfu: float | None
  left: float


class Speed:
  """Measures a moving mean over steps.

  The first step, which compiles, and the time between `pause` and the next step
  do not count.
  """

  def __init__(
      self,
      step_flops: float | None = None,
      peak_flops: float | None = None,
      clock: Callable[[], float] = time.monotonic,
  ):
    """Starts with the first step.

    Args:
      step_flops: operations of a step whose rows are full (training/flops.py).
      peak_flops: operations that all devices could do in a second.
      clock: seconds.
    """
    self._step_flops, self._peak_flops = step_flops, peak_flops
    self._clock, self._last = clock, None
    self._steps = collections.deque(maxlen=_WINDOW)

  def pause(self) -> None:
    """Something else comes before the next step."""
    self._last = None

  def step(self, tokens: int, places: int, left: int) -> Rates | None:
    """A step is done.

    Args:
      tokens: of its batch, without padding.
      places: with padding.
      left: steps to come.

    Returns:
      None as long as nothing is known.
    """
    now = self._clock()
    if self._last is not None:
      self._steps.append((now - self._last, tokens, places))
    self._last = now
    if not self._steps:
      return None
    seconds, tokens, places = map(sum, zip(*self._steps, strict=True))
    seconds, number = max(seconds, 1e-9), len(self._steps)
    mfu = None
    if self._step_flops and self._peak_flops:
      done = self._step_flops * number * tokens / places
      mfu = done / seconds / self._peak_flops
    return Rates(
        tokens / seconds, places / seconds, mfu, left * seconds / number
    )


def peak_flops(devices: Iterable) -> float | None:
  """What devices can do together in a second; None if one is not known."""
  total = 0.0
  for device in devices:
    if (chip := accelerators.chip_of(device)) is not None:
      total += chip.flops
      continue
    kind = device.device_kind
    gpu = next((name for name in _GPUS if name in kind), None)
    if gpu is None or "PCIe" in kind:
      return None
    total += _GPUS[gpu]
  return total
