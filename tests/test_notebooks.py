"""The notebooks: well-formed, without outputs, and they run top to bottom."""

import ast
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from mlit_jax import main

nbformat = pytest.importorskip("nbformat")

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "colabs").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
_BASH = "%%bash\nset -e\n"  # so that a command that fails stops the notebook


def _code(path):
  cells = nbformat.read(path, as_version=4).cells
  return [cell for cell in cells if cell.cell_type == "code"]


def test_the_notebooks_are_there_and_listed():
  assert set(NAMES) >= {
      "checkpoint", "decode", "judge", "mixtures", "plan", "quickstart",
  }
  page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
  assert sorted(re.findall(r"`colabs/(\w+)\.ipynb`", page)) == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_they_are_well_formed_and_hold_no_results(path):
  nbformat.validate(nbformat.read(path, as_version=4))
  text = path.read_text(encoding="utf-8")
  assert not re.search(r"(?<![\w.:/])/(home|work|tmp|root|Users|opt)\b", text)
  assert "http" not in text
  cells = _code(path)
  assert not any(cell.outputs or cell.execution_count for cell in cells)
  # The first one installs what is not installed, and nothing else.
  first = cells[0].source
  assert 'find_spec("mlit_jax") is None' in first and "pip" in first
  assert not any("pip" in cell.source for cell in cells[1:])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_every_cell_parses_and_every_command_is_one(path):
  for cell in _code(path):
    if not cell.source.startswith("%%"):
      ast.parse(cell.source)
      continue
    assert cell.source.startswith(_BASH)
    script = cell.source.removeprefix(_BASH)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for line in script.replace("\\\n", " ").splitlines():
      command = line.partition("|")[0].strip()  # not what comes after it
      if command.startswith("mlit "):
        args, rest = main.parser().parse_known_args(shlex.split(command)[1:])
        assert args.command
        assert all(re.match(r"--(study|config)\.[\w.]+=", x) for x in rest)


# Each is trained, decoded or compiled for; `judge` needs no JAX.
_QUICK = "judge"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.stem,
            marks=[pytest.mark.slow] * (path.stem != _QUICK)
            + [pytest.mark.tpu_compile] * (path.stem == "plan"),
        )
        for path in NOTEBOOKS
    ],
)
def test_it_runs_top_to_bottom(path, tmp_path, monkeypatch):
  nbclient = pytest.importorskip("nbclient")
  pytest.importorskip("ipykernel")
  if path.stem == "plan":
    pytest.importorskip("libtpu", reason="libtpu is not installed")
  monkeypatch.setenv("TMPDIR", str(tmp_path))
  # `mlit`, and the package, of these tests.
  beside = os.path.dirname(sys.executable)
  monkeypatch.setenv("PATH", os.pathsep.join([beside, os.environ["PATH"]]))
  paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
  before = sorted(os.listdir(ROOT / "colabs"))
  book = nbformat.read(path, as_version=4)
  # CellExecutionError names the cell that failed and what it printed.
  nbclient.NotebookClient(
      book, timeout=300, kernel_name="python3",
      resources={"metadata": {"path": str(path.parent)}},
  ).execute()
  for cell in book.cells:
    if cell.cell_type == "code":
      assert cell.execution_count
  # All that it wrote lies in a folder of its own.
  assert sorted(os.listdir(ROOT / "colabs")) == before
  assert [p for p in tmp_path.iterdir() if p.name.startswith("mlit-")]
