"""An update of what is trained: of all parameters, or of K adapters at once."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float

from mlit_jax.models.precision import wide
from mlit_jax.training import optimizer, precision
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.precision import Precision


class Update:
  """The optimiser as a pure function; adapters each have one of their own.

  Adapters carry their axis second, after the layers (models/lora.py); the
  optimiser's state of adapters carries it in front.
  """

  def __init__(
      self,
      config: OptimizerConfig,
      how: Precision,
      boxed: Any,
      adapters: bool,
  ):
    """Makes the optimiser.

    Args:
      config: which.
      how: type and rounding of what is trained; the optimiser's own is float32
        at least.
      boxed: what is trained, with its logical axes; may be abstract.
      adapters: whether it is K adapters.
    """
    self._precision, self._adapters = how, adapters
    names = jax.tree.map(
        lambda box: tuple(
            name for i, name in enumerate(box.names) if not adapters or i != 1
        ),
        boxed, is_leaf=lambda x: isinstance(x, nn.Partitioned),
    )
    self._transform = optimizer.make(config, names)

  def init(self, trained: Any) -> Any:
    """The optimiser's first state."""
    trained = precision.cast(trained, wide(self._precision.trained))
    if not self._adapters:
      return self._transform.init(trained)
    return jax.vmap(self._transform.init, in_axes=1)(trained)

  def shardings(self, state: Any, trained: Any, lie: Any, otherwise: Any):
    """Where the state lies: `optimizer.state_shardings`, adapters in front."""
    if self._adapters:
      trained = jax.tree.map(
          lambda x: jax.ShapeDtypeStruct(_second_first(x.shape), x.dtype),
          trained,
      )
      lie = jax.tree.map(
          lambda s: NamedSharding(
              s.mesh, PartitionSpec(*_second_first(_padded(s.spec)))
          ),
          lie,
      )
    return optimizer.state_shardings(state, trained, lie, otherwise)

  def __call__(
      self,
      trained: Any,
      state: Any,
      gradient: Any,
      rates: Float[Array, "K"],
      wanted: Bool[Array, "K"],
      key: Array,
  ) -> tuple[Any, Any, Float[Array, "K"], Bool[Array, "K"]]:
    """One update.

    Args:
      trained: parameters, or adapters.
      state: of the optimiser.
      gradient: of each adapter's mean loss.
      rates: learning rates.
      wanted: who shall be changed.
      key: for rounding.

    Returns:
      What is trained, the state, the gradient's global norms, and who has been
      changed: who was wanted, and has a finite gradient.
    """
    type_ = wide(self._precision.trained)
    arguments = (
        precision.cast(trained, type_), state, precision.cast(gradient, type_),
    )
    if self._adapters:
      done, state, norms, ok = jax.vmap(
          self._one, in_axes=(1, 0, 1, 0, 0), out_axes=(1, 0, 0, 0)
      )(*arguments, rates, wanted)
    else:
      done, state, norms, ok = self._one(*arguments, rates[0], wanted[0])
      norms, ok = norms[None], ok[None]
    if self._precision.stochastic:
      leaves, structure = jax.tree.flatten(done)
      done = structure.unflatten([
          precision.round_stochastically(x, jax.random.fold_in(key, i))
          for i, x in enumerate(leaves)
      ])
    return done, state, norms, ok

  def _one(self, params, state, gradient, rate, wanted):
    norm = optimizer.global_norm(gradient)
    ok = wanted & jnp.isfinite(norm)
    direction, new_state = self._transform.update(gradient, state, params)
    new = jax.tree.map(lambda p, d: p - rate * d, params, direction)
    keep = functools.partial(jnp.where, ok)
    return (
        jax.tree.map(keep, new, params), jax.tree.map(keep, new_state, state),
        norm, ok,
    )


def _padded(spec: PartitionSpec) -> tuple:
  """A spec may leave its last axes out."""
  return tuple(spec) + (None,) * (2 - len(spec))


def _second_first(axes) -> tuple:
  layers, adapters, *rest = axes
  return adapters, layers, *rest
