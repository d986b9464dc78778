"""How many floating-point operations a training step takes, by formula.

Counted are the multiplications and additions of linear maps and of attention,
a multiply-add as two. Compilers' own counts are of no use here: they count the
body of a scan once and fused attention not at all. Norms, activations, the
optimiser and the embedding's look-up are left out, as in PaLM's count
(Chowdhery et al. 2022, appendix B); of causal attention the visible half is
counted. Letters as in models/decoder.py.
"""

import dataclasses
import math

from mlit_jax.models import lora as lora_lib
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

# What a block computes once more in its backward pass (models/remat.py).
_AGAIN = {
    "none": (), "dots": ("attention",), "context": ("linear", "adapters"),
    "offload": ("linear", "adapters"),
    "full": ("linear", "attention", "adapters"),
}


@dataclasses.dataclass(frozen=True)
class Forward:
  """Operations of a forward pass over a batch.

  Attributes:
    linear: linear maps of the blocks, without adapters; of experts those that
      work on a token.
    attention: scores and what they mix, of visible pairs.
    head: logits of the places with a loss.
    adapters: LoRA's maps.
  """

  linear: float
  attention: float
  head: float
  adapters: float = 0.0

  @property
  def total(self) -> float:
    return self.linear + self.attention + self.head + self.adapters


def forward(
    model: DecoderConfig | EncoderDecoderConfig,
    rows: int,
    length: int,
    loss_length: int = 0,
    input_length: int = 0,
    lora: lora_lib.LoraConfig | None = None,
) -> Forward:
  """Operations of a forward pass.

  Args:
    model: its shape.
    rows: B.
    length: T, tokens of a row (of an encoder-decoder: of the decoder), which
      is taken for one sequence; packed rows need less attention.
    loss_length: P, places of a row with a loss; 0: T.
    input_length: tokens of an encoder's row.
    lora: the adapters.
  """
  head = 2.0 * rows * (loss_length or length) * model.embed_dim
  head *= model.vocab_size
  if isinstance(model, EncoderDecoderConfig):
    linear, pairs = _encoder_decoder(model, length, input_length)
  else:
    linear, pairs = _decoder(model, length)
  attention = 4.0 * rows * pairs * model.num_heads * model.head_dim
  adapters = 0.0
  if lora is not None:
    adapters = 2.0 * rows * _adapters(model, lora, length, input_length)
  return Forward(2.0 * rows * linear, attention, head, adapters)


def decode_step(
    model: DecoderConfig | EncoderDecoderConfig,
    rows: int,
    prompt: int,
    written: int,
) -> float:
  """Operations of a token of every answer, from a cache.

  Args:
    model: its shape.
    rows: B, answers under way.
    prompt: tokens before the answer, or of the encoder's row.
    written: tokens of an answer; attention is its tokens' mean.
  """
  if isinstance(model, EncoderDecoderConfig):
    begun, ended = (forward(model, 1, n, 0, prompt) for n in (0, written))
  else:
    begun, ended = (forward(model, 1, n) for n in (prompt, prompt + written))
  token = forward(model, rows, 1)
  seen = rows * (ended.attention - begun.attention) / written
  return token.linear + token.head + seen


def train_step(
    model: DecoderConfig | EncoderDecoderConfig,
    rows: int,
    length: int,
    loss_length: int = 0,
    input_length: int = 0,
    lora: lora_lib.LoraConfig | None = None,
) -> float:
  """Operations of a step as the model needs them: what MFU is measured by.

  A backward pass takes twice its forward pass: gradients of activations and of
  parameters. A frozen base has no gradients of parameters. What is computed
  once more to save memory does not count. Arguments as of `forward`.
  """
  count = forward(model, rows, length, loss_length, input_length, lora)
  frozen = 0.0 if lora is None else count.linear + count.head
  return 3 * count.total - frozen


def executed(
    model: DecoderConfig | EncoderDecoderConfig,
    rows: int,
    length: int,
    loss_length: int = 0,
    input_length: int = 0,
    lora: lora_lib.LoraConfig | None = None,
    remat: str = "none",
    chunked: bool = False,
) -> float:
  """Operations that the device does: `train_step` and what is done again.

  Args:
    model: its shape; this and what follows as of `forward`.
    rows: B.
    length: T.
    loss_length: P.
    input_length: of an encoder.
    lora: the adapters.
    remat: policy of the blocks (models/remat.py).
    chunked: whether logits are computed again in the backward pass.
  """
  shape = rows, length, loss_length, input_length, lora
  count = forward(model, *shape)
  again = sum(getattr(count, part) for part in _AGAIN[remat])
  return train_step(model, *shape) + again + (count.head if chunked else 0.0)


def _decoder(c: DecoderConfig, length: int) -> tuple[float, float]:
  """Multiply-adds of a row's linear maps, and its visible pairs."""
  attention = 2 * c.embed_dim * c.head_dim * (c.num_heads + c.num_kv_heads)
  mlp = (3 if c.gated_mlp else 2) * c.embed_dim * c.mlp_dim
  if c.num_experts:
    mlp = c.experts_per_token * mlp + c.embed_dim * c.num_experts
  windows = c.windowed_layers or (c.window is not None,) * c.num_layers
  pairs = sum(_visible(length, c.window if w else None) for w in windows)
  return length * c.num_layers * (attention + mlp), pairs


def _encoder_decoder(
    c: EncoderDecoderConfig, length: int, input_length: int
) -> tuple[float, float]:
  # Query and out are of the reading side, key and value of the side read.
  half = 2 * c.embed_dim * c.num_heads * c.head_dim
  mlp = (3 if c.gated_mlp else 2) * c.embed_dim * c.mlp_dim
  encoder = input_length * (2 * half + mlp)
  decoder = length * (3 * half + mlp) + input_length * half
  pairs = c.num_encoder_layers * input_length**2 + c.num_decoder_layers * (
      _visible(length, None) + length * input_length
  )
  return c.num_encoder_layers * encoder + c.num_decoder_layers * decoder, pairs


def _visible(length: int, window: int | None) -> int:
  """Pairs of a query and a key that it sees, in one layer."""
  wide = min(length, window or length)
  return wide * (wide + 1) // 2 + (length - wide) * wide


def _adapters(
    model: lora_lib.ModelConfig, lora: lora_lib.LoraConfig, length: int,
    input_length: int,
) -> int:
  """Multiply-adds of a row's adapters.

  An adapted expert works on every token (models/moe.py), so all of them count.
  """
  total = 0
  for m in lora_lib.chosen(model, lora):
    width = sum(
        math.prod(size for size, _ in axes) for axes in (m.inward, m.outward)
    )
    kernels = math.prod(size for size, _ in m.stacked)
    read = input_length if _of_input(m) else length
    total += read * kernels * lora.rank * width
  return total


def _of_input(m: lora_lib.Map) -> bool:
  """Whether a map reads what an encoder does."""
  *_, module, kernel = m.path
  crossing = module == "cross_attention" and kernel in ("key", "value")
  return m.path[0] == "encoder" or crossing
