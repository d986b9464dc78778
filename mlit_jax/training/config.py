"""What a training run is, as frozen dataclasses.

`commands/train_config.py` fills them from ConfigDict and gin files, through
`config_fields.py`, which checks names and types.
"""

import dataclasses
import math

from mlit_jax.mesh_presets import NAMES as MESHES
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.lora import LoraConfig
from mlit_jax.models.remat import NAMES as REMAT
from mlit_jax.partitioning import MESH_AXES
from mlit_jax.training import validation
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.precision import PRECISIONS
from mlit_jax.training.token_losses import LOSSES
from mlit_jax.training.watch import WatchConfig

RANDOM = "random"  # as a base: no checkpoint
WEIGHTINGS = ("tokens", "examples")


def _one_of(config, name: str, choices: tuple[str, ...]) -> None:
  value = getattr(config, name)
  if value not in choices:
    raise ValueError(f"{name}={value!r} is none of {', '.join(choices)}")


def _at_least(config, least: int, *names: str) -> None:
  for name in names:
    if not least <= (value := getattr(config, name)) < math.inf:
      raise ValueError(f"{name}={value} must be at least {least}")


def _positive(config, name: str) -> None:
  if not 0 < (value := getattr(config, name)) < math.inf:
    raise ValueError(f"{name}={value} must be above 0")


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """What is learnt from.

  Attributes:
    directories: built by `mlit data build`. Several of them need LoRA: each
      trains an adapter of its own, named after it, over one base.
    row_length: tokens in a row of the batch; of an encoder-decoder, of the
      decoder's.
    input_length: tokens in a row of the encoder; 0 for decoders.
    loss_length: at most so many tokens of a row are learnt, and the head works
      on these alone; 0: row_length.
    packing: whether examples share rows; without, each has a row of its own,
      so that train.batch_size counts examples, as papers do.
  """

  directories: tuple[str, ...] = ()
  row_length: int = 2048
  input_length: int = 0
  loss_length: int = 0
  packing: bool = True

  def __post_init__(self):
    _at_least(self, 1, "row_length")
    _at_least(self, 0, "input_length", "loss_length")
    if self.loss_length > self.row_length:
      raise ValueError(
          f"loss_length={self.loss_length} exceeds row_length="
          f"{self.row_length}"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(OptimizerConfig):
  """How it is learnt: the optimiser's fields, and those of the loop.

  Attributes:
    batch_size: rows of an update over all devices; of several adapters, of
      each.
    epochs: how often every example comes.
    num_steps: updates; 0: what the epochs give. With more the data come again.
    accumulation: microbatches that a batch is cut into, one after the other;
      the update is the same.
    precision: float32; bfloat16: computation, with float32 weights kept;
      bfloat16_params: the weights too, rounded stochastically; float64: for
      checks.
    remat: what a block keeps for its backward pass: none (drops nothing), dots,
      context, offload, full (keeps its input alone).
    loss: whole (all logits at once), chunked (for large vocabularies), or auto.
    z_loss: weight of log(Z)^2 in the loss.
    weighting: whether each token counts the same in the loss, or each example.
    dropout: share that an encoder-decoder drops out, where T5X does; of
      adapters, lora.dropout.
  """

  batch_size: int
  epochs: int = 1
  num_steps: int = 0
  accumulation: int = 1
  precision: str = "bfloat16"
  remat: str = "none"
  loss: str = "auto"
  z_loss: float = 0.0
  weighting: str = "tokens"
  dropout: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    _positive(self, "learning_rate")
    _at_least(self, 1, "batch_size", "epochs", "accumulation")
    _at_least(self, 0, "num_steps", "z_loss")
    _one_of(self, "precision", PRECISIONS)
    _one_of(self, "remat", REMAT)
    _one_of(self, "loss", LOSSES)
    _one_of(self, "weighting", WEIGHTINGS)
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout={self.dropout} must be in [0, 1)")
    if self.batch_size % self.accumulation:
      raise ValueError(
          f"batch_size={self.batch_size} is not a multiple of accumulation="
          f"{self.accumulation}"
      )

  def optimizer_config(self) -> OptimizerConfig:
    """The optimiser's part of the fields."""
    names = [field.name for field in dataclasses.fields(OptimizerConfig)]
    return OptimizerConfig(**{name: getattr(self, name) for name in names})


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How devices share the work: by a preset's name, or by sizes.

  Attributes:
    preset: data, fsdp, fsdp_tensor, fsdp_sequence, expert (mesh_presets.py),
      or auto: by the size of the model and the memory of a device. Sizes go
      before it.
    replica: slices, each with all parameters; 0: no size is given.
    data: groups of devices with all parameters each; 0, or -1: what is left.
    fsdp: devices that share out parameters and rows; 0, or -1.
    tensor: devices that share out heads, mlp and vocabulary; 0, or -1.
    expert: devices that share out experts; 0, or -1.
    sequence: devices that share out the places of a row, and parameters; 0, or
      -1.
  """

  preset: str = "auto"
  replica: int = 0
  data: int = 0
  fsdp: int = 0
  tensor: int = 0
  expert: int = 0
  sequence: int = 0

  def __post_init__(self):
    _one_of(self, "preset", MESHES)
    _at_least(self, -1, *MESH_AXES)

  def sizes(self) -> dict[str, int]:
    """Axis -> size, for those that are given; {} leaves it to the preset."""
    return {name: n for name in MESH_AXES if (n := getattr(self, name))}


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """What is kept for going on.

  Attributes:
    every: updates between two checkpoints; 0: none, a killed run begins anew.
    keep: how many are kept, the newest.
  """

  every: int = 500
  keep: int = 2

  def __post_init__(self):
    _at_least(self, 0, "every")
    _at_least(self, 1, "keep")


@dataclasses.dataclass(frozen=True)
class ValidationConfig(validation.ValidationConfig):
  """On what, when to validate, and when to stop.

  Attributes:
    directories: built by `mlit data build`, for every one of
      data.directories in its order; without any, the folder `validation` in
      each of these, where there is one. Each language is measured alone.
    every: updates between two validations; the last has one, too; 0: none.
      What is kept in the end is the best, by the mean over all tokens.
    patience: validations without a new best after which a run stops; 0: never.
  """

  directories: tuple[str, ...] = ()

  def __post_init__(self):
    _at_least(self, 0, "every", "patience")
    if self.patience and not self.every:
      raise ValueError("patience: nothing is validated; set every, too")


@dataclasses.dataclass(frozen=True)
class LoggingConfig:
  """What is told while it runs.

  Attributes:
    every: updates between two lines where there is no terminal.
    tensorboard: whether tensorboard/ is written.
    wandb_project: Weights & Biases' project; "": it is not used. The key is
      read from WANDB_API_KEY or wandb's own login, never from here.
  """

  every: int = 10
  tensorboard: bool = True
  wandb_project: str = ""

  def __post_init__(self):
    _at_least(self, 1, "every")


@dataclasses.dataclass(frozen=True)
class PlanConfig:
  """What `mlit plan` reckons with.

  Attributes:
    accelerator: a TPU slice as gcloud calls it.
    price: of a chip for an hour, in any currency; 0: no cost is given.
    examples: rows of the data before packing; with train.epochs and
      batch_size they give the number of updates.
    runs: of this kind in the whole study.
  """

  accelerator: str = "v5litepod-8"
  price: float = 0.0
  examples: int = 0
  runs: int = 1

  def __post_init__(self):
    _at_least(self, 0, "price", "examples")
    _at_least(self, 1, "runs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One training run.

  Attributes:
    name: of the run, for people.
    base: a model directory in Hugging Face's layout to start from, or `random`.
    seed: of the order of the data, of dropout, adapters and random parameters.
    model: the shape; without one it is the base's.
    lora: of the adapters; without it all parameters are tuned.
    data: what is learnt from.
    train: how it is learnt.
    mesh: how devices share the work.
    watch: what to do when a step goes wrong.
    validation: on what, when to validate, and when to stop.
    checkpoint: what is kept for going on.
    logging: what is told while it runs.
    plan: what `mlit plan` reckons with.
  """

  name: str
  base: str = ""
  seed: int = 0
  model: DecoderConfig | EncoderDecoderConfig | None = None
  lora: LoraConfig | None = None
  data: DataConfig = DataConfig()
  train: TrainConfig
  mesh: MeshConfig = MeshConfig()
  watch: WatchConfig = dataclasses.field(default_factory=WatchConfig)
  validation: ValidationConfig = ValidationConfig()
  checkpoint: CheckpointConfig = CheckpointConfig()
  logging: LoggingConfig = LoggingConfig()
  plan: PlanConfig = PlanConfig()

  def __post_init__(self):
    if self.lora is None and len(self.data.directories) > 1:
      raise ValueError(
          "data.directories: several are for LoRA, an adapter each; mix the"
          " data with `mlit data build` instead"
      )
    number = len(self.validation.directories)
    if number not in (0, len(self.data.directories)):
      raise ValueError(
          f"validation.directories: there are {number}, and of"
          f" data.directories {len(self.data.directories)}"
      )
    if self.watch.on_bad_step == "rollback" and not self.checkpoint.every:
      raise ValueError(
          "watch.on_bad_step: there is nothing to roll back to; set"
          " checkpoint.every, too"
      )
    if self.train.num_steps and (
        self.train.warmup_steps >= self.train.num_steps
    ):
      raise ValueError(
          f"train.warmup_steps={self.train.warmup_steps}: the run has"
          f" {self.train.num_steps} steps, and would never leave its warm-up"
      )
    encodes = isinstance(self.model, EncoderDecoderConfig)
    if encodes and not self.data.input_length:
      raise ValueError("data.input_length: an encoder-decoder needs one")
