"""The benchmarks by name: languages, files, what is asked, what counts.

A name may have versions or directions, which stand behind a colon: asking for
`xcopa` is asking for `xcopa` and `xcopa:corrected`. Where there is a corrected
version, `xcopa:harness` asks for the other alone, which results call `xcopa`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

from mlit_jax import languages
from mlit_jax.errors import UsageError
from mlit_jax.evals import labels, mgsm, mt, multiple_choice, qa
from mlit_jax.evals.items import Choice, Files, Question

Item = Choice | Question


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """A benchmark in one version.

  Attributes:
    languages: short codes.
    files: where its rows are.
    items: (data, language) -> its items; data as of Files.rows.
    metric: the one that results lead with.
    scores: (question, answer, language) -> what the answer is worth, by metric;
      None: the likeliest option counts, or the corpus is scored as a whole.
    is_corpus: whether answers are scored by mt.corpus_scores.
    max_new_tokens: of an answer.
    stop: language -> text that ends an answer that is no turn.
    has_examples: whether `items` takes `shots`, examples before each.
  """

  languages: Sequence[str]
  files: Files
  items: Callable[..., Iterator[Item]]
  metric: str = "accuracy"
  scores: Callable[[Question, str, str], dict[str, float]] | None = None
  is_corpus: bool = False
  max_new_tokens: int = 0
  stop: Callable[[str], str] = lambda lang: "\n"
  has_examples: bool = False


def _by_rows(files: Files, build, **options):
  def items(data, lang: str) -> Iterator[Item]:
    return build(files.rows(lang, data), lang, **options)

  return items


def _flores(out_of_english: bool):
  def items(data, lang: str) -> Iterator[Question]:
    pair = ("en", lang) if out_of_english else (lang, "en")
    return mt.questions(*(mt.FILES.rows(x, data) for x in pair), *pair)

  return Benchmark(
      mt.LANGUAGES, mt.FILES, items, "chrf++", is_corpus=True,
      max_new_tokens=256,
  )


def _mgsm(direct: bool):
  def items(data, lang: str, shots: int = 0) -> Iterator[Question]:
    examples = mgsm.examples(data, lang, shots) if shots else ()
    rows = mgsm.FILES.rows(lang, data)
    return mgsm.questions(rows, lang, direct, examples)

  return Benchmark(
      mgsm.LANGUAGES, mgsm.FILES, items, "exact_match", mgsm.scores,
      max_new_tokens=64 if direct else 400,
      stop=lambda lang: f"\n{labels.table('mgsm')[lang][0]}",
      has_examples=True,
  )


_XCOPA = functools.partial(
    Benchmark, languages.SETS["xcopa"], multiple_choice.XCOPA
)
_XSTORYCLOZE = functools.partial(
    Benchmark, languages.SETS["xstorycloze"], multiple_choice.XSTORYCLOZE
)
_XWINOGRAD = functools.partial(
    Benchmark, languages.SETS["xwinograd"], multiple_choice.XWINOGRAD
)
BENCHMARKS: dict[str, Benchmark] = {
    "xcopa": _XCOPA(
        _by_rows(
            multiple_choice.XCOPA, multiple_choice.xcopa, corrected=False
        )
    ),
    "xcopa:corrected": _XCOPA(
        _by_rows(multiple_choice.XCOPA, multiple_choice.xcopa, corrected=True)
    ),
    "xstorycloze": _XSTORYCLOZE(
        _by_rows(
            multiple_choice.XSTORYCLOZE, multiple_choice.xstorycloze,
            corrected=False,
        )
    ),
    "xstorycloze:corrected": _XSTORYCLOZE(
        _by_rows(
            multiple_choice.XSTORYCLOZE, multiple_choice.xstorycloze,
            corrected=True,
        )
    ),
    "xwinograd": _XWINOGRAD(
        _by_rows(
            multiple_choice.XWINOGRAD, multiple_choice.xwinograd,
            corrected=False,
        )
    ),
    "xwinograd:corrected": _XWINOGRAD(
        _by_rows(
            multiple_choice.XWINOGRAD, multiple_choice.xwinograd,
            corrected=True,
        )
    ),
    "xquad": Benchmark(
        qa.XQUAD_LANGUAGES, qa.XQUAD, _by_rows(qa.XQUAD, qa.questions),
        "exact_match", qa.xquad_scores, max_new_tokens=48,
    ),
    "mlqa": Benchmark(
        qa.MLQA_LANGUAGES, qa.MLQA, _by_rows(qa.MLQA, qa.questions),
        "exact_match", qa.mlqa_scores, max_new_tokens=48,
    ),
    "flores:from_en": _flores(True),
    "flores:to_en": _flores(False),
    "mgsm": _mgsm(direct=False),
    "mgsm:direct": _mgsm(direct=True),
}


def named(names: str) -> dict[str, Benchmark]:
  """The benchmarks that `TASK[,TASK]` means.

  Raises:
    UsageError: one of the names is not known.
  """
  found = {}
  for name in filter(None, (part.strip() for part in names.split(","))):
    matching = {
        key: value for key, value in BENCHMARKS.items()
        if name in (key, key.partition(":")[0], _harness(key))
    }
    if not matching:
      raise UsageError(
          f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)},"
          " representation"
      )
    found |= matching
  if not found:
    raise UsageError(
        f"name a benchmark: {', '.join(BENCHMARKS)}, representation"
    )
  return found


def _harness(key: str) -> str:
  """The other name of a benchmark's version that has a corrected one beside."""
  return f"{key}:harness" if f"{key}:corrected" in BENCHMARKS else key
