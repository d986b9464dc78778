"""What the numbers of a study say, in sentences computed from them.

Nothing is claimed that an interval does not show: "clearly" always means that
two 95% intervals do not overlap, or that one does not reach 50. Numbers that
could not be measured are left out of the averages and counts.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mlit_jax.studies.report import results

# Below this many parameters a study shows how a method behaves, no more.
_SMALL = 100_000_000
# Percent of the answers; above it the gate says little.
_MANY_UNKNOWN = 25.0


class Remark(NamedTuple):
  """A heading of a few words, and what it means."""

  title: str
  text: str


def findings(study: results.Study) -> list[Remark]:
  """The answer, in at most five remarks."""
  found = [
      _own_language(study),
      _transfer(study),
      _consistency(study),
      _mixtures(study),
      _main_language(study),
  ]
  return [remark for remark in found if remark is not None]


def caveats(study: results.Study) -> list[Remark]:
  """What to keep in mind before believing any of it."""
  return [
      _judge(study),
      *_scale(study),
      _failures(study),
      Remark(
          "One training run each.",
          f"All models share the seed {study.seed}. An interval says how far a"
          " score could move with other questions; how far it would move with"
          " another training run was not measured.",
      ),
      *_many_comparisons(study),
  ]


def empty_answers(
    study: results.Study, empty: Mapping[str, tuple[int, int]]
) -> list[Remark]:
  """A caveat, if some systems mostly say nothing.

  Args:
    study: the results.
    empty: system -> (answers with nothing to be seen, answers).
  """
  silent = {
      name: (none, total) for name, (none, total) in empty.items()
      if name in study.systems and 2 * none > total
  }
  if not silent:
    return []
  named = ", ".join(
      f"{study.label(name)} {none:,} of {total:,}"
      for name, (none, total) in silent.items()
  )
  return [
      Remark(
          "Empty answers.",
          f"Most answers of some models have nothing in them: {named}. Their"
          " scores do not say what they know. A base that has learnt little, or"
          " a learning rate too small for it, can be why.",
      )
  ]


def mean(estimates: Iterable[results.Estimate]) -> float | None:
  """Average of the values that there are, each weighing the same."""
  values = [x.value for x in estimates if x.value is not None]
  return math.fsum(values) / len(values) if values else None


def number(value: float | None, digits: int = 1) -> str:
  """A number for a reader, with thousands apart; a dash for None."""
  return "–" if value is None else f"{value:,.{digits}f}"


def percentage(value: float | None) -> str:
  return "–" if value is None else f"{value:.1f}%"


def interval(estimate: results.Estimate) -> str:
  if estimate.low is None or estimate.high is None:
    return "–"
  return f"{estimate.low:.1f}–{estimate.high:.1f}"


def pairs_of_languages(
    study: results.Study,
) -> Iterator[tuple[str, str, results.Comparison]]:
  """(tuned on, evaluated on, score) of every cell that was measured."""
  for row, cells in study.heat_map.items():
    for column, cell in cells.items():
      if row != column and cell.value is not None:
        yield row, column, cell


def _own_language(study: results.Study) -> Remark | None:
  beaten, everywhere = [], True
  for scores, opponent in (
      (study.against_base, "the untuned base"),
      (study.against_control, "a control tuned on shuffled answers"),
  ):
    measured = [x for x in scores.values() if x.value is not None]
    if measured:
      clear = sum(x.low is not None and x.low > 50 for x in measured)
      everywhere &= clear == len(measured)
      beaten.append(
          f"{opponent} in {_of(clear, len(measured))} (average score"
          f" {number(mean(measured))})"
      )
  if not beaten:
    return None
  title = (
      "Tuning works in the model’s own language."
      if everywhere
      else "Tuning does not clearly work in every language."
  )
  return Remark(
      title,
      "In the language it was tuned on, a model clearly beats"
      f" {' and '.join(beaten)}.{_exact(study)}",
  )


def _exact(study: results.Study) -> str:
  """How often a monolingual model is exactly right in its own language."""
  rates = {}
  for system in study.of_kind("monolingual"):
    rate = study.exact_match.get(system.name, {}).get(system.language)
    if rate is not None and rate.value is not None:
      rates[system.language] = rate
  if not rates:
    return ""
  names = {language.code: language.name for language in study.languages}
  text = (
      f" Of the unseen questions it answers {percentage(mean(rates.values()))}"
      " exactly as the reference does"
  )
  low = min(rates, key=lambda code: rates[code].value)
  high = max(rates, key=lambda code: rates[code].value)
  if rates[low].value < rates[high].value:
    text += (
        f", between {percentage(rates[low].value)} ({names[low]}) and"
        f" {percentage(rates[high].value)} ({names[high]})"
    )
  return f"{text}."


def _transfer(study: results.Study) -> Remark | None:
  """Scores off the diagonal against what the untuned base gets there."""
  cells, bases, above, below = [], {}, 0, 0
  for _, column, cell in pairs_of_languages(study):
    base = study.against_base.get(column)
    if base is None or base.value is None:
      continue
    bases[column] = base.mirrored()
    cells.append(cell)
    above += cell.clearly_above(bases[column])
    below += bases[column].clearly_above(cell)
  if not cells:
    return None
  if not above:
    title = "No transfer between languages is seen."
  elif above <= len(cells) / 2:
    title = "Transfer between languages is seen in some pairs only."
  else:
    title = "Transfer between languages is seen in most pairs."
  return Remark(
      title,
      "Asked in a language it was not tuned on, a model scores"
      f" {number(mean(cells))} on average against the model tuned on that"
      " language; the untuned base scores"
      f" {number(mean(bases.values()))} there, and 50 would be equal. In"
      f" {above:,} of {len(cells):,} {_noun(len(cells), 'pair')} of languages"
      " the score lies clearly above the base’s, in"
      f" {below:,} clearly below it, and in {len(cells) - above - below:,} the"
      " two cannot be told apart.",
  )


def _consistency(study: results.Study) -> Remark | None:
  own, other = [], []
  for system in study.of_kind("monolingual"):
    for code, rate in study.language_consistency.get(system.name, {}).items():
      (own if code == system.language else other).append(rate)
  in_own, in_other = mean(own), mean(other)
  if in_own is None or in_other is None:
    return None
  base = mean(study.language_consistency.get(study.base.name, {}).values())
  title = (
      "Models mostly answer in the language of the question."
      if in_other > 50
      else "Models mostly do not answer in the language of the question."
  )
  if in_own > 50 >= in_other:
    title = "A model mostly keeps the language of the question only at home."
  unknown = mean(
      rate for system in study.of_kind("monolingual")
      for rate in study.language_unknown.get(system.name, {}).values()
  )
  if unknown is not None and unknown > _MANY_UNKNOWN:
    title = "In which language models answer can often not be told."
  text = (
      "An answer is in the language of the question in"
      f" {percentage(in_own)} of the cases where the model was tuned on that"
      f" language, and in {percentage(in_other)} where it was tuned on another"
  )
  if base is not None:
    text += f"; for the untuned base it is {percentage(base)}"
  if unknown:
    text += (
        f". The language of {percentage(unknown)} of these models' answers"
        " could not be told (they are short, say), which counts as not in it"
    )
  return Remark(title, f"{text}.")


def _mixtures(study: results.Study) -> Remark | None:
  start = next((p for p in study.curve if p.percent == 0), None)
  mixed = [
      p for p in study.curve if p.percent > 0 and p.others.value is not None
  ]
  if start is None or start.others.value is None or not mixed:
    return None
  first, best = mixed[0], max(mixed, key=lambda p: p.others.value)
  title = {
      "rise": f"{first.percent:g}% of other languages already helps them.",
      "fall": f"{first.percent:g}% of other languages does not help them.",
      "": f"{first.percent:g}% of other languages makes no difference that"
          " these data show.",
  }[_change(start.others, first.others)]
  text = (
      f"With {first.percent:g}% of the examples{_how_many(study, first)}, the"
      " average score in the others goes from"
      f" {number(start.others.value)} to {number(first.others.value)}"
      f" ({_words(start.others, first.others)})."
  )
  if best is not first:
    text += (
        f" It is highest at {best.percent:g}%, with"
        f" {number(best.others.value)} ({_words(start.others, best.others)})."
    )
  return Remark(title, text)


def _main_language(study: results.Study) -> Remark | None:
  mixed = [
      p for p in study.curve if p.percent > 0 and p.english.value is not None
  ]
  if not mixed:
    return None
  name = study.main.name
  equal = results.Estimate(50.0, 50.0, 50.0, 0)
  worse = [p for p in mixed if equal.clearly_above(p.english)]
  if worse:
    title = f"{name} pays for it from {worse[0].percent:g}% on."
    if len(worse) < len(mixed) - mixed.index(worse[0]):
      title = f"{name} pays for it at some percentages."
  else:
    title = f"No cost to {name} is seen."
  last = mixed[-1]
  return Remark(
      title,
      f"Against the model tuned on {name} alone, where 50 is equal,"
      f" {len(worse)} of {len(mixed)} mixtures score"
      f" clearly below 50 in {name}; at {last.percent:g}% the score is"
      f" {number(last.english.value)} ({interval(last.english)}).",
  )


def _judge(study: results.Study) -> Remark:
  note = study.judge.note.strip()
  if note and not note.endswith((".", "!", "?")):
    note += "."
  if study.judge.is_language_model:
    return Remark(
        "The judge is a language model.",
        f"Every verdict is the opinion of “{study.judge.spec}”. {note}".strip(),
    )
  return Remark(
      "The judge is not a language model.",
      f"Verdicts come from “{study.judge.spec}”. {note} A right answer in other"
      " words can lose, and no score here can be set beside one that a language"
      " model gave.".replace("  ", " "),
  )


def _scale(study: results.Study) -> Iterator[Remark]:
  if study.base.parameters < _SMALL:
    tokens = study.base.tokens_seen
    read = f" and has read {tokens:,} tokens" if tokens else ""
    yield Remark(
        "The models are very small.",
        f"The base model has {study.base.parameters:,} parameters{read}."
        " Models in use are thousands of times larger, so the figures show that"
        " the method runs and how it behaves; they predict nothing about"
        " those.",
    )


def _failures(study: results.Study) -> Remark:
  compared = [x for x in _comparisons(study) if x.flip_rate is not None]
  pairs = sum(x.n for x in compared)
  flips = math.fsum(x.flip_rate * x.n for x in compared)
  flipped = (
      " Swapping the two answers changed"
      f" {percentage(100 * flips / pairs)} of the verdicts in the first three"
      " figures."
      if pairs
      else ""
  )
  failed, number = sum(study.failures.values()), study.judgments
  if not failed:
    return Remark(
        "Failures: none.",
        f"Each of the {number:,} judgments gave a verdict; every pair of"
        f" answers was judged in both orders.{flipped}",
    )
  kinds = ", ".join(f"{k} {n:,}" for k, n in sorted(study.failures.items()))
  return Remark(
      f"Failures: {failed:,} of {number:,} judgments.",
      f"They gave no verdict ({kinds}). Pairs without one in both orders are"
      f" left out of the scores; nothing stands in for them.{flipped}",
  )


def _comparisons(study: results.Study) -> Iterator[results.Comparison]:
  """Every comparison once: the curve's start repeats a row of the heat map."""
  for cells in study.heat_map.values():
    yield from cells.values()
  repeated = {
      system.name
      for system in study.of_kind("monolingual")
      if system.language in study.heat_map
  }
  for point in study.curve:
    if point.system not in repeated:
      yield from (x for x in point.languages.values() if x is not None)
  yield from study.against_base.values()
  yield from study.against_control.values()


def _many_comparisons(study: results.Study) -> Iterator[Remark]:
  cells = sum(1 for _ in pairs_of_languages(study))
  if cells >= 20:
    yield Remark(
        "Many numbers, some wrong by chance.",
        f"Of {cells:,} intervals at 95% in the first figure, about"
        f" {round(cells / 20):,} would miss the true value even if all else"
        " were right. Read patterns, not single cells.",
    )


def _how_many(study: results.Study, point: results.Point) -> str:
  """Over which languages they are spread: the main one has a share from 10% on
  (data/counts.py)."""
  system = study.systems.get(point.system)
  total = sum(system.counts.values()) if system else 0
  if not total:
    return " spread over the other languages"
  others = total - system.counts.get(study.main.code, 0)
  if others == round(total * point.percent / 100):
    return f" ({others:,} of {total:,}) spread over the other languages"
  return (
      f" spread over all languages ({others:,} of {total:,} in others than"
      f" {study.main.name})"
  )


def _change(before: results.Estimate, after: results.Estimate) -> str:
  if after.clearly_above(before):
    return "rise"
  return "fall" if before.clearly_above(after) else ""


def _words(before: results.Estimate, after: results.Estimate) -> str:
  return {
      "rise": "a clear rise",
      "fall": "a clear fall",
      "": "the intervals overlap: no clear change",
  }[_change(before, after)]


def _of(part: int, whole: int) -> str:
  if part == whole <= 2:
    return "the only language" if whole == 1 else "both languages"
  part = "all" if part == whole else f"{part} of"
  return f"{part} {whole} {_noun(whole, 'language')}"


def _noun(count: int, noun: str) -> str:
  return noun if count == 1 else f"{noun}s"
