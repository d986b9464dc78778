"""COMET and BLEURT: translations scored by a checkpoint on this machine.

Neither package is required; each is imported when its metric is asked for.
"""

import contextlib
import os
import pathlib
import pickle
from collections.abc import Callable, Iterator, Sequence

from mlit_jax.errors import UsageError

_SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
# (sources, answers, references) -> a score for each.
Score = Callable[[Sequence[str], Sequence[str], Sequence[str]], list[float]]


def comet(checkpoint: str | os.PathLike, batch_size: int = 16) -> Score:
  """COMET (Rei et al. 2020) from a .ckpt file, e.g. of wmt22-comet-da.

  The file is one of a folder as it is published: hparams.yaml and
  checkpoints/model.ckpt. Its encoder's configuration and tokenizer are those
  that hparams.yaml names. Nothing that the file holds is executed.

  Raises:
    UsageError: the package or a file is not there, or cannot be read.
  """
  _check(checkpoint, os.path.isfile, "COMET's .ckpt file")
  folder = pathlib.Path(checkpoint).absolute().parents[1]
  if not (folder / "hparams.yaml").is_file():
    raise UsageError(
        f"{checkpoint}: COMET's hparams.yaml must stand in {folder}, and the"
        " checkpoint in a folder there; download all of it"
    )
  try:
    from comet import load_from_checkpoint
  except ImportError:
    raise UsageError(
        "--comet needs the package unbabel-comet; install it"
    ) from None
  with _weights_only():
    try:
      model = load_from_checkpoint(os.fspath(checkpoint))
    except (pickle.UnpicklingError, EOFError, KeyError) as e:
      problem = " ".join(str(e).split()).partition(". ")[0]
      raise UsageError(
          f"{checkpoint}: no checkpoint of weights alone"
          f" ({type(e).__name__}: {problem:.200}); fetch it again, or save only"
          " its state_dict and hyper_parameters anew"
      ) from None

  def score(sources, answers, references):
    rows = [
        {"src": source, "mt": answer, "ref": reference}
        for source, answer, reference in zip(
            sources, answers, references, strict=True
        )
    ]
    found = model.predict(
        rows, batch_size=batch_size, gpus=0, progress_bar=False
    )
    return [float(value) for value in found.scores]

  try:
    score(["a"], ["a"], ["a"])
  except (ValueError, TypeError, AttributeError) as e:
    raise UsageError(
        f"{checkpoint}: the installed unbabel-comet cannot score"
        f" ({type(e).__name__}: {e}); up to 2.2.7 it needs transformers below 5"
    ) from None
  return score


def bleurt(checkpoint: str | os.PathLike, batch_size: int = 16) -> Score:
  """BLEURT (Sellam et al. 2020) from a folder, e.g. BLEURT-20.

  Raises:
    UsageError: the package or the folder is not there.
  """
  _check(checkpoint, os.path.isdir, "BLEURT's checkpoint folder")
  if not (pathlib.Path(checkpoint) / "bleurt_config.json").is_file():
    raise UsageError(
        f"{checkpoint}: no BLEURT checkpoint: it has no bleurt_config.json;"
        " give the folder that has it"
    )
  try:
    from bleurt.score import BleurtScorer
  except ImportError:
    raise UsageError(
        "--bleurt needs the package bleurt of google-research; install it"
    ) from None
  scorer = BleurtScorer(os.fspath(checkpoint))

  def score(sources, answers, references):
    found = scorer.score(
        references=list(references), candidates=list(answers),
        batch_size=batch_size,
    )
    return [float(value) for value in found]

  return score


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
  """Lets torch read no object but tensors and plain values, whoever asks."""
  before = os.environ.get(_SAFE)
  os.environ[_SAFE] = "1"
  try:
    yield
  finally:
    del os.environ[_SAFE]
    if before is not None:
      os.environ[_SAFE] = before


def _check(checkpoint, exists: Callable, what: str) -> None:
  if not exists(checkpoint):
    raise UsageError(
        f"{checkpoint}: is not there; download {what} and give its path"
    )
