"""Sentence vectors of parallel text: how near are languages in a model?

Zhu et al. (2023): the similarity gamma of a language to English that the
scaling law takes (section 3.2, after Pan et al., 2021), and maps of the
representations layer by layer (Figure 5).
"""

import numpy as np
from jaxtyping import Float


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
  distance of a sentence from its own language's mean: near 0 where languages
  overlap, above 1 where they stand apart. It puts a number to what the paper
  reads off its maps.

  Raises:
    ValueError: no sentences, or all vectors of both languages equal.
  """
  a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
  if a.ndim != 2 or b.ndim != 2 or not len(a) or not len(b):
    raise ValueError(f"expected sentences by width: {a.shape} and {b.shape}")
  centres = a.mean(axis=0), b.mean(axis=0)
  spread = [
      ((x - c) ** 2).sum(axis=1).mean()
      for x, c in zip((a, b), centres, strict=True)
  ]
  if not sum(spread):
    raise ValueError("the vectors of both languages are all the same")
  between = np.linalg.norm(centres[0] - centres[1])
  return float(between / np.sqrt(sum(spread) / 2))


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
