"""What a decoder is made of: one frozen config for every decoder family."""

import dataclasses
from typing import Any, Self

_CHOICES = {
    "position": ("rope", "alibi"),
    "norm": ("rms", "layer"),
    "activation": ("silu", "gelu", "gelu_tanh"),
}


@dataclasses.dataclass(frozen=True)
class RopeScaling:
  """How rotary frequencies are stretched beyond the length of pre-training.

  Attributes:
    kind: `linear` (positions divided; Chen et al. 2023), `dynamic` (a base that
      grows with the sequence), `yarn` (Peng et al. 2023) or `llama3`
      (by wavelength; Llama Team 2024).
    factor: by how much.
    original_length: tokens of a sequence in pre-training; linear needs none.
    low_frequency_factor, high_frequency_factor: llama3: wavelengths above
      original_length / low are divided, below original_length / high kept.
    beta_fast, beta_slow: yarn: turns within the original length above which a
      frequency is kept, below which it is divided.
    attention_factor: yarn: what queries and keys are multiplied with.
    truncate: yarn: whether the bounds of its ramp are whole dimensions.
  """

  kind: str
  factor: float
  original_length: int | None = None
  low_frequency_factor: float = 1.0
  high_frequency_factor: float = 4.0
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  attention_factor: float = 1.0
  truncate: bool = True

  def __post_init__(self):
    kinds = ("linear", "dynamic", "yarn", "llama3")
    if self.kind not in kinds:
      raise ValueError(f"rope scaling {self.kind!r} is none of {kinds}")
    for name in (
        "factor", "low_frequency_factor", "high_frequency_factor",
        "beta_fast", "beta_slow", "attention_factor",
    ):
      _check_positive(f"rope scaling's {name}", getattr(self, name))
    if self.kind != "linear":
      _check_whole("rope scaling's original_length", self.original_length)
    _check_bool("rope scaling's truncate", self.truncate)
    if self.low_frequency_factor >= self.high_frequency_factor:
      raise ValueError(
          f"rope scaling's low_frequency_factor={self.low_frequency_factor}"
          " must be below its high_frequency_factor="
          f"{self.high_frequency_factor}"
      )


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Shape of a decoder; the defaults are LLaMA's (Touvron et al. 2023, 2.2).

  Attributes:
    vocab_size: V, rows of the embedding.
    num_layers: L, number of blocks.
    embed_dim: D, width of the residual stream.
    num_heads: N, query heads.
    num_kv_heads: K, key and value heads; divides N.
    head_dim: H, width of a head.
    mlp_dim: F, width of the MLP, or of one expert.
    max_length: longest sequence the model was made for, in tokens.
    rope_base: base of the rotary frequencies.
    norm_eps: added to the mean square, or the variance, in norms.
    tie_embeddings: whether the output head is the embedding.
    family: which checkpoints it is exchanged with (`model_type` of a
      config.json); the computation does not depend on it.
    position: `rope`, or `alibi` (Press et al. 2022).
    rotary_fraction: share of a head's width that is rotated.
    rope_scaling: of the rotary frequencies; None: as pre-trained.
    local_rope_base: base in layers with a window, unscaled; None: `rope_base`.
    window: tokens that a token sees, itself among them; None: all before it.
    windowed_layers: which layers have the window; None: all of them.
    norm: `rms`, or `layer` (with biases).
    norm_offset: whether norms multiply by 1 + scale (Gemma).
    post_norms: norms after attention and after the MLP, too (Gemma 2).
    qk_norm: norms of every head's queries and keys.
    embedding_norm: a norm right after the embedding (BLOOM).
    embedding_scale: whether embeddings are multiplied by sqrt(D) (Gemma).
    qkv_bias, out_bias, mlp_bias: biases of linear maps.
    parallel_residual: attention and MLP read the same x (GPT-NeoX).
    gated_mlp: whether the MLP has a gate (Shazeer 2020).
    activation: `silu`, `gelu`, or `gelu_tanh` (its approximation).
    num_experts: E, MLPs that a token is routed to; 0: one MLP, no router.
    experts_per_token: how many of them work on a token.
    query_scalar: scores are divided by its square root; None: `head_dim`.
    attention_softcap, logit_softcap: c in c tanh(x / c) of scores and logits.
    normalize_head: whether rows of the head have length 1 (Baichuan 2).
  """

  vocab_size: int
  num_layers: int
  embed_dim: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  mlp_dim: int
  max_length: int = 2048
  rope_base: float = 10000.0
  norm_eps: float = 1e-5
  tie_embeddings: bool = False
  family: str = "llama"
  position: str = "rope"
  rotary_fraction: float = 1.0
  rope_scaling: RopeScaling | None = None
  local_rope_base: float | None = None
  window: int | None = None
  windowed_layers: tuple[bool, ...] | None = None
  norm: str = "rms"
  norm_offset: bool = False
  post_norms: bool = False
  qk_norm: bool = False
  embedding_norm: bool = False
  embedding_scale: bool = False
  qkv_bias: bool = False
  out_bias: bool = False
  mlp_bias: bool = False
  parallel_residual: bool = False
  gated_mlp: bool = True
  activation: str = "silu"
  num_experts: int = 0
  experts_per_token: int = 0
  query_scalar: float | None = None
  attention_softcap: float | None = None
  logit_softcap: float | None = None
  normalize_head: bool = False

  def __post_init__(self):
    for name in (
        "vocab_size", "num_layers", "embed_dim", "num_heads", "num_kv_heads",
        "head_dim", "mlp_dim", "max_length", "window",
    ):
      if name != "window" or self.window is not None:
        _check_whole(name, getattr(self, name))
    for name in ("rope_base", "norm_eps", "rotary_fraction"):
      _check_positive(name, getattr(self, name))
    for name in (
        "local_rope_base", "query_scalar", "attention_softcap", "logit_softcap",
    ):
      if getattr(self, name) is not None:
        _check_positive(name, getattr(self, name))
    for field in dataclasses.fields(self):
      if field.type is bool:
        _check_bool(field.name, getattr(self, field.name))
    for name, choices in _CHOICES.items():
      if getattr(self, name) not in choices:
        raise ValueError(
            f"{name}={getattr(self, name)!r} must be one of {choices}"
        )
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
          f"num_heads={self.num_heads} is not a multiple of"
          f" num_kv_heads={self.num_kv_heads}"
      )
    if self.rotary_fraction > 1:
      raise ValueError(f"rotary_fraction={self.rotary_fraction} is above 1")
    if self.position == "rope" and (self.rotary_dim % 2 or not self.rotary_dim):
      whole = self.rotary_dim == self.head_dim
      raise ValueError(
          f"head_dim={self.head_dim} must be even (rotary)" if whole else
          f"{self.rotary_dim} rotary dimensions (rotary_fraction="
          f"{self.rotary_fraction} of head_dim={self.head_dim}) must be even"
          " and above 0"
      )
    self._check_windows()
    if self.num_experts or self.experts_per_token:
      _check_whole("num_experts", self.num_experts)
      _check_whole("experts_per_token", self.experts_per_token)
      if self.experts_per_token > self.num_experts:
        raise ValueError(
            f"experts_per_token={self.experts_per_token} exceeds"
            f" num_experts={self.num_experts}"
        )
      if not self.gated_mlp or self.mlp_bias:
        raise ValueError("experts are gated MLPs without biases")

  def _check_windows(self):
    layers = self.windowed_layers
    if layers is None:
      if self.local_rope_base is not None and self.window is None:
        raise ValueError("local_rope_base is for layers with a window; give it")
      return
    if type(layers) is not tuple or {type(x) for x in layers} != {bool}:
      raise ValueError(
          f"windowed_layers must be a tuple of true and false: {layers!r}"
      )
    if len(layers) != self.num_layers:
      raise ValueError(
          f"windowed_layers has {len(layers)} entries for {self.num_layers}"
          " layers"
      )
    if self.window is None:
      raise ValueError("windowed_layers needs a window")

  @property
  def rotary_dim(self) -> int:
    """How many of a head's dimensions are rotated."""
    return int(self.head_dim * self.rotary_fraction)

  @property
  def attention_scale(self) -> float:
    """What scores are multiplied with."""
    scalar = self.query_scalar
    return (self.head_dim if scalar is None else scalar) ** -0.5

  @classmethod
  def from_dict(cls, values: dict[str, Any]) -> Self:
    """From a plain mapping; an unknown or missing key is a ValueError."""
    fields = dataclasses.fields(cls)
    names = {f.name for f in fields}
    unknown = sorted(set(values) - names)
    if unknown:
      raise ValueError(
          f"unknown model fields {unknown}; known: {sorted(names)}"
      )
    required = {f.name for f in fields if f.default is dataclasses.MISSING}
    if missing := sorted(required - set(values)):
      raise ValueError(f"missing model fields {missing}; add them")
    return cls(**values)


def _check_whole(name, value):
  if type(value) is not int or value <= 0:
    raise ValueError(f"{name} must be a positive whole number: {value!r}")
  if value >= 1 << 31:
    raise ValueError(f"{name} must be below 2**31: {value}")


def _check_positive(name, value):
  if type(value) not in (int, float) or not 0 < value < float("inf"):
    raise ValueError(f"{name} must be a positive number: {value!r}")


def _check_bool(name, value):
  if type(value) is not bool:
    raise ValueError(f"{name} must be true or false: {value!r}")
