"""Where do languages lie in a model, layer by layer?

Parallel sentences of FLORES are read, and the states of their tokens averaged
at every layer (xllama, section 5.3 and Figure 5). Retrieval says how far
translations are nearest neighbours, a map what the layer looks like.

Axes: B batch, T length, L layers, D embed.
"""

import collections
import csv
import functools
import io
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mlit_jax import partitioning, records
from mlit_jax.analysis import plots
from mlit_jax.analysis import representation as maps
from mlit_jax.data import tokenizers
from mlit_jax.data.sources import fields
from mlit_jax.evals import mt, outcomes
from mlit_jax.evals.items import BenchmarkError, MissingError, Strict
from mlit_jax.evals.scoring import LanguageModel
from mlit_jax.models import decoder
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import huggingface

NAME = "representation"
_PIVOT = "en"
_SMALLEST = 16


def mean_states(
    model: LanguageModel, texts: Sequence[str], batch_size: int
) -> Float[np.ndarray, "L N D"]:
  """Mean states of each text's tokens, its begin tokens left out.

  The first layer is what enters the first block, the last what the head reads
  (after the final norm), as in transformers' `hidden_states`.

  Raises:
    BenchmarkError: the model is an encoder-decoder, or a text has no tokens.
  """
  _check(model.config)
  begin = list(model.tokenizer.begin_ids)
  rows = []
  for text in texts:
    ids = _ids(model, text)[: model.max_length]
    if len(ids) == len(begin):
      raise BenchmarkError(f"{text!r:.40} has no tokens")
    rows.append(ids)
  read = _reader(model.config, len(begin), model.dtype)
  batch_size = model.rows(batch_size)
  order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
  found: list[np.ndarray | None] = [None] * len(rows)
  with partitioning.activation_rules(model.mesh):
    for start in range(0, len(order), batch_size):
      taken = order[start : start + batch_size]
      length = _SMALLEST
      while length < len(rows[taken[-1]]):
        length *= 2
      tokens = np.zeros(
          (batch_size, min(length, model.max_length)), np.int32
      )
      lengths = np.ones(batch_size, np.int32)
      for row, i in enumerate(taken):
        tokens[row, : len(rows[i])], lengths[row] = rows[i], len(rows[i])
      placed = jax.device_put(
          (tokens, lengths), partitioning.batch_sharding(model.mesh)
      )
      states = jax.device_get(read(model.params, *placed))
      for row, i in enumerate(taken):
        found[i] = states[:, row]
  return np.stack(found, axis=1)


def _ids(model: LanguageModel, text: str) -> list[int]:
  return [*model.tokenizer.begin_ids, *model.tokenizer.encode(text)]


def check(directory: str | os.PathLike) -> None:
  """BenchmarkError if a model is one that representations are not read off."""
  _check(huggingface.load_config(directory))


def _check(config) -> None:
  if isinstance(config, EncoderDecoderConfig):
    raise BenchmarkError("representations are read off decoders alone")


@functools.cache
def _reader(config: DecoderConfig, num_begin: int, dtype: str):
  """Compiled once a shape, however often it is asked."""
  return jax.jit(functools.partial(_read, config, num_begin, dtype))


def _read(
    config, num_begin: int, dtype, params, tokens: Int[Array, "B T"],
    lengths: Int[Array, "B"],
) -> Float[Array, "L B D"]:
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  (last, _), kept = decoder.Decoder(config, dtype).apply(
      {"params": params}, tokens, positions,
      (positions < lengths[:, None]).astype(jnp.int32), method="hidden",
      mutable=[decoder.STATES],
  )
  states = kept[decoder.STATES]
  (blocks,), (first,) = states["blocks"]["block"], states["embedded"]
  every = jnp.concatenate([first[None], blocks[:-1], last[None]])
  every = every.astype(jnp.float32)
  counted = (positions >= num_begin) & (positions < lengths[:, None])
  total = jnp.einsum("LBTD,BT->LBD", every, counted.astype(jnp.float32))
  return total / jnp.maximum(counted.sum(1), 1)[:, None]


def retrieved(
    first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N D"]
) -> Float[np.ndarray, "N"]:
  """How far each sentence is found from its translation, by cosine.

  1 where it is the nearest in both directions, 0.5 in one, 0 in none.
  """
  a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
  near = a @ b.T
  own = np.arange(len(near))
  return np.mean([near.argmax(1) == own, near.argmax(0) == own], axis=0)


def run(
    model: LanguageModel,
    texts: Mapping[str, Sequence[str]],
    batch_size: int,
    output: str | os.PathLike,
    show: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
  """Probes the model; writes tables and maps to the folder.

  Args:
    model: a decoder.
    texts: from sentences().
    batch_size: sentences read at once.
    output: gets representation/layers.csv, points.csv, maps.pdf and maps.png.
    show: is told what is done.

  Returns:
    Language -> its summary: `score` is the retrieval of the middle layer,
    `layers` of every one.
  """
  states, ids = {}, {}
  for lang, lines in texts.items():
    ids[lang] = [_ids(model, line) for line in lines]
    states[lang] = mean_states(model, lines, batch_size)
    show(f"{NAME} {lang}: {len(lines)} sentences read")
  results = {}
  num_layers = len(states[_PIVOT])
  for lang in texts:
    if lang == _PIVOT:
      continue
    layers = [
        retrieved(*pair)
        for pair in zip(states[_PIVOT], states[lang], strict=True)
    ]
    rows = [
        {"id": f"flores/{i}", "cluster": f"{i}",
         "scores": {"retrieval": float(value)}}
        | _about(model, (ids[_PIVOT][i], ids[lang][i]))
        for i, value in enumerate(layers[num_layers // 2])
    ]
    outcomes.write_rows(output, NAME, lang, rows)
    results[lang] = outcomes.summary(NAME, rows) | {
        "layers": [float(values.mean()) for values in layers]
    }
    show(f"{NAME} {lang}: {outcomes.line(results[lang])}")
  _write_maps(pathlib.Path(output) / NAME, states, results)
  return results


def _about(model: LanguageModel, sides: Sequence[Sequence[int]]) -> dict:
  """What a row says of a sentence and its translation."""
  long = any(len(ids) > model.max_length for ids in sides)
  count = functools.partial(tokenizers.num_unknown, model.tokenizer)
  unknown = sum(map(count, sides))
  return {"is_cut": long} | ({"unknown": unknown} if unknown else {})


def sentences(
    data: str | os.PathLike,
    languages: Collection[str] | None,
    limit: int | None,
) -> tuple[dict[str, list[str]], list[str]]:
  """Language -> FLORES's sentences, parallel, English first.

  And the languages that have no file, where none were asked for.

  Args:
    data: the folder with its files, or items.HUB.
    languages: beside English; None: all that have files.
    limit: sentences at most.

  Raises:
    BenchmarkError: files are not there, or not of one length.
  """
  wanted = mt.LANGUAGES if languages is None else languages
  found: dict[str, list[str]] = {}
  missing = []
  for lang in (_PIVOT, *(x for x in wanted if x != _PIVOT)):
    try:
      rows = list(mt.FILES.rows(lang, data))[:limit]
    except MissingError:
      if lang == _PIVOT or languages is not None:
        raise
      missing.append(lang)
      continue
    found[lang] = []
    for row in rows:
      with Strict().catch(row):
        found[lang].append(fields.text(row.data, "text"))
  sizes = collections.Counter(len(lines) for lines in found.values())
  if len(found) < 2 or len(sizes) > 1 or min(sizes) < 3:
    raise BenchmarkError(
        f"{data}: FLORES must have English and another language, with the same"
        f" number of sentences, three or more; found"
        f" {({lang: len(lines) for lang, lines in found.items()})}"
    )
  return found, missing


def _write_maps(place: pathlib.Path, states, results) -> None:
  num_sentences = states[_PIVOT].shape[1]
  layers, points, panels = io.StringIO(), io.StringIO(), {}
  by_layer = csv.writer(layers, lineterminator="\n")
  by_layer.writerow(["layer", "variance_1", "variance_2", *results])
  by_point = csv.writer(points, lineterminator="\n")
  by_point.writerow(["layer", "language", "sentence", "x", "y"])
  for layer in range(len(states[_PIVOT])):
    every = np.concatenate([states[lang][layer] for lang in states])
    places, shares = maps.project(every)
    by_layer.writerow([
        layer, *(f"{x:.6g}" for x in shares),
        *(f"{results[lang]['layers'][layer]:.6g}" for lang in results),
    ])
    parts = dict(
        zip(
            states, places.reshape(len(states), num_sentences, 2), strict=True
        )
    )
    panels[f"layer {layer}"] = parts
    by_point.writerows(
        [layer, lang, i, f"{x:.6g}", f"{y:.6g}"]
        for lang, part in parts.items() for i, (x, y) in enumerate(part)
    )
  records.write_text(place / "layers.csv", [layers.getvalue()])
  records.write_text(place / "points.csv", [points.getvalue()])
  figure = plots.maps(panels)
  for suffix in ("pdf", "png"):
    plots.save(figure, place / f"maps.{suffix}")
