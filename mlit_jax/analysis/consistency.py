"""Are a model's answers to one question alike in all languages?

Zhu et al. (2023, section 5.2) show cases in which a model answers the same
instruction in Chinese and in English with the same content. Here that is a
number: over the questions, how alike the answers in two languages are; beside
it, how alike the answers to different questions are, which is what a model
reaches that always says the same.
"""

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence

from mlit_jax.analysis import statistics

Answer = Hashable
Likeness = Callable[[Answer, Answer], float]


@dataclasses.dataclass(frozen=True)
class Consistency:
  """How alike answers are across languages.

  Attributes:
    value: mean likeness of the answers to one question, 0 to 1; None if no
      question was answered in two languages.
    low, high: of its 95% interval, clustered on the question.
    chance: mean likeness of the answers to different questions; None with
      fewer than two questions.
    n: pairs of answers.
    unread: share of the pairs in which an answer could not be read.
  """

  value: float | None
  low: float | None
  high: float | None
  chance: float | None
  n: int
  unread: float | None


def same(a: Answer, b: Answer) -> float:
  """1 for answers that mean the same, else 0."""
  return float(a == b)


def overlapping(a: frozenset, b: frozenset) -> float:
  """1 where two sets of meanings share one, else 0."""
  return float(not a.isdisjoint(b))


def between(
    answers: Mapping[tuple[str, str], Answer | None],
    first: str,
    second: str,
    like: Likeness = same,
) -> Consistency:
  """Compares the answers in two languages, question by question.

  An answer that cannot be read (None) is like none, and is counted.

  Args:
    answers: (question's id, language) -> what the answer means, in a form that
      does not depend on the language.
    first, second: the languages.
    like: how alike two meanings are, 0 to 1.

  Raises:
    ValueError: a likeness out of its range.
  """
  return over(answers, [(first, second)], like)


def over(
    answers: Mapping[tuple[str, str], Answer | None],
    pairs: Sequence[tuple[str, str]],
    like: Likeness = same,
) -> Consistency:
  """The same over several pairs of languages; a question is one cluster."""
  values, clusters, unread, chance, others = [], [], 0, 0.0, 0
  ids = list(dict.fromkeys(id_ for id_, _ in answers))
  for first, second in pairs:
    both = [i for i in ids if (i, first) in answers and (i, second) in answers]
    for i in both:
      a, b = answers[i, first], answers[i, second]
      unread += a is None or b is None
      values.append(_likeness(a, b, like))
      clusters.append(i)
    # Each question against every other: nothing is drawn.
    for i, k in itertools.permutations(both, 2):
      chance += _likeness(answers[i, first], answers[k, second], like)
      others += 1
  if not values:
    return Consistency(None, None, None, None, 0, None)
  low, high = statistics.mean_interval(values, clusters)
  return Consistency(
      sum(values) / len(values), low, high,
      chance / others if others else None, len(values), unread / len(values),
  )


def _likeness(a, b, like: Likeness) -> float:
  if a is None or b is None:
    return 0.0
  value = like(a, b)
  if not 0 <= value <= 1:
    raise ValueError(f"a likeness lies between 0 and 1, not {value}")
  return value
