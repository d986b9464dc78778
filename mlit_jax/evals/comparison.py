"""Do two models differ on the same items? Paired tests for each language."""

import os
from typing import Any

from mlit_jax.analysis import paired, resampling
from mlit_jax.evals import mt, outcomes
from mlit_jax.evals.benchmarks import BENCHMARKS
from mlit_jax.evals.items import BenchmarkError


def compare(
    first: str | os.PathLike, second: str | os.PathLike
) -> dict[str, dict[str, dict[str, Any]]]:
  """Everything that both folders of `mlit eval` have.

  Returns:
    Benchmark -> language -> metric -> {first, second, difference (second less
    first), ci, p, p_holm, n}; p_holm is adjusted for the languages of the
    benchmark. Items that either could not score are left out.

  Raises:
    BenchmarkError: they have nothing in common, or different items.
  """
  for place in (first, second):
    if not os.path.exists(os.path.join(place, outcomes.RESULTS)):
      raise BenchmarkError(
          f"{place}: has no {outcomes.RESULTS}; give a folder that mlit eval"
          " wrote"
      )
  results = [outcomes.read_results(place) for place in (first, second)]
  found: dict[str, dict[str, dict[str, Any]]] = {}
  for name in results[0]:
    for lang in results[0][name]:
      if lang in results[1].get(name, {}):
        rows = [
            outcomes.read_rows(place, name, lang) for place in (first, second)
        ]
        for place, there in zip((first, second), rows, strict=True):
          if not there:
            path = outcomes.rows_path(place, name, lang)
            raise BenchmarkError(f"{path}: is not there; run mlit eval again")
        found.setdefault(name, {})[lang] = _pair(name, lang, *rows)
  if not found:
    raise BenchmarkError(
        f"{first} and {second} have no benchmark and language in common; run"
        " mlit eval on both models with the same tasks"
    )
  for by_lang in found.values():
    for metric in {m for metrics in by_lang.values() for m in metrics}:
      tested = [ms[metric] for ms in by_lang.values() if metric in ms]
      adjusted = paired.holm([entry["p"] for entry in tested])
      for entry, p in zip(tested, adjusted, strict=True):
        entry["p_holm"] = p
  return found


def _pair(name, lang, first, second) -> dict[str, Any]:
  same = ("id", "options", "prompt", "references")
  if len(first) != len(second) or any(
      a.get(key) != b.get(key)
      for a, b in zip(first, second, strict=True) for key in same
  ):
    raise BenchmarkError(
        f"{name} in {lang}: the two were asked different items; run both with"
        " the same data, --limit and --shots"
    )
  both = [
      (a, b) for a, b in zip(first, second, strict=True)
      if "failure" not in a and "failure" not in b
  ]
  if not both:
    return {}
  found = {}
  for metric in sorted(both[0][0]["scores"].keys() & both[0][1]["scores"]):
    values = [
        [row["scores"][metric] for row in side]
        for side in zip(*both, strict=True)
    ]
    found[metric] = _means(*values, [row["cluster"] for row, _ in both])
  if name in BENCHMARKS and BENCHMARKS[name].is_corpus:
    answers = [[row["answer"] for row in s] for s in zip(*both, strict=True)]
    references = [row["references"][0] for row, _ in both]
    for metric, entry in mt.paired(*answers, references).items():
      found[metric] = entry | {"n": len(both)}
  return found


def _means(first, second, clusters) -> dict[str, Any]:
  differences = [b - a for a, b in zip(first, second, strict=True)]
  n = len(differences)
  return {
      "first": sum(first) / n,
      "second": sum(second) / n,
      "difference": sum(differences) / n,
      "ci": list(resampling.macro_interval([(differences, clusters)])),
      "p": paired.exchange_test(differences, clusters),
      "n": n,
  }
