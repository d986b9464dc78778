"""People's ratings of a study's answers, beside what the judge said of them."""

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import agreement, people
from mlit_jax.judging import protocols, sheets
from mlit_jax.studies.report import judged, spec
from mlit_jax.studies.report.views import common

FILE_NAME = "people.jsonl"
_AGAINST = " against "
# Of a comparison, what its first system's answer was.
_VERDICTS = {1.0: "better", 0.5: "neither better", 0.0: "worse"}
# Of single ratings, then of the systems' means.
_MEASURES = (
    ("items", "agreement", "equal", "share of equal ratings"),
    ("items", "weighted_kappa", "κ", "Cohen’s kappa, quadratic weights"),
    ("items", "alpha", "α", "Krippendorff’s alpha, interval"),
    ("items", "pearson", "r", "Pearson’s correlation of single ratings"),
    ("systems", "pearson", "r, systems",
     "Pearson’s correlation of the systems’ means"),
    ("systems", "kendall", "τ, systems",
     "Kendall’s tau b of the systems’ means"),
)


def sections(
    directory: str | os.PathLike, results: Mapping[str, Any]
) -> list[spec.Section]:
  """A section on what people rated; none where nobody did.

  Args:
    directory: of the study; people.jsonl in it is what `mlit annotate read`
      wrote.
    results: its results.json.

  Raises:
    RecordError: a row does not fit; names file and line.
  """
  path = pathlib.Path(directory) / FILE_NAME
  if not path.exists():
    return []
  by_protocol = collections.defaultdict(list)
  for j in records.read_records(path, records.Judgment):
    if j.protocol not in protocols.PROTOCOLS:
      raise records.RecordError(f"{path}: no protocol is {j.protocol!r}")
    by_protocol[j.protocol].append(j)
  own = pathlib.Path(directory) / judged.FILE_NAME
  said = records.read_records(own, records.Judgment) if own.exists() else []
  items = []
  for protocol, human in by_protocol.items():
    judge = _same(human, [j for j in said if j.protocol == protocol])
    both, _ = people.ratings(human, judge)
    basis = _basis(results, human)
    items += _shares(results, protocol, human)
    items.append(_scores(results, protocol, human, judge, basis))
    if both:
      items.append(_agreement(results, protocol, human, both, basis))
  return [
      spec.Section("people", "What people say", [_told(by_protocol)], items)
  ] if items else []


def _same(human, judge) -> list[records.Judgment]:
  """The judge's judgments of what people judged."""
  wanted = {_key(j) for j in human}
  return [j for j in judge if _key(j) in wanted]


def _key(j: records.Judgment):
  return j.id, j.lang, j.turn, j.system_a, j.system_b


def _number(human) -> str:
  """How many raters there were, in words."""
  number = len({j.judge for j in human})
  return f"{number} {'person' if number == 1 else 'people'}"


def _told(by_protocol: Mapping[str, Sequence[records.Judgment]]) -> str:
  parts = [
      f"{len(human):,} by {protocol} from {_number(human)}"
      for protocol, human in by_protocol.items()
  ]
  return (
      f"People’s judgments in {FILE_NAME}: {'; '.join(parts)}. They saw the"
      " answers blinded and shuffled. The judge’s numbers here are of these"
      " answers alone, so that both speak of the same."
  )


def _basis(results, human) -> str:
  return f"Rated by {_number(human)}. {common.judge(results)}"


def _shares(
    results, protocol: str, human
) -> list[spec.Chart | spec.Table]:
  """How often people gave each rating, system by system (pinch, Figure 2)."""
  found = people.shares(human)
  if not found:
    return []
  words = _words(protocol)
  rows, parts = [], {}
  for lang in common.in_order(results, found):
    for system in sorted(found[lang], key=_rank(results)):
      left, _, right = system.partition(_AGAINST)
      place, name = spec.Place([lang], left, right), _named(system, lang)
      points = {
          words.get(value, f"{value:g}"): spec.estimate(name, row, place=place)
          for value, row in reversed(found[lang][system].items())
      }
      for word, point in points.items():
        parts.setdefault(word, []).append(point)
      rows.append((name, [spec.of_point(p) for p in points.values()]))
  series = [spec.Series(word, points) for word, points in parts.items()]
  basis = (
      f"n = {spec.n_range(common.points(series))} ratings behind each bar, by"
      f" {_number(human)}; 95% intervals of every share, clustered on the"
      " question. No judge takes part."
  )
  return [
      spec.Chart(
          f"shares_{protocol}", f"What people gave, by {protocol}",
          spec.STACKED, series, "system and language", "percent of the ratings",
          "A bar is a system in a language; a part of it is how often its"
          " answers were given that rating, the best on the left. Each rater’s"
          " rating of an answer counts. The intervals are in the table below.",
          basis, y_range=(0.0, 100.0),
      ),
      spec.Table(
          f"people_{protocol}_shares", f"What people gave, by {protocol}, in"
          " percent", [(word, "") for word in parts], rows,
          "Percent of a system’s ratings; a row adds up to 100.", basis,
      ),
  ]


def _words(protocol: str) -> dict[float, str]:
  """What a rating is called: "3, good"; of two systems the first's fate."""
  if protocols.PROTOCOLS[protocol].paired:
    return _VERDICTS
  return {
      float(x.value): ", ".join(filter(None, (x.value, x.label)))
      for x in sheets.choices(protocols.PROTOCOLS[protocol])
  }


def _named(system: str, lang: str) -> str:
  return f"{system}, {common.name(lang)}"


def _scores(results, protocol: str, human, judge, basis: str) -> spec.Table:
  """People's mean of every system beside the judge's."""
  theirs = people.summarise(human)
  its = people.summarise(judge) if judge else {}
  rows, every = [], []
  for lang in common.in_order(results, theirs):
    found = theirs[lang]["systems"]
    for system in sorted(found, key=_rank(results)):
      left, _, right = system.partition(_AGAINST)
      place = spec.Place([lang], left, right)
      both = [found[system]]
      every.append(spec.estimate("", found[system]))
      both.append(its.get(lang, {"systems": {}})["systems"].get(system))
      rows.append((
          _named(system, lang),
          [
              spec.of_point(spec.estimate("", row, place=place), digits=2)
              if row else spec.Cell(None)
              for row in both
          ],
      ))
  return spec.Table(
      f"people_{protocol}", f"People and the judge, by {protocol}",
      [("people", "mean over the raters"), ("judge", "of the same answers")],
      rows,
      "Of one answer the mean in the protocol’s units; of two the share of"
      " comparisons won, a tie being half.",
      f"n = {spec.n_range(every)} answers behind people’s numbers; 95%"
      f" intervals, clustered on the question. {basis}", digits=2,
  )


def _rank(results):
  """A system's place in the study, that of a pair being the first's."""
  order = list(results.get("order", results)["systems"])

  def rank(system):
    left, _, right = system.partition(_AGAINST)
    return tuple(
        order.index(x) if x in order else len(order) for x in (left, right)
    )

  return rank


def _agreement(
    results, protocol: str, human, both, basis: str
) -> spec.Table:
  """How far the judge agrees with people, language by language."""
  about, measured = people.summarise(human), agreement.summarise(both)
  sizes = collections.Counter(r.lang for r in both)
  rows = [
      (common.name(lang), [
          *(
              _measure(measured[lang][level].get(name))
              for level, name, *_ in _MEASURES
          ),
          _alone(about[lang]["raters"]),
      ])
      for lang in common.in_order(results, measured)
  ]
  least, most = min(sizes.values()), max(sizes.values())
  n = f"{least:,}" if least == most else f"{least:,} to {most:,}"
  return spec.Table(
      f"agreement_{protocol}", f"Does the judge agree with people, by"
      f" {protocol}?",
      [
          *((short, name) for _, _, short, name in _MEASURES),
          ("α, people", "Krippendorff’s alpha of the raters among themselves"),
      ],
      rows,
      "1 is full agreement; 0 in κ and α is what chance would give. People"
      " among themselves are the most that can be asked of a judge.",
      f"n = {n} answers a language that both judged (of systems: their number);"
      " 95% intervals: Fisher’s of r, Bonett and Wright’s of τ, else a"
      " bootstrap over the questions; none of the raters’ own α."
      f" {basis}", digits=2,
  )


def _measure(row: Mapping[str, Any] | None) -> spec.Cell:
  if row is None:
    return spec.Cell(None, "it cannot be told from these ratings")
  low, high = row["ci"] or (None, None)
  said = f"n = {row['n']:,}"
  if low is not None:
    said = f"95% interval {low:.2f} to {high:.2f}, {said}"
  return spec.Cell(row["value"], said, low=low, high=high, n=row["n"])


def _alone(value: float | None) -> spec.Cell:
  if value is None:
    return spec.Cell(None, "it takes two raters of the same answers")
  return spec.Cell(value)
