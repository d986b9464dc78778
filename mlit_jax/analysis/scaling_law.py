"""Translation quality by the amount of translation data (Zhu et al. 2023).

Section 3.2, equation 2: S(X) = 100 - alpha (gamma X)^beta with alpha > 0 and
-1 < beta < 0. X is the number of training examples, S a score of at most 100
and gamma, between 0 and 1, the language's similarity to English, which is
measured beforehand (representation.py). The same form is fitted to monolingual
data, so that the two can be drawn together (Figure 7).

Within one language gamma only moves alpha: the curve is the same whatever
gamma is. It matters where alphas of several languages are compared.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

CEILING = 100.0
# How far from its bounds beta is held; a fit that ends there says so.
_MARGIN = 1e-6


@dataclasses.dataclass(frozen=True)
class Law:
  """S(X) = 100 - alpha (gamma X)^beta.

  Attributes:
    alpha: above 0.
    beta: between -1 and 0.
    gamma: similarity to English, above 0 and at most 1.
  """

  alpha: float
  beta: float
  gamma: float = 1.0

  def __post_init__(self):
    if not (self.alpha > 0 and math.isfinite(self.alpha)):
      raise ValueError(f"alpha={self.alpha} must be above 0")
    if not -1 < self.beta < 0:
      raise ValueError(f"beta={self.beta} must lie between -1 and 0")
    _check_gamma(self.gamma)

  def score(self, examples: float) -> float:
    """S at a number of examples above 0; without examples it has no bound."""
    if examples <= 0:
      return -math.inf
    return CEILING - self.alpha * (self.gamma * examples) ** self.beta

  def slope(self, examples: float) -> float:
    """dS/dX: what one more example is worth."""
    if examples <= 0:
      return math.inf
    return -self.beta * (CEILING - self.score(examples)) / examples

  def examples(self, slope: float) -> float:
    """Where one more example is worth that much: the inverse of `slope`."""
    scale = -self.beta * self.alpha * self.gamma**self.beta
    return (slope / scale) ** (1 / (self.beta - 1))


@dataclasses.dataclass(frozen=True)
class Fit:
  """A law with what is known of its parameters.

  Attributes:
    law: the least-squares one.
    alpha_se, beta_se: standard errors; None where the data do not give them:
      no more points than parameters, or beta at a bound.
    alpha_ci, beta_ci: 95% intervals (that of alpha is symmetric in its
      logarithm); (None, None) like the errors.
    residual: root of the mean squared residual, in points of S.
    r_squared: share of the scores' variance that the law accounts for; None
      if the scores are all the same.
    at_bound: "" or which bound beta ended at: "0" where more data did not
      help, "-1" where it helped faster than the form allows.
    n: points.
  """

  law: Law
  alpha_se: float | None
  beta_se: float | None
  alpha_ci: tuple[float | None, float | None]
  beta_ci: tuple[float | None, float | None]
  residual: float
  r_squared: float | None
  at_bound: str
  n: int


def fit(
    examples: Sequence[float],
    scores: Sequence[float],
    gamma: float = 1.0,
    level: float = 0.95,
) -> Fit:
  """Fits the law by least squares within its bounds.

  The fit is made in A, the distance to 100 at the points' geometric mean, and
  beta, which are nearly independent of each other; alpha and its error follow.
  Intervals are Student's with n - 2 degrees of freedom.

  Args:
    examples: numbers of training examples, each above 0.
    scores: S there, each below 100.
    gamma: the language's similarity to English.
    level: of the intervals.

  Raises:
    ValueError: fewer than two different sizes, lengths that differ, or a value
      out of its range.
  """
  x = np.asarray(examples, np.float64)
  s = np.asarray(scores, np.float64)
  _check_gamma(gamma)
  if x.ndim != 1 or x.shape != s.shape:
    raise ValueError(f"as many scores as sizes: got {s.shape} and {x.shape}")
  if np.unique(x).size < 2:
    raise ValueError("a law needs at least two different sizes")
  if not (np.isfinite(x).all() and (x > 0).all()):
    raise ValueError("the law has no value without examples: sizes above 0")
  if not (np.isfinite(s).all() and (s < CEILING).all()):
    raise ValueError("the law comes from below to 100: scores below that")
  if not 0 < level < 1:
    raise ValueError(f"the level must lie between 0 and 1, not {level}")
  distance = CEILING - s
  relative = np.log(x) - np.log(x).mean()
  height, beta, covariance = _least_squares(relative, distance)
  residuals = distance - height * np.exp(beta * relative)
  squares = float(residuals @ residuals)
  total = float(((s - s.mean()) ** 2).sum())
  at_bound = ""
  if beta > -2 * _MARGIN:
    at_bound = "0"
  elif beta < -1 + 2 * _MARGIN:
    at_bound = "-1"
  # alpha (gamma X)^beta = A (X / mean)^beta
  shift = math.log(gamma) + float(np.log(x).mean())
  alpha = height * math.exp(-beta * shift)
  errors = (None, None)
  if x.size > 2 and not at_bound:
    covariance = covariance * squares / (x.size - 2)
    gradient = np.array([1 / height, -shift])  # of log alpha by (A, beta)
    relative_error = math.sqrt(gradient @ covariance @ gradient)
    errors = alpha * relative_error, math.sqrt(covariance[1, 1])
  alpha_ci, beta_ci = _intervals(alpha, beta, errors, x.size - 2, level)
  return Fit(
      Law(alpha, beta, gamma), *errors, alpha_ci, beta_ci,
      math.sqrt(squares / x.size), 1 - squares / total if total else None,
      at_bound, x.size,
  )


def _least_squares(relative, distance):
  """A, beta and the inverse of J'J of distance = A exp(beta relative)."""
  from scipy import optimize

  def residuals(p):
    return p[0] * np.exp(p[1] * relative) - distance

  def jacobian(p):
    curve = np.exp(p[1] * relative)
    return np.stack([curve, p[0] * relative * curve], axis=1)

  slope = np.polyfit(relative, np.log(distance), 1)[0]
  start = [float(np.exp(np.log(distance).mean())), float(slope)]
  start[1] = min(max(start[1], -0.99), -0.01)
  found = optimize.least_squares(
      residuals, start, jacobian, x_scale="jac", xtol=1e-14, ftol=1e-14,
      gtol=1e-14,
      bounds=([1e-300, -1 + _MARGIN], [np.inf, -_MARGIN]),
  )
  design = jacobian(found.x)
  return float(found.x[0]), float(found.x[1]), np.linalg.inv(design.T @ design)


def _intervals(alpha, beta, errors, degrees, level):
  if errors[1] is None:
    return (None, None), (None, None)
  from scipy import special

  quantile = float(special.stdtrit(degrees, (1 + level) / 2))
  factor = math.exp(quantile * errors[0] / alpha)
  half = quantile * errors[1]
  return (
      (alpha / factor, alpha * factor),
      (max(-1.0, beta - half), min(0.0, beta + half)),
  )


def _check_gamma(gamma: float) -> None:
  if not 0 < gamma <= 1:
    raise ValueError(f"gamma={gamma} must be above 0 and at most 1")
