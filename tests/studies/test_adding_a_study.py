"""docs/adding-a-study.md, followed to the letter; and wrong studies."""

import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from mlit_jax import main

DOC = pathlib.Path(__file__).parents[2] / "docs" / "adding-a-study.md"


def _blocks(language):
  text = DOC.read_text(encoding="utf-8")
  return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture
def study(tmp_path, monkeypatch):
  """A folder with halves.py in it, where one works."""
  (source,) = _blocks("python")
  (tmp_path / "halves.py").write_text(source)
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.slow
def test_what_the_page_says_works(study):
  commands = [x for block in _blocks("sh") for x in block.splitlines()]
  assert len(commands) == 5
  outs = []
  for command in commands:
    name, *arguments = shlex.split(command)
    assert name == "mlit"
    done = subprocess.run(
        [sys.executable, "-m", "mlit_jax.main", *arguments], cwd=study,
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, (command, done.stderr)
    outs.append(done.stdout)
  assert "model-halves" in outs[0] and "training runs: 4" in outs[0]
  assert outs[1] == "report: runs/halves/report.html\n"
  assert outs[2] == outs[1]
  assert outs[4] == "comparison: runs/halves/comparison.html\n"
  results = json.loads((study / "runs/halves/results.json").read_text())
  assert results["systems"]["halves"]["counts"] == {"en": 20, "sw": 20}
  page = (study / "runs/halves/report.html").read_text()
  assert "Figure 1. Exact answers by model and language" in page
  assert (study / "runs/halves/figures/halves.svg").exists()
  # A report without its file says how to make it.
  done = subprocess.run(
      [sys.executable, "-m", "mlit_jax.main", "report", "runs/halves"],
      cwd=study, capture_output=True, text=True, check=False,
  )
  assert done.returncode == 1 and "--study my_study.py" in done.stderr


def test_a_plan_of_ones_own_study(study, capsys):
  del study
  assert main.main(["study", "halves.py:tiny", "--plan"]) == 0
  rows = {
      words[1]: words for line in capsys.readouterr().out.splitlines()
      if (words := line.split())[:1] == ["open"]
  }
  assert rows["data-halves"][2] == "40" and "judge-halves" in rows
  assert main.main(["study", "halves.py:tiny", "--workdir", "x", "--status",
                    "--study.languages=en,es"]) == 0
  assert "open  model-mono-es" in capsys.readouterr().out


@pytest.mark.parametrize("change, words", [
    (("def graph", "def grph"), "a study needs graph"),
    (("PRESETS = (", "PRESETS = ("), "no preset 'tny'; did you mean 'tiny'"),
    (("def check(config):", "def check(config:"), "halves.py:31: SyntaxError"),
    (("from mlit_jax.data import counts", "from mlit_jax.data import cnts"),
     "halves.py:4: ImportError: cannot import name 'cnts'"),
    (('NAME = "halves"', 'NAME = "pinch"'), "none of pinch"),
    (('NAME = "halves"', 'NAME = "../x"'), "must be a word"),
])
def test_a_wrong_file_is_one_line(study, capsys, change, words):
  path = study / f"wrong_{abs(hash(change))}.py"
  path.write_text((study / "halves.py").read_text().replace(*change))
  words = words.replace("halves.py", path.name)
  code = main.main(["study", f"{path.name}:tny", "--plan"])
  error = capsys.readouterr().err
  assert code == 2 and words in error and error.count("\n") == 1


def test_no_such_file(study, capsys):
  del study
  assert main.main(["study", "halvs.py", "--plan"]) == 2
  assert "halvs.py: there is no such file" in capsys.readouterr().err
  assert main.main(["report", ".", "--study", "halvs.py"]) == 2
