"""Sentence vectors of a model, layer by layer."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from mlit_jax.data import tokenizers

VECTORS = "vectors.npz"
_ROWS = 32  # sentences read together


def represent(
    model: pathlib.Path,
    texts: Mapping[str, Sequence[str]],
    show: Callable[[str], None],
) -> dict[str, Float[np.ndarray, "layers sentences width"]]:
  """The mean over a text's tokens of what each layer gives, after the norm.

  The states of layer l are what a decoder of the first l layers hands to its
  head, so that the last layer's are the model's own.

  Args:
    model: a directory with a decoder; an adapter beside it is merged.
    texts: language -> sentences.
    show: shows the progress.
  """
  import jax

  from mlit_jax.studies import steps_answers

  tokenizer = tokenizers.load(model)
  config, params = steps_answers.load(model)
  found = {
      lang: np.empty(
          (config.num_layers, len(rows), config.embed_dim), np.float32
      )
      for lang, rows in texts.items()
  }
  for layer in range(config.num_layers):
    short = dataclasses.replace(config, num_layers=layer + 1)
    if config.windowed_layers is not None:
      short = dataclasses.replace(
          short, windowed_layers=config.windowed_layers[: layer + 1]
      )
    blocks = jax.tree.map(lambda x, n=layer + 1: x[:n], params["blocks"])
    means = _reader(short)
    for lang, rows in texts.items():
      ids = [tokenizer.encode(text) for text in rows]
      for start in range(0, len(ids), _ROWS):
        batch = _batch(ids[start : start + _ROWS])
        part = np.asarray(means({**params, "blocks": blocks}, *batch))
        stop = min(start + _ROWS, len(ids))
        found[lang][layer, start:stop] = part[: stop - start]
    show(f"layer {layer + 1}/{config.num_layers}")
  return found


def write(
    path: pathlib.Path,
    found: Mapping[str, Float[np.ndarray, "layers sentences width"]],
) -> None:
  np.savez(path, **found)


def read(
    path: pathlib.Path,
) -> dict[str, Float[np.ndarray, "layers sentences width"]]:
  with np.load(path) as found:
    return dict(found)


@functools.cache
def _reader(config):
  """Parameters, tokens and segments -> mean states, compiled once a shape."""
  import jax
  import jax.numpy as jnp

  from mlit_jax.models import decoder

  model = decoder.Decoder(config)

  @jax.jit
  def means(params, tokens, segments):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    hidden, _ = model.apply(
        {"params": params}, tokens, positions, segments, method="hidden"
    )
    weights = (segments > 0).astype(jnp.float32)
    total = jnp.einsum("BTD,BT->BD", hidden.astype(jnp.float32), weights)
    return total / jnp.maximum(weights.sum(axis=1), 1.0)[:, None]

  return means


def _batch(ids: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
  """Tokens and segments, padded to a power of two and to _ROWS rows."""
  longest = max(map(len, ids), default=1)
  shape = _ROWS, 1 << max(4, (longest - 1).bit_length())
  tokens, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
  for i, row in enumerate(ids):
    tokens[i, : len(row)], segments[i, : len(row)] = row, 1
  return tokens, segments
