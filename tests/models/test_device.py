import jax
from jax.sharding import AbstractDevice, AbstractMesh

from mlit_jax.models.device import Device, current_device


def test_the_device_is_that_of_the_mesh_in_use():
  """A program may be compiled for a TPU that is not here."""
  assert current_device() == Device(jax.default_backend())
  mesh = AbstractMesh(
      (4,), ("data",), abstract_device=AbstractDevice("TPU v5 lite", 1, "tpu")
  )
  with jax.sharding.use_abstract_mesh(mesh):
    assert current_device() == Device("tpu")
