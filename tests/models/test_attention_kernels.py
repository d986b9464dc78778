"""Splash in Pallas's interpreter, and compiled for a TPU that is not here."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.models import attention, attention_kernels
from mlit_jax.models.attention_xla import Tokens

BATCH, HEADS, KV_HEADS, SCALE = 2, 4, 2, 0.3
ALL = 1 << 30  # a window that hides nothing


def make(length, key_length, head_dim=16):
  rng = np.random.default_rng(0)
  shapes = (length, HEADS), (key_length, KV_HEADS), (key_length, KV_HEADS)
  return [
      jnp.asarray(rng.standard_normal((BATCH, n, h, head_dim)), jnp.float32)
      for n, h in shapes
  ]


def places(length):
  return jnp.broadcast_to(jnp.arange(length), (BATCH, length))


@pytest.mark.long
@pytest.mark.parametrize(
    "length, key_length, packed, how",
    [
        pytest.param(200, 200, False, {}, marks=pytest.mark.slow),
        (300, 300, True, {"window": 100, "softcap": 2.0}),
        pytest.param(
            256, 256, True, {"window": (50, ALL)}, marks=pytest.mark.slow
        ),
        pytest.param(
            100, 300, False, {"causal": False}, marks=pytest.mark.slow
        ),
        # The last of the queries' segments has no key.
        (140, 300, True, {"causal": False}),
    ],
)
def test_splash_is_plain(length, key_length, packed, how):
  arrays = make(length, key_length)
  how = {"causal": True, "window": None, "softcap": None} | how
  windows, values = [how.pop("window")], None
  if isinstance(windows[0], tuple):
    values = windows[0]
    windows = [jnp.int32(w) for w in values]
  segments = key_segments = None
  if packed:
    segments = 1 + places(length) // 60
    key_segments = 1 + places(key_length) // (200 if length < 200 else 60)
  tokens = places(length), places(key_length)
  onto = np.random.default_rng(1).standard_normal(arrays[0].shape)

  @jax.jit
  def splash(window, arrays):
    return attention_kernels.splash(
        *arrays, Tokens(tokens[0], segments), Tokens(tokens[1], key_segments),
        window=windows[0] if values is None else window, window_values=values,
        scale=SCALE, interpret=True, **how,
    )

  @jax.jit
  def plain(window, arrays):
    return attention.attend(
        *arrays, query_positions=tokens[0], key_positions=tokens[1],
        query_segments=segments, key_segments=key_segments, window=window,
        scale=SCALE, path="plain", **how,
    )

  for window in windows:
    pairs = []
    for run in (splash, plain):
      mixed, pull = jax.vjp(functools.partial(run, window), arrays)
      pairs.append([mixed, *pull(jnp.asarray(onto, jnp.float32))[0]])
    for ours, theirs in zip(*pairs):
      np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


@pytest.fixture(scope="module")
def tpus():
  """Four TPU v5e, as a description."""
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  from jax.experimental import topologies

  os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
  return topologies.get_topology_desc("v5e:2x2", platform="tpu").devices


@pytest.mark.long
@pytest.mark.tpu_compile
@pytest.mark.parametrize(
    "mesh, length, head_dim, how",
    [
        ((1, 2, 2), 2048, 128, {}),
        pytest.param(
            (2, 2, 1), 700, 256, {"window": "traced", "softcap": 50.0},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (1, 1, 1), 512, 80, {"window": 128}, marks=pytest.mark.slow
        ),
    ],
)
def test_splash_compiles_for_tpu(tpus, mesh, length, head_dim, how):
  """Chosen by itself, forwards and backwards, without the scores."""
  rows, heads, kv_heads = 4, 8, 4
  mesh = partitioning.make_mesh(mesh, tpus[: int(np.prod(mesh))])
  sharding = partitioning.batch_sharding(mesh)
  array = functools.partial(jax.ShapeDtypeStruct, sharding=sharding)
  traced = how.get("window") == "traced"

  def loss(query, key, value, segments, window):
    mixed = attention.attend(
        query, key, value, query_positions=segments, key_positions=segments,
        query_segments=segments, key_segments=segments, scale=0.1,
        window_values=(256, ALL) if traced else None,
        **how | ({"window": window} if traced else {}),
    )
    return jnp.sum(mixed.astype(jnp.float32) ** 2)

  with partitioning.activation_rules(mesh):
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(
        array((rows, length, heads, head_dim), jnp.bfloat16),
        *[array((rows, length, kv_heads, head_dim), jnp.bfloat16)] * 2,
        array((rows, length), jnp.int32),
        jax.ShapeDtypeStruct(
            (), jnp.int32, sharding=partitioning.replicated(mesh)
        ),
    ).compile()
  # Forwards, and backwards towards queries and towards keys and values.
  kernels = 3 * (2 if traced else 1)
  assert compiled.as_text().count('custom_call_target="tpu_custom_call"') == (
      kernels
  )
  scores = 4 * rows * heads * length**2 // mesh.size
  assert compiled.memory_analysis().temp_size_in_bytes < scores / 4
