"""Reads results.json of a study: every number checked, every error named."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from mlit_jax import languages as languages_lib
from mlit_jax import records
from mlit_jax.studies.report import results

FILE_NAME = "results.json"
STUDIES = ("pinch",)


def read(directory: str | os.PathLike) -> results.Study:
  """Reads and checks results.json of a study directory.

  Raises:
    RecordError: the file is missing, cut off, or a field does not fit; one
      line that names file and field.
  """
  path = pathlib.Path(directory) / FILE_NAME
  data = raw(directory)
  try:
    return _study(data)
  except ValueError as e:
    raise records.RecordError(f"{path}: {e}") from None


def raw(directory: str | os.PathLike) -> Any:
  """results.json as it stands; RecordError if it is not JSON."""
  path = pathlib.Path(directory) / FILE_NAME
  try:
    text = path.read_text(encoding="utf-8")
  except OSError as e:
    raise records.RecordError(
        f"{path}: cannot be read: {e.strerror}; a report needs the directory"
        " of a finished study"
    ) from None
  except UnicodeDecodeError:
    raise records.RecordError(f"{path}: not UTF-8") from None
  try:
    return json.loads(text, parse_constant=_refuse_constant)
  except json.JSONDecodeError as e:
    raise records.RecordError(
        f"{path}: not JSON ({e.msg} at line {e.lineno}); the file was cut off"
        " or edited, run the study again"
    ) from None
  except ValueError as e:
    raise records.RecordError(f"{path}: {e}") from None


def _refuse_constant(name: str):
  raise ValueError(f"{name} is not a number that JSON has")


def _study(data: Any) -> results.Study:
  name = _field(data, "study", str, "the document")
  if name not in STUDIES:
    raise ValueError(
        f"there is no report for study {name!r}; of a study of your own, give"
        " its file: --study my_study.py"
    )
  judge = _field(data, "judge", dict)
  codes = _field(data, "languages", list)
  if not codes or len(set(map(str, codes))) != len(codes):
    raise ValueError("languages must be a list of different codes, one or more")
  chosen = tuple(languages_lib.get(code) for code in codes)
  if other := [x.code for x in chosen if x.code not in codes]:
    raise ValueError(f"languages must be the project's own codes: {other}")
  rank = {code: i for i, code in enumerate(codes)}
  systems = _each(_field(data, "systems", dict), "systems", _system)
  ordered = sorted(
      systems.values(),
      key=lambda x: (
          results.KINDS.index(x.kind),
          rank.get(x.language, len(rank)),
          x.percent or 0,
          x.name,
      ),
  )
  heat_map = {}
  for row, cells in _section(data, "heat_map").items():
    system = systems.get(row)
    if system is None or system.kind != "monolingual":
      raise ValueError(f"heat_map.{row}: no monolingual system of that name")
    heat_map[system.language] = _by_language(
        cells, f"heat_map.{row}", rank, _comparison
    )
  learning = _section(data, "learning")
  failures = _section(data, "failures")
  return results.Study(
      name=name,
      preset=_field(data, "preset", str),
      seed=_field(data, "seed", int),
      version=_field(data, "version", str),
      judge=results.Judge(
          spec=_field(judge, "spec", str, "judge"),
          is_language_model=_field(judge, "is_language_model", bool, "judge"),
          note=_field(judge, "note", str, "judge"),
      ),
      languages=chosen,
      base=_base(_field(data, "base", dict), rank),
      systems={system.name: system for system in ordered},
      heat_map=heat_map,
      curve=_curve(data.get("curve") or [], rank),
      against_base=_languages_section(data, "against_base", rank),
      against_control=_languages_section(data, "against_control", rank),
      exact_match=_rates(data, "exact_match", rank),
      language_consistency=_rates(data, "language_consistency", rank),
      language_unknown=_rates(data, "language_unknown", rank)
      if "language_unknown" in data else {},
      exact_match_by_task=_each(
          _section(data, "exact_match_by_task"), "exact_match_by_task", _rate
      ),
      judgments=_field(data, "judgments", int),
      failures={
          kind: _field(failures, kind, int, "failures") for kind in failures
      },
      floor=_number(learning, "against_base_floor", "learning", default=None),
  )


def _system(row: Any, where: str) -> results.System:
  kind = _field(row, "kind", str, where)
  if kind not in results.KINDS:
    raise ValueError(
        f"{where}.kind must be one of {results.KINDS}, not {kind!r}"
    )
  tuned_on_one = kind in ("control", "monolingual")
  counts = row.get("counts") or {}
  return results.System(
      name=where.partition(".")[2],
      kind=kind,
      language=(
          languages_lib.get(_field(row, "language", str, where)).code
          if tuned_on_one
          else ""
      ),
      percent=(
          _number(row, "percent", where) if kind in ("mixture", "half")
          else None
      ),
      counts={code: _field(counts, code, int, f"{where}.counts")
              for code in counts},
      steps=_number(row, "steps", where, default=None),
      tokens=_number(row, "tokens", where, default=None),
  )


def _base(row: dict, rank: Mapping[str, int]) -> results.Base:
  shares = _section(row, "shares")
  return results.Base(
      name=_field(row, "name", str, "base"),
      **{
          key: _field(row, key, int, "base")
          for key in ("parameters", "vocab_size", "num_layers", "embed_dim")
      },
      # Unknown of a base that was given.
      tokens_seen=_number(row, "tokens_seen", "base", default=None),
      shares={
          code: _number(shares, code, "base.shares")
          for code in sorted(shares, key=lambda c: rank.get(c, len(rank)))
      },
  )


def _curve(points: Any, rank: Mapping[str, int]) -> tuple[results.Point, ...]:
  if not isinstance(points, list):
    raise ValueError("curve must be a list")
  read = []
  for i, row in enumerate(points):
    where = f"curve[{i}]"

    def maybe(summary, name):
      return None if summary is None else _comparison(summary, name)

    read.append(
        results.Point(
            percent=_number(row, "percent", where),
            system=_field(row, "system", str, where),
            languages=_by_language(
                _field(row, "languages", dict, where), f"{where}.languages",
                rank, maybe,
            ),
            **{
                key: _estimate(row.get(key), f"{where}.{key}", "score")
                for key in ("english", "others", "average")
            },
        )
    )
  return tuple(sorted(read, key=lambda point: point.percent))


def _rates(data: dict, key: str, rank: Mapping[str, int]):
  return {
      system: _by_language(row, f"{key}.{system}", rank, _rate)
      for system, row in _section(data, key).items()
  }


def _languages_section(data: dict, key: str, rank: Mapping[str, int]):
  return _by_language(_section(data, key), key, rank, _comparison)


def _by_language(
    row: Any, where: str, rank: Mapping[str, int], read: Callable
) -> dict:
  """Reads one value a language, in the order of the study."""
  if not isinstance(row, dict):
    raise ValueError(f"{where} must be an object, not {row!r:.40}")
  if unknown := [code for code in row if code not in rank]:
    raise ValueError(f"{where}: {unknown[0]!r} is not among the languages")
  return {
      code: read(row[code], f"{where}.{code}")
      for code in sorted(row, key=rank.__getitem__)
  }


def _each(rows: dict, where: str, read: Callable) -> dict:
  return {key: read(row, f"{where}.{key}") for key, row in rows.items()}


def _comparison(row: Any, where: str) -> results.Comparison:
  score = _estimate(row, where, "score")
  failures = _section(row, "failures")
  return results.Comparison(
      **dataclasses.asdict(score),
      **{key: _field(row, key, int, where) for key in ("win", "tie", "loss")},
      flip_rate=_number(row, "flip_rate", where),
      failed=_field(row, "failed", int, where),
      failures={
          kind: _field(failures, kind, int, f"{where}.failures")
          for kind in failures
      },
  )


def _rate(row: Any, where: str) -> results.Estimate:
  return _estimate(row, where, "value")


def _estimate(row: Any, where: str, key: str) -> results.Estimate:
  if row is None:
    return results.NOTHING
  value = _number(row, key, where)
  interval = _field(row, "ci", list, where)
  if len(interval) != 2:
    raise ValueError(f"{where}.ci must be [low, high], not {interval!r:.40}")
  ends = {"low": interval[0], "high": interval[1]}
  low, high = (_number(ends, end, f"{where}.ci") for end in ends)
  for percent in (value, low, high):
    if percent is not None and not 0 <= percent <= 100:
      raise ValueError(f"{where}: {percent} is not a percentage")
  return results.Estimate(value, low, high, _field(row, "n", int, where))


_REQUIRED = object()


def _number(row: Any, key: str, where: str, default: Any = _REQUIRED):
  """A finite number, or None where the file says null."""
  if default is not _REQUIRED and key not in row:
    return default
  value = _field(row, key, (int, float, type(None)), where)
  if value is not None and not math.isfinite(value):
    raise ValueError(f"{where}.{key} must be finite, not {value}")
  return value


def _section(data: dict, key: str) -> dict:
  """A part of the results that a smaller preset may leave out."""
  section = data.get(key)
  if not isinstance(section, dict | None):
    raise ValueError(f"{key} must be an object, not {section!r:.40}")
  return section or {}


def _field(row: Any, key: str, kind: Any, where: str = "") -> Any:
  if not isinstance(row, dict):
    raise ValueError(f"{where} must be an object, not {row!r:.40}")
  if key not in row:
    raise ValueError(f"{where or 'the document'} has no {key!r}")
  value = row[key]
  # To Python True is a whole number; to a reader of JSON it is not.
  if not isinstance(value, kind) or (
      isinstance(value, bool) and kind is not bool
  ):
    raise ValueError(
        f"{where + '.' if where else ''}{key} must be {_name(kind)}, not"
        f" {value!r:.60}"
    )
  return value


def _name(kind: Any) -> str:
  names = {str: "text", int: "a whole number", dict: "an object"}
  names |= {list: "a list", bool: "true or false"}
  return names.get(kind, "a number or null")
