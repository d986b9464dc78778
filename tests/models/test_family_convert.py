"""`mlit convert` on every family's directory and training checkpoint."""

import json

import numpy as np
import pytest
import safetensors.numpy

from mlit_jax.models.interchange import convert
from mlit_jax.models.interchange.storage import TensorFiles
from mlit_jax.training.checkpoint import Checkpoints

pytest.importorskip("torch")
pytest.importorskip("transformers")
import test_family_parity as parity

pytestmark = pytest.mark.torch


def equal(directory, files):
  found = TensorFiles(directory)
  assert sorted(found.names()) == sorted(files.names())
  for name in files.names():
    assert found.dtype(name) == files.dtype(name)
    np.testing.assert_array_equal(found.read(name), files.read(name))


@pytest.mark.long
@pytest.mark.parametrize("case", parity.CASES)
def test_what_comes_out_is_what_went_in(case, tmp_path):
  source = tmp_path / "theirs"
  source.mkdir()
  pair = parity.Pair(case, source)
  files = TensorFiles(source)
  convert.convert(source, tmp_path / "out", max_shard_bytes=20_000)
  equal(tmp_path / "out", files)
  config = json.loads((source / "config.json").read_text())
  assert json.loads((tmp_path / "out" / "config.json").read_text()) == config

  checkpoints = Checkpoints(tmp_path / "run", every=1)
  checkpoints.save(1, {"params": pair.params}, {})
  checkpoints.close()
  convert.convert(tmp_path / "run" / "1", tmp_path / "trained", like=source)
  equal(tmp_path / "trained", files)


def test_a_base_model_s_names_stay_as_they_are(tmp_path):
  """BLOOM's own checkpoints have no prefix."""
  source = tmp_path / "theirs"
  source.mkdir()
  parity.Pair("bloom", source)
  path = source / "model.safetensors"
  tensors = {
      name.removeprefix("transformer."): tensor
      for name, tensor in safetensors.numpy.load_file(path).items()
  }
  safetensors.numpy.save_file(tensors, path)
  convert.convert(source, tmp_path / "out")
  equal(tmp_path / "out", TensorFiles(source))
  assert "h.0.mlp.dense_h_to_4h.bias" in TensorFiles(tmp_path / "out").names()
