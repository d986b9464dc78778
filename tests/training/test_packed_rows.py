"""Packed rows through the model: no example sees another."""

import jax
import numpy as np
import pytest

from mlit_jax.data import batches, build, templates, tokenizers
from mlit_jax.models import decoder
from mlit_jax.models.config import DecoderConfig

ROW = 80
CONFIGS = {
    "rope": {},
    "ALiBi": {"position": "alibi"},
    "windows": {"window": 7, "windowed_layers": (True, False)},
}


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
  """Rows of real token files, of several examples each."""
  directory = tmp_path_factory.mktemp("packed")
  examples = [
      {
          "id": f"{n}", "lang": "en",
          "messages": [
              {"role": "user", "content": "a" * (n % 7)},
              {"role": "assistant", "content": "b" * n},
          ],
      }
      for n in range(2, 30)
  ]
  build.build(
      "packed", examples, tokenizers.ByteTokenizer(), directory, origin={},
      form=templates.PLAIN,
  )
  rows = batches.PackedRows(directory, ROW, 2)
  (batch,) = batches.batches(rows, len(rows), seed=0, epochs=1)
  counts = batch["segment_ids"].max(axis=1)
  assert counts.max() > 3 and (batch["segment_ids"] == 0).any()
  return batch


@pytest.mark.parametrize("kind", CONFIGS)
def test_no_example_sees_another(kind, batch, random_params):
  config = DecoderConfig(
      **{
          "vocab_size": 384, "num_layers": 2, "embed_dim": 16, "num_heads": 4,
          "num_kv_heads": 2, "head_dim": 4, "mlp_dim": 24, **CONFIGS[kind],
      }
  )
  variables = {"params": random_params(config)}
  apply = jax.jit(decoder.Decoder(config).apply)

  def logits(inputs, positions, segment_ids):
    found, _ = apply(variables, inputs, positions, segment_ids)
    return np.asarray(found)

  packed = logits(batch["inputs"], batch["positions"], batch["segment_ids"])
  rng = np.random.default_rng(0)
  for chosen in (1, 2, 3):
    # Everything but one example of each row becomes something else.
    here = batch["segment_ids"] == chosen
    others = rng.integers(3, 384, batch["inputs"].shape, np.int32)
    inputs = np.where(here, batch["inputs"], others)
    assert (inputs != batch["inputs"]).any(axis=1).all()
    found = logits(inputs, batch["positions"], batch["segment_ids"])
    np.testing.assert_array_equal(found[here], packed[here])
    assert not np.array_equal(found, packed)
    # And alone, at the beginning of a row, it is what it was.
    alone = {
        key: np.zeros_like(batch[key])
        for key in ("inputs", "positions", "segment_ids")
    }
    lengths = here.sum(axis=1)
    for row, length in enumerate(lengths):
      for key, value in alone.items():
        value[row, :length] = batch[key][row, here[row]]
    found = logits(**alone)
    for row, length in enumerate(lengths):
      np.testing.assert_allclose(
          found[row, :length], packed[row, here[row]], atol=2e-5
      )
