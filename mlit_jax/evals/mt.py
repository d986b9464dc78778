"""FLORES: translation out of English and into it.

sacreBLEU counts: spBLEU (BLEU over the pieces of FLORES's SentencePiece model)
and chrF++; both are of the whole test set, from 0 to 100. Its counts are
resampled here: its own test takes two equal systems for surely different, and
its own bootstrap fails on answers without a match.
"""

import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlit_jax import languages
from mlit_jax.data.sources import fields, lines, translation
from mlit_jax.evals.items import (
    BenchmarkError,
    Files,
    Question,
    Row,
    Strict,
)

# FLORES's tokenizers, as sacreBLEU calls them.
TOKENIZERS = ("flores101", "flores200")
# The registry's, without English.
LANGUAGES = tuple(
    x.code for x in languages.all_languages() if x.flores200 and x.code != "en"
)
_RESAMPLES = 2000


def questions(
    sources: Iterable[Row], targets: Iterable[Row], before: str, after: str
) -> Iterator[Question]:
  """Asks in English for a translation, as the tuning data do."""
  names = [languages.get(code).name for code in (before, after)]
  ask = translation.phrasings()["en"][0]
  ask = ask.replace("{source}", names[0]).replace("{target}", names[1])
  sources, targets = list(sources), list(targets)
  if len(sources) != len(targets):
    raise BenchmarkError(
        f"FLORES has {len(sources)} sentences in {before} and {len(targets)} in"
        f" {after}; they must be parallel, so fetch both files again"
    )
  for source, target in zip(sources, targets, strict=True):
    with Strict().catch(source):
      text = fields.text(source.data, "text")
    with Strict().catch(target):
      reference = fields.text(target.data, "text")
    yield Question(
        f"flores/{source.index}", ask.replace("{text}", text), (reference,),
        f"{source.index}", source=text, cue=f"\n\n{names[1]}:",
    )


def corpus_scores(
    answers: Sequence[str], references: Sequence[str]
) -> dict[str, dict[str, Any]]:
  """chrF++, and spBLEU by every tokenizer that is there.

  Returns:
    name -> {score, ci, signature}: the 95 % interval is by bootstrap, the
    signature sacreBLEU's.
  """
  found = {}
  for name, metric in _metrics().items():
    score, ci = _whole(metric, _statistics(metric, answers, references))
    found[name] = {
        "score": score, "ci": list(ci),
        "signature": str(metric.get_signature()),
    }
  return found


def paired(
    first: Sequence[str], second: Sequence[str], references: Sequence[str]
) -> dict[str, dict[str, Any]]:
  """Do two systems differ? Approximate randomisation over sentences.

  As sacreBLEU's own test (Riezler and Maxwell 2005), but for ties, which count
  as differing as much.

  Returns:
    name -> {first, second, difference, ci, p}; the interval is a bootstrap.
  """
  return {
      name: _randomise(
          metric, _statistics(metric, first, references),
          _statistics(metric, second, references),
      )
      for name, metric in _metrics().items()
  }


def missing_tokenizers() -> list[str]:
  """A line for each tokenizer of spBLEU whose file is not there."""
  return [
      f"spBLEU ({name}) is left out: {path} is not there; put FLORES's"
      " SentencePiece model there"
      for name, path in _tokenizer_files().items() if not path.is_file()
  ]


def _statistics(metric, answers, references) -> np.ndarray:
  """What sacreBLEU counts in each sentence, [sentences, statistics]."""
  return np.array(
      metric._extract_corpus_statistics(list(answers), [list(references)]),
      np.float64,
  )


def _score(metric, sums: np.ndarray) -> float:
  return float(metric._compute_score_from_stats(list(sums)).score)


def _whole(metric, counts) -> tuple[float, tuple[float, float]]:
  """The score of all sentences, and its percentile interval by bootstrap."""
  rng = np.random.default_rng(0)
  drawn = [
      _score(metric, counts[rows].sum(0))
      for rows in rng.integers(0, len(counts), (_RESAMPLES, len(counts)))
  ]
  low, high = np.quantile(drawn, (0.025, 0.975))
  return _score(metric, counts.sum(0)), (float(low), float(high))


def _randomise(metric, first, second) -> dict[str, Any]:
  """Compares the statistics of two systems' sentences."""

  def difference(a, b) -> float:
    return _score(metric, b) - _score(metric, a)

  rng = np.random.default_rng(0)
  sums, n = (first.sum(0), second.sum(0)), len(first)
  seen = difference(*sums)
  as_much = 0
  for _ in range(_RESAMPLES):
    moved = (second - first)[rng.random(n) < 0.5].sum(0)
    other = difference(sums[0] + moved, sums[1] - moved)
    as_much += abs(other) >= abs(seen) - 1e-9
  drawn = [
      difference(first[rows].sum(0), second[rows].sum(0))
      for rows in rng.integers(0, n, (_RESAMPLES, n))
  ]
  return {
      "first": _score(metric, sums[0]),
      "second": _score(metric, sums[1]),
      "difference": seen,
      "ci": [float(x) for x in np.quantile(drawn, (0.025, 0.975))],
      "p": (1 + as_much) / (1 + _RESAMPLES),
  }


def _metrics() -> Mapping[str, Any]:
  from sacrebleu import metrics

  found = {"chrf++": metrics.CHRF(word_order=2)}
  for name, path in _tokenizer_files().items():
    if path.is_file():
      found[f"spbleu_{name}"] = metrics.BLEU(tokenize=name)
  return found


def _tokenizer_files() -> dict[str, pathlib.Path]:
  from sacrebleu import utils
  from sacrebleu.tokenizers import tokenizer_spm

  folder = pathlib.Path(utils.SACREBLEU_DIR) / "models"
  return {
      name: folder / os.path.basename(tokenizer_spm.SPM_MODELS[name]["url"])
      for name in TOKENIZERS
  }


def _read_lines(path: pathlib.Path, lang: str) -> Iterator[Row]:
  bad = Strict()
  for index, (line, text, reason, detail) in enumerate(lines.texts(path)):
    row = Row(str(path), line, index, {"text": text})
    if reason:
      bad.add(row, reason, detail)
    yield row


FILES = Files(
    "flores",
    tuple(
        f"{folder}devtest/{{{system}}}.devtest"
        for system in ("flores200", "flores101")
        for folder in ("", f"{system}_dataset{os.sep}")
    ),
    "openlanguagedata/flores_plus@{flores200}", "devtest", read=_read_lines,
)
