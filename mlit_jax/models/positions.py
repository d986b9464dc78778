"""Where a token stands: rotary frequencies and ALiBi slopes.

Axes: B batch, T query length, S key length, N heads, H head dim, R rotated
pairs.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mlit_jax.models import precision
from mlit_jax.models.config import DecoderConfig, RopeScaling


def rotate(
    x: Float[Array, "B T N H"],
    positions: Int[Array, "B T"],
    frequency: Float[Array, "R"] | Float[Array, "B T R"],
    factor: float = 1.0,
) -> Float[Array, "B T N H"]:
  """Rotary position embedding, halves paired (Su et al. 2021; as LLaMA).

  Args:
    x: queries or keys; their first 2 R dimensions are rotated.
    positions: position of every token in its own sequence.
    frequency: radians per position.
    factor: what the rotated dimensions are multiplied with.
  """
  half = frequency.shape[-1]
  angle = positions[..., None].astype(jnp.float32) * frequency
  sin, cos = jnp.sin(angle)[:, :, None], jnp.cos(angle)[:, :, None]
  if factor != 1:
    sin, cos = sin * factor, cos * factor
  wide = x.astype(precision.wide(x.dtype))
  left, right = wide[..., :half], wide[..., half : 2 * half]
  turned = [left * cos - right * sin, right * cos + left * sin]
  if 2 * half < x.shape[-1]:
    turned.append(wide[..., 2 * half :])
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def frequencies(
    config: DecoderConfig,
    base: int | float,
    scaling: RopeScaling | None = None,
    lengths: Int[Array, "B T"] | None = None,
) -> Float[Array, "R"] | Float[Array, "B T R"]:
  """Radians per position of every rotated pair.

  Args:
    config: gives the number of rotated dimensions.
    base: of the geometric frequencies.
    scaling: how they are stretched.
    lengths: tokens of every token's sequence so far; for dynamic scaling.
  """
  half = config.rotary_dim // 2
  steps = jnp.arange(half, dtype=jnp.float32)
  if scaling is not None and scaling.kind == "dynamic":
    grown = scaling.factor * lengths / scaling.original_length
    grown = jnp.maximum(grown - (scaling.factor - 1), 1.0)
    base = base * grown[..., None] ** (half / (half - 1))
  frequency = base ** (-steps / half)
  if scaling is None or scaling.kind == "dynamic":
    return frequency
  if scaling.kind == "linear":
    return frequency / scaling.factor
  if scaling.kind == "llama3":
    kept = _llama3_share(frequency, scaling)
  else:
    kept = _yarn_share(steps, base, scaling)
  return frequency * kept + frequency / scaling.factor * (1 - kept)


def _llama3_share(frequency, scaling: RopeScaling):
  """How much of a frequency is kept, by its turns in the original length."""
  turns = scaling.original_length * frequency / (2 * math.pi)
  low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
  return jnp.clip((turns - low) / (high - low), 0, 1)


def _yarn_share(steps, base: int | float, scaling: RopeScaling):
  """How much of a frequency is kept: a ramp over dimensions (section 3.2)."""
  half = steps.size

  def dimension(turns):  # that turns so often within the original length
    ratio = scaling.original_length / (turns * 2 * math.pi)
    return half * math.log(ratio) / math.log(base)

  low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
  if scaling.truncate:
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, 2 * half - 1)
  if low == high:
    high += 0.001
  return 1 - jnp.clip((steps - low) / (high - low), 0, 1)


def sequence_lengths(
    positions: Int[Array, "B T"], segment_ids: Int[Array, "B T"] | None
) -> Int[Array, "B T"]:
  """For every token, the last position of its sequence in this row, plus 1."""
  if segment_ids is None:
    last = jnp.max(positions, axis=1, keepdims=True)
    return jnp.broadcast_to(last + 1, positions.shape)

  def one(positions, segments):
    # Segments are numbered from 1, so a row of T tokens has T of them at most.
    last = jax.ops.segment_max(positions, segments, positions.size + 1)
    return last[segments] + 1

  return jax.vmap(one)(positions, segment_ids)


def alibi_slopes(num_heads: int) -> Float[np.ndarray, "N"]:
  """Slopes of the heads (Press et al. 2022): 2^(-8/n), 2^(-16/n), ...

  Where n is no power of two, the slopes of the power below are followed by
  every second one of the power above.
  """
  power = 2 ** int(math.log2(num_heads))
  slopes = 2.0 ** (-8 / power * np.arange(1, power + 1))
  between = 2.0 ** (-4 / power * np.arange(1, 2 * power, 2))
  slopes = np.concatenate([slopes, between])[:num_heads]
  return slopes.astype(np.float32)


def alibi_bias(num_heads: int):
  """The bias function of attention.attend: minus slope times distance."""
  slopes = alibi_slopes(num_heads)

  def bias(
      query_positions: Int[Array, "B T"], key_positions: Int[Array, "B S"]
  ) -> Float[Array, "B N T S"]:
    distance = query_positions[:, None, :, None] - key_positions[:, None, None]
    return -slopes[:, None, None] * distance.astype(jnp.float32)

  return bias
