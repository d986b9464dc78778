"""`mlit train` on two hosts leaves what it leaves on one."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import test_train
import token_directories

POD = pathlib.Path(__file__).parents[2] / "launch" / "local_pod.sh"


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_hosts_train_one_model(tmp_path):
  texts = [("en", "add {} and {}: "), ("fr", "ajoute {} à {} : ")]
  data = token_directories.write_texts(tmp_path / "data", texts, 40)
  token_directories.write_texts(data / "validation", texts, 9)

  def train(number):
    workdir = tmp_path / str(number)
    done = subprocess.run(
        [POD, str(number), "--", sys.executable, "-m", "mlit_jax.main", "train",
         "--config", "tiny", *test_train.SHAPE, *test_train.SIZES,
         f"--config.data.directories={data}", "--workdir", workdir,
         "--config.validation.every=3", "--config.train.learning_rate=1e-3",
         "--profile_steps", "2:3"],
        capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": ""},
    )
    assert done.returncode == 0, done.stderr
    # What the others have to say, the first one says.
    said = {line[:3] for line in done.stdout.splitlines()}
    assert said == {"[0]"}, done.stdout
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return workdir, [json.loads(line) for line in lines]

  (one, alone), (two, together) = train(1), train(2)
  for path in (one, two):
    assert list((path / "profile").rglob("*.xplane.pb"))
  assert [row["step"] for row in together] == [row["step"] for row in alone]
  for row, other in zip(together, alone):
    assert row.keys() == other.keys()
    for key in row:
      if "loss" in key or "validation" in key or key == "tokens":
        assert row[key] == pytest.approx(other[key], rel=1e-4), key
  models = [
      safetensors.numpy.load_file(path / "model" / "model.safetensors")
      for path in (one, two)
  ]
  assert models[0].keys() == models[1].keys()
  for name, value in models[0].items():
    np.testing.assert_allclose(models[1][name], value, atol=2e-4)
