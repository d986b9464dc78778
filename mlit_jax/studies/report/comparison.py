"""What differs between two study directories, question by question."""

import collections
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import statistics
from mlit_jax.judging import pairs as pairs_lib
from mlit_jax.judging import protocols
from mlit_jax.studies.report import answers as answers_lib
from mlit_jax.studies.report import judged, reading

EXACT, LANGUAGE = "exact", "language"
STUDY_FILE = "study.json"
_ALL = ""
# Where a value begins and ends that is a share, in percent.
_PERCENT = (0.0, 100.0)
# What names an entry of a list in results.json; all that it has are its name.
_NAMING = (
    "percent", "number", "pair", "a", "b", "x", "layer", "lang", "system",
)
# Question -> value; a question begins with its parallel id and language.
Values = Mapping[tuple, float]


@dataclasses.dataclass(frozen=True)
class Difference:
  """A system's mean in one directory less that in the other.

  Attributes:
    metric: what was measured: EXACT, LANGUAGE, or how it was judged.
    language: of the questions; "" for all.
    first, second: the means, over the questions that both directories have.
    low, high: 95% interval of the difference, clustered on the parallel id.
    n: differences behind it.
  """

  metric: str
  system: str
  language: str
  first: float
  second: float
  low: float
  high: float
  n: int

  @property
  def value(self) -> float:
    return self.first - self.second

  @property
  def is_clear(self) -> bool:
    """Whether the interval does not hold 0."""
    return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True)
class Directory:
  """What a study directory says.

  Attributes:
    results: results.json.
    config: the study's flat config; {} where study.json is missing.
    prompts: (id, language) -> prompt.
    values: metric -> system -> values.
    ranges: metric -> its least and greatest value.
    contests: metrics whose values an opponent of the same directory had a part
      in.
  """

  path: pathlib.Path
  results: Mapping[str, Any]
  config: Mapping[str, Any]
  prompts: Mapping[tuple[str, str], str]
  values: Mapping[str, Mapping[str, Values]]
  ranges: Mapping[str, tuple[float, float]]
  contests: frozenset[str]


def read(directory: str | os.PathLike) -> Directory:
  """Reads results.json and what stands beside it.

  Raises:
    RecordError: a file is damaged; names it.
  """
  path = pathlib.Path(directory)
  results = reading.raw(path)
  if not isinstance(results, dict) or not isinstance(
      results.get("systems"), dict
  ):
    raise records.RecordError(f"{path / 'results.json'}: names no systems")
  prompts, values, ranges, contests = {}, _nested(), {}, set()
  for row in answers_lib.rows(path):
    key = row["id"], row["lang"]
    prompts[key] = row["prompt"]
    for system, answer in row["answers"].items():
      values[EXACT][system][key] = 100.0 * answer["exact"]
      values[LANGUAGE][system][key] = 100.0 * (answer["found"] == row["lang"])
  ranges |= {EXACT: _PERCENT, LANGUAGE: _PERCENT}
  for metric, system, other, key, value, bounds in _judged(path):
    values[metric][system][(*key, other)] = value
    ranges[metric] = bounds
    if other:
      contests.add(metric)
  return Directory(
      path, results, _config(path), prompts, values, ranges,
      frozenset(contests),
  )


def differences(a: Directory, b: Directory) -> Iterator[Difference]:
  """Every system's differences, over all languages and in each.

  Only questions count that both directories put in the same words, and of the
  judged ones only those that were judged in both.
  """
  languages = list(dict.fromkeys(lang for _, lang in a.prompts))
  for metric in [x for x in a.values if x in b.values]:
    bounds = a.ranges[metric]
    for system, ours in a.values[metric].items():
      if not all(system in x.results["systems"] for x in (a, b)):
        continue
      theirs = b.values[metric].get(system, {})
      both = [q for q in ours if q in theirs and _same(a, b, q)]
      for lang in (_ALL, *languages):
        asked = [q for q in both if lang in (_ALL, q[1])]
        if asked:
          yield _difference(metric, system, lang, asked, ours, theirs, bounds)


def unpaired(a: Directory, b: Directory) -> Iterator[tuple]:
  """Numbers of both results.json that have an interval, without questions.

  The interval of a difference of independent estimates is put together from
  theirs (Newcombe, 1998, Statist. Med. 17, method 10; Zou and Donner, 2008).

  Yields:
    (where it stands, first value, second value, low, high).
  """
  here, there = (dict(_estimates(x.results)) for x in (a, b))
  for key, ours in here.items():
    if key not in there:
      continue
    (x, (x_low, x_high)), (y, (y_low, y_high)) = ours, there[key]
    yield (
        key, x, y,
        x - y - math.hypot(x - x_low, y_high - y),
        x - y + math.hypot(x_high - x, y - y_low),
    )


def _estimates(value: Any, path: str = "") -> Iterator[tuple[str, tuple]]:
  """(path, (value, interval)) of every estimate in results.json."""
  if isinstance(value, list):
    for entry in value:
      # By its place it would be set against another one of the same place.
      if name := _named(entry):
        yield from _estimates(entry, f"{path}[{name}]")
  if not isinstance(value, dict):
    return
  number = value.get("score", value.get("value"))
  interval = value.get("ci")
  if isinstance(number, int | float) and isinstance(interval, list):
    if len(interval) == 2 and None not in interval:
      yield path, (number, tuple(interval))
    return
  for key, entry in value.items():
    yield from _estimates(entry, f"{path}.{key}" if path else key)


def _named(entry: Any) -> str:
  if not isinstance(entry, dict):
    return ""
  return ", ".join(
      f"{key} {_text(entry[key])}" for key in _NAMING if key in entry
  )


def judged_alone(a: Directory, b: Directory) -> list[str]:
  """What only the first one's answers were judged by."""
  own = (EXACT, LANGUAGE)  # are of answers.jsonl, which may be missing
  return [x for x in a.values if x not in b.values and x not in own]


def num_shared(a: Directory, b: Directory) -> int:
  """Questions that both put in the same words."""
  return sum(_same(a, b, key) for key in a.prompts)


def changed(a: Directory, b: Directory) -> list[tuple[str, str, str]]:
  """(key, here, there) of the config, and of what the results name."""
  found = []
  rows = [{**_head(x.results), **x.config} for x in (a, b)]
  for key in dict.fromkeys([*rows[0], *rows[1]]):
    texts = [_text(row.get(key)) for row in rows]
    if texts[0] != texts[1]:
      found.append((key, *texts))
  return found


def _head(results: Mapping[str, Any]) -> dict[str, Any]:
  base, judge = results.get("base") or {}, results.get("judge") or {}
  return {
      "study": results.get("study"), "preset": results.get("preset"),
      "mlit-jax": results.get("version"), "judge": judge.get("spec"),
      "seed": results.get("seed"),
      "base: parameters": base.get("parameters"),
      "base: tokens seen": base.get("tokens_seen"),
      "languages": results.get("languages"),
  }


def _text(value: Any) -> str:
  if value is None:
    return "–"
  if isinstance(value, list):
    return ", ".join(map(str, value))
  return str(value)


def _same(a: Directory, b: Directory, question: tuple) -> bool:
  key = question[:2]
  return key in b.prompts and a.prompts.get(key) == b.prompts[key]


def _difference(
    metric, system, lang, asked: Sequence[tuple], ours, theirs, bounds
) -> Difference:
  # A mean of differences in [-w, w] is that of values in [0, 1].
  width = bounds[1] - bounds[0]
  shares = [((ours[q] - theirs[q]) / width + 1) / 2 for q in asked]
  low, high = statistics.mean_interval(shares, [q[0] for q in asked])
  first, second = (
      math.fsum(values[q] for q in asked) / len(asked)
      for values in (ours, theirs)
  )
  return Difference(
      metric, system, lang, first, second, width * (2 * low - 1),
      width * (2 * high - 1), len(asked),
  )


def _judged(path: pathlib.Path) -> Iterator[tuple]:
  """(metric, system, opponent, question, value, bounds) of judgments.jsonl."""
  file = path / judged.FILE_NAME
  if not file.exists():
    return
  groups = collections.defaultdict(list)
  for j in records.read_records(file, records.Judgment):
    groups[j.protocol, j.judge, j.system_a, j.system_b].append(j)
  for (name, judge, system, other), found in groups.items():
    metric = f"{name}, judge {judge}"
    if other:
      for pair in pairs_lib.pair_up(found):
        j = pair.ab
        if not pair.failed:
          key = j.id, j.lang, j.turn, j.sample
          yield metric, system, other, key, 100.0 * pair.value, _PERCENT
      continue
    if name not in protocols.PROTOCOLS:
      continue  # of a newer version: its scale is not known
    form = protocols.PROTOCOLS[name].form
    low = 0 if name == "rating" else form.low
    for j in found:
      if not j.failure:
        # As analysis/scores counts it.
        gated = name == "rating" and j.gate.get("a", "") not in ("", j.lang)
        key = j.id, j.lang, j.turn, j.sample
        value = 0.0 if gated else j.score
        yield metric, system, other, key, value, (low, form.high)


def _config(path: pathlib.Path) -> dict[str, Any]:
  try:
    held = json.loads((path / STUDY_FILE).read_text(encoding="utf-8"))
    return {f"config: {k}": v for k, v in held["config"].items()}
  except OSError:
    return {}
  except (ValueError, KeyError, TypeError, AttributeError):
    raise records.RecordError(
        f"{path / STUDY_FILE}: damaged; remove it to compare without"
    ) from None


def _nested():
  return collections.defaultdict(lambda: collections.defaultdict(dict))
