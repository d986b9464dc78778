"""Weights as decoding wants them: on the mesh, and each layer apart.

Layers that were stacked are copied out of their stack. Whoever needs the stack
meanwhile has the weights twice; whoever does not gives it up (`take`), and may
have it again (`give_back`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from flax import traverse_util
from jax.sharding import Mesh

from mlit_jax import partitioning
from mlit_jax.decoding import reading


class Taken(NamedTuple):
  """Weights that belong to decoding: of `Weights.take`."""

  tree: Any


class Weights:
  """Puts parameters of one shape where a reader wants them."""

  def __init__(
      self, reader: reading.Causal | reading.EncoderDecoder, mesh: Mesh
  ):
    """Compiles nothing yet."""
    abstract = jax.eval_shape(
        lambda: reader.module.init_params(reader.config, 0)
    )
    self._shardings = partitioning.param_shardings(abstract, mesh)
    self._mesh, self._stacks = mesh, reader.stacks
    self._prepare, self._restore = jax.jit(reader.prepare), reader.restore

  def of_model(self, params: Mapping | Taken) -> Any:
    """A model's parameters; those given stay as they are."""
    if isinstance(params, Taken):
      return params.tree
    return self._apart(jax.device_put(params, self._shardings))

  def of_adapters(self, joined: Mapping) -> Any:
    """Adapters of `adapters.join`."""
    whole = partitioning.replicated(self._mesh)
    return self._apart(jax.device_put(joined, whole))

  def take(self, params: Mapping) -> Taken:
    """A model's parameters, in place of those given.

    Stacks are deleted as they are copied: at most the largest of them is there
    twice. What is given must not be used again.
    """
    flat = traverse_util.flatten_dict
    given = flat(dict(params))
    found = {}
    for path, placed in flat(jax.device_put(params, self._shardings)).items():
      found |= (parts := flat(
          self._apart(traverse_util.unflatten_dict({path: placed}))
      ))
      if path in parts:
        continue  # it is no stack
      jax.block_until_ready(parts)  # or else the next begins before it ends
      for stack in (placed, given[path]):
        if isinstance(stack, jax.Array):
          stack.delete()
    return Taken(traverse_util.unflatten_dict(found))

  def give_back(self, taken: Taken) -> dict:
    """A model's parameters, in place of those that were taken.

    Layers are deleted as they are stacked: at most the largest stack is there
    twice. What was taken must not be used again.
    """
    flat = traverse_util.flatten_dict
    found = {
        path: x for path, x in flat(taken.tree).items()
        if path[0] in self._shardings
    }
    layers = {
        name: flat(layer) for name, layer in taken.tree.items()
        if name not in self._shardings
    }
    for path, sharding in flat(self._shardings).items():
      if path in found:
        continue  # it is no stack
      stack, *_ = path
      parts = {name: layer[path[1:]] for name, layer in layers.items()}
      join = jax.jit(self._restore, out_shardings={stack: sharding})
      found[path] = jax.block_until_ready(join(parts)[stack])
      for part in parts.values():
        part.delete()
    return traverse_util.unflatten_dict(found)

  def _apart(self, tree: Mapping) -> dict:
    """A program would copy the rest, too."""
    stacked = {name: tree[name] for name in self._stacks if name in tree}
    if not stacked:
      return dict(tree)
    with partitioning.activation_rules(self._mesh):
      layers = self._prepare(stacked)
    return {k: v for k, v in tree.items() if k not in stacked} | layers
