"""What items came out as: kept row by row, summed up per language."""

import json
import os
import pathlib
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import clusters as clusters_lib
from mlit_jax.analysis import resampling, statistics
from mlit_jax.evals import mt
from mlit_jax.evals.benchmarks import BENCHMARKS

# Metrics whose values lie between 0 and 1; the interval of others is bootstrap.
_SHARES = (
    "accuracy", "exact_match", "exact_match_flexible", "f1", "contains",
    "retrieval",
)
RESULTS = "results.json"


def rows_path(output: str | os.PathLike, name: str, lang: str) -> pathlib.Path:
  """Where the rows of a benchmark in a language are kept."""
  return pathlib.Path(output) / "items" / name.replace(":", ".") / (
      f"{lang}.jsonl"
  )


def read_rows(output: str | os.PathLike, name: str, lang: str) -> list[dict]:
  """The rows that write_rows wrote; none where there are none."""
  path = rows_path(output, name, lang)
  if not path.exists():
    return []
  return [row for _, row in records.read_jsonl(path)]


def write_rows(
    output: str | os.PathLike, name: str, lang: str, rows: Iterable[dict]
) -> None:
  """Keeps rows, all or nothing."""
  records.write_text(
      rows_path(output, name, lang),
      (json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
  )


def read_results(output: str | os.PathLike) -> dict[str, dict[str, Any]]:
  """results.json of an earlier run into this folder, or nothing.

  Raises:
    RecordError: the file is damaged.
  """
  path = pathlib.Path(output) / RESULTS
  if not path.exists():
    return {}
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: dict(by_lang) for name, by_lang in found.items()}
  except (ValueError, TypeError, AttributeError) as e:
    raise records.RecordError(
        f"{path}: not results of mlit eval ({e}); delete it"
    ) from None


def write_results(
    output: str | os.PathLike, results: dict[str, dict[str, Any]]
) -> None:
  """Keeps the summaries, all or nothing."""
  records.write_json(pathlib.Path(output) / RESULTS, results)


def line(entry: dict[str, Any]) -> str:
  """A summary in a few words."""
  if entry["score"] is None:
    return f"no item could be scored ({entry['failed']} failed)"
  low, high = entry["ci"]
  text = f"{entry['metric']} {entry['score']:.3f} [{low:.3f}, {high:.3f}]"
  text += f" of {entry['n']}"
  for key, word in (
      ("failed", "failed"), ("cut", "cut to fit"),
      ("unknown", "with tokens that the tokenizer does not know"),
  ):
    if key in entry:
      text += f", {entry[key]} {word}"
  if "max_new_tokens" in entry:
    text += f", answers of at most {entry['max_new_tokens']} tokens"
  return text


def summary(name: str, rows: Sequence[dict]) -> dict[str, Any]:
  """A benchmark in a language: {metric, score, n, ci} and what else is known.

  A row that could not be scored is counted as `failed` and in nothing else.
  """
  good = [row for row in rows if "failure" not in row]
  found: dict[str, dict[str, Any]] = {}
  for metric in sorted({m for row in good for m in row["scores"]}):
    values = [row["scores"][metric] for row in good]
    clusters = [row["cluster"] for row in good]
    found[metric] = {
        "score": sum(values) / len(values), "ci": _interval(
            metric, values, clusters
        ),
    }
  benchmark = BENCHMARKS.get(name)
  if benchmark is not None and benchmark.is_corpus and good:
    answers = [row["answer"] for row in good]
    references = [row["references"][0] for row in good]
    found |= mt.corpus_scores(answers, references)
  # What a probe measures is no benchmark, and has one metric.
  leading = benchmark.metric if benchmark is not None else next(iter(found))
  first = found.pop(leading, {"score": None, "ci": None})
  entry = {"metric": leading, "n": len(good)} | first
  if found:
    entry["also"] = found
  for key, count in (
      ("failed", len(rows) - len(good)),
      ("cut", sum(row["is_cut"] for row in good)),
      ("unknown", sum("unknown" in row for row in good)),
  ):
    if count:
      entry[key] = count
  return entry


def _interval(metric: str, values, clusters) -> list[float]:
  if metric.removesuffix("_2026") in _SHARES:
    return list(statistics.mean_interval(values, clusters))
  return list(resampling.macro_interval([(values, clusters)]))


def macro(
    output: str | os.PathLike,
    name: str,
    langs: Sequence[str],
    results: dict[str, Any],
) -> dict[str, Any]:
  """The mean of several languages' scores, each counting once.

  Returns:
    {languages, score, ci, also}: of the leading metric, `also` of the others. A
    language alone has its own interval; of several it is a bootstrap over
    items, parallel ones drawn together, and None where there is none: for
    metrics of a whole corpus, and where drawing changes nothing.
  """
  langs = [
      lang for lang in langs if results.get(lang, {}).get("score") is not None
  ]
  if not langs:
    return {"languages": [], "score": None, "ci": None}
  entries = [results[lang] for lang in langs]
  leading = entries[0]["metric"]
  by_metric = [
      {entry["metric"]: entry} | entry.get("also", {}) for entry in entries
  ]
  tables = [
      [r for r in read_rows(output, name, lang) if "failure" not in r]
      for lang in langs
  ]
  clusters = _together(tables)
  found = {}
  for metric in by_metric[0]:
    if not all(metric in other for other in by_metric):
      continue
    known = [other[metric] for other in by_metric]
    found[metric] = {
        "score": sum(entry["score"] for entry in known) / len(known),
        "ci": known[0]["ci"] if len(known) == 1 else _macro_interval(
            metric, tables, clusters
        ),
    }
  first = found.pop(leading)
  return {"languages": langs} | first | ({"also": found} if found else {})


def _macro_interval(metric: str, tables, clusters) -> list[float] | None:
  if not all(rows and metric in rows[0]["scores"] for rows in tables):
    return None
  groups = [
      ([row["scores"][metric] for row in rows], names)
      for rows, names in zip(tables, clusters, strict=True)
  ]
  low, high = resampling.macro_interval(groups)
  return [low, high] if low < high else None


def _together(tables: Sequence[Sequence[dict]]) -> list[list[Hashable]]:
  """Clusters of each language's rows; those that share an item are one.

  A language may lack the item that its cluster is named after elsewhere.
  """
  found = clusters_lib.joined(
      (("item", row["id"]), ("cluster", row["cluster"]))
      for rows in tables for row in rows
  )
  return [[found["item", row["id"]] for row in rows] for rows in tables]
