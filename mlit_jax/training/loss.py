"""Cross-entropy on response tokens."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class TokenLoss(NamedTuple):
  """Sums over each row, to be divided once the whole batch is known.

  Attributes:
    total: summed negative log-likelihood, in nats.
    weight: summed weights (the number of loss tokens).
    correct: summed weights where no token is likelier than the target.
  """

  total: Float[Array, "B"]
  weight: Float[Array, "B"]
  correct: Float[Array, "B"]

  @property
  def mean(self) -> Float[Array, ""]:
    """Nats per loss token of all rows; 0 without any."""
    total, weight = jnp.sum(self.total), jnp.sum(self.weight)
    return total / jnp.where(weight > 0, weight, 1.0)


def cross_entropy(
    logits: Float[Array, "B T V"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    z_loss: float = 0.0,
) -> TokenLoss:
  """Weighted cross-entropy; `chunked_loss` has one for large vocabularies.

  Args:
    logits: of the next token at every position.
    targets: that token.
    weights: 1 where it is learnt (the response), 0 elsewhere.
    z_loss: weight of log(Z)^2, added to the total (T5X's regulariser).
  """
  log_z = jax.nn.logsumexp(logits, axis=-1)
  chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  # Not argmax: on a CPU that takes as long as all the rest of the loss.
  right = chosen >= jnp.max(logits, axis=-1)
  return weigh(log_z, chosen, right, weights, z_loss)


def weigh(
    log_z: Float[Array, "B T"],
    chosen: Float[Array, "B T"],
    right: Bool[Array, "B T"],
    weights: Float[Array, "B T"],
    z_loss: float,
) -> TokenLoss:
  """Sums from log Z, the target's logit and whether it is the highest."""
  loss = log_z - chosen
  if z_loss:
    loss += z_loss * jnp.square(log_z)
  return TokenLoss(
      jnp.sum(loss * weights, axis=-1),
      jnp.sum(weights, axis=-1),
      jnp.sum(right * weights, axis=-1),
  )
