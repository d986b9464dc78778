"""Scores against the size of the base, a line for each family of models."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mlit_jax.studies.report import spec
from mlit_jax.studies.report.views import common

_UNITS = ((10**9, "B"), (10**6, "M"))


@dataclasses.dataclass(frozen=True)
class Base:
  """A base of the study.

  Attributes:
    name: of the base.
    family: of its checkpoints, llama for instance.
    parameters: how many.
  """

  name: str
  family: str
  parameters: int

  @property
  def size(self) -> str:
    """Its place on the axis."""
    for unit, letter in _UNITS:
      if self.parameters >= unit:
        return f"{self.parameters / unit:.3g}{letter}"
    return f"{self.parameters:,}"


def bases(results: Mapping[str, Any]) -> list[Base]:
  """The study's, smallest first."""
  found = [
      Base(name, results["families"][name], number)
      for name, number in results["sizes"].items()
  ]
  return sorted(found, key=lambda base: (base.parameters, base.name))


def chart(
    results: Mapping[str, Any],
    name: str,
    title: str,
    points: Mapping[str, Mapping[str, spec.Point]],
    y_label: str,
    reading: str,
) -> spec.Chart:
  """One figure: of each family a line for each way to tune.

  Args:
    results: of the study, with `sizes` and `families`.
    name: of the figure's files.
    title: beside its number.
    points: way to tune -> base -> its score; where x is, does not matter.
    y_label: of the axis.
    reading: how to read it.
  """
  known = bases(results)
  families = list(dict.fromkeys(base.family for base in known))
  series = []
  for way, row in points.items():
    for family in families:
      own = [b for b in known if b.family == family and b.name in row]
      if own:
        series.append(
            spec.Series(
                f"{family}: {way}" if len(families) > 1 else way,
                [dataclasses.replace(row[b.name], x=b.size) for b in own],
            )
        )
  return spec.Chart(
      name, title, spec.LINES, series, "parameters of the base", y_label,
      f"{reading} The axis has the bases by size, at equal distances.",
      common.judged(results, common.points(series)),
      order=tuple(dict.fromkeys(base.size for base in known)),
  )


def table(
    results: Mapping[str, Any],
    name: str,
    title: str,
    points: Mapping[str, Mapping[str, spec.Point]],
    reading: str,
) -> spec.Table:
  """The same as numbers: a row for each base, family by family."""
  known = sorted(bases(results), key=lambda b: (b.family, b.parameters))
  every = [p for row in points.values() for p in row.values()]
  return spec.Table(
      name, title,
      [("parameters", "parameters"), *((way, way) for way in points)],
      [
          (
              f"{base.family}: {base.name}",
              [spec.Cell(f"{base.parameters:,}")]
              + [_cell(row.get(base.name)) for row in points.values()],
          )
          for base in known
      ],
      reading, common.judged(results, every),
  )


def _cell(point: spec.Point | None) -> spec.Cell:
  if point is None or point.y is None:
    return spec.Cell(None, "not measured")
  said = f"{point.y:.2f}"
  if point.low is not None and point.high is not None:
    said += f" [{point.low:.2f}, {point.high:.2f}]"
  return spec.Cell(said, f"n = {point.n:,}" if point.n else "", point.place)
