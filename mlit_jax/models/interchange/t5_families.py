"""T5, mT5 and umT5 in Hugging Face's layout: config.json and tensor names.

transformers 5 holds every T5 to be tied: it forces `tie_word_embeddings`, and
only when `lm_head.weight` and `shared.weight` both stand in the files and
differ does it leave them apart. So it is the files that tell here, too.
"""

import pathlib
from typing import Any

from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange.mapping import Group
from mlit_jax.models.interchange.storage import CheckpointError, TensorFiles

ARCHITECTURES = {
    "t5": "T5ForConditionalGeneration",
    "mt5": "MT5ForConditionalGeneration",
    "umt5": "UMT5ForConditionalGeneration",
}
# T5's padding starts the output, too.
TOKEN_IDS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
_EMBEDDING, _HEAD = "shared.weight", "lm_head.weight"
_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "num_encoder_layers",
    "num_decoder_layers": "num_decoder_layers",
    "d_model": "embed_dim",
    "num_heads": "num_heads",
    "d_kv": "head_dim",
    "d_ff": "mlp_dim",
    "relative_attention_num_buckets": "num_buckets",
    "relative_attention_max_distance": "max_distance",
    "layer_norm_epsilon": "norm_eps",
}
_REQUIRED = ("vocab_size", "num_layers", "d_model", "num_heads", "d_kv", "d_ff")
_GATED = {"gated-gelu": True, "relu": False}
_ACTIVATIONS = {True: "gelu_new", False: "relu"}  # gelu_new is the one by tanh
# Fields that must have this value, because no other is computed here.
_FIXED = {
    "is_decoder": False,
    "is_encoder_decoder": True,
    "scalable_attention": True,
}
# Read with the others, below.
_TOGETHER = frozenset({
    "dense_act_fn", "feed_forward_proj", "is_gated_act", "model_type",
    "scale_decoder_outputs", "tie_word_embeddings",
})
# Fields that do not change what the model computes.
_IGNORED = frozenset({
    "_name_or_path", "architectures", "bos_token_id", "classifier_dropout",
    "decoder_start_token_id", "dropout_rate", "dtype", "eos_token_id",
    "gradient_checkpointing", "initializer_factor", "n_positions",
    "output_past", "pad_token_id", "task_specific_params", "tokenizer_class",
    "torch_dtype", "transformers_version", "use_cache",
})


def read_config(
    values: Any, path: pathlib.Path, files: TensorFiles | None = None
) -> EncoderDecoderConfig:
  """The config that a config.json describes.

  Args:
    values: its content.
    path: where it is, for errors.
    files: the tensors beside it, which tell whether the head is the embedding.
      None: `tie_word_embeddings` tells.

  Raises:
    CheckpointError: a field is missing, unknown, or has a value that is not
      computed here.
  """
  try:
    fields = _read_fields(values)
    if files is not None:
      tied, names = fields["tie_embeddings"], files.names()
      apart = _EMBEDDING in names and _HEAD in names
      fields["tie_embeddings"] = not apart or (
          tied and files.equal(_HEAD, _EMBEDDING)
      )
    return EncoderDecoderConfig(**fields)
  except CheckpointError:
    raise
  except ValueError as e:
    raise CheckpointError(f"{path}: {e}") from None


def _read_fields(values: Any) -> dict[str, Any]:
  """Our fields; ValueError names one of theirs."""
  family = values.get("model_type") if isinstance(values, dict) else None
  if family not in ARCHITECTURES:
    raise ValueError(f"model_type={family!r} is none of {list(ARCHITECTURES)}")
  for name in _REQUIRED:
    if values.get(name) is None:
      raise ValueError(f"no field {name!r}; add it")
  fields = {"family": family}
  for name, value in values.items():
    if name in _FIELDS:
      if value is not None:
        fields[_FIELDS[name]] = value
    elif name in _FIXED:
      if value != _FIXED[name]:
        raise ValueError(
            f"{name}={value!r} is not supported, only {_FIXED[name]!r}"
        )
    elif name not in _TOGETHER | _IGNORED:
      raise ValueError(
          f"unknown field {name!r} (= {value!r}): it may change what the model"
          " computes; remove it if it does not"
      )
  fields.setdefault("num_decoder_layers", fields["num_encoder_layers"])

  default = "relu" if family == "t5" else "gated-gelu"
  kind = values.get("feed_forward_proj", default)
  if kind not in _GATED:
    raise ValueError(
        f"feed_forward_proj={kind!r} is not supported, only {list(_GATED)}"
    )
  gated = _GATED[kind]
  for name, implied in (
      ("is_gated_act", gated), ("dense_act_fn", _ACTIVATIONS[gated]),
  ):
    if values.get(name, implied) != implied:
      raise ValueError(
          f"{name}={values[name]!r} contradicts feed_forward_proj={kind!r}"
      )

  tied = values.get("tie_word_embeddings", True)
  if type(tied) is not bool:
    raise ValueError(f"tie_word_embeddings must be true or false: {tied!r:.60}")
  scaled = tied and family != "mt5"
  if family == "t5":
    scaled = values.get("scale_decoder_outputs", tied)
  elif "scale_decoder_outputs" in values:
    raise ValueError(f"scale_decoder_outputs is no field of an {family}")
  return fields | {
      "gated_mlp": gated, "tie_embeddings": tied, "scale_logits": scaled,
  }


def write_config(config: EncoderDecoderConfig) -> dict[str, Any]:
  """A config.json's content; what `read_config` reads, and `transformers`.

  transformers 5 scales the logits of every umt5 by 1/sqrt(d_model), whatever
  the config says (its order of tokens is right, its probabilities are not);
  transformers 4 goes by tie_word_embeddings, as we do.
  """
  c = config
  values = {theirs: getattr(c, ours) for theirs, ours in _FIELDS.items()}
  kinds = {gated: kind for kind, gated in _GATED.items()}
  values |= {
      "model_type": c.family,
      "architectures": [ARCHITECTURES[c.family]],
      "feed_forward_proj": kinds[c.gated_mlp],
      "is_gated_act": c.gated_mlp,
      "dense_act_fn": _ACTIVATIONS[c.gated_mlp],
      "is_encoder_decoder": True,
      "tie_word_embeddings": c.tie_embeddings,
  }
  if c.family == "t5":
    values["scale_decoder_outputs"] = c.scale_logits
  elif c.family == "umt5":
    values["tie_word_embeddings"] = c.scale_logits
  return values


def groups(config: EncoderDecoderConfig) -> tuple[Group, ...]:
  """How their tensors make our parameters.

  Their linear maps are (out, in), ours (in, out) with heads apart.
  """
  c = config
  d, n, h = c.embed_dim, c.num_heads, c.head_dim
  found = [same("embedding", _EMBEDDING)]
  if not c.tie_embeddings:
    found.append(same("head", _HEAD))

  def attention(ours, theirs):
    for kernel in ("query", "key", "value"):
      yield Group(
          (path(f"{ours}/{kernel}"),), (f"{theirs}.{kernel[0]}.weight",),
          lambda w: (w.T.reshape(d, n, h),),
          lambda w: (w.reshape(d, n * h).T,),
      )
    yield Group(
        (path(f"{ours}/out"),), (f"{theirs}.o.weight",),
        lambda w: (w.T.reshape(n, h, d),),
        lambda w: (w.reshape(n * h, d).T,),
    )

  mlp = {"down": "wo", "up": "wi"}
  if c.gated_mlp:
    mlp = {"down": "wo", "gate": "wi_0", "up": "wi_1"}
  for stack, last in (("encoder", 1), ("decoder", 2)):
    blocks, layer = f"{stack}/blocks", f"{stack}.block.{{layer}}.layer"
    first = layer if c.bias_per_layer else f"{stack}.block.0.layer"
    bias = "blocks/relative_bias" if c.bias_per_layer else "relative_bias"
    found += [
        same(f"{stack}/final_norm/scale", f"{stack}.final_layer_norm.weight"),
        same(
            f"{stack}/{bias}",
            f"{first}.0.SelfAttention.relative_attention_bias.weight",
        ),
        same(f"{blocks}/attention_norm/scale", f"{layer}.0.layer_norm.weight"),
        *attention(f"{blocks}/attention", f"{layer}.0.SelfAttention"),
        same(f"{blocks}/mlp_norm/scale", f"{layer}.{last}.layer_norm.weight"),
    ]
    if stack == "decoder":
      found += [
          same(f"{blocks}/cross_norm/scale", f"{layer}.1.layer_norm.weight"),
          *attention(f"{blocks}/cross_attention", f"{layer}.1.EncDecAttention"),
      ]
    found += [
        flipped(
            f"{blocks}/mlp/{ours}",
            f"{layer}.{last}.DenseReluDense.{theirs}.weight",
        )
        for ours, theirs in mlp.items()
    ]
  return tuple(found)


def path(ours: str) -> tuple[str, ...]:
  """A parameter's path, from a string."""
  return tuple(ours.split("/"))


def same(ours: str, theirs: str) -> Group:
  """A tensor that is our parameter as it stands."""
  return Group((path(ours),), (theirs,), lambda w: (w,), lambda w: (w,))


def flipped(ours: str, theirs: str) -> Group:
  """A matrix that is our parameter transposed."""
  return Group((path(ours),), (theirs,), lambda w: (w.T,), lambda w: (w.T,))
