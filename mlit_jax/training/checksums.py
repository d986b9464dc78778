"""Checksums of arrays, the same wherever and however an array lies.

A file's hash is of no use when a checkpoint is read by another number of hosts,
and hashing files means reading them again. These are computed where the arrays
are: every element is mixed with its place, and the sum, modulo 2^32, does not
depend on the order. The mix is a bijection, so that one wrong element always
shows; of any other damage 2^-64 goes unseen.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_ODD = 0x9E3779B1  # 2^32 / golden ratio
_SEEDS = (0x243F6A88, 0x85A308D3)  # digits of pi


def checksums(tree: Any) -> dict[str, str]:
  """{path of the leaf: 16 hexadecimal digits} of a tree of arrays."""
  leaves = named_leaves(tree)
  sums = jax.device_get(_sums(list(leaves.values())))
  return {
      name: "".join(f"{int(part):08x}" for part in parts)
      for name, parts in zip(leaves, sums, strict=True)
  }


def named_leaves(tree: Any) -> dict[str, Any]:
  """{a/b/c: leaf} of a tree."""
  return {
      jax.tree_util.keystr(path, simple=True, separator="/"): leaf
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


@jax.jit
def _sums(leaves: list[jax.Array]) -> list[jax.Array]:
  return [_sum(leaf) for leaf in leaves]


def _sum(x: jax.Array) -> jax.Array:
  """Two sums of 32 bits."""
  x = _as_uint32(x)
  place = functools.reduce(
      jnp.add,
      (
          jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
          * np.uint32(pow(_ODD, axis + 1, 2**32))
          for axis in range(x.ndim)
      ),
      jnp.uint32(0),
  )
  return jnp.stack([
      jnp.sum(_mix(x ^ (place + np.uint32(seed))), dtype=jnp.uint32)
      for seed in _SEEDS
  ])


def _as_uint32(x: jax.Array) -> jax.Array:
  if x.dtype == jnp.bool_:
    return x.astype(jnp.uint32)
  bits = 8 * x.dtype.itemsize
  if bits >= 32:  # 64 bits become an axis of two
    return jax.lax.bitcast_convert_type(x, jnp.uint32)
  narrow = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{bits}"))
  return narrow.astype(jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
  """MurmurHash3's finaliser (Appleby 2011), a bijection of 32 bits."""
  x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
