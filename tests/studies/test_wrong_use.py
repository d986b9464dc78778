"""Wrong use of `mlit`: one clear line, the right exit code, nothing damaged."""

import json
import os

import pytest

from mlit_jax import main
from mlit_jax.models.config import DecoderConfig
from mlit_jax.partitioning import PartitionError
from mlit_jax.studies import session
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.step import StepConfig


def _mlit(capsys, *argv: str) -> tuple[int, str]:
  """(exit code, standard error) of a command that must fail."""
  try:
    code = main.main(argv)
  except SystemExit as e:
    code = e.code
  return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("study", "pynch"), "did you mean 'pinch'?"),
        (("study", "pinch:poket"), "did you mean 'pocket'?"),
        (("study", "pinch:paper-ish"), "has no preset"),
        (("study", "pinch", "--study.languages=en,frr"), "frr"),
        (("study", "pinch", "--study.languages=en,de"), "German is not in the"),
        (("study", "pinch", "--study.languages=en"), "at least two"),
        (("study", "pinch", "--study.languages=es,it"), "main_language='en'"),
        (("study", "pinch", "--study.languges=en,es"), "did you mean lan"),
        (("study", "pinch", "--study.seed=one"), "not a whole number"),
        (("study", "pinch", "--study.judge=gpt"), "unknown judge"),
        (("study", "pinch", "--study.num_examples=99999"), "num_examples"),
        (("study", "pinch", "--study.percents=0"), "(0, 100]"),
        (("study", "pinch", "--study.pretrain.shares.he=0"), "greater than 0"),
        (("study", "pinch", "--sede=1"), "--study.key=value"),
        (("study", "pinch", "--only", "modl-base"), "did you mean 'model-base"),
        (("study", "pinch", "--from", "nothing"), "no step 'nothing'"),
        (("study", "pinch", "--plan", "--accelerator", "v5litepod-17"),
         "no accelerator 'v5litepod-17'"),
        (("study", "pinch", "--plan", "--price", "1"), "needs --accelerator"),
        (("study", "pinch", "--plan", "--mfu", "40"), "--mfu 40: give a share"),
    ],
)
def test_a_wrong_study_is_refused_before_anything_is_made(
    capsys, tmp_path, arguments, words
):
  workdir = tmp_path / "run"
  code, error = _mlit(capsys, *arguments, "--workdir", str(workdir))
  assert code == 2
  assert words in error
  assert error.count("\n") == 1
  assert not workdir.exists()


def test_no_command_prints_help(capsys):
  assert main.main([]) == 2
  assert "mlit study pinch:pocket" in capsys.readouterr().out


def test_a_missing_workdir_is_one_line(capsys):
  code, error = _mlit(capsys, "study", "pinch")
  assert code == 2
  assert "--workdir" in error
  assert error.count("\n") == 1


def test_a_foreign_directory_is_left_alone(capsys, tmp_path):
  (tmp_path / "thesis.tex").write_text("mine")
  code, error = _mlit(capsys, "study", "pinch", "--workdir", str(tmp_path))
  assert code == 2
  assert "is not a study's" in error
  assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_workdir(capsys, tmp_path):
  path = tmp_path / "file"
  path.write_text("x")
  code, error = _mlit(capsys, "study", "pinch", "--workdir", str(path))
  assert code == 2
  assert "not a directory" in error


def test_an_unwritable_workdir(capsys, tmp_path):
  # Root may write anywhere but where the system itself forbids it.
  path = "/proc/mlit" if os.geteuid() == 0 else str(tmp_path / "locked" / "x")
  (tmp_path / "locked").mkdir(mode=0o500)
  code, error = _mlit(capsys, "study", "pinch", "--workdir", path)
  assert code == 2
  assert "cannot be written" in error
  assert error.count("\n") == 1


def test_another_preset_or_a_damaged_marker_is_refused(capsys, tmp_path):
  marker = tmp_path / "study.json"
  marker.write_text(json.dumps({"study": "other", "preset": "x", "config": {}}))
  code, error = _mlit(capsys, "study", "pinch", "--workdir", str(tmp_path))
  assert code == 2
  assert "holds study 'other'" in error
  marker.write_text("{")
  code, error = _mlit(capsys, "study", "pinch", "--workdir", str(tmp_path))
  assert code == 2
  assert "damaged" in error
  assert marker.read_text() == "{"


def test_report_of_nothing(capsys, tmp_path):
  code, error = _mlit(capsys, "report", str(tmp_path))
  assert code == 1
  assert "results.json" in error
  assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (("uniform",), "unknown recipe 'uniform'"),
        (("percent:many",), "needs a number"),
        (("monolingual:xx",), "no language 'xx'"),
        (("monolingual:en", "--total", "0"), "at least 1"),
        (("monolingual:en", "--template", "chat"), "unknown template"),
    ],
)
def test_a_wrong_recipe_makes_nothing(capsys, tmp_path, recipe, words):
  workdir = tmp_path / "d"
  code, error = _mlit(
      capsys, "data", "build", *recipe, "--workdir", str(workdir)
  )
  assert code == 2
  assert words in error
  assert not workdir.exists()


def test_a_mesh_that_cuts_no_row_is_refused_by_its_places():
  model = DecoderConfig(
      vocab_size=8, num_layers=1, embed_dim=4, num_heads=1, num_kv_heads=1,
      head_dim=4, mlp_dim=4,
  )
  with pytest.raises(PartitionError, match="no row of 16 and 80 places"):
    session.step(
        model, StepConfig(OptimizerConfig(1e-3)), "fsdp_sequence", 4, (80, 16)
    )
