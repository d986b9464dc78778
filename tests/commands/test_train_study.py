"""`mlit train --study NAME --run RUN`: one model of a study."""

import json

import pytest
import terminated

from mlit_jax import main

SMALL = (*terminated.SMALL, "--study.pretrain.checkpoint_every=0")


def train(*argv):
  return main.main(["train", *map(str, argv)])


def _until(workdir, step):
  """Trains the base in a process until it has saved so far; then SIGTERM."""
  saved = workdir / "steps" / "model-base" / "checkpoints"

  def last():
    names = [p.name for p in saved.iterdir()] if saved.exists() else []
    return max((int(x) for x in names if x.isdigit()), default=0)

  argv = ["train", "--study", "pinch:pocket", "--run", "base", "--workdir",
          workdir, *SMALL, "--study.pretrain.epochs=100000",
          "--study.pretrain.checkpoint_every=20"]
  said = terminated.run(argv, lambda: last() >= step, 120)
  assert f"saved step {last()} of" in said
  return last()


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(tmp_path):
  reached = _until(tmp_path, 20)
  # It goes on from there: the next multiple of 20 is saved after few steps.
  again = _until(tmp_path, reached + 1)
  assert reached < again and not (tmp_path / "steps/model-base/model").exists()


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
