"""What a family of Hugging Face checkpoints is: its config and its tensors.

A family is data: which field of config.json is which of ours, and which tensor
is which parameter (families.py names them all; docs/porting.md tells how to
add one).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mlit_jax.models import decoder, encoder_decoder
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import rope
from mlit_jax.models.interchange.mapping import Group

# From our shapes (of one layer, of one expert) to the two functions of a Group.
Layout = Callable[[list[tuple[int, ...]]], tuple[Callable, Callable]]

_ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}
_THEIR_ACTIVATIONS = {
    "silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh",
}
# Fields of any config.json that do not change what the model computes.
_IGNORED = frozenset("""
    _attn_implementation_autoset _from_model_config _name_or_path
    attn_implementation architectures bos_token_id cache_implementation
    classifier_dropout dtype eos_token_id gradient_checkpointing id2label
    initializer_range is_decoder label2id model_type output_attentions
    output_hidden_states pad_token_id problem_type return_dict tokenizer_class
    torch_dtype transformers_version unk_token_id use_cache
""".split())
_MOST_LAYERS = 10_000
_FIXED = {"is_encoder_decoder": (False,), "chunk_size_feed_forward": (0,)}


def same(shapes):
  """Their tensor has our shape."""
  del shapes
  return lambda tensor: (tensor,), lambda value: (value,)


def flat(shapes):
  """Their tensor is a vector."""
  (shape,) = shapes
  return (
      lambda tensor: (tensor.reshape(shape),),
      lambda value: (value.reshape(-1),),
  )


def linear(shapes, inward: int = 1):
  """Theirs is (out, in); ours has `inward` axes in, then axes out."""
  (shape,) = shapes
  size = math.prod(shape[:inward])
  return (
      lambda tensor: (tensor.T.reshape(shape),),
      lambda value: (value.reshape(size, -1).T,),
  )


linear_of_heads = functools.partial(linear, inward=2)


def fused(shapes, axis: int):
  """Queries, keys and values of as many heads in one tensor of rows.

  Args:
    shapes: of our three kernels (D, N, H), or biases (N, H).
    axis: of the three among a row's (N, H): 0: all queries come first; 1:
      each head's query, key and value stand together.
  """
  rows = list(shapes[0][-2:])
  rows.insert(axis, 3)

  def to_ours(tensor):
    apart = np.moveaxis(tensor.reshape(*rows, *tensor.shape[1:]), axis, 0)
    return tuple(np.moveaxis(x, -1, 0) if x.ndim == 3 else x for x in apart)

  def to_theirs(*values):
    turned = [np.moveaxis(x, 0, -1) if x.ndim == 3 else x for x in values]
    tensor = np.stack(turned, axis=axis)
    return (tensor.reshape(math.prod(rows), *tensor.shape[3:]),)

  return to_ours, to_theirs


fused_per_head = functools.partial(fused, axis=1)
fused_in_turn = functools.partial(fused, axis=0)


@dataclasses.dataclass(frozen=True)
class Family:
  """A kind of decoder checkpoint.

  Attributes:
    architecture: the class in `transformers`.
    prefix: of the base model's tensors; checkpoints saved without a head lack
      it.
    keys: their tensor -> (our parameters, split by spaces, layout). What a
      config has no parameters for (biases, a head) is passed over.
    fields: their field -> ours.
    constants: our fields that are the same in the whole family.
    defaults: our fields' values where theirs is left out.
    fixed: their field -> values, of which the first is what we compute and the
      others mean the same.
    ignored: their fields that change nothing.
    aliases: their field's older name -> its name.
    base_name: their field of the rotary base; None: no rotary positions.
    read: takes what is no renaming out of their fields and gives ours.
    write: the inverse.
  """

  architecture: str
  prefix: str
  keys: Mapping[str, tuple[str, Layout]]
  fields: Mapping[str, str]
  constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  fixed: Mapping[str, tuple] = dataclasses.field(default_factory=dict)
  ignored: frozenset[str] = frozenset()
  aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
  base_name: str | None = "rope_theta"
  read: Callable[[dict], dict] = lambda values: {}
  write: Callable[[DecoderConfig], dict] = lambda config: {}

  def read_config(self, values: Mapping[str, Any]) -> DecoderConfig:
    """Our config of a config.json.

    Raises:
      ValueError: names the field that is missing, unknown, or has a value
        that is not computed here.
    """
    values = dict(values)
    ours = {"family": values["model_type"], **self.defaults, **self.constants}
    for old, name in self.aliases.items():
      if old in values:
        value = values.pop(old)
        if values.setdefault(name, value) != value:
          raise ValueError(
              f"{old}={value!r} and {name}={values[name]!r} mean the same;"
              " remove one"
          )
    name = self._theirs("num_layers")
    if isinstance(values.get(name), int) and values[name] > _MOST_LAYERS:
      raise ValueError(f"{name}={values[name]}, more than any model has")
    ours |= self.read(values)
    if self.base_name is not None:
      ours |= rope.read(values, self.base_name)
    for name, value in values.items():
      allowed = (self.fixed | _FIXED).get(name)
      if name in self.fields:
        ours[self.fields[name]] = value
      elif allowed is not None:
        if value not in allowed:
          raise ValueError(
              f"{name}={value!r} is not supported, only {allowed[0]!r}"
          )
      elif name not in _IGNORED | self.ignored:
        raise ValueError(
            f"unknown field {name!r} (= {value!r}): it may change what the"
            " model computes; remove it if it does not"
        )
    return self._finish(ours)

  def _finish(self, ours: dict) -> DecoderConfig:
    for name in (
        "vocab_size", "num_layers", "embed_dim", "num_heads", "mlp_dim"
    ):
      if ours.get(name) is None:
        raise ValueError(f"no field {self._theirs(name)!r}; add it")
    if ours.get("num_kv_heads") is None:
      ours["num_kv_heads"] = ours["num_heads"]
    activation = ours.get("activation", "silu")
    if activation not in _ACTIVATIONS:
      name = self._theirs("activation")
      raise ValueError(
          f"{name}={activation!r} is not supported, only one of"
          f" {tuple(_ACTIVATIONS)}"
      )
    ours["activation"] = _ACTIVATIONS[activation]
    if ours.get("head_dim") is None:
      # An even width stands in until the sizes it is made of are checked.
      config = DecoderConfig.from_dict(ours | {"head_dim": 64})
      ours["head_dim"] = config.embed_dim // config.num_heads
    return rope.with_full_length(DecoderConfig.from_dict(ours))

  def _theirs(self, name: str) -> str:
    return next((k for k, v in self.fields.items() if v == name), name)

  def write_config(self, config: DecoderConfig) -> dict[str, Any]:
    """A config.json that says the same.

    Raises:
      ValueError: this family cannot; names our fields.
    """
    values = {"model_type": config.family, "architectures": [self.architecture]}
    for theirs, ours in self.fields.items():
      values[theirs] = getattr(config, ours)
      if ours == "activation":
        values[theirs] = _THEIR_ACTIVATIONS[config.activation]
      elif ours == "max_length":
        values[theirs] = rope.original_length(config)
    if self.base_name is not None:
      values |= rope.write(config, self.base_name)
    values |= self.write(config)
    said = self.read_config(values)
    if said != config:
      different = [
          f"{name}={value!r}"
          for name, value in vars(config).items()
          if getattr(said, name) != value
      ]
      raise ValueError(
          f"a config of family {config.family!r} cannot say"
          f" {', '.join(different)}"
      )
    return values

  def groups(
      self, config: DecoderConfig, names: Collection[str] = ()
  ) -> tuple[Group, ...]:
    """Which tensors make which parameters of this config's model.

    Args:
      config: of this family.
      names: of a checkpoint's tensors, if there is one: it may be one of the
        base model alone (BLOOM's are), whose names lack the prefix.
    """
    bare = names and not any(name.startswith(self.prefix) for name in names)
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            abstract_params(config)
        )
    }
    found = []
    for theirs, (ours, layout) in self.keys.items():
      paths = ours.split()
      if not all(path in shapes for path in paths):
        continue
      stacked = ("{layer}" in theirs) + ("{expert}" in theirs)
      if bare:
        theirs = theirs.removeprefix(self.prefix)
      found.append(
          Group(
              tuple(tuple(path.split("/")) for path in paths),
              (theirs,),
              *layout([shapes[path][stacked:] for path in paths]),
          )
      )
    return tuple(found)


ModelConfig = DecoderConfig | EncoderDecoderConfig


@functools.cache
def boxed_params(config: ModelConfig) -> dict:
  """Shapes of the parameters, with their logical axes."""
  model = decoder if isinstance(config, DecoderConfig) else encoder_decoder
  return jax.eval_shape(lambda: model.init_params(config, 0))


def abstract_params(config: ModelConfig) -> dict:
  """Shapes of the parameters, without their logical axes."""
  return nn.meta.unbox(boxed_params(config))
