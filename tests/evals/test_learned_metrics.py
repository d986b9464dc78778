"""COMET and BLEURT through stand-ins with their packages' interfaces.

The packages themselves need checkpoints of gigabytes, and other versions of
transformers than ours.
"""

import os
import sys

import pytest

from mlit_jax.errors import UsageError
from mlit_jax.evals import learned_metrics

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

# As unbabel-comet 2.2.7 reads a file: through torch, with everything allowed.
COMET = """
import types
import torch

class Model:
  def __init__(self, state):
    self.state = state

  def predict(self, samples, batch_size, gpus, progress_bar):
    assert gpus == 0 and not progress_bar
    if self.state.get("is_old"):
      raise ValueError("not enough values to unpack")
    return types.SimpleNamespace(scores=[
        self.state["scale"] * len(s["src"]) + 10 * len(s["mt"]) + len(s["ref"])
        for s in samples
    ])

def load_from_checkpoint(path):
  return Model(torch.load(path, weights_only=False)["state_dict"])
"""
BLEURT = """
class BleurtScorer:
  def __init__(self, checkpoint):
    self.checkpoint = checkpoint

  def score(self, *, references, candidates, batch_size):
    return [10 * len(r) + len(c) for r, c in zip(references, candidates)]
"""
TEXTS = (["a", "aa"], ["bbb", "b"], ["cccc", ""])


@pytest.fixture
def packages(tmp_path, monkeypatch):
  """Stand-ins, and COMET's folder as it is published; its checkpoint."""
  for name, code in (("comet/__init__", COMET), ("bleurt/score", BLEURT)):
    path = tmp_path / f"{name}.py"
    path.parent.mkdir()
    path.write_text(code)
    for module in (path.parent.name, f"{path.parent.name}.{path.stem}"):
      monkeypatch.delitem(sys.modules, module, raising=False)
  monkeypatch.syspath_prepend(tmp_path)
  checkpoint = tmp_path / "wmt/checkpoints/model.ckpt"
  checkpoint.parent.mkdir(parents=True)
  (tmp_path / "wmt/hparams.yaml").write_text("{}")
  torch.save({"state_dict": {"scale": torch.tensor(100.0)}}, checkpoint)
  return checkpoint


def test_every_text_comes_to_its_place(packages, tmp_path):
  assert learned_metrics.comet(packages)(*TEXTS) == [134, 210]
  assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
  (tmp_path / "bleurt_config.json").write_text("{}")
  assert learned_metrics.bleurt(tmp_path)(*TEXTS) == [43, 1]


class _Touch:
  """What unpickling it would do."""

  def __init__(self, path):
    self._path = str(path)

  def __reduce__(self):
    return (os.mkdir, (self._path,))


def test_nothing_in_a_checkpoint_is_executed(packages, tmp_path):
  torch.save({"state_dict": _Touch(tmp_path / "done")}, packages)
  with pytest.raises(UsageError, match="no checkpoint of weights alone"):
    learned_metrics.comet(packages)
  assert not (tmp_path / "done").exists()


def test_what_is_wrong_is_named(packages, tmp_path, monkeypatch):
  alone = packages.rename(tmp_path / "model.ckpt")
  with pytest.raises(UsageError, match=r"hparams.yaml must stand in"):
    learned_metrics.comet(alone)
  packages.write_text("weights")
  with pytest.raises(UsageError, match="no checkpoint of weights alone"):
    learned_metrics.comet(packages)
  torch.save({"state_dict": {"is_old": True}}, packages)
  with pytest.raises(UsageError, match="it needs transformers below 5"):
    learned_metrics.comet(packages)
  with pytest.raises(UsageError, match=r"it has no bleurt_config.json"):
    learned_metrics.bleurt(tmp_path)
  (tmp_path / "bleurt_config.json").write_text("{}")
  monkeypatch.setitem(sys.modules, "comet", None)
  monkeypatch.setitem(sys.modules, "bleurt.score", None)
  with pytest.raises(UsageError, match="needs the package unbabel-comet"):
    learned_metrics.comet(packages)
  with pytest.raises(UsageError, match="needs the package bleurt"):
    learned_metrics.bleurt(tmp_path)
  with pytest.raises(UsageError, match="download BLEURT's checkpoint folder"):
    learned_metrics.bleurt(tmp_path / "none")
