"""A model directory ready to score texts."""

import copy
import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Sequence

import jax
from jax.sharding import Mesh

from mlit_jax import partitioning
from mlit_jax.data import tokenizers
from mlit_jax.decoding.engine import Engine
from mlit_jax.decoding.requests import Request, Result
from mlit_jax.decoding.weights import Taken
from mlit_jax.evals import conversations, lm, pairs
from mlit_jax.evals.conversations import Opening
from mlit_jax.models import lora
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import huggingface, peft

_ENCODED = 2048  # tokens
_NOT_FINITE = (
    "the model's log-probability is not a finite number: its weights are"
    " broken, or overflow in --dtype"
)


class LanguageModel:
  """Tokenizer, weights and a scorer.

  Weights that it reads itself are on the devices once: as scores want them, or
  each layer apart once it has been asked to generate.

  Attributes:
    tokenizer: the model's.
    max_length: tokens that it reads at once.
    config: its shape.
    mesh: where its weights are.
    dtype: of activations.
  """

  def __init__(
      self,
      directory: str | os.PathLike,
      *,
      batch_size: int = 32,
      params: dict | None = None,
      adapter: str | os.PathLike | None = None,
      mesh: Mesh | None = None,
      dtype: str = "float32",
  ):
    """Loads the model.

    Args:
      directory: a model directory.
      batch_size: rows scored together.
      params: the weights, if they have been read already; they stay as they
        are, and `generate` copies the layers out of them.
      adapter: a PEFT directory, which is merged into weights that are read
        here.
      mesh: where they are, or go to; default: rows over all devices.
      dtype: of activations and of weights that are read here.

    Raises:
      CheckpointError, TokenizerError: it cannot be used; names the file.
      PartitionError: it does not divide over the mesh.
    """
    mesh = mesh or partitioning.make_mesh()
    self.tokenizer = tokenizers.load(directory)
    self.config = huggingface.load_config(directory)
    rows = self.config.vocab_size
    tokenizers.check_vocabulary(self.tokenizer, rows, directory)
    self._may_take = params is None
    if params is None:
      _, params = huggingface.load(directory, mesh, dtype)
      if adapter is not None:
        params = merged(params, *peft.load_adapter(adapter, self.config))
    self._params = params
    self._taken: tuple[Engine, Taken] | None = None  # in place of _params
    self._encodes = isinstance(self.config, EncoderDecoderConfig)
    # An encoder-decoder has no limit; the harness has this one.
    self.max_length = _ENCODED if self._encodes else self.config.max_length
    self.mesh, self.dtype = mesh, dtype
    # An engine compiles its programs once.
    self._engines: dict[tuple[tuple[int, ...], int], Engine] = {}
    self._scorer = lm.Scorer(
        self.config, mesh, batch_size=self.rows(batch_size), dtype=dtype
    )

  def score(
      self,
      rows: Sequence[tuple[str, str] | None],
      *,
      truncate: bool = False,
  ) -> list[lm.Score | str]:
    """Scores (context, continuation) pairs.

    Args:
      rows: the pairs; None is left out. A context may be a conversation
        (conversations.opening).
      truncate: whether a context that is too long loses its beginning, as in
        lm-evaluation-harness; otherwise its row fails.

    Returns:
      A score per row, in their order, or why there is none ("" for None).
    """
    found: list[lm.Score | str] = [""] * len(rows)
    asked, about = [], {}
    for i, row in enumerate(rows):
      if row is None:
        continue
      try:
        pair, is_cut = self._pair(str(i), *row, truncate)
      except pairs.PairError as e:
        found[i] = str(e)
        continue
      asked.append(pair)
      ids = pair.context + pair.continuation
      about[pair.id] = {"unknown": self._unknown(ids), "is_cut": is_cut}
    for score in self._scorer.score(self.params, asked):
      found[int(score.id)] = _finite(score, **about[score.id])
    return found

  def rolling(self, texts: Iterable[str]) -> list[lm.Score | str]:
    """Scores each text as a whole, whatever its length.

    As in lm-evaluation-harness a begin token is of the text's tokens, and is
    predicted from the same token; a text without tokens has 0 of them.

    Returns:
      A score per text, in their order, or why there is none.

    Raises:
      PairError: the model is an encoder-decoder, which has none.
    """
    if self._encodes:
      raise pairs.PairError(
          "an encoder-decoder gives no probability to a text without a context;"
          " score pairs instead"
      )
    texts = list(texts)
    asked = [
        lm.Pair(f"{i}", tuple(context), tuple(continuation))
        for i, text in enumerate(texts)
        for context, continuation in pairs.windows(
            self.tokenizer, text, self.max_length
        )
    ]
    unknown = [0] * len(texts)
    for pair in asked:  # a token is in one window's continuation
      unknown[int(pair.id)] += self._unknown(pair.continuation)
    totals = [lm.Score(f"{i}", 0.0, 0, True) for i in range(len(texts))]
    # The same id comes once per window.
    for score in self._scorer.score(self.params, asked):
      place = int(score.id)
      before = totals[place]
      totals[place] = lm.Score(
          score.id, before.logprob + score.logprob,
          before.num_tokens + score.num_tokens,
          before.is_greedy and score.is_greedy,
      )
    return [
        _finite(total, unknown=number)
        for total, number in zip(totals, unknown, strict=True)
    ]

  def prompt(self, text: str) -> list[int]:
    """Ids of a prompt that is put as it is, or of a conversation."""
    if isinstance(text, Opening):
      ids = conversations.ids(self.tokenizer, text)
    else:
      ids = [*self.tokenizer.begin_ids, *self.tokenizer.encode(text)]
    return [*ids, self.tokenizer.eos_id] if self._encodes else ids

  def generate(
      self,
      requests: Sequence[Request],
      batch_size: int,
      end_ids: tuple[int, ...] = (),
  ) -> Iterator[Result]:
    """Yields an answer per request, as they finish.

    Ask for scores or parameters when all have come, not before.

    Args:
      requests: prompts in ids.
      batch_size: prompts decoded together.
      end_ids: what ends an answer; default: what the checkpoint says.
    """
    end = end_ids or self.tokenizer.end_ids
    if (end, batch_size) not in self._engines:
      self._engines[end, batch_size] = Engine(
          self.config, self.mesh, end_ids=end,
          num_slots=self.rows(batch_size), dtype=self.dtype,
      )
    engine = self._engines[end, batch_size]
    return engine.generate(
        self._for(engine), requests,
        text=lambda: tokenizers.StreamDecoder(self.tokenizer),
    )

  @property
  def params(self) -> dict:
    """Its weights, layers stacked."""
    if self._taken is not None:
      engine, taken = self._taken
      self._params, self._taken = engine.give_back(taken), None
    return self._params

  def with_params(self, params: dict) -> "LanguageModel":
    """Another of the same shape, which shares programs; `params` stay."""
    other = copy.copy(self)
    other._params, other._taken, other._may_take = params, None, False
    return other

  def _for(self, engine: Engine) -> Taken | dict:
    """Weights for an engine; all of them have them in one form."""
    if not self._may_take:
      return self._params
    if self._taken is None:
      self._taken = engine, engine.take(self._params)
      self._params = {}
    return self._taken[1]

  def room(self, new: int) -> int:
    """Tokens that a prompt may have beside so many new ones."""
    # What an encoder reads is no part of the answer's row.
    return self.max_length if self._encodes else self.max_length - new

  def rows(self, batch_size: int) -> int:
    """As many, or a few more, so that they divide over the mesh."""
    ways = partitioning.batch_ways(self.mesh)
    return batch_size + -batch_size % ways

  def _pair(
      self, id_, context, continuation, truncate: bool
  ) -> tuple[lm.Pair, bool]:
    """Ids of a row, and whether its context was cut."""
    before, after = self._cut(context, continuation)
    is_cut = False
    if self._encodes:
      if len(before) > self.max_length and truncate:
        before, is_cut = before[-self.max_length :], True
      if max(len(before), len(after)) > self.max_length:
        raise pairs.PairError(
            f"the context has {len(before)} tokens, the continuation"
            f" {len(after)}, and {self.max_length} are read; shorten them"
        )
      return lm.Pair(id_, tuple(before), tuple(after)), is_cut
    length = len(before) + len(after) - 1
    if length > self.max_length and not truncate:
      raise pairs.PairError(
          f"context and continuation have {length} tokens to read and the"
          f" model reads {self.max_length}; shorten the context, or have its"
          " beginning dropped (--too_long truncate)"
      )
    kept = pairs.truncate(before, after, self.max_length)
    return lm.Pair(id_, *kept), length > self.max_length

  def _unknown(self, ids: Sequence[int]) -> int:
    return tokenizers.num_unknown(self.tokenizer, ids)

  def _cut(self, context, continuation) -> tuple[list[int], list[int]]:
    if isinstance(context, Opening):
      return conversations.encode(
          self.tokenizer, context, continuation, self._encodes
      )
    encode = pairs.encode_apart if self._encodes else pairs.encode
    return encode(self.tokenizer, context, continuation)


def merged(params: dict, adapter: dict, config: lora.LoraConfig) -> dict:
  """A copy of weights with an adapter in them, cut as they are.

  Args:
    params: of the base; they stay.
    adapter, config: as of peft.load_adapter.
  """
  found = lora.merge(params, adapter, config)
  return jax.device_put(found, jax.tree.map(lambda x: x.sharding, params))


def _finite(score: lm.Score, **about) -> lm.Score | str:
  if not math.isfinite(score.logprob):
    return _NOT_FINITE
  return dataclasses.replace(score, **about)
