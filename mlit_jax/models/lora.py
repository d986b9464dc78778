"""LoRA adapters (Hu et al. 2022): made, put into a model, merged.

Adapters are a tree of their own: {"blocks": {"attention": {"query": {"a", "b"
}}}}, of an encoder-decoder {"encoder": {"blocks": …}, "decoder": …}; a of
[L K in… R], b of [L K R out…], for L layers, K adapters and rank R (experts
between K and the rest). What a map gives gains scale · (x a) b. The base's
parameters are never touched; what is trained is this tree alone.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Int, Integer

from mlit_jax.models import decoder, encoder_decoder
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

ModelConfig = DecoderConfig | EncoderDecoderConfig
_BLOCKS = "blocks"
_STACKED = ("layers", "expert")


class LoraError(ValueError):
  """Adapters that a model cannot have; says why."""


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """Which maps are adapted, and how.

  The defaults are the alpaca paper's.

  Attributes:
    pattern: a regular expression, searched for in the paths of kernels,
      "blocks/attention/query" and the like.
    rank: R.
    alpha: the scale is alpha / rank.
    dropout: share of a map's input that its adapter does not see, while
      training.
  """

  pattern: str = r"attention/(query|key|value)$"
  rank: int = 8
  alpha: float = 16.0
  dropout: float = 0.05

  def __post_init__(self):
    if type(self.rank) is not int or self.rank <= 0:
      raise ValueError(f"rank must be a positive whole number: {self.rank!r}")
    for name in ("alpha", "dropout"):
      value = getattr(self, name)
      if type(value) not in (int, float):
        raise ValueError(f"{name} must be a number: {value!r}")
    if not 0 < self.alpha < math.inf:
      raise ValueError(f"alpha must be positive: {self.alpha!r}")
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout must be in [0, 1): {self.dropout!r}")
    try:
      re.compile(self.pattern)
    except re.error as e:
      raise ValueError(f"pattern {self.pattern!r}: {e}") from None

  @property
  def scale(self) -> float:
    """What (x a) b is multiplied by."""
    return self.alpha / self.rank


@dataclasses.dataclass(frozen=True)
class Map:
  """A linear map of a model's blocks.

  Attributes:
    path: of its kernel.
    stacked: axes (size, logical name) that number kernels: layers, experts.
    inward: those of what it reads.
    outward: those of what it gives.
  """

  path: tuple[str, ...]
  stacked: tuple[tuple[int, str], ...]
  inward: tuple[tuple[int, str], ...]
  outward: tuple[tuple[int, str], ...]

  @property
  def name(self) -> str:
    """The path, to be matched."""
    return "/".join(self.path)


@functools.lru_cache(maxsize=64)
def maps(config: ModelConfig) -> tuple[Map, ...]:
  """Every linear map of the blocks: what may have an adapter.

  Which axes a map reads follows from its logical axes: it reads the residual
  stream, whose axis then comes first, or writes it, whose axis then comes last.
  """
  model = decoder if isinstance(config, DecoderConfig) else encoder_decoder
  boxed = jax.eval_shape(lambda: model.init_params(config, 0))
  found = []
  for keys, box in jax.tree_util.tree_leaves_with_path(
      boxed, is_leaf=lambda x: isinstance(x, nn.Partitioned)
  ):
    path = tuple(key.key for key in keys)
    if _BLOCKS not in path:
      continue
    axes = list(zip(box.value.shape, box.names, strict=True))
    stacked = []
    while axes[0][1] in _STACKED:
      stacked.append(axes.pop(0))
    names = [name for _, name in axes]
    if len(axes) < 2 or "embed" not in (names[0], names[-1]):
      continue  # norms and biases
    cut = 1 if names[0] == "embed" else len(axes) - 1
    inward, outward = tuple(axes[:cut]), tuple(axes[cut:])
    found.append(Map(path, tuple(stacked), inward, outward))
  return tuple(found)


def chosen(config: ModelConfig, lora: LoraConfig) -> list[Map]:
  """The maps that the pattern names.

  Raises:
    LoraError: there are none; lists what there is.
  """
  every = maps(config)
  found = [m for m in every if re.search(lora.pattern, m.name)]
  if not found:
    raise LoraError(
        f"pattern {lora.pattern!r} matches no linear map; there are"
        f" {', '.join(m.name for m in every)}"
    )
  return found


def init(
    config: ModelConfig,
    lora: LoraConfig,
    seed: int | Integer[Array, ""],
    num_adapters: int = 1,
) -> dict:
  """New adapters, boxed with their logical axes: a random, b zero.

  Args:
    config: of the base.
    lora: which maps, and the rank.
    seed: of a, uniform up to 1 / sqrt(inputs), as PEFT has it.
    num_adapters: K; all different.
  """
  key, adapters = jax.random.key(seed), {}
  for number, m in enumerate(chosen(config, lora)):
    layers, *experts = m.stacked
    around = (layers, (num_adapters, None), *experts)
    rank = ((lora.rank, None),)
    inward, outward = (*around, *m.inward, *rank), (*around, *rank, *m.outward)
    largest = math.prod(_sizes(m.inward)) ** -0.5
    a = jax.random.uniform(
        jax.random.fold_in(key, number), _sizes(inward), jnp.float32,
        -largest, largest,
    )
    b = jnp.zeros(_sizes(outward), jnp.float32)
    adapters[m.path] = {
        "a": nn.LogicallyPartitioned(a, _names(inward)),
        "b": nn.LogicallyPartitioned(b, _names(outward)),
    }
  return traverse_util.unflatten_dict(adapters)


def collection(
    adapters: Mapping[str, Any],
    lora: LoraConfig,
    adapter_ids: Int[Array, "B"] | None = None,
    draws: Int[Array, "B N"] | None = None,
) -> dict:
  """What a model takes as its collection "lora".

      model.apply({"params": params, "lora": collection(…)}, …)

  With a random stream "dropout" in `rngs` the adapters' inputs are dropped out.

  Args:
    adapters: the tree, unboxed.
    lora: how it was made.
    adapter_ids: which of the K adapters a row of the batch takes; may be left
      out if K is 1.
    draws: numbers that tell a row's dropout from that of other rows and other
      steps; None: the row's place in the batch.

  Raises:
    ValueError: there are several adapters and no ids.
  """

  def one(adapter):
    layers, count = adapter["a"].shape[:2]
    said = dict(adapter) | {"scale": jnp.full(layers, lora.scale)}
    if lora.dropout:
      said["rate"] = jnp.full(layers, lora.dropout)
      if draws is not None:
        said["draws"] = jnp.broadcast_to(draws, (layers, *draws.shape))
    if adapter_ids is not None:
      said["ids"] = jnp.broadcast_to(adapter_ids, (layers, *adapter_ids.shape))
    elif count > 1:
      raise ValueError(f"there are {count} adapters: give adapter_ids")
    return said

  return jax.tree.map(one, dict(adapters), is_leaf=_is_adapter)


def stack(adapters: Sequence[Mapping[str, Any]]) -> dict:
  """Adapters of one LoraConfig as one tree, K being the sum of theirs."""
  return jax.tree.map(lambda *xs: jnp.concatenate(xs, axis=1), *adapters)


def merge(
    params: Mapping[str, Any],
    adapters: Mapping[str, Any],
    lora: LoraConfig,
    adapter: int = 0,
) -> dict:
  """New parameters of the base with one adapter in them.

  Args:
    params: of the base, unboxed; not changed.
    adapters: the tree, unboxed.
    lora: how it was made.
    adapter: which of the K.
  """

  def walk(params, adapters):
    merged = dict(params)
    for name, value in adapters.items():
      if not _is_adapter(value):
        merged[name] = walk(params[name], value)
        continue
      kernel = params[name]
      a, b = value["a"][:, adapter], value["b"][:, adapter]
      # Axes in front of the rank in b number kernels: layers, experts.
      n = a.ndim + b.ndim - kernel.ndim - 2
      rows = a.reshape(*a.shape[:n], -1, a.shape[-1])
      columns = b.reshape(*b.shape[: n + 1], -1)
      change = jnp.matmul(rows, columns, precision="highest")
      change = (lora.scale * change).reshape(kernel.shape)
      merged[name] = (kernel + change).astype(kernel.dtype)
    return merged

  return walk(params, adapters)


def _is_adapter(value) -> bool:
  return isinstance(value, Mapping) and set(value) == {"a", "b"}


def _sizes(axes) -> tuple[int, ...]:
  return tuple(size for size, _ in axes)


def _names(axes) -> tuple[str | None, ...]:
  return tuple(name for _, name in axes)
