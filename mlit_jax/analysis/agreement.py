"""Do a judge and people agree? Correlations and agreement, per language.

Two levels: systems, by their totals (Chen et al. 2024, Table 3), and items,
where the ratings are given one by one.
"""

import collections
import csv
import dataclasses
import io
import math
import random
import statistics as python_statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlit_jax.analysis import statistics

COLUMNS = ("system", "lang", "human", "judge")
_MOST_CATEGORIES = 13  # 0 to 3 in half points, or 1 to 10, and some room
_LARGEST = 1e100
_SAMPLES, _DECIMALS = 1000, 6


class RatingsError(ValueError):
  """Ratings that cannot be used; names the line."""


@dataclasses.dataclass(frozen=True)
class Rating:
  """What people and the judge gave.

  Attributes:
    item: what was rated; "" for a system's total.
  """

  system: str
  lang: str
  human: float
  judge: float
  item: str = ""


def read(text: str) -> list[Rating]:
  """Ratings from CSV with the columns system, lang, human, judge (item).

  Raises:
    RatingsError: a column or value is missing or no number, or a row stands
      twice.
  """
  reader = csv.DictReader(io.StringIO(text, newline=""))
  try:
    return _read(reader)
  except csv.Error as e:
    raise RatingsError(f"after line {reader.line_num}: {e}") from None


def _read(reader: csv.DictReader) -> list[Rating]:
  columns = [c.strip() for c in reader.fieldnames or ()]
  if missing := [c for c in COLUMNS if c not in columns]:
    raise RatingsError(
        f"line 1: no column {missing[0]!r}; the columns are"
        f" {', '.join(COLUMNS)} and, for single ratings, item"
    )
  if len(set(columns)) < len(columns):
    raise RatingsError("line 1: two columns of one name; keep one")
  reader.fieldnames = columns
  found, seen = [], {}
  for row in reader:
    line = reader.line_num
    if None in row:
      raise RatingsError(
          f"line {line}: {len(columns) + len(row[None])} cells under"
          f" {len(columns)} columns; a number has a point, not a comma"
      )
    values = {}
    for name in ("human", "judge"):
      try:
        values[name] = float(row[name])
      except (TypeError, ValueError):
        values[name] = math.nan
      # Squares of larger ones, and their sums, are more than floats hold.
      if not abs(values[name]) <= _LARGEST:
        raise RatingsError(
            f"line {line}: {name}={row[name]!r} is not a number that can be"
            " a rating"
        )
    system, lang, item = (
        (row.get(name) or "").strip() for name in ("system", "lang", "item")
    )
    if not system or not lang:
      raise RatingsError(f"line {line}: system and lang must be given")
    if "item" in columns and not item:
      raise RatingsError(f"line {line}: no item; give one to every row or none")
    key = system, lang, item
    if key in seen:
      raise RatingsError(
          f"line {line}: {' '.join(filter(None, key))} stands in line"
          f" {seen[key]} already"
      )
    seen[key] = line
    found.append(Rating(system, lang, **values, item=item))
  if not found:
    raise RatingsError("there are no ratings; give a row each")
  return found


def summarise(
    ratings: Sequence[Rating], level: float = 0.95
) -> dict[str, dict[str, Any]]:
  """Language -> what `systems` and, of single ratings, `items` show.

  Each is {measure: {"value", "ci", "n"}}, None where a measure means nothing:
  pearson, spearman, kendall (tau b), alpha (Krippendorff's, interval) and, of
  items, agreement (share of equal ratings), kappa (Cohen's) and
  weighted_kappa (its quadratic form). Intervals of correlations are Fisher's
  and, of ranks, Bonett and Wright's (2000, Psychometrika 65); the others are of
  a bootstrap over the items.

  Args:
    ratings: of any number of languages.
    level: of the intervals.
  """
  groups = collections.defaultdict(list)
  for rating in ratings:
    groups[rating.lang].append(rating)
  return {lang: _language(rows, level) for lang, rows in groups.items()}


def _language(rows: Sequence[Rating], level: float) -> dict[str, Any]:
  totals = collections.defaultdict(list)
  for row in rows:
    totals[row.system].append(row)
  human, judge = (
      [math.fsum(getattr(r, name) for r in group) / len(group)
       for group in totals.values()]
      for name in ("human", "judge")
  )
  found: dict[str, Any] = {"systems": _correlations(human, judge, level)}
  found["systems"]["alpha"] = _plain(_alpha(human, judge), len(human))
  if rows[0].item:
    human, judge = ([getattr(r, k) for r in rows] for k in ("human", "judge"))
    found["items"] = _correlations(human, judge, level) | _agreement(
        rows, level
    )
  return found


def _correlations(human, judge, level: float) -> dict[str, Any]:
  n = len(human)
  nothing = dict.fromkeys(("pearson", "spearman", "kendall"))
  if n < 2 or len(set(human)) < 2 or len(set(judge)) < 2:
    return nothing
  from scipy import stats  # half a second to import

  r = statistics.pearson(human, judge, level)
  rho = float(stats.spearmanr(human, judge).statistic)
  tau = float(stats.kendalltau(human, judge).statistic)
  return {
      "pearson": _measure(r.r, r.low, r.high, n),
      "spearman": _measure(
          rho, *_ranks(rho, (1 + rho * rho / 2) / max(n - 3, 1), n > 3, level),
          n,
      ),
      "kendall": _measure(
          tau, *_ranks(tau, 0.437 / max(n - 4, 1), n > 4, level), n
      ),
  }


def _ranks(r: float, variance: float, enough: bool, level: float):
  """An interval through Fisher's z with Bonett and Wright's variance."""
  if not enough:
    return -1.0, 1.0
  if abs(r) == 1:
    return r, r
  z = python_statistics.NormalDist().inv_cdf((1 + level) / 2)
  half = z * math.sqrt(variance)
  return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def _agreement(rows: Sequence[Rating], level: float) -> dict[str, Any]:
  """Measures of single ratings, with bootstrap intervals over the items."""
  measures: dict[str, Callable] = {"alpha": _alpha}
  values = {v for row in rows for v in (row.human, row.judge)}
  if len(values) <= _MOST_CATEGORIES:
    measures |= {
        "agreement": _equal, "kappa": cohens_kappa,
        "weighted_kappa": lambda a, b: cohens_kappa(a, b, weighted=True),
    }
  found = dict.fromkeys(("agreement", "kappa", "weighted_kappa", "alpha"))
  items = collections.defaultdict(list)
  for row in rows:
    items[row.item].append((row.human, row.judge))
  clusters, rng = list(items.values()), random.Random(0)
  drawn = [
      [pair for _ in clusters for pair in rng.choice(clusters)]
      for _ in range(_SAMPLES)
  ]
  for name, measure in measures.items():
    value = measure(*zip(*(p for c in clusters for p in c), strict=True))
    if value is None:
      continue
    spread = [measure(*zip(*pairs, strict=True)) for pairs in drawn]
    known = sorted(x for x in spread if x is not None)
    tail = (1 - level) / 2
    low, high = (np.quantile(known, q) for q in (tail, 1 - tail))
    found[name] = _measure(value, float(low), float(high), len(rows))
  return found


def _equal(a: Sequence[float], b: Sequence[float]) -> float:
  return sum(x == y for x, y in zip(a, b, strict=True)) / len(a)


def cohens_kappa(
    a: Sequence[float], b: Sequence[float], *, weighted: bool = False
) -> float | None:
  """Agreement beyond chance (Cohen 1960; 1968 with quadratic weights).

  None if both always gave one and the same rating: there is no chance to agree
  beyond.
  """
  scale = sorted({*a, *b})
  place = {value: i for i, value in enumerate(scale)}
  table = np.zeros((len(scale), len(scale)))
  for x, y in zip(a, b, strict=True):
    table[place[x], place[y]] += 1
  if weighted:
    cost = np.subtract.outer(scale, scale) ** 2
  else:
    cost = 1.0 - np.eye(len(scale))
  chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / len(a)
  expected = float((cost * chance).sum())
  return 1 - float((cost * table).sum()) / expected if expected else None


def alpha(raters: Sequence[Sequence[float]]) -> float | None:
  """Krippendorff's alpha for interval data.

  Args:
    raters: what each gave to every item, NaN where nothing.

  Returns:
    None if no item has two ratings, or all ratings are the same.
  """
  table = np.array(raters, np.float64)
  table = table[:, (~np.isnan(table)).sum(axis=0) > 1]
  if np.unique(table[~np.isnan(table)]).size < 2:
    return None
  import krippendorff

  return float(
      krippendorff.alpha(table, level_of_measurement="interval")
  )


def _alpha(a: Sequence[float], b: Sequence[float]) -> float | None:
  return alpha([a, b])


def _measure(value, low, high, n) -> dict[str, Any]:
  return {
      "value": round(value, _DECIMALS),
      "ci": [round(low, _DECIMALS), round(high, _DECIMALS)],
      "n": n,
  }


def _plain(value: float | None, n: int) -> dict[str, Any] | None:
  if value is None:
    return None
  return {"value": round(value, _DECIMALS), "ci": None, "n": n}
