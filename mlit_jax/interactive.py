"""A model to talk to, from Python: load, generate, score, embed.

    model = InteractiveModel("models/base", {"sw": "adapters/sw"})
    model.generate(["Mji mkuu wa Kenya ni upi?"], "sw")[0].response
    model.score([("The capital of Kenya is", " Nairobi")])[0].logprob
    model.embed(["Habari", "Hello"], layer=1)

It is what notebooks use. The weights are read once, for all of it; the work is
that of `mlit decode`, `mlit score` and `mlit eval representation`.

Axes: N texts, D embed.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from mlit_jax import partitioning
from mlit_jax.errors import UsageError
from mlit_jax.evals import lm, representation, scoring
from mlit_jax.records import Instruction, Message, Response
from mlit_jax.studies import answering, session

_UNKNOWN = "und"  # the language of a prompt that says none (ISO 639-2)


class InteractiveModel:
  """A model directory, and any number of adapters over it.

  Attributes:
    config: the model's shape.
    params: its weights.
    mesh: where they are.
    tokenizer: the model's.
    adapters: names of the adapters.
  """

  def __init__(
      self,
      directory: str | os.PathLike,
      adapters: Mapping[str, str | os.PathLike] | None = None,
      *,
      template: str = "plain",
      batch_size: int = 8,
      mesh_shape: tuple[int, int, int] = session.ROWS,
      dtype: str = "float32",
  ):
    """Loads the model; programs are compiled when they are first needed.

    Args:
      directory: a model directory of any family that can be read.
      adapters: PEFT directories, by names of your choice.
      template: puts prompts in words; `checkpoint` is the directory's own.
      batch_size: texts that are worked on together, or a few more so that
        they divide over the devices.
      mesh_shape: sizes of data, fsdp and tensor; default: rows over all
        devices.
      dtype: of the weights.

    Raises:
      CheckpointError, TokenizerError: it cannot be used; names the file.
      UsageError: no such template.
    """
    self._name = pathlib.Path(directory).name
    self._answerer = answering.Answerer(
        directory, template, batch_size, adapters=adapters,
        mesh_shape=mesh_shape, dtype=dtype, keep_params=True,
    )
    self.config, self.params = self._answerer.config, self._answerer.params
    self.mesh = session.mesh(mesh_shape)
    self._base = scoring.LanguageModel(
        directory, batch_size=batch_size, params=self.params, mesh=self.mesh
    )
    self.tokenizer = self._base.tokenizer
    self.adapters = tuple(self._answerer.adapters)
    self._batch_size = batch_size

  def generate(
      self,
      prompts: Sequence[str | Instruction],
      adapter: str | None = None,
      *,
      max_new_tokens: int = 64,
      **sampling,
  ) -> list[Response]:
    """Answers, those of `mlit decode` with the same options.

    Args:
      prompts: what a user says; or rows as `mlit decode` reads them.
      adapter: whose answers; None: the model's own.
      max_new_tokens: of an answer.
      **sampling: temperature, seed, stop and the like: studies.answering
        .Options has them all.

    Returns:
      A response per prompt, in their order; one that could not be answered
      says why in `failure`.

    Raises:
      UsageError: no such adapter.
      TypeError: no such option.
    """
    return self.compare(
        prompts, [adapter], max_new_tokens=max_new_tokens, **sampling
    )[adapter]

  def compare(
      self,
      prompts: Sequence[str | Instruction],
      adapters: Sequence[str | None] | None = None,
      *,
      max_new_tokens: int = 64,
      **sampling,
  ) -> dict[str | None, list[Response]]:
    """The answers of several adapters, decoded together.

    Args:
      prompts: as of generate().
      adapters: whose answers; default: the model's own (None) and everyone's.
      max_new_tokens, **sampling: as of generate().

    Returns:
      Adapter -> its responses, as of generate().
    """
    names = (None, *self.adapters) if adapters is None else adapters
    names = list(dict.fromkeys(names))
    for name in names:
      self._check(name)
    rows = [_row(i, prompt) for i, prompt in enumerate(_several(prompts))]
    sampling["stop"] = tuple(_several(sampling.get("stop", ())))
    options = answering.Options(max_new_tokens, **sampling)
    questions = [
        answering.Question(row, name or self._name, name)
        for name in names for row in rows
    ]
    found = dict(self._answerer.answer(questions, options))
    answers = iter(found[i].response for i in range(len(questions)))
    return {name: [next(answers) for _ in rows] for name in names}

  def score(
      self,
      pairs: Sequence[tuple[str, str]],
      adapter: str | None = None,
      *,
      truncate: bool = False,
  ) -> list[lm.Score | str]:
    """Log-likelihoods of continuations, as `mlit score` has them.

    Args:
      pairs: (context, continuation).
      adapter: by whom; its maps are merged into a copy of the weights.
      truncate: whether a context that is too long loses its beginning.

    Returns:
      A score per pair, in their order, or why there is none.
    """
    return self._language(adapter).score(pairs, truncate=truncate)

  def embed(
      self, texts: Sequence[str], layer: int = -1, adapter: str | None = None
  ) -> Float[np.ndarray, "N D"]:
    """Mean states of each text's tokens at a layer.

    Args:
      texts: of any language.
      layer: 0 is what enters the first block, the last what the head reads;
        negative ones count from the end.
      adapter: as of score().

    Raises:
      UsageError: there is no such layer.
      BenchmarkError: an encoder-decoder, or a text without tokens.
    """
    model, texts = self._language(adapter), _several(texts)
    states = representation.mean_states(model, texts, self._batch_size)
    if not -len(states) <= layer < len(states):
      raise UsageError(
          f"no layer {layer}: there are 0 to {len(states) - 1}, 0 being what"
          " enters the first block"
      )
    return states[layer]

  def layout(self) -> list[partitioning.Layout]:
    """A row per array of the weights: shape, type, how it is cut, bytes.

    partitioning.layout_table() makes a table of them.
    """
    return partitioning.layout(self.params)

  def _language(self, adapter: str | None) -> scoring.LanguageModel:
    """What scores and embeds, with the adapter in its weights."""
    self._check(adapter)
    if adapter is None:
      return self._base
    merged = scoring.merged(self.params, *self._answerer.adapters[adapter])
    return self._base.with_params(merged)

  def _check(self, adapter: str | None) -> None:
    if adapter is not None and adapter not in self.adapters:
      raise UsageError(
          f"no adapter {adapter!r}; there are"
          f" {', '.join(self.adapters) or 'none'}"
      )


def _row(number: int, prompt: str | Instruction) -> Instruction:
  if isinstance(prompt, Instruction):
    return prompt
  return Instruction(f"{number}", _UNKNOWN, (Message("user", prompt),))


def _several(texts):
  """Refuses a text where several are wanted: its letters would be taken."""
  if isinstance(texts, str):
    raise UsageError(f"give a list of texts: [{texts[:40]!r}]")
  return list(texts)
