"""Optimisers and learning-rate schedules."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

SCHEDULES = ("cosine", "linear", "constant", "rsqrt")
# What a name means where the config leaves a number open.
DEFAULTS = {
    "adamw": {"b2": 0.98, "weight_decay": 0.01, "clip_norm": 1.0},
    "adafactor": {"b2": 0.8, "weight_decay": 0.0, "clip_norm": 0.0},
    "lion": {"b2": 0.99, "weight_decay": 0.01, "clip_norm": 1.0},
}
_STACKED = ("layers", "expert")  # axes that number separate kernels


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """An optimiser with a schedule.

  Attributes:
    learning_rate: its peak.
    schedule: after the warm-up: `cosine` or `linear` down to `final_ratio` of
      the peak, `constant`, or `rsqrt` (the peak times sqrt(warm-up / step)).
    warmup_ratio: share of all steps in which the rate rises from 0.
    final_ratio: what is left of the peak when the last step is done.
    b1: of AdamW and Lion: decay of the first moment.
    b2: decay of AdamW's second moment (default 0.98), of Lion's (0.99);
      Adafactor's exponent (0.8).
    eps: of AdamW.
    weight_decay: decoupled; default 0.01, with Adafactor none.
    clip_norm: the gradient's largest global norm, 0 does not clip; default 1,
      with Adafactor none: it clips every update's root mean square to 1.
    optimizer: `adamw` (Loshchilov and Hutter 2019), `lion` (Chen et al. 2023)
      or `adafactor` (Shazeer and Stern 2018) as T5X has it: factored, without
      momentum, its update multiplied by the parameter's root mean square.
    warmup_steps: instead of `warmup_ratio`, where it is not 0.
  """

  learning_rate: float
  schedule: str = "cosine"
  warmup_ratio: float = 0.03
  final_ratio: float = 0.0
  b1: float = 0.9
  b2: float | None = None
  eps: float = 1e-8
  weight_decay: float | None = None
  clip_norm: float | None = None
  optimizer: str = "adamw"
  warmup_steps: int = 0

  def __post_init__(self):
    if self.schedule not in SCHEDULES:
      raise ValueError(
          f"unknown schedule {self.schedule!r}; known: {SCHEDULES}"
      )
    if not 0 <= self.warmup_ratio < 1:
      raise ValueError(f"warmup_ratio={self.warmup_ratio} must lie in [0, 1)")
    if self.warmup_steps < 0:
      raise ValueError(f"warmup_steps={self.warmup_steps} must not be negative")
    if self.optimizer not in DEFAULTS:
      raise ValueError(
          f"unknown optimizer {self.optimizer!r}; known: {tuple(DEFAULTS)}"
      )
    for field, value in DEFAULTS[self.optimizer].items():
      if getattr(self, field) is None:
        object.__setattr__(self, field, value)
    for field in "b1", "b2":
      if not 0 <= (value := getattr(self, field)) < 1:
        raise ValueError(f"{field}={value} must lie in [0, 1)")
    for field in "clip_norm", "weight_decay":
      if not 0 <= (value := getattr(self, field)) < math.inf:
        raise ValueError(f"{field}={value} must be a number from 0 up")
    if not 0 < self.eps < math.inf:
      raise ValueError(f"eps={self.eps} must be a number above 0")
    if not 0 <= self.final_ratio <= 1:
      raise ValueError(f"final_ratio={self.final_ratio} must lie in [0, 1]")


def learning_rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
  """The rate of a step (from 0); computed on the host.

  It enters the compiled step as an argument, so that runs that differ only in
  their length share one compilation.
  """
  warmup = config.warmup_steps or math.ceil(config.warmup_ratio * num_steps)
  if step < warmup:
    return config.learning_rate * (step + 1) / warmup
  if config.schedule == "constant":
    return config.learning_rate
  if config.schedule == "rsqrt":
    return config.learning_rate * math.sqrt(max(warmup, 1) / (step + 1))
  done = (step - warmup) / max(num_steps - warmup, 1)
  if config.schedule == "cosine":
    left = (1 + math.cos(math.pi * done)) / 2
  else:
    left = 1 - done
  floor = config.final_ratio
  return config.learning_rate * (floor + (1 - floor) * left)


def make(
    config: OptimizerConfig, names: Any = None
) -> optax.GradientTransformation:
  """The update direction; the step multiplies it by minus the rate.

  Args:
    config: which optimiser.
    names: the parameters' logical axes, a tuple each; Adafactor alone asks for
      them. None: no axis numbers kernels.
  """
  parts = []
  if config.clip_norm:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  if config.optimizer == "adamw":
    parts.append(optax.scale_by_adam(config.b1, config.b2, config.eps))
  elif config.optimizer == "lion":
    parts.append(optax.scale_by_lion(config.b1, config.b2))
  else:
    adafactor = optax.chain(
        optax.scale_by_factored_rms(decay_rate=config.b2),
        optax.clip_by_block_rms(1.0),
        optax.scale_by_param_block_rms(1e-3),
    )
    parts.append(_by_kernel(adafactor, names))
  if config.weight_decay:
    parts.append(optax.add_decayed_weights(config.weight_decay))
  return optax.chain(*parts)


def _by_kernel(
    inner: optax.GradientTransformation, names: Any
) -> optax.GradientTransformation:
  """Has `inner` see every kernel of a stack alone, and as a matrix.

  Without it Adafactor would factor a scanned model's kernels along the layers,
  and take one root mean square over all of them.
  """

  def cut(tree):
    """Leaves as [stacked, rows, columns] or [stacked, columns]."""
    if names is None:
      return jax.tree.map(lambda x: x[None], tree)
    return jax.tree.map(
        lambda x, n: x.reshape(_matrix(x.shape, n)), tree, names
    )

  def init(params):
    return jax.tree.map(jax.vmap(inner.init), cut(params))

  def update(updates, state, params):
    def one(update, state, param):
      return jax.vmap(inner.update)(update, state, param)

    cut_updates, structure = jax.tree.flatten(cut(updates))
    done = [
        one(*xs) for xs in zip(
            cut_updates, structure.flatten_up_to(state),
            jax.tree.leaves(cut(params)), strict=True,
        )
    ]
    directions = structure.unflatten([d for d, _ in done])
    directions = jax.tree.map(
        lambda d, u: d.reshape(u.shape), directions, updates
    )
    return directions, structure.unflatten([s for _, s in done])

  return optax.GradientTransformation(init, update)


def _matrix(shape: Sequence[int], names: Sequence[str | None]) -> list[int]:
  """Sizes of a parameter as stacked matrices, or as stacked vectors."""
  n = 0
  while n < len(names) and names[n] in _STACKED:
    n += 1
  stacked, rest, names = math.prod(shape[:n]), shape[n:], names[n:]
  if len(rest) < 2 or not {"embed", None} & {names[0], names[-1]}:
    return [stacked, math.prod(rest)]
  # A map reads its first axis, or writes its last one (the residual stream's,
  # or an adapter's rank).
  cut = 1 if names[0] in ("embed", None) else len(rest) - 1
  return [stacked, math.prod(rest[:cut]), math.prod(rest[cut:])]


def state_shardings(abstract_state, abstract_params, shardings, otherwise):
  """Where an optimiser's state lies: what is shaped like a parameter, as it.

  Args:
    abstract_state: of `make(…).init`.
    abstract_params: what it was made for.
    shardings: of these.
    otherwise: sharding of everything else: counts, and Adafactor's rows and
      columns, which are few.
  """
  known = {
      jax.tree_util.keystr(path): (leaf.shape, sharding)
      for (path, leaf), sharding in zip(
          jax.tree_util.tree_leaves_with_path(abstract_params),
          jax.tree.leaves(shardings), strict=True,
      )
  }

  def one(path, leaf):
    for start in range(len(path)):
      shape, sharding = known.get(
          jax.tree_util.keystr(path[start:]), (None, None)
      )
      if shape == leaf.shape:
        return sharding
    return otherwise

  return jax.tree_util.tree_map_with_path(one, abstract_state)


def global_norm(tree) -> jax.Array:
  """Of all leaves together, in float32 at least."""
  def square(x):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.sum(jnp.square(wide))

  return jnp.sqrt(sum(map(square, jax.tree.leaves(tree))))
