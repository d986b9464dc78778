"""What device a program is compiled for: some paths suit one kind alone."""

import dataclasses

import jax


@dataclasses.dataclass(frozen=True)
class Device:
  """Where the program will run.

  Attributes:
    platform: "cpu", "gpu" or "tpu".
    capability: compute capability of an NVIDIA GPU; 0 for anything else.
  """

  platform: str
  capability: float = 0.0


def current_device() -> Device:
  """That of the mesh in use, which may be a mere description, or else ours."""
  described = jax.sharding.get_abstract_mesh().abstract_device
  platform = described.platform if described else jax.default_backend()
  if platform != "gpu":
    return Device(platform)
  capability = getattr(jax.local_devices()[0], "compute_capability", "0")
  try:
    return Device(platform, float(capability))
  except ValueError:  # not NVIDIA's
    return Device(platform)
