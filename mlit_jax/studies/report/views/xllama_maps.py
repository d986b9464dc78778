"""The part of xllama's page on where languages lie in the models."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common


def section(results: Mapping[str, Any]) -> spec.Section:
  """Maps of sentences, layer by layer, and how far languages lie apart."""
  items: list[spec.Chart | spec.Table] = []
  for system, layers in _layers(results):
    for number, layer in enumerate(layers, start=1):
      first, second = layer["variance"]
      items.append(
          spec.Chart(
              f"map_{system.replace('-', '_')}_{number}",
              f"Sentences in layer {number} of {system}", spec.SCATTER,
              [
                  spec.Series(
                      common.name(code), [spec.Point(x, y) for x, y in rows]
                  )
                  for code, rows in (
                      (x, layer["points"][x])
                      for x in common.in_order(results, layer["points"])
                  )
              ],
              "first component", "second component",
              "A point is a sentence; the sentences are the same in every"
              f" language. The components hold {first:.0f} and {second:.0f}% of"
              " the variance.",
              f"n = {len(next(iter(layer['points'].values())))} sentences a"
              " language, drawn as they are: nothing is estimated, so there is"
              " no interval. No judge takes part.",
          )
      )
  items.append(_separation(results))
  return spec.Section(
      "representation", "Where languages lie in the models",
      ["Languages that lie apart are separate clouds; where a model has aligned"
       " them, the clouds overlap."], items,
  )


def _layers(results) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
  """(system, its layers), in the study's order."""
  found = results["representation"]
  return [(k, found[k]) for k in common.systems(results) if k in found]


def _separation(results) -> spec.Table:
  codes, rows = results["targets"], []
  for system, layers in _layers(results):
    for number, layer in enumerate(layers, start=1):
      rows.append((f"{system}, layer {number}", [
          spec.of_point(
              spec.estimate("", layer["separation"][code]),
              f"mean cosine of parallel sentences"
              f" {layer['similarity'][code]:.2f}",
              digits=2,
          )
          for code in codes
      ]))
  some = next(iter(results["representation"].values()))[0]
  return spec.Table(
      "separation", "How far English and other languages lie apart",
      [(code, common.name(code)) for code in codes], rows,
      "The distance between the languages' means over the spread of sentences"
      " about them: 0 where they overlap, above 1 where they stand apart.",
      f"n = {some['n']} sentences a language; 95% intervals by jackknife over"
      " the sentences. No judge takes part.", shaded=True, digits=2,
  )
