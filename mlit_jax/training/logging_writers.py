"""Where a run's numbers go: JSON Lines, TensorBoard, Weights & Biases.

A writer takes (step, name -> finite number). A run that goes on from a
checkpoint repeats the steps that it had made after it; what was written of
these is taken away first, so that every step stands once.
"""

import json
import os
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from mlit_jax import records
from mlit_jax.errors import UsageError


class Writer(Protocol):
  """What takes numbers."""

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Takes the numbers of a step (from 1); steps ascend."""

  def close(self) -> None:
    """Waits until all is written."""


class JsonLines:
  """A line a step: {"step": …, name: number, …}."""

  def __init__(self, path: str | os.PathLike):
    """Opens nothing before the first line."""
    self._path = pathlib.Path(path)
    self._file: TextIO | None = None

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Adds a line."""
    if self._file is None:
      records.write_text(self._path, self._before(step))
      self._file = self._path.open("a", encoding="utf-8")
    self._file.write(json.dumps({"step": step} | dict(values)) + "\n")
    self._file.flush()

  def close(self) -> None:
    if self._file is not None:
      self._file.close()

  def _before(self, step: int) -> list[str]:
    """The lines of earlier steps; a line that a kill has cut is none."""
    if not self._path.exists():
      return []
    kept = []
    for line in self._path.read_text("utf-8", "replace").splitlines():
      try:
        row = json.loads(line)
      except ValueError:
        continue
      if isinstance(row, dict) and row.get("step", step) < step:
        kept.append(line + "\n")
    return kept


class TensorBoard:
  """TensorBoard's event files, through tensorboardX."""

  def __init__(self, directory: str | os.PathLike):
    """Loads nothing before the first number."""
    self._directory, self._writer = directory, None

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Adds a point to every curve."""
    if self._writer is None:
      import tensorboardX

      # Of a file that is there, TensorBoard takes what lies before this step.
      self._writer = tensorboardX.SummaryWriter(
          os.fspath(self._directory), purge_step=step
      )
    for name, value in values.items():
      self._writer.add_scalar(name, value, step)

  def close(self) -> None:
    if self._writer is not None:
      self._writer.close()


class WeightsAndBiases:
  """A run at Weights & Biases; one that goes on goes on there, too."""

  def __init__(
      self,
      directory: str | os.PathLike,
      project: str,
      name: str,
      config: Mapping[str, Any],
  ):
    """Starts or takes up the run.

    Args:
      directory: of the training run; the run's id is kept there.
      project: wandb's.
      name: of the run.
      config: to be shown beside it; it must hold no secrets.

    Raises:
      UsageError: wandb is not installed, or does not start.
    """
    try:
      import wandb
    except ImportError:
      raise UsageError(
          "logging.wandb_project is set and wandb is not installed; pip install"
          " mlit-jax[wandb], or leave it empty"
      ) from None
    marker = pathlib.Path(directory) / "wandb_id.txt"
    if not marker.exists():
      records.write_text(marker, [secrets.token_hex(4)])
    try:
      # The key comes from WANDB_API_KEY or wandb's own login.
      self._run = wandb.init(
          project=project, name=name, config=dict(config), resume="allow",
          id=marker.read_text("utf-8"), dir=os.fspath(directory),
          settings=wandb.Settings(silent=True, console="off"),
      )
    except wandb.Error as e:
      raise UsageError(
          f"wandb does not start ({type(e).__name__}); log in with `wandb"
          " login` or set WANDB_MODE=offline"
      ) from None

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Adds a point to every curve."""
    self._run.log(dict(values), step=step)

  def close(self) -> None:
    self._run.finish()
