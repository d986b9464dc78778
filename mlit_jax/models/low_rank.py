"""A linear map's low-rank companion: LoRA (Hu et al. 2022) inside the model.

Adapters are no parameters of a module. They come in as the collection "lora",
which lora.py makes; a map whose name is not there is not touched. Axes: B
batch, K adapters, R rank.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mlit_jax.models import dropout
from mlit_jax.models.linear_map import linear_map

COLLECTION = "lora"


def adapted(
    module: nn.Module,
    name: str,
    einsum: str,
    x: Float[Array, "B ..."],
    kernel: Float[Array, "..."],
) -> Float[Array, "..."]:
  """x through a kernel, cast to its type, and through the map's adapters.

  Arguments as of `low_rank`; kernel: in the letters of `einsum`.
  """
  y = linear_map(einsum, x, kernel.astype(x.dtype))
  if (change := low_rank(module, name, einsum, x)) is not None:
    y = y + change
  return y


def low_rank(
    module: nn.Module,
    name: str,
    einsum: str,
    x: Float[Array, "B ..."],
    stacked: str = "",
) -> Float[Array, "..."] | None:
  """What the adapters of a map add to what it gives; None: it has none.

  Each row of the batch takes the adapter of its id, so that one program serves
  K adapters; without ids there is one adapter for all rows, or one for each.
  Arguments as of `layers.linear`.
  """
  if not module.has_variable(COLLECTION, name):
    return None
  adapter = module.get_variable(COLLECTION, name)
  places, out = einsum.split("->")
  places, kernel = places.split(",")
  inward = "".join(a for a in kernel if a not in out and a not in stacked)
  outward = "".join(a for a in kernel if a in out and a not in stacked)
  kept = "".join(a for a in places if a not in inward)
  middle = kept + "".join(a for a in stacked if a not in kept) + "R"
  row = places[0]
  if "R" in places + kernel or row in kernel:
    raise ValueError(f"{einsum!r}: R is the rank, and {row} the batch")
  if "rate" in adapter and module.has_rng(dropout.STREAM):
    x = dropout.drop_out(
        x, adapter["rate"], module.make_rng(dropout.STREAM),
        adapter.get("draws"),
    )
  a, b = adapter["a"].astype(x.dtype), adapter["b"].astype(x.dtype)
  if "ids" in adapter:
    # Per row; the rank is small, so this is much less than x.
    a, b = (jnp.take(w, adapter["ids"], axis=0) for w in (a, b))
    batch = row
  elif len(a) > 1:
    batch = row
  else:
    a, b, batch = a[0], b[0], ""
  narrow = linear_map(f"{places},{batch}{stacked}{inward}R->{middle}", x, a)
  wide = linear_map(f"{middle},{batch}{stacked}R{outward}->{out}", narrow, b)
  return adapter["scale"].astype(x.dtype) * wide
