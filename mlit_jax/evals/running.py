"""Runs benchmarks on a model; what is done already is not done again."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Collection, Mapping, Sequence

from mlit_jax.data import chat
from mlit_jax.errors import UsageError
from mlit_jax.evals import answering, outcomes
from mlit_jax.evals.benchmarks import BENCHMARKS, Benchmark, Item
from mlit_jax.evals.items import HUB, Choice, MissingError, Question
from mlit_jax.evals.scoring import LanguageModel

# (sources, answers, references) -> a score for each, as COMET and BLEURT give.
Learned = Callable[[Sequence[str], Sequence[str], Sequence[str]], list[float]]
# (benchmark, language, items)
Work = tuple[str, str, list[Item]]


@dataclasses.dataclass(frozen=True)
class Options:
  """How benchmarks are run.

  Attributes:
    data: the folder with their files, or items.HUB.
    languages: only these; None: all that have files.
    limit: no more items of a language than this; None: all.
    form: the template that questions are put in, or None for text.
    batch_size: rows at once.
    learned: name -> metric of translations.
    shots: examples before each question; 0: none.
  """

  data: str | os.PathLike
  languages: Collection[str] | None = None
  limit: int | None = None
  form: chat.Form | None = None
  batch_size: int = 32
  learned: Mapping[str, Learned] = dataclasses.field(default_factory=dict)
  shots: int = 0


def plan(
    benchmarks: Mapping[str, Benchmark], options: Options
) -> tuple[list[Work], dict[str, list[str]]]:
  """What will be run, and benchmark -> languages without a file.

  Raises:
    BenchmarkError: a file is damaged, or a benchmark has no file at all, or
      none for a language that was asked for.
    UsageError: a benchmark is not in any language that was asked for, or has
      not as many examples.
  """
  work: list[Work] = []
  missing: dict[str, list[str]] = {}
  for name, benchmark in benchmarks.items():
    langs = list(benchmark.languages)
    if options.languages is not None:
      langs = [lang for lang in langs if lang in options.languages]
      if not langs:
        raise UsageError(
            f"{name} is not in {' '.join(options.languages)}; it is in"
            f" {' '.join(benchmark.languages)}"
        )
    find = benchmark.items
    if options.shots:
      if not benchmark.has_examples:
        raise UsageError(f"{name} has no examples; leave --shots out")
      find = functools.partial(find, shots=options.shots)
    errors = []
    for lang in langs:
      try:
        items = list(find(options.data, lang))[: options.limit]
      except MissingError as e:
        if options.languages is not None or options.data == HUB:
          raise
        errors.append(e)
        missing.setdefault(name, []).append(lang)
      else:
        work.append((name, lang, items))
    if len(errors) == len(langs):
      raise errors[0]
  return work, missing


def run(
    model: LanguageModel,
    work: Sequence[Work],
    options: Options,
    output: str | os.PathLike,
    show: Callable[[str], None],
) -> dict:
  """Runs all of it; the results of an earlier run into the folder stay.

  Args:
    model: what is tested.
    work: from plan().
    options: the same.
    output: the folder; rows and results are kept there.
    show: is told of every language that is done.

  Returns:
    Benchmark -> language -> its summary, as in results.json.
  """
  results = outcomes.read_results(output)
  for name, lang, items in work:
    before = outcomes.read_rows(output, name, lang)
    kept = sum(itertools.takewhile(bool, map(_answers, items, before)))
    rows = before[:kept]
    if rest := items[kept:]:
      ask = _choose if isinstance(rest[0], Choice) else _write
      rows += ask(model, name, lang, rest, options)
    _score(rows, name, lang, items, options)
    outcomes.write_rows(output, name, lang, rows)
    entry = outcomes.summary(name, rows)
    if options.shots:
      entry["shots"] = options.shots
    wanted = BENCHMARKS[name].max_new_tokens
    new = answering.limit(model, wanted) if wanted else 0
    if new < wanted:
      entry["max_new_tokens"] = new
    results.setdefault(name, {})[lang] = entry
    outcomes.write_results(output, results)
    show(f"{name} {lang}: {outcomes.line(entry)}")
  return results


def _answers(item: Item, row: dict) -> bool:
  """Whether a row of an earlier run is an item's."""
  asked = _asked(item)
  del asked["cluster"]  # is no part of what was asked
  return asked == {key: row.get(key) for key in asked}


def _asked(item: Item) -> dict:
  """What a row says of its item."""
  row = {"id": item.id, "cluster": item.cluster}
  if isinstance(item, Choice):
    return row | {
        "options": [list(option) for option in item.options],
        "right": item.right,
    }
  return row | {
      "prompt": item.prompt, "references": list(item.references),
      "source": item.source,
  }


def _choose(model, name, lang, items: Sequence[Choice], options) -> list[dict]:
  """Rows with the options' log-probabilities; too long a context is cut."""
  pairs = [pair for item in items for pair in item.options]
  found = model.score(pairs, truncate=True)
  rows, place = [], 0
  for item in items:
    number = len(item.options)
    scores = found[place : place + number]
    place += number
    failures = [score for score in scores if isinstance(score, str)]
    cut = any(not isinstance(s, str) and s.is_cut for s in scores)
    row = _asked(item) | {"is_cut": cut}
    if failures:
      row["failure"] = failures[0]
    else:
      row["logprobs"] = [score.logprob for score in scores]
      row |= _unknown(max(score.unknown for score in scores))
    rows.append(row)
  return rows


def _write(model, name, lang, items: Sequence[Question], options) -> list[dict]:
  benchmark = BENCHMARKS[name]
  answers = answering.answer(
      model, items, options.form, max_new_tokens=benchmark.max_new_tokens,
      stop=benchmark.stop(lang), batch_size=options.batch_size,
  )
  rows = []
  for item, answer in zip(items, answers, strict=True):
    row = _asked(item) | {"is_cut": answer.is_cut}
    row |= _unknown(answer.unknown)
    if answer.failure:
      rows.append(row | {"failure": answer.failure})
    else:
      rows.append(row | {"answer": answer.text})
  return rows


def _unknown(number: int) -> dict:
  return {"unknown": number} if number else {}


def _score(rows, name, lang, items, options) -> None:
  """What each outcome is worth, anew: the code may be other than last time."""
  benchmark = BENCHMARKS[name]
  for item, row in zip(items, rows, strict=True):
    row["cluster"] = item.cluster
    if "failure" in row:
      continue
    if isinstance(item, Choice):
      best = row["logprobs"].index(max(row["logprobs"]))
      row["scores"] = {"accuracy": float(best == item.right)}
    elif benchmark.scores is not None:
      row["scores"] = benchmark.scores(item, row["answer"], lang)
    else:
      row["scores"] = {}
  good = [row for row in rows if "failure" not in row]
  if benchmark.is_corpus and good:
    columns = [
        [row["source"] for row in good], [row["answer"] for row in good],
        [row["references"][0] for row in good],
    ]
    for metric, score in options.learned.items():
      for row, value in zip(good, score(*columns), strict=True):
        row["scores"][metric] = value
