"""Sentence vectors of parallel text: how near are languages in a model?

Zhu et al. (2023): the similarity gamma of a language to English that the
scaling law takes (section 3.2, after Pan et al., 2021), and maps of the
representations layer by layer (Figure 5).
"""

import math

import numpy as np
from jaxtyping import Float

from mlit_jax.analysis import statistics


def cosine_similarity(
    first: Float[np.ndarray, "sentences width"],
    second: Float[np.ndarray, "sentences width"],
) -> float:
  """Mean cosine of the vectors of parallel sentences, row by row.

  Raises:
    ValueError: shapes that differ, no sentences, or a vector without length.
  """
  pairs = zip(_unit(first), _unit(second), strict=True)
  return float(np.mean([a @ b for a, b in pairs]))


def separation(
    first: Float[np.ndarray, "sentences width"],
    second: Float[np.ndarray, "sentences width"],
) -> float:
  """How far two languages lie apart, against how far sentences do.

  The distance between the languages' means over the root of the mean squared
  distance of a sentence from its own language's mean: 0 where languages
  overlap, above 1 where they stand apart. It puts a number to what the paper
  reads off its maps. Of the squared distance what chance alone gives the means
  of so few sentences is taken away.

  Args:
    first, second: vectors of the same sentences, row by row.

  Raises:
    ValueError: numbers of sentences that differ, fewer than two, or all
      vectors of a language equal.
  """
  a, b = _parallel(first, second)
  d, n = a - b, len(a)
  apart = (d.mean(axis=0) ** 2).sum()
  chance = ((d - d.mean(axis=0)) ** 2).sum() / (n * (n - 1))
  spread = sum(((x - x.mean(axis=0)) ** 2).sum() for x in (a, b)) / n / 2
  if not spread:
    raise ValueError("the vectors of both languages are all the same")
  return math.sqrt(max(0.0, apart - chance) / spread)


def separation_interval(
    first: Float[np.ndarray, "sentences width"],
    second: Float[np.ndarray, "sentences width"],
    level: float = 0.95,
) -> tuple[float, float] | None:
  """Jackknife interval of `separation`, over the sentences.

  Each sentence is left out once, in both languages (Efron and Tibshirani 1993,
  chapter 11), and the square's ends are taken, which is the smoother number;
  Student's quantile with n - 1 degrees of freedom. (A bootstrap would be off:
  the distance of means that are drawn again only grows.)

  Args:
    first, second: vectors of the same sentences, row by row.
    level: the confidence level.

  Returns:
    (low, high), both at least 0. None for fewer than four sentences, or where
    all but one are the same.

  Raises:
    ValueError: numbers of sentences that differ, or fewer than two.
  """
  a, b = _parallel(first, second)
  d, n = a - b, len(a)
  if n < 4:
    return None
  mean = d.mean(axis=0)
  # Each sum of squares about a mean without sentence i, from that with it.
  scatter, spread = _without_each(d), _without_each(a) + _without_each(b)
  if not (spread > 1e-12 * spread.max()).all():
    return None
  apart = (((n * mean - d) / (n - 1)) ** 2).sum(axis=1)
  chance = scatter / ((n - 1) * (n - 2))
  squares = (apart - chance) / (spread / (n - 1) / 2)
  error = math.sqrt((n - 1) / n * ((squares - squares.mean()) ** 2).sum())
  half = statistics.t_quantile((1 + level) / 2, n - 1) * error
  square = separation(a, b) ** 2
  return math.sqrt(max(0.0, square - half)), math.sqrt(square + half)


def _parallel(first, second) -> tuple[np.ndarray, np.ndarray]:
  a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
  if a.ndim != 2 or a.shape != b.shape or len(a) < 2:
    raise ValueError(
        "expected two parallel sentences or more, by width:"
        f" {a.shape} and {b.shape}"
    )
  return a, b


def _without_each(x: np.ndarray) -> np.ndarray:
  """Sums of squares about the mean, each without one row."""
  far = ((x - x.mean(axis=0)) ** 2).sum(axis=1)
  return far.sum() - len(x) / (len(x) - 1) * far


def project(
    vectors: Float[np.ndarray, "sentences width"],
) -> tuple[Float[np.ndarray, "sentences 2"], tuple[float, float]]:
  """Coordinates on the first two principal components.

  The sign of a component is chosen so that its largest weight is positive:
  equal vectors give equal maps on every machine.

  Returns:
    The coordinates, and the share of the variance on each component.

  Raises:
    ValueError: fewer than three sentences, a width below two, or vectors that
      are all the same.
  """
  x = np.asarray(vectors, np.float64)
  if x.ndim != 2 or x.shape[0] < 3 or x.shape[1] < 2:
    raise ValueError(f"a map needs three vectors of width two: {x.shape}")
  x = x - x.mean(axis=0)
  _, sizes, axes = np.linalg.svd(x, full_matrices=False)
  total = float((sizes**2).sum())
  if not total:
    raise ValueError("the vectors are all the same")
  axes = axes[:2]
  largest = np.abs(axes).argmax(axis=1)
  axes = axes * np.sign(axes[np.arange(2), largest])[:, None]
  shares = sizes[:2] ** 2 / total
  return x @ axes.T, (float(shares[0]), float(shares[1]))


def _unit(vectors) -> np.ndarray:
  x = np.asarray(vectors, np.float64)
  if x.ndim != 2 or not len(x):
    raise ValueError(f"expected sentences by width, got {x.shape}")
  lengths = np.linalg.norm(x, axis=1, keepdims=True)
  if not (np.isfinite(lengths).all() and lengths.all()):
    raise ValueError("a sentence's vector has no length")
  return x / lengths
