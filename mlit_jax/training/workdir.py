"""A run's directory: which run it belongs to, and from what it was made.

  run.json         the config, flat; hashes of data and base; model and mesh
  versions.json    of every start: when, versions, git's state
  checkpoints/     to go on from
  metrics.jsonl    a line a step
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

import mlit_jax
from mlit_jax import locked_directory, records
from mlit_jax.errors import UsageError

RUN, VERSIONS = "run.json", "versions.json"
CHECKPOINTS, METRICS = "checkpoints", "metrics.jsonl"
_PACKAGES = (
    "jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint", "grain",
    "numpy",
)
_MAX_NAMED = 4
_ARCHIVAL = ".git_archival.json"


class Workdir(locked_directory.LockedDirectory):
  """A run's directory, locked until it is closed."""

  def __init__(
      self,
      path: str | os.PathLike,
      config: Mapping[str, Any],
      data: Mapping[str, str],
      may_change: Sequence[str] = (),
      base: Mapping[str, str] | None = None,
  ):
    """Opens or makes the directory.

    Args:
      path: where; made if it does not exist.
      config: of the run, flat, as JSON values; it must hold no secrets.
      data: directory -> hash of what is learnt from.
      may_change: sections of the config in which a run that goes on may differ.
      base: directory -> hash of the model to start from, if there is one.

    Raises:
      UsageError: the directory cannot be written, is in use, holds something
        else, or another run. Nothing is changed then.
    """
    self._run = json.loads(
        json.dumps({"config": config, "data": data, "base": base or {}})
    )
    super().__init__(path, lambda: self._check_ours(may_change))
    records.write_json(self.path / RUN, self._run)
    self._add_versions()

  def __truediv__(self, name: str) -> pathlib.Path:
    return self.path / name

  def note(self, **facts: Any) -> None:
    """Adds to run.json what is known once the run is set up: JSON values."""
    self._run |= facts
    records.write_json(self.path / RUN, self._run)

  def _check_ours(self, may_change: Sequence[str]) -> None:
    held = locked_directory.read_marker(
        self.path / RUN, "a run's", ("config", "data")
    )
    if held is None:
      return
    # What was noted stands until it is noted anew.
    self._run = {**held, **self._run}
    if not (self.path / METRICS).exists():
      return  # No step was made: what stopped it may be what has changed.
    changes = locked_directory.differences(held["config"], self._run["config"])
    changed = [
        text for key, text in changes.items()
        if key.partition(".")[0] not in may_change
    ]
    changed += [
        f"the {kind} in {name}" for kind in ("data", "base")
        for name, hashed in self._run[kind].items()
        if held.get(kind, {}).get(name, hashed) != hashed
    ]
    if changed:
      raise UsageError(
          f"{self.path}: holds another run:"
          f" {locked_directory.some(changed, _MAX_NAMED)}; choose another"
          " --workdir"
      )

  def _add_versions(self) -> None:
    path = self.path / VERSIONS
    try:
      starts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
      starts = []
    records.write_json(path, [*starts, versions()])


def versions() -> dict[str, Any]:
  """What runs here: versions, and the state of the checkout if it is one."""
  found = {
      "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
      "mlit-jax": mlit_jax.__version__,
      "python": platform.python_version(),
  }
  for name in _PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found | _git_state()


def _git_state() -> dict[str, Any]:
  """Commit, and whether files differ from it; {} outside of a checkout.

  A copy of a checkout without .git (`launch/tpu sync`, git archive) has a file
  that says it.
  """
  root = pathlib.Path(mlit_jax.__file__).parents[1]
  if not (root / ".git").exists():
    try:
      said = json.loads((root / _ARCHIVAL).read_text(encoding="utf-8"))
      commit, changed = said["git"], said["git_changed"]
    except (OSError, ValueError, KeyError, TypeError):
      return {}
    known = isinstance(commit, str) and re.fullmatch("[0-9a-f]{40,64}", commit)
    return {"git": commit, "git_changed": bool(changed)} if known else {}

  def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True,
        check=True, timeout=30,
    ).stdout.strip()

  try:
    return {
        "git": git("rev-parse", "HEAD"),
        "git_changed": bool(git("status", "--porcelain")),
    }
  except (OSError, subprocess.SubprocessError):
    return {}
