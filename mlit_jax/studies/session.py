"""What the steps of a process share: the mesh, and compiled programs."""

import functools

from mlit_jax import partitioning
from mlit_jax.decoding.beam import BeamSearch
from mlit_jax.decoding.engine import Engine
from mlit_jax.evals.lm import Scorer
from mlit_jax.models.interchange.family import ModelConfig
from mlit_jax.training import setup
from mlit_jax.training.step import Step, StepConfig

ROWS = -1, 1, 1  # all devices, rows of the batch over them


@functools.cache
def mesh(shape: tuple[int, int, int] = ROWS):
  """A mesh of all devices."""
  return partitioning.make_mesh(shape)


@functools.cache
def step(
    model: ModelConfig,
    config: StepConfig,
    preset: str = "",
    rows: int = 0,
    lengths: tuple[int, ...] = (),
) -> Step:
  """One Step per shape: runs of one shape share one compilation.

  Args:
    model: its shape.
    config: of the step.
    preset: of the mesh (mesh_presets.py); "": all devices have everything.
    rows: of a batch; with a preset.
    lengths: places of a row, with a loss or not; with a preset.
  """
  where = mesh()
  if preset:
    where, _ = setup.choose_mesh(
        preset, model, config, rows, lengths=lengths
    )
  return Step(model, config, where)


@functools.cache
def engine(
    model: ModelConfig,
    end_ids: tuple[int, ...],
    num_slots: int,
    mesh_shape: tuple[int, int, int] = ROWS,
    dtype: str = "float32",
    cache_dtype: str | None = None,
    num_beams: int = 1,
    length_penalty: float = 1.0,
) -> Engine | BeamSearch:
  """One per shape; as many slots as asked for, or a few more."""
  where = mesh(mesh_shape)
  if num_beams > 1:
    return BeamSearch(
        model, where, end_ids=end_ids, num_beams=num_beams,
        length_penalty=length_penalty, num_slots=num_slots, dtype=dtype,
        cache_dtype=cache_dtype,
    )
  ways = partitioning.batch_ways(where)
  return Engine(
      model, where, end_ids=end_ids, dtype=dtype, cache_dtype=cache_dtype,
      num_slots=num_slots + -num_slots % ways,
  )


@functools.cache
def scorer(
    model: ModelConfig,
    batch_size: int,
    mesh_shape: tuple[int, int, int] = ROWS,
) -> Scorer:
  """One Scorer per shape."""
  return Scorer(model, mesh(mesh_shape), batch_size=batch_size)
