"""Mixture of experts.

Axes: B batch, T length, D embed, F mlp, E experts.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.layers import ACTIVATIONS, linear


class MixtureOfExperts(nn.Module):
  """The best few of E gated MLPs for every token (Mixtral: Jiang et al. 2024).

  Drop-free and exact: every expert works on every token, and what the router
  did not choose counts nothing. That costs E / experts_per_token times the
  needed arithmetic, and cuts cleanly along the expert axis.
  """

  config: DecoderConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    c = self.config
    sizes = {"D": c.embed_dim, "F": c.mlp_dim, "E": c.num_experts}
    axes = {"D": "embed", "F": "mlp", "E": "expert"}

    def into(name):
      y = linear(self, name, "BTD,EDF->BTEF", x, sizes, axes, stacked="E")
      return nn.with_logical_constraint(y, ("batch", "length", "expert", "mlp"))

    scores = linear(self, "router", "BTD,DE->BTE", x, sizes, axes)
    shares = jax.nn.softmax(scores.astype(jnp.float32), axis=-1)
    best, chosen = jax.lax.top_k(shares, c.experts_per_token)
    best = best / jnp.sum(best, axis=-1, keepdims=True)
    weights = jnp.sum(
        jax.nn.one_hot(chosen, c.num_experts) * best[..., None], axis=-2
    )
    hidden = ACTIVATIONS[c.activation](into("gate")) * into("up")
    hidden = hidden * weights[..., None].astype(x.dtype)
    return linear(
        self, "down", "BTEF,EFD->BTD", hidden, sizes, axes, stacked="E"
    )
