"""What a model's parameters lose on a batch, token by token.

Axes: B rows, T places, P places with a loss, S places of an encoder's input.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from mlit_jax.models import decoder, encoder_decoder, low_rank
from mlit_jax.models import lora as lora_lib
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.dropout import STREAM
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.training.chunked_loss import chunked_cross_entropy
from mlit_jax.training.loss import TokenLoss, cross_entropy

ModelConfig = DecoderConfig | EncoderDecoderConfig
LOSSES = ("auto", "whole", "chunked")
# The parts of a batch (data/batches.py): [B T], [B P], and [B S].
FIELDS = ("inputs", "segment_ids", "positions")
LOSS_FIELDS = ("loss_positions", "targets", "weights")
ENCODER_FIELDS = ("encoder_inputs", "encoder_segment_ids", "encoder_positions")
_MOST_LOGITS = 2**27  # bytes on a device, beyond which the loss is chunked


class TokenLosses:
  """The forward pass and the loss of a model, as a function of a batch."""

  def __init__(
      self,
      model: ModelConfig,
      lora: lora_lib.LoraConfig | None,
      *,
      dtype: jax.typing.DTypeLike,
      remat: str,
      loss: str,
      z_loss: float,
      dropout: float,
      num_devices: int,
  ):
    """Arguments as of step.StepConfig; `dtype` is that of activations."""
    self._config, self._lora = model, lora
    self._loss, self._z_loss, self._num_devices = loss, z_loss, num_devices
    self._dropout = dropout or (lora is not None and lora.dropout)
    if isinstance(model, DecoderConfig):
      self._module = decoder.Decoder(model, dtype, remat)
    else:
      self._module = encoder_decoder.EncoderDecoder(
          model, dtype, remat, dropout
      )

  def __call__(
      self,
      params: Mapping,
      base: Mapping,
      batch: Mapping[str, Array],
      key: Array | None = None,
  ) -> TokenLoss:
    """Sums over each row.

    Args:
      params: the model's, or adapters.
      base: under adapters, the model's.
      batch: FIELDS and LOSS_FIELDS, of an encoder-decoder ENCODER_FIELDS, of
        several adapters `adapter_ids` [B]; with dropout `draws` [B N], which
        tell rows and steps apart.
      key: data of the random key; None: no dropout.
    """
    variables, rngs = {"params": params}, {}
    if self._lora is not None:
      adapters = lora_lib.collection(
          params, self._lora, batch.get("adapter_ids"), batch.get("draws")
      )
      variables = {"params": base, low_rank.COLLECTION: adapters}
    if key is not None and self._dropout:
      rngs = {STREAM: jax.random.wrap_key_data(key)}
    hidden = jnp.take_along_axis(
        self._hidden(variables, batch, rngs),
        batch["loss_positions"][..., None], axis=1,
    )
    hidden = nn.with_logical_constraint(hidden, ("batch", "length", "embed"))
    targets, weights = batch["targets"], batch["weights"]
    if in_chunks(
        self._loss, targets.size, self._config.vocab_size, self._num_devices
    ):
      kernel = self._module.apply(variables, method="head_kernel")
      return chunked_cross_entropy(
          hidden, kernel, targets, weights,
          softcap=getattr(self._config, "logit_softcap", None),
          z_loss=self._z_loss,
      )
    logits = self._module.apply(variables, hidden, method="head")
    return cross_entropy(logits, targets, weights, self._z_loss)

  def _hidden(self, variables, batch, rngs):
    tokens, segments, positions = (batch[name] for name in FIELDS)
    if isinstance(self._config, DecoderConfig):
      return self._module.apply(
          variables, tokens, positions, segments, method="hidden", rngs=rngs
      )[0]
    read, read_segments, read_positions = (
        batch[name] for name in ENCODER_FIELDS
    )
    return self._module.apply(
        variables, read, read_positions, tokens, positions, read_segments,
        segments, batch.get("draws"), method="hidden", rngs=rngs,
    )


def in_chunks(loss: str, places: int, vocab_size: int, devices: int) -> bool:
  """Whether logits are computed chunk by chunk, and again in backward passes.

  Args:
    loss: one of LOSSES.
    places: that are learnt, of all rows that are worked on at once.
    vocab_size: V.
    devices: that share them out.
  """
  if loss != "auto":
    return loss == "chunked"
  return 4 * places * vocab_size // devices > _MOST_LOGITS
