"""What the steps of a process share: the mesh, and compiled programs."""

import functools

from mlit_jax import partitioning
from mlit_jax.decoding.engine import Engine
from mlit_jax.evals.lm import Scorer
from mlit_jax.models.config import DecoderConfig
from mlit_jax.training.loop import Trainer
from mlit_jax.training.optimizer import OptimizerConfig


@functools.cache
def mesh():
  """All devices, rows of the batch over them."""
  return partitioning.make_mesh()


@functools.cache
def trainer(model: DecoderConfig, optimizer: OptimizerConfig) -> Trainer:
  """One Trainer per shape: runs of one shape share one compilation."""
  return Trainer(model, optimizer, mesh())


@functools.cache
def engine(model: DecoderConfig, eos_id: int, batch_size: int) -> Engine:
  """One Engine per shape."""
  return Engine(model, mesh(), eos_id=eos_id, batch_size=batch_size)


@functools.cache
def scorer(model: DecoderConfig, batch_size: int) -> Scorer:
  """One Scorer per shape."""
  return Scorer(model, mesh(), batch_size=batch_size)
