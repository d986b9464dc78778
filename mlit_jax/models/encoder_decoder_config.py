"""What an encoder-decoder is made of: T5 1.0, T5 1.1, mT5 and umT5."""

import dataclasses

_SIZES = (
    "vocab_size", "num_encoder_layers", "num_decoder_layers", "embed_dim",
    "num_heads", "head_dim", "mlp_dim", "num_buckets", "max_distance",
)
_SWITCHES = ("gated_mlp", "tie_embeddings", "scale_logits")
FAMILIES = ("t5", "mt5", "umt5")


@dataclasses.dataclass(frozen=True)
class EncoderDecoderConfig:
  """Shape of a T5 (Raffel et al. 2020, section 2.1; mT5: Xue et al. 2021).

  Attributes:
    family: "t5", "mt5" or "umt5", Hugging Face's names. Of umT5 (Chung et al.
      2023) each layer has its own position bias, of the others each stack.
    vocab_size: V, rows of the embedding.
    num_encoder_layers: blocks of the encoder.
    num_decoder_layers: blocks of the decoder.
    embed_dim: D, width of the residual stream.
    num_heads: N.
    head_dim: H, width of a head; N x H need not be D.
    mlp_dim: F.
    num_buckets: relative positions that have a bias of their own; the encoder
      spends half of them on each direction.
    max_distance: from this distance on, in tokens, positions share a bucket.
    norm_eps: added to the mean square in RMSNorm.
    gated_mlp: a GELU gates the MLP (1.1 and later), or a plain ReLU (1.0).
    tie_embeddings: whether the output head is the embedding.
    scale_logits: hidden states are divided by sqrt(D) before the head (1.0).
  """

  family: str
  vocab_size: int
  num_encoder_layers: int
  num_decoder_layers: int
  embed_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_buckets: int = 32
  max_distance: int = 128
  norm_eps: float = 1e-6
  gated_mlp: bool = True
  tie_embeddings: bool = False
  scale_logits: bool = False

  @property
  def bias_per_layer(self) -> bool:
    return self.family == "umt5"

  def __post_init__(self):
    if self.family not in FAMILIES:
      raise ValueError(f"family must be one of {FAMILIES}: {self.family!r}")
    for name in _SIZES:
      value = getattr(self, name)
      if type(value) is not int or value <= 0:
        raise ValueError(f"{name} must be a positive whole number: {value!r}")
      if value >= 1 << 31:
        raise ValueError(f"{name} must be below 2**31: {value}")
    if type(self.norm_eps) not in (int, float) or self.norm_eps <= 0:
      raise ValueError(f"norm_eps must be a positive number: {self.norm_eps!r}")
    for name in _SWITCHES:
      if type(value := getattr(self, name)) is not bool:
        raise ValueError(f"{name} must be true or false: {value!r}")
    if self.scale_logits and self.family == "mt5":
      raise ValueError("an mt5 has no scale_logits; its family may be t5")
    if self.num_buckets % 4:
      raise ValueError(
          f"num_buckets={self.num_buckets} must be a multiple of 4: two"
          " directions, near and far"
      )
    if self.max_distance <= self.num_buckets // 2:
      raise ValueError(
          f"max_distance={self.max_distance} must be more than half of"
          f" num_buckets={self.num_buckets}"
      )
