"""The allocation: optimal by KKT, by SciPy and by trying everything."""

import itertools

import numpy as np
import pytest

from mlit_jax.analysis import allocation
from mlit_jax.analysis.scaling_law import Law

LAWS = {
    "ar": Law(90.0, -0.12, 0.30), "el": Law(110.0, -0.15, 0.35),
    "hi": Law(160.0, -0.18, 0.25), "tr": Law(120.0, -0.14, 0.40),
    "vi": Law(80.0, -0.13, 0.45), "zh": Law(70.0, -0.11, 0.40),
}
# xllama's Table 1, in examples.
AVAILABLE = {
    "ar": 1_097_200, "el": 620_800, "hi": 234_300, "tr": 477_700,
    "vi": 1_073_800, "zh": 912_500,
}
# xllama's Table 4.
PAPER = {
    300_000: (41_842, 44_953, 73_002, 59_652, 40_731, 39_816),
    1_200_000: (183_539, 189_556, 234_233, 242_263, 175_985, 174_422),
}


@pytest.mark.parametrize("budget", [600, 300_000, 1_200_000, 4_000_000])
def test_the_optimum_meets_kkt_and_beats_uniform_and_random(budget):
  found = allocation.solve(LAWS, budget, AVAILABLE)
  assert found.kkt_residual < 1e-9
  best = allocation.mean_score(LAWS, found.shares)
  rng = np.random.default_rng(1)
  uniform = allocation.uniform(list(LAWS), budget, AVAILABLE)
  assert best > allocation.mean_score(LAWS, uniform)
  most = np.array([AVAILABLE[k] for k in LAWS], float)
  for _ in range(500):
    # From equal parts of what there is, moved at random within the limits.
    shares = most * budget / most.sum()
    for a, b in rng.integers(len(most), size=(12, 2)):
      if a != b:
        moved = rng.uniform(0, min(shares[a], most[b] - shares[b]))
        shares[a] -= moved
        shares[b] += moved
    drawn = dict(zip(LAWS, shares, strict=True))
    assert best > allocation.mean_score(LAWS, drawn)


def test_scipys_solver_of_general_programmes_finds_the_same():
  from scipy import optimize

  budget = 1_200_000
  ours = allocation.solve(LAWS, budget, AVAILABLE).shares
  theirs = optimize.minimize(
      lambda x: -allocation.mean_score(
          LAWS, dict(zip(LAWS, x * 1e5, strict=True))
      ),
      np.full(6, 2.0), method="SLSQP",
      bounds=[(1e-3, AVAILABLE[k] / 1e5) for k in LAWS],
      constraints={"type": "eq", "fun": lambda x: x.sum() - budget / 1e5},
      options={"ftol": 1e-14, "maxiter": 1000},
  )
  assert list(ours.values()) == pytest.approx(theirs.x * 1e5, rel=2e-3)


def test_what_is_not_optimal_has_a_residual():
  found = allocation.solve(LAWS, 300_000, AVAILABLE)
  moved = dict(found.shares)
  moved["ar"] += 300
  moved["zh"] -= 300
  assert allocation.residual(
      LAWS, moved, 300_000, AVAILABLE, found.multiplier
  ) > 1e-3
  assert allocation.residual(
      LAWS, found.shares, 301_000, AVAILABLE, found.multiplier
  ) > 1e-3
  for factor in (0.9, 1.1):
    assert allocation.residual(
        LAWS, found.shares, 300_000, AVAILABLE, found.multiplier * factor
    ) > 0.05


def test_whole_numbers_are_the_best_whole_numbers():
  laws = {"a": Law(90.0, -0.3), "b": Law(50.0, -0.6), "c": Law(80.0, -0.05)}
  for budget, limits in (
      (3, (9, 9, 9)), (4, (9, 9, 9)), (17, (30, 30, 30)), (23, (4, 30, 30)),
      (24, (9, 9, 6)),
  ):
    caps = dict(zip(laws, limits, strict=True))
    found = allocation.rounded(laws, budget, caps)
    assert sum(found.values()) == budget
    tried = [
        dict(zip(laws, counts, strict=True))
        for counts in itertools.product(*(range(1, n + 1) for n in limits))
        if sum(counts) == budget
    ]
    best = max(allocation.mean_score(laws, c) for c in tried)
    assert found in tried
    assert allocation.mean_score(laws, found) == pytest.approx(best, abs=1e-12)


def test_rounding_keeps_a_large_budget():
  # The paper's own rows sum to 299,996 and 1,199,998.
  for budget, row in PAPER.items():
    assert sum(row) < budget
    found = allocation.rounded(LAWS, budget, AVAILABLE)
    assert sum(found.values()) == budget
    exact = allocation.solve(LAWS, budget, AVAILABLE).shares
    assert all(abs(found[k] - exact[k]) < 2 for k in LAWS)


def test_the_papers_large_allocation_follows_from_its_small_one():
  """With one exponent for all, 300K examples fix the laws, and so 1.2M.

  At an optimum within the bounds X_i is proportional to a power of alpha_i:
  the first row of Table 4 gives the alphas, and Hindi's limit does the rest.
  """
  beta, small = -0.2, dict(zip(LAWS, PAPER[300_000], strict=True))
  laws = {
      lang: Law(100 * (x / 50_000) ** (1 - beta), beta)
      for lang, x in small.items()
  }
  again = allocation.solve(laws, sum(small.values()), AVAILABLE).shares
  assert again == pytest.approx(small, rel=1e-9)
  found = allocation.rounded(laws, 1_200_000, AVAILABLE)
  assert found["hi"] == AVAILABLE["hi"]
  for lang, x in zip(LAWS, PAPER[1_200_000], strict=True):
    assert found[lang] == pytest.approx(x, rel=0.06)


def test_uniform_fills_up_what_is_scarce():
  limits = {"a": 100, "b": 4, "c": 100}
  assert allocation.uniform("abc", 31, limits) == {"a": 13, "b": 4, "c": 14}
  assert allocation.uniform("abc", 204, limits) == limits
  assert sum(allocation.uniform("abc", 100, limits).values()) == 100


@pytest.mark.parametrize(
    ("budget", "limits", "words"),
    [
        (0, {"a": 5, "b": 5}, "must be above 0"),
        (11, {"a": 5, "b": 5}, "at most the 10"),
        (4, {"a": 5}, "for every language"),
        (4, {"a": 5, "b": 0}, "every limit"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(budget, limits, words):
  laws = {"a": Law(50.0, -0.5), "b": Law(50.0, -0.4)}
  for solver in (allocation.solve, allocation.rounded):
    if budget:
      with pytest.raises(ValueError, match=words):
        solver(laws, budget, limits)
  with pytest.raises(ValueError, match=words):
    allocation.solve(laws, budget, limits)


def test_a_budget_below_one_each_is_refused():
  laws = {"a": Law(50.0, -0.5), "b": Law(50.0, -0.4)}
  with pytest.raises(ValueError, match="no example for each"):
    allocation.rounded(laws, 1, {"a": 5, "b": 5})
