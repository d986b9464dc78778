"""`mlit train --study NAME --run RUN`: one model of a study."""

import json

import pytest

from mlit_jax import main

SMALL = [
    "--study.languages=en,es", "--study.num_examples=60",
    "--study.pretrain.documents=60", "--study.pretrain.epochs=1",
    "--study.pretrain.checkpoint_every=0", "--study.tune.epochs=1",
    "--study.experiments=", "--study.controls=false",
]


def train(*argv):
  return main.main(["train", *map(str, argv)])


@pytest.mark.slow
def test_a_run_is_done_where_its_study_finds_it(tmp_path, capsys):
  argv = ["--study", "pinch:pocket", "--run", "mono-es", "--workdir", tmp_path,
          *SMALL]
  assert train(*argv) == 0
  model = tmp_path / "steps" / "model-mono-es" / "model"
  assert (model / "model.safetensors").exists()
  assert str(model) in capsys.readouterr().out
  assert {path.name for path in (tmp_path / "steps").iterdir()} == {
      "vocabulary", "data-base", "data-mono-es", "model-base", "model-mono-es",
  }
  before = json.loads((tmp_path / "timings.json").read_text())
  assert train(*argv) == 0
  assert json.loads((tmp_path / "timings.json").read_text()) == before
  capsys.readouterr()
  assert main.main(
      ["study", "pinch:pocket", "--workdir", str(tmp_path), *SMALL, "--status"]
  ) == 0
  lines = capsys.readouterr().out.splitlines()
  done = {line.split()[1] for line in lines if line.startswith("done")}
  assert len(done) == 5 and "model-mono-es" in done


@pytest.mark.parametrize(("argv", "said"), [
    (["--study", "pinch:pocket", "--run", "mono-enn"], "mean 'mono-en'?"),
    (["--study", "pinch:pocket"], "its runs are base, mono-ar, mono-cs"),
    (["--study", "pinc", "--run", "x"], "did you mean 'pinch'"),
    (["--study", "pinch", "--config", "tiny"], "has a config of its own"),
    (["--config", "tiny", "--run", "x"], "--run is of a study"),
    (["--study", "pinch", "--run", "base", "--study.sead=1"],
     "unknown config key 'sead'; did you mean seed"),
])
def test_wrong_use_is_one_line(argv, said, tmp_path, capsys):
  assert train(*argv, "--workdir", tmp_path / "run") == 2
  err = capsys.readouterr().err
  assert said in err and err.count("\n") == 1
  assert not (tmp_path / "run").exists()
