"""A budget of translation data shared out among languages (Zhu et al. 2023).

Section 3.3: maximise the mean of S_i(X_i) subject to sum X_i = C and 0 <= X_i
<= max_i. Every S_i is concave (scaling_law.py), so that one multiplier settles
the whole: each language gets examples until one more is worth the same
everywhere, or until it has no more.
"""

import dataclasses
import heapq
import math
from collections.abc import Mapping, Sequence

from mlit_jax.analysis.scaling_law import CEILING, Law


@dataclasses.dataclass(frozen=True)
class Allocation:
  """The best shares, and how far they are from meeting the conditions.

  Attributes:
    shares: language -> examples, fractions allowed; they sum to the budget.
    multiplier: what one more example is worth, in points of a language's S.
    kkt_residual: the largest violation of the Karush-Kuhn-Tucker conditions,
      relative to the multiplier and, for the budget, to the budget: 0 at the
      optimum.
  """

  shares: Mapping[str, float]
  multiplier: float
  kkt_residual: float


def solve(
    laws: Mapping[str, Law], budget: float, limits: Mapping[str, float]
) -> Allocation:
  """The allocation with the highest mean score.

  Args:
    laws: language -> its law.
    budget: C, examples in all, above 0.
    limits: language -> the most that there is of it.

  Raises:
    ValueError: no languages, other languages in `limits`, or a budget that
      is not above 0 or above the sum of the limits.
  """
  _check(laws, budget, limits)

  def shares(multiplier: float) -> dict[str, float]:
    return {
        lang: min(limits[lang], law.examples(multiplier))
        for lang, law in laws.items()
    }

  if budget == sum(limits.values()):
    found = {lang: float(limits[lang]) for lang in laws}
    multiplier = min(laws[lang].slope(x) for lang, x in found.items())
    return Allocation(
        found, multiplier, residual(laws, found, budget, limits, multiplier)
    )
  from scipy import optimize

  # At the slope of the smallest possible share too little is spent; where
  # every language is at its limit, too much.
  least = budget / len(laws) * 1e-12
  high = max(law.slope(least) for law in laws.values())
  low = min(law.slope(limits[lang]) for lang, law in laws.items())
  exponent = optimize.brentq(
      lambda e: sum(shares(math.exp(e)).values()) - budget,
      math.log(low), math.log(high), xtol=1e-15, rtol=8.9e-16, maxiter=500,
  )
  multiplier = math.exp(exponent)
  found = shares(multiplier)
  return Allocation(
      found, multiplier, residual(laws, found, budget, limits, multiplier)
  )


def residual(
    laws: Mapping[str, Law],
    shares: Mapping[str, float],
    budget: float,
    limits: Mapping[str, float],
    multiplier: float,
) -> float:
  """By how much an allocation misses the conditions of the optimum.

  The budget is spent, no share is out of its bounds, one more example is worth
  the multiplier where a language is within them and at least as much where it
  is at its limit. (None is at 0, where a first example is worth everything.)
  """
  worst = abs(sum(shares.values()) - budget) / budget
  for lang, x in shares.items():
    worst = max(worst, -x / budget, (x - limits[lang]) / budget)
    gap = laws[lang].slope(x) / multiplier - 1
    worst = max(worst, -gap if x >= limits[lang] else abs(gap))
  return worst


def rounded(
    laws: Mapping[str, Law], budget: int, limits: Mapping[str, int]
) -> dict[str, int]:
  """The best allocation in whole examples; it spends the budget exactly.

  It begins with the shares of `solve` cut to whole numbers and hands out what
  is left where one more example is worth most; then single examples move as
  long as that raises the sum, which for concave laws ends at the optimum.

  Raises:
    ValueError: as `solve`; or a budget without an example for each language.
  """
  if budget != int(budget) or any(v != int(v) for v in limits.values()):
    raise ValueError("the budget and the limits are whole numbers")
  if budget < len(laws):
    raise ValueError(
        f"a budget of {budget} has no example for each of {len(laws)} languages"
    )
  shares = solve(laws, budget, limits).shares
  counts = {lang: max(1, int(x)) for lang, x in shares.items()}
  # Where whole numbers are all raised to 1, there may be too many.
  while sum(counts.values()) > budget:
    lang = min(
        (x for x in counts if counts[x] > 1),
        key=lambda x: _step(laws[x], counts[x] - 1),
    )
    counts[lang] -= 1
  heap = [
      (-_step(law, counts[lang]), lang) for lang, law in laws.items()
      if counts[lang] < limits[lang]
  ]
  heapq.heapify(heap)
  for _ in range(budget - sum(counts.values())):
    _, lang = heapq.heappop(heap)
    counts[lang] += 1
    if counts[lang] < limits[lang]:
      heapq.heappush(heap, (-_step(laws[lang], counts[lang]), lang))
  while move := _better(laws, counts, limits):
    gives, takes = move
    counts[gives] -= 1
    counts[takes] += 1
  return counts


def uniform(
    languages: Sequence[str], budget: int, limits: Mapping[str, int]
) -> dict[str, int]:
  """The budget in equal parts; what a language lacks goes to the others."""
  _check(dict.fromkeys(languages), budget, limits)
  counts, left = {}, budget
  # The scarcest first: what it cannot give is shared out among the rest.
  for i, lang in enumerate(sorted(languages, key=lambda x: limits[x])):
    counts[lang] = min(left // (len(languages) - i), limits[lang])
    left -= counts[lang]
  return {lang: counts[lang] for lang in languages}


def mean_score(laws: Mapping[str, Law], shares: Mapping[str, float]) -> float:
  """What is maximised: the mean of the laws' scores."""
  scores = [law.score(shares[lang]) for lang, law in laws.items()]
  return sum(scores) / len(scores)


def _step(law: Law, examples: int) -> float:
  """What the next whole example is worth."""
  # Without taking the difference of two nearly equal scores.
  ratio = math.expm1(law.beta * math.log1p(1 / examples))
  return -(CEILING - law.score(examples)) * ratio


def _better(laws, counts, limits) -> tuple[str, str] | None:
  """From whom to whom an example may go so that the sum rises."""
  gives = min(
      (x for x in counts if counts[x] > 1),
      key=lambda x: _step(laws[x], counts[x] - 1), default=None,
  )
  takes = max(
      (x for x in counts if counts[x] < limits[x]),
      key=lambda x: _step(laws[x], counts[x]), default=None,
  )
  if gives is None or takes is None or gives == takes:
    return None
  gain = _step(laws[takes], counts[takes])
  loss = _step(laws[gives], counts[gives] - 1)
  return (gives, takes) if gain > loss * (1 + 1e-9) else None


def _check(laws, budget, limits) -> None:
  if not laws or set(laws) != set(limits):
    raise ValueError("give a law and a limit for every language, at least one")
  if any(v <= 0 for v in limits.values()):
    raise ValueError("every limit must be above 0")
  if not 0 < budget <= sum(limits.values()):
    raise ValueError(
        f"a budget of {budget} must be above 0 and at most the"
        f" {sum(limits.values())} that there are"
    )
