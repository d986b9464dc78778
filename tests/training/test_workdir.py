"""A run's directory: whose it is, and from what."""

import json
import pathlib
import re

import pytest

from mlit_jax.errors import UsageError
from mlit_jax.training import workdir

CONFIG = {"name": "x", "train.epochs": 3, "logging.every": 5, "data.x": None}


def _open(path, config=CONFIG, data=None):
  return workdir.Workdir(path, config, data or {"d": "h1"}, ("logging",))


def test_says_what_the_run_is_and_from_what_it_comes(tmp_path):
  with _open(tmp_path / "run") as opened:
    assert opened.path == tmp_path / "run"
  with _open(tmp_path / "run"):
    pass
  run = json.loads((tmp_path / "run" / "run.json").read_text())
  assert run == {"config": CONFIG, "data": {"d": "h1"}, "base": {}}
  starts = json.loads((tmp_path / "run" / "versions.json").read_text())
  assert len(starts) == 2
  import jax

  assert starts[0]["jax"] == jax.__version__
  assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", starts[0]["started"])


def test_a_copy_without_git_says_its_commit(tmp_path, monkeypatch):
  monkeypatch.setattr(workdir.mlit_jax, "__file__", f"{tmp_path}/m/__init__.py")
  path, commit = tmp_path / ".git_archival.json", "0123456789" * 4
  for text, known in (
      (f'{{"git": "{commit}", "git_changed": true}}', True),
      ('{"git": "$Format:%H$", "git_changed": false}', False),
      ("[]", False), ("{", False), ('{"git": 3, "git_changed": 0}', False),
  ):
    path.write_text(text)
    found = workdir.versions()
    assert ("git" in found) == known
    if known:
      assert (found["git"], found["git_changed"]) == (commit, True)
  # What git archive makes of ours.
  root = pathlib.Path(__file__).parents[2]
  said = (root / ".git_archival.json").read_text()
  assert json.loads(said) == {"git": "$Format:%H$", "git_changed": False}
  assert ".git_archival.json export-subst" in (
      (root / ".gitattributes").read_text().splitlines()
  )


def test_git_state_is_the_checkouts(tmp_path, monkeypatch):
  import subprocess

  def git(*arguments):
    return subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", tmp_path,
         *arguments],
        check=True, capture_output=True, text=True,
    ).stdout.strip()

  package = tmp_path / "mlit_jax" / "__init__.py"
  package.parent.mkdir()
  package.write_text("")
  monkeypatch.setattr(workdir.mlit_jax, "__file__", str(package))
  assert "git" not in workdir.versions()
  git("init", "-q")
  git("add", ".")
  git("commit", "-q", "-m", "x")
  found = workdir.versions()
  assert found["git"] == git("rev-parse", "HEAD") and not found["git_changed"]
  package.write_text("1")
  assert workdir.versions()["git_changed"]


def test_another_run_is_refused_with_the_keys(tmp_path):
  for _ in range(2):  # Before its first step a run may become another.
    with _open(tmp_path, CONFIG | {"train.epochs": 9}):
      pass
    with _open(tmp_path):
      pass
  (tmp_path / "metrics.jsonl").write_text("")
  with _open(tmp_path, CONFIG | {"logging.every": 9}):
    pass  # What a run tells may change.
  for config, data, said in (
      (CONFIG | {"train.epochs": 4}, None, r"train.epochs=3 \(now 4\)"),
      (CONFIG | {"new": 1}, None, r"new=None \(now 1\)"),
      (CONFIG, {"d": "h2"}, "the data in d"),
  ):
    with pytest.raises(UsageError, match=said):
      _open(tmp_path, config, data)
  many = {f"k{i}": i for i in range(9)}
  with pytest.raises(UsageError, match="and 5 more; choose another --workdir"):
    _open(tmp_path, CONFIG | many)
  run = json.loads((tmp_path / "run.json").read_text())
  assert run["config"]["train.epochs"] == 3


def test_another_base_is_refused(tmp_path):
  def opened(hashed, path="models/b"):
    return workdir.Workdir(
        tmp_path, CONFIG, {"d": "h1"}, ("logging",), {path: hashed}
    )

  with opened("h1") as first:
    first.note(mesh={"data": 2})
    (tmp_path / "metrics.jsonl").write_text("{}\n")
  with pytest.raises(UsageError, match="holds another run: the base in models"):
    opened("h2")
  with opened("h1"):
    # Until the run is set up again, what is known of it is kept.
    run = json.loads((tmp_path / "run.json").read_text())
  assert run["base"] == {"models/b": "h1"} and run["mesh"] == {"data": 2}


def test_what_is_no_place_for_a_run(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UsageError, match="not a directory"):
    _open(tmp_path / "file")
  with pytest.raises(UsageError, match="holds files but no run.json"):
    _open(tmp_path)
  used = tmp_path / "used"
  with _open(used), pytest.raises(UsageError, match="another mlit is working"):
    _open(used)
  (used / "run.json").write_text("{")
  with pytest.raises(UsageError, match="damaged"):
    _open(used)
