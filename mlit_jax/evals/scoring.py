"""A model directory ready to score texts."""

import os
from collections.abc import Iterable, Iterator, Sequence

from mlit_jax import partitioning
from mlit_jax.data import tokenizers
from mlit_jax.decoding import engine as engine_lib
from mlit_jax.evals import lm, pairs
from mlit_jax.models.interchange import huggingface


class LanguageModel:
  """Tokenizer, weights and a scorer.

  Attributes:
    tokenizer: the model's.
    max_length: tokens that it reads at once.
  """

  def __init__(self, directory: str | os.PathLike, *, batch_size: int = 32):
    """Loads the model.

    Args:
      directory: a model directory.
      batch_size: rows scored together.

    Raises:
      CheckpointError, TokenizerError: it cannot be used; names the file.
    """
    mesh = partitioning.make_mesh()
    self.tokenizer = tokenizers.load(directory)
    rows = huggingface.load_config(directory).vocab_size
    tokenizers.check_vocabulary(self.tokenizer, rows, directory)
    self.config, self._params = huggingface.load(directory, mesh)
    self.max_length = self.config.max_length
    self._mesh = mesh
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    self._scorer = lm.Scorer(
        self.config, mesh, batch_size=batch_size + -batch_size % ways
    )

  def score(
      self,
      rows: Sequence[tuple[str, str] | None],
      *,
      truncate: bool = False,
  ) -> list[lm.Score | str]:
    """Scores (context, continuation) pairs.

    Args:
      rows: the pairs; None is left out.
      truncate: whether a context that is too long loses its beginning, as in
        lm-evaluation-harness; otherwise its row fails.

    Returns:
      A score per row, in their order, or why there is none ("" for None).
    """
    found: list[lm.Score | str] = [""] * len(rows)
    asked = []
    for i, row in enumerate(rows):
      if row is None:
        continue
      try:
        asked.append(self._pair(str(i), *row, truncate))
      except pairs.PairError as e:
        found[i] = str(e)
    for score in self._scorer.score(self._params, asked):
      found[int(score.id)] = score
    return found

  def rolling(self, texts: Iterable[str]) -> list[float]:
    """Log-probability of each text as a whole, whatever its length."""
    texts = list(texts)
    asked = [
        lm.Pair(f"{i}", tuple(context), tuple(continuation))
        for i, text in enumerate(texts)
        for context, continuation in pairs.windows(
            self.tokenizer, text, self.max_length
        )
    ]
    totals = [0.0] * len(texts)
    # The same id comes once per window.
    for score in self._scorer.score(self._params, asked):
      totals[int(score.id)] += score.logprob
    return totals

  def generate(
      self, requests: Sequence[engine_lib.Request], batch_size: int
  ) -> Iterator[engine_lib.Result]:
    """Yields an answer per request, as batches finish."""
    engine = engine_lib.Engine(
        self.config, self._mesh, eos_id=self.tokenizer.eos_id,
        batch_size=batch_size,
    )
    return engine.generate(self._params, requests)

  def _pair(self, id_, context, continuation, truncate: bool) -> lm.Pair:
    before, after = pairs.encode(self.tokenizer, context, continuation)
    length = len(before) + len(after) - 1
    if length > self.max_length and not truncate:
      raise pairs.PairError(
          f"context and continuation have {length} tokens to read and the"
          f" model reads {self.max_length}; shorten the context, or have its"
          " beginning dropped (--too_long truncate)"
      )
    return lm.Pair(id_, *pairs.truncate(before, after, self.max_length))
