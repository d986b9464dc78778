"""One training step: pure, compiled once, and before there are devices.

Full tuning, LoRA, continued pre-training and encoder-decoders differ by what is
trained and by what a batch holds. Axes: B rows, K adapters (1 in full
tuning), A microbatches.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import Array, Bool, Float, Int

from mlit_jax import partitioning
from mlit_jax.models import decoder, encoder_decoder
from mlit_jax.models import lora as lora_lib
from mlit_jax.models import remat as remat_lib
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.precision import wide
from mlit_jax.training import precision as precision_lib
from mlit_jax.training.loss import TokenLoss
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.token_losses import (
  ENCODER_FIELDS,
  FIELDS,
  LOSS_FIELDS,
  LOSSES,
  ModelConfig,
  TokenLosses,
)
from mlit_jax.training.update import Update


@dataclasses.dataclass(frozen=True)
class StepConfig:
  """What a step computes; each has a compilation of its own.

  Attributes:
    optimizer: its learning rate and schedule are the loop's.
    lora: adapters to train on a frozen base; None trains every parameter.
    num_adapters: K. Each row of a batch names its adapter; loss, clipping,
      learning rate and optimiser are every adapter's own, so that K at once
      are K runs.
    precision: a name in precision.PRECISIONS.
    accumulation: A, parts of a batch that are computed one after another. The
      gradient is that of the whole batch.
    remat: what blocks keep for the backward pass (models/remat.py).
    loss: `whole` logits, `chunked` ones, or `auto`: by their size.
    z_loss: weight of log(Z)^2 (T5X's regulariser).
    dropout: of an encoder-decoder (models/encoder_decoder_layers.py); that of
      adapters is LoraConfig's. A row's masks follow from the state's key, its
      adapter's step and its place in the batch.
  """

  optimizer: OptimizerConfig
  lora: lora_lib.LoraConfig | None = None
  num_adapters: int = 1
  precision: str = "float32"
  accumulation: int = 1
  remat: str = "none"
  loss: str = "auto"
  z_loss: float = 0.0
  dropout: float = 0.0

  def __post_init__(self):
    for field, known in (
        ("precision", tuple(precision_lib.PRECISIONS)),
        ("remat", remat_lib.NAMES),
        ("loss", LOSSES),
    ):
      if getattr(self, field) not in known:
        raise ValueError(
            f"unknown {field} {getattr(self, field)!r}; known: {known}"
        )
    for field in ("num_adapters", "accumulation"):
      if getattr(self, field) < 1:
        raise ValueError(f"{field}={getattr(self, field)} must be 1 or more")
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout={self.dropout} must be in [0, 1)")
    if self.num_adapters > 1 and self.lora is None:
      raise ValueError(
          f"num_adapters={self.num_adapters} without lora; full tuning trains"
          " one model"
      )


class TrainState(NamedTuple):
  """Everything that a step reads.

  Attributes:
    params: what is trained: parameters, or the adapters of models/lora.py.
    base: the frozen parameters under adapters; {} without.
    opt_state: of the optimiser; of K adapters with their axis in front.
    updates: steps that each adapter has made.
    key: data of the random key, the same in all steps.
  """

  params: dict
  base: dict
  opt_state: Any
  updates: Int[Array, "K"]
  key: Array


class Metrics(NamedTuple):
  """Of one step, before its update.

  Attributes:
    loss: nats per loss token, with the regularisers.
    weight: of the loss tokens.
    correct: share of it where no token is likelier than the target.
    grad_norm: global norm of the gradient, before clipping.
    ok: whether it made an update: it had loss tokens, loss and gradient were
      finite, and the loss was not above its limit.
  """

  loss: Float[Array, "K"]
  weight: Float[Array, "K"]
  correct: Float[Array, "K"]
  grad_norm: Float[Array, "K"]
  ok: Bool[Array, "K"]


class Step:
  """The step of a model on a mesh."""

  def __init__(
      self, model: ModelConfig, config: StepConfig, mesh: Mesh | AbstractMesh
  ):
    """Compiles nothing yet.

    Args:
      model: the shape of a decoder or of an encoder-decoder.
      config: what to compute.
      mesh: where parameters and batches live; its devices may be absent.

    Raises:
      PartitionError: an axis does not divide over the mesh.
      ValueError: the adapters' pattern matches no map, or a decoder is asked
        to have dropout.
    """
    self.model, self.config, self.mesh = model, config, mesh
    self._precision = precision_lib.PRECISIONS[config.precision]
    if config.dropout and isinstance(model, DecoderConfig):
      raise ValueError("dropout is for encoder-decoders, and for adapters")
    losses = functools.partial(
        TokenLosses, model, config.lora, dtype=self._precision.compute,
        remat=config.remat, loss=config.loss, num_devices=mesh.size,
    )
    self._token_loss = losses(z_loss=config.z_loss, dropout=config.dropout)
    whole = jax.eval_shape(self._random_boxed, 0)
    self._whole_shardings = partitioning.param_shardings(whole, mesh)
    boxed, self._trained_shardings = whole, self._whole_shardings
    if config.lora is not None:
      boxed = jax.eval_shape(self._adapters_boxed, 0)
      self._trained_shardings = partitioning.param_shardings(boxed, mesh)
    self._update = Update(
        config.optimizer, self._precision, boxed, config.lora is not None
    )
    self._shardings, self._abstract = self._describe(whole, boxed)
    self._init = jax.jit(
        self._init_params, out_shardings=self._whole_shardings
    )
    self._start = jax.jit(
        self._start_state, out_shardings=self._shardings,
    )
    # The base is no part of what is donated: several runs may share it.
    self._step = jax.jit(
        self._train_step, donate_argnums=0,
        out_shardings=(self._shardings._replace(base={}), None),
    )
    self._evaluate = jax.jit(losses(z_loss=0.0, dropout=0.0))

  # -- what the compiler is told ----------------------------------------------

  def abstract_state(self) -> TrainState:
    """Shapes, types and shardings of the state."""
    return self._abstract

  def abstract_batch(
      self, rows: int, length: int, loss_length: int = 0, input_length: int = 0
  ) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes, types and shardings of a batch.

    Args:
      rows: B, over all hosts.
      length: T.
      loss_length: P; 0: T.
      input_length: S, of an encoder-decoder.

    Raises:
      PartitionError: rows or lengths do not divide over the mesh.
    """
    partitioning.check_batch(rows, self.mesh)
    shapes = dict.fromkeys(FIELDS, (rows, length))
    shapes |= dict.fromkeys(LOSS_FIELDS, (rows, loss_length or length))
    if isinstance(self.model, EncoderDecoderConfig):
      shapes |= dict.fromkeys(ENCODER_FIELDS, (rows, input_length))
    if self.config.num_adapters > 1:
      shapes["adapter_ids"] = (rows,)
    shardings = self._batch_shardings(shapes)
    return {
        name: jax.ShapeDtypeStruct(
            shape, np.float32 if name == "weights" else np.int32,
            sharding=shardings[name],
        )
        for name, shape in shapes.items()
    }

  def lower(self, batch) -> jax.stages.Lowered:
    """The step for batches of this shape, to be compiled ahead of time."""
    scalars = jax.ShapeDtypeStruct((self.config.num_adapters,), np.float32)
    with partitioning.activation_rules(self.mesh, training=True):
      return self._step.lower(
          *_apart(self._abstract), batch, scalars, scalars
      )

  # -- what runs --------------------------------------------------------------

  def init(self, seed: int) -> dict:
    """Random parameters of the whole model, on the mesh."""
    return self._init(np.uint32(seed % 2**32))

  def start(
      self, params: dict, seed: int = 0, adapters: dict | None = None
  ) -> TrainState:
    """The state before the first step; its arguments are not changed.

    Args:
      params: of the whole model. Under adapters, what already lies right is
        not copied.
      seed: of new adapters, dropout and rounding.
      adapters: to go on from, with K of them; None: new ones.
    """
    frozen = self.config.lora is not None
    params = jax.device_put(params, self._whole_shardings, may_alias=frozen)
    if adapters is not None:
      adapters = jax.device_put(adapters, self._trained_shardings)
    return self._start(params, np.uint32(seed % 2**32), adapters)

  def place(self, batch: dict) -> dict:
    """A host's part of a batch (partitioning.host_part), on the mesh.

    Raises:
      PartitionError: the lengths do not divide over the mesh.
    """
    shapes = {name: np.shape(x) for name, x in batch.items()}
    shardings = self._batch_shardings(shapes)
    if jax.process_count() == 1:
      return jax.device_put(batch, shardings)
    _, parts = partitioning.host_part(self.mesh)
    return {
        name: jax.make_array_from_process_local_data(
            shardings[name], x, (len(x) * parts, *x.shape[1:])
        )
        for name, x in batch.items()
    }

  def __call__(
      self, state: TrainState, batch: dict, rates, limits
  ) -> tuple[TrainState, Metrics]:
    """One update; the state given is used up, but for its base.

    Args:
      state: before it.
      batch: from `place`.
      rates: learning rate of every adapter, [K].
      limits: an adapter whose loss is above its own makes no update, [K].
    """
    with partitioning.activation_rules(self.mesh, training=True):
      rest, base = _apart(state)
      rest, metrics = self._step(rest, base, batch, rates, limits)
    return rest._replace(base=base), metrics

  def evaluate(self, state: TrainState, batch: dict) -> TokenLoss:
    """Cross-entropy summed over each row, without dropout; the state stays."""
    with partitioning.activation_rules(self.mesh, training=True):
      return self._evaluate(state.params, state.base, batch)

  def _batch_shardings(self, shapes):
    partitioning.check_lengths(
        {name: shape[1] for name, shape in shapes.items() if len(shape) > 1},
        self.mesh,
    )
    rows = partitioning.batch_sharding(self.mesh)
    tokens = partitioning.token_sharding(self.mesh)
    return {n: tokens if len(s) > 1 else rows for n, s in shapes.items()}

  # -- what is compiled -------------------------------------------------------

  def _random_boxed(self, seed):
    if isinstance(self.model, DecoderConfig):
      return decoder.init_params(self.model, seed)
    return encoder_decoder.init_params(self.model, seed)

  def _adapters_boxed(self, seed):
    c = self.config
    return lora_lib.init(self.model, c.lora, seed, c.num_adapters)

  def _init_params(self, seed):
    return nn.meta.unbox(self._random_boxed(seed))

  def _describe(self, whole, boxed):
    """Shardings of the state, and its abstract arrays."""
    params, trained = nn.meta.unbox(whole), nn.meta.unbox(boxed)
    abstract = jax.eval_shape(
        self._start_state, params, np.uint32(0),
        None if self.config.lora is None else trained,
    )
    everywhere = partitioning.replicated(self.mesh)
    shardings = TrainState(
        self._trained_shardings,
        self._whole_shardings if self.config.lora is not None else {},
        self._update.shardings(
            abstract.opt_state, abstract.params, self._trained_shardings,
            everywhere,
        ),
        everywhere, everywhere,
    )
    described = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        abstract, shardings,
    )
    return shardings, described

  def _start_state(self, params, seed, adapters):
    base, trained = {}, params
    if self.config.lora is not None:
      base = precision_lib.cast(params, self._precision.frozen)
      trained = adapters
      if adapters is None:
        trained = nn.meta.unbox(self._adapters_boxed(seed))
    trained = precision_lib.cast(trained, self._precision.trained)
    opt_state = self._update.init(trained)
    updates = jnp.zeros(self.config.num_adapters, jnp.int32)
    key = jax.random.key_data(jax.random.key(seed))
    return TrainState(trained, base, opt_state, updates, key)

  def _train_step(self, state, base, batch, rates, limits):
    batch = dict(batch)
    ids = batch.get("adapter_ids", jnp.zeros(len(batch["inputs"]), jnp.int32))
    mine = ids[:, None] == jnp.arange(self.config.num_adapters)  # [B K]
    weight = _of_each(mine, jnp.sum(batch["weights"], axis=-1))
    # Weights that sum to one per adapter: the sum of all rows' losses is the
    # sum of the adapters' means, whatever parts the batch is computed in.
    share = 1 / jnp.where(weight > 0, weight, 1)
    batch["weights"] = batch["weights"] * share[ids][:, None]
    # A row's dropout: by its adapter's step, and its place among its rows.
    place = jnp.sum(jnp.where(mine, jnp.cumsum(mine, axis=0) - 1, 0), axis=1)
    batch["draws"] = jnp.stack([state.updates[ids], place], axis=1)

    loss, gradient = self._gradient(state, base, batch)
    total, correct = _of_each(mine, loss.total), _of_each(mine, loss.correct)
    wanted = (weight > 0) & (total <= limits)
    key = jax.random.fold_in(
        jax.random.wrap_key_data(state.key), jnp.sum(state.updates)
    )
    params, opt_state, norm, ok = self._update(
        state.params, state.opt_state, gradient, rates, wanted, key
    )
    state = state._replace(
        params=params, opt_state=opt_state, updates=state.updates + ok
    )
    return state, Metrics(total, weight, correct, norm, ok)

  def _gradient(self, state, base, batch):
    """Row losses, and the gradient of their sum."""

    def objective(params, batch):
      loss = self._token_loss(params, base, batch, state.key)
      return jnp.sum(loss.total), loss

    gradient = jax.grad(objective, has_aux=True)
    parts = self.config.accumulation
    if parts == 1:
      found, loss = gradient(state.params, batch)
      return loss, found

    def cut(x):
      if x.shape[0] % parts:
        raise partitioning.PartitionError(
            f"a batch of {x.shape[0]} rows does not divide into accumulation ="
            f" {parts} parts"
        )
      # Every part has rows of every device.
      return jnp.swapaxes(
          x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1
      )

    def add(total, part):
      found, loss = gradient(state.params, part)
      found = jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, found)
      return found, loss

    zeros = jax.tree.map(
        lambda p: jnp.zeros(p.shape, wide(p.dtype)), state.params
    )
    found, losses = jax.lax.scan(add, zeros, jax.tree.map(cut, batch))
    return jax.tree.map(
        lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), losses
    ), found


def _of_each(
    mine: Bool[Array, "B K"], rows: Float[Array, "B"]
) -> Float[Array, "K"]:
  """Each adapter's sum over its rows, of which one may not be finite."""
  return jnp.sum(jnp.where(mine, rows[:, None], 0), axis=0)


def _apart(state: TrainState) -> tuple[TrainState, dict]:
  """What changes, and what does not."""
  return state._replace(base={}), state.base
