"""Many systems beside each other: matrix, strengths, differences.

Their judgments come from one judge by one protocol: scores of each system, or
comparisons two by two.
"""

import collections
from collections.abc import Iterable, Mapping
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import bradley_terry, paired, scores, statistics
from mlit_jax.analysis.judgments import OVERALL
from mlit_jax.judging import items, pairs, protocols

Question = tuple[str, str, int]  # id, language, turn
_DECIMALS = 6


class SystemsError(ValueError):
  """Judgments that cannot be put beside each other; names which."""


def summarise(
    judgments: Iterable[records.Judgment], level: float = 0.95
) -> dict[str, Any]:
  """What many systems' judgments amount to.

  Args:
    judgments: of any number of systems.
    level: of the intervals, which are clustered on the parallel id.

  Returns:
    protocol, judge: of all.
    matrix: system -> language and "overall" -> {"score", "ci", "n"}; of
      comparisons the discounted-tie score in percent over all opponents, which
      is a matrix of IF_L where each language has one opponent (Shaham et al.,
      2024, section 3.1), else the mean in the protocol's units.
    strengths: of comparisons, language and "overall" ->
      bradley_terry.fit's, None where the systems are on no common scale.
    differences: rows of {"lang", "against", "a", "b"} and paired.between's
      numbers: between every two systems on the same questions; of comparisons,
      between two that met the same opponent (`against`) or each other (""), in
      points of the score. Those of "overall" are one family of tests for p_holm
      and p_bh, those of the single languages another.

  Raises:
    SystemsError: there are none, they are of more than one judge or protocol,
      or a question has not exactly one judgment (in each order, if compared),
      or a score is none that the protocol gives.
  """
  groups = collections.defaultdict(list)
  about, langs = set(), set()
  for j in judgments:
    about.add((j.protocol, j.judge))
    langs.add(j.lang)
    groups[j.system_a, j.system_b].append(j)
  if not about:
    raise SystemsError("there are no judgments")
  if len(about) > 1:
    raise SystemsError(
        "expected one protocol and one judge, not"
        f" {', '.join(' by '.join(pair) for pair in sorted(about))}"
    )
  (protocol, judge), = about
  compared = any(b for _, b in groups)
  if not compared and (
      protocol not in protocols.PROTOCOLS
      or protocols.PROTOCOLS[protocol].paired
  ):
    raise SystemsError(f"no protocol {protocol!r} scores one system")
  for a, b in groups:
    if (b, a) in groups:
      raise SystemsError(
          f"{a} is compared with {b} and {b} with {a}; a comparison of two has"
          " both orders already"
      )
  read = _compared if compared else _scored
  values = {names: read(names, rows) for names, rows in groups.items()}
  langs = sorted(langs)
  found: dict[str, Any] = {"protocol": protocol, "judge": judge}
  bounds = (0, 100) if compared else scores.bounds(protocol)
  found["matrix"] = _matrix(_sides(values), langs, bounds, level)
  if compared:
    found["strengths"] = {
        lang: _strengths(values, lang, level) for lang in (*langs, OVERALL)
    }
  found["differences"] = paired.adjust(_differences(values, OVERALL, level))
  if len(langs) > 1:
    found["differences"] += paired.adjust([
        row for lang in langs for row in _differences(values, lang, level)
    ])
  return found


_Values = Mapping[tuple[str, str], Mapping[Question, float]]


def _scored(names, rows) -> dict[Question, float]:
  found, seen = collections.defaultdict(list), set()
  for j in rows:
    key = j.id, j.lang, j.turn, j.sample
    if key in seen:
      raise SystemsError(
          f"{names[0]}: two judgments of {items.names([key[:2]])}"
      )
    seen.add(key)
    if not j.failure:
      low, high = scores.bounds(j.protocol)
      if j.score is None or not low <= j.score <= high:
        raise SystemsError(
            f"{names[0]}: {items.names([key[:2]])}: score {j.score} is not from"
            f" {low:g} to {high:g}"
        )
      value = scores.gated(j) if j.protocol == "rating" else j.score
      found[key[:3]].append(value)
  return _means(found)


def _compared(names, rows) -> dict[Question, float]:
  """System a's score in percent."""
  try:
    both = pairs.pair_up(rows)
  except ValueError as e:
    raise SystemsError(f"{' against '.join(names)}: {e}") from None
  found = collections.defaultdict(list)
  for pair in both:
    if not pair.failed:
      key = pair.ab.id, pair.ab.lang, pair.ab.turn
      found[key].append(100 * pair.value)
  return _means(found)


def _means(found) -> dict[Question, float]:
  return {key: sum(values) / len(values) for key, values in found.items()}


def _sides(values: _Values) -> dict[str, dict[str, dict[Question, float]]]:
  """System -> opponent ("" without one) -> question -> value."""
  found = collections.defaultdict(dict)
  for (a, b), questions in values.items():
    found[a].setdefault(b, {}).update(questions)
    if b:
      found[b].setdefault(a, {}).update(
          {q: 100 - value for q, value in questions.items()}
      )
  return found


def _matrix(sides, langs, bounds, level: float) -> dict[str, Any]:
  low, high = bounds

  def cell(found, lang):
    rows = [
        (q[0], value) for questions in found.values()
        for q, value in questions.items() if lang in (q[1], OVERALL)
    ]
    if not rows:
      return {"score": None, "ci": [None, None], "n": 0}
    shares = [(value - low) / (high - low) for _, value in rows]
    ends = statistics.mean_interval(shares, [id_ for id_, _ in rows], level)
    return {
        "score": round(sum(v for _, v in rows) / len(rows), _DECIMALS),
        "ci": [round(low + end * (high - low), _DECIMALS) for end in ends],
        "n": len(rows),
    }

  return {
      system: {lang: cell(found, lang) for lang in (*langs, OVERALL)}
      for system, found in sides.items()
  }


def _strengths(values: _Values, lang: str, level: float):
  rows = [
      (q[0], a, b, value / 100)
      for (a, b), questions in values.items()
      for q, value in questions.items() if lang in (q[1], OVERALL)
  ]
  try:
    return bradley_terry.fit(rows, level)
  except bradley_terry.ComparisonsError:
    return None


def _differences(values: _Values, lang: str, level: float) -> list[dict]:
  sides = _sides({
      names: {q: v for q, v in found.items() if lang in (q[1], OVERALL)}
      for names, found in values.items()
  })
  rows = []
  for a, b in values:
    if b and (direct := sides[a][b]):
      # Points of a's score less those of b's, which add up to 100.
      row = paired.difference(
          [2 * v - 100 for v in direct.values()], [q[0] for q in direct], level
      )
      rows.append({"a": a, "b": b, "against": "", **row})
  opponents = sorted({name for met in sides.values() for name in met})
  for opponent in opponents:
    met = {name: s[opponent] for name, s in sides.items() if opponent in s}
    rows += [
        {"against": opponent, **row} for row in paired.between(met, level)
    ]
  return [{"lang": lang, **row} for row in rows]
