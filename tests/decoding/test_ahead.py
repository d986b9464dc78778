"""The decoding program for chips that are not there."""

import pytest

from mlit_jax import partitioning
from mlit_jax.decoding import ahead
from mlit_jax.models.config import DecoderConfig
from mlit_jax.training import accelerators

CONFIG = DecoderConfig(
    vocab_size=512, num_layers=3, embed_dim=128, num_heads=4, num_kv_heads=4,
    head_dim=32, mlp_dim=256,
)


@pytest.mark.tpu_compile
def test_parameters_and_cache_by_hand():
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  mesh = partitioning.make_mesh(
      {"tensor": 4}, accelerators.parse("v5e-4").devices()
  )
  lowered, params, slots = ahead.lower(
      CONFIG, mesh, num_slots=8, prompt=64, written=64
  )
  # Kernels and tables are cut in four, norms are not; bfloat16.
  kernels = 3 * (4 * 128 * 128 + 3 * 128 * 256) + 2 * 512 * 128
  assert params == 2 * (kernels // 4 + 7 * 128)
  # Keys and values of 128 places, heads cut; what was seen, [8 V] booleans.
  cache = 2 * 3 * 8 * 128 * 4 * 32 * 2 // 4
  assert cache < slots < cache + 8 * 512 + 8 * 64
  analysis = lowered.compile().memory_analysis()
  assert analysis.argument_size_in_bytes >= params + slots
  assert analysis.alias_size_in_bytes >= cache  # donated
