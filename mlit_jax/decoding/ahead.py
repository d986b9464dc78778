"""The engine's decoding program, compiled for devices that are not there."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mlit_jax import partitioning
from mlit_jax.decoding import reading, slots
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig


def lower(
    model: DecoderConfig | EncoderDecoderConfig,
    mesh: Mesh,
    *,
    num_slots: int,
    prompt: int,
    written: int,
    dtype: jax.typing.DTypeLike = jnp.bfloat16,
) -> tuple[jax.stages.Lowered, int, int]:
  """The program that goes on with every slot, to be compiled.

  Args:
    model: its shape.
    mesh: of absent devices.
    num_slots: answers under way together.
    prompt: tokens of a prompt.
    written: tokens of an answer.
    dtype: of parameters, activations and the cache.

  Returns:
    The program, and the bytes on a device of its parameters and of its slots.

  Raises:
    PartitionError: the model or the slots do not divide over the mesh.
  """
  partitioning.check_batch(num_slots, mesh)
  reader = reading.of(model, dtype)
  programs = slots.Programs(reader, mesh, num_slots, (0,))
  boxed = jax.eval_shape(lambda: reader.module.init_params(model, 0))
  params = jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, dtype, sharding=s),
      jax.tree.map(lambda box: box.value, boxed, is_leaf=_boxed),
      partitioning.param_shardings(boxed, mesh),
  )
  lengths = reader.lengths(prompt, written)
  with partitioning.activation_rules(mesh):
    # As the engine's own programs leave them.
    params = _made(jax.jit(reader.prepare).lower(params))
    under_way = _made(programs.empty.lower(lengths=lengths))
    lowered = programs.go_on.lower(
        params, {}, under_way, jax.ShapeDtypeStruct((num_slots,), bool),
        jax.ShapeDtypeStruct((), np.int32),
        extras=slots.Extras(sampling=False, logprobs=False),
    )
  return lowered, _bytes(params), _bytes(under_way)


def _boxed(x) -> bool:
  return hasattr(x, "value")


def _made(lowered: jax.stages.Lowered):
  """What a program makes: shapes, types and shardings."""
  shardings = lowered.compile().output_shardings
  return jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
      lowered.out_info, shardings,
  )


def _bytes(tree) -> int:
  return sum(
      math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
      for x in jax.tree.leaves(tree)
  )
