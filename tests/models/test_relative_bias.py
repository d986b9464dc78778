"""Position buckets against literals and T5X's formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.models import relative_bias


def test_edges_of_t5():
  # The encoder: 8 * 16 ** (k / 8); 16, 32 and 64 are hit exactly.
  assert relative_bias.edges(8, 8, 128) == [12, 16, 23, 32, 46, 64, 91]
  # The decoder: 16 * 8 ** (k / 16).
  assert relative_bias.edges(16, 16, 128)[:4] == [19, 21, 24, 27]


def test_buckets_by_hand():
  queries, keys = jnp.asarray([[100]]), [100, 101, 99, 93, 107, 92, 84, 0, 900]
  bucket = relative_bias.buckets(queries, jnp.asarray([keys]), 32, 128, True)
  assert bucket[0, 0].tolist() == [0, 17, 1, 7, 23, 8, 10, 15, 31]
  bucket = relative_bias.buckets(queries, jnp.asarray([keys]), 32, 128, False)
  assert bucket[0, 0].tolist() == [0, 0, 1, 7, 0, 8, 16, 30, 0]


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("sizes", [(32, 128), (64, 256), (12, 40), (8, 20)])
def test_buckets_are_t5x_buckets(sizes, bidirectional):
  """T5X reckons with NumPy's logarithm and nudges it over the edges."""
  num_buckets, max_distance = sizes
  distance = np.arange(-2000, 2001)  # key minus query
  ours = relative_bias.buckets(
      jnp.full((1, 1), 2000), jnp.asarray(distance[None] + 2000), *sizes,
      bidirectional,
  )
  first, n = 0, -distance
  if bidirectional:
    num_buckets //= 2
    first = (n < 0) * num_buckets
    n = np.abs(n)
  n = np.maximum(n, 0)
  near = num_buckets // 2
  with np.errstate(divide="ignore"):
    logarithm = np.log(np.float32(n) / near + np.finfo(np.float32).eps)
  far = near + np.int32(
      logarithm / np.log(max_distance / near) * (num_buckets - near)
  )
  theirs = first + np.where(n < near, n, np.minimum(far, num_buckets - 1))
  np.testing.assert_array_equal(ours[0, 0], theirs)


def test_bias_is_looked_up_per_head():
  table = jnp.asarray([[1.0, 10], [2, 20], [3, 30], [4, 40]])
  queries, keys = jnp.asarray([[0, 5], [1, 1]]), jnp.asarray([[0, 5], [1, 0]])
  bias = relative_bias.relative_bias(table, queries, keys, 8, False)
  assert bias.shape == (2, 2, 2, 2)
  # Two near buckets, the far ones from 2 and from 4 = sqrt(2 * 8).
  np.testing.assert_array_equal(bias[0, 0], [[1, 1], [4, 1]])
  np.testing.assert_array_equal(bias[1, 1], [[10, 20], [10, 20]])
  # And its gradient counts.
  def total(table):
    return relative_bias.relative_bias(table, queries, keys, 8, False)[0].sum()

  np.testing.assert_array_equal(
      jax.grad(total)(table), [[3, 3], [0, 0], [0, 0], [1, 1]]
  )
