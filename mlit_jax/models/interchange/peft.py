"""LoRA adapters in PEFT's layout: adapter_config.json and its tensors.

PEFT adapts the linear maps of a checkpoint, A of (rank, in) and B of (out,
rank); ours adapts the maps of our model. Most are the same but for their axes.
Where a checkpoint fuses queries, keys and values, our three adapters go out as
one of their ranks' sum, whose B has three blocks (the scale is kept); and one
adapter of a fused map comes in as three that have A in common. Both are exact.

Of Mixtral's experts PEFT knows two layouts: one adapter per expert and map, as
its checkpoints have them, and one over all experts, as transformers 5 has them
in memory. The first is written, and both are read (peft_experts.py).
"""

import dataclasses
import itertools
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlit_jax import records
from mlit_jax.models import lora as lora_lib
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import (
    exchange,
    peft_config,
    peft_experts,
    safetensors_file,
    storage,
    t5_families,
    torch_file,
)
from mlit_jax.models.interchange.families import FAMILIES
from mlit_jax.models.interchange.family import Layout, ModelConfig
from mlit_jax.models.interchange.storage import CheckpointError

CONFIG = "adapter_config.json"
_READERS = {
    "adapter_model.safetensors": safetensors_file.tensors,
    "adapter_model.bin": torch_file.tensors,
}
_WEIGHTS = next(iter(_READERS))
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclasses.dataclass(frozen=True)
class _Module:
  """A linear map of the checkpoint.

  Attributes:
    name: with {layer}, and {expert} if there are experts.
    maps: those of ours that it is made of.
    layout: of the family; None, where no tensor is fused.
  """

  name: str
  maps: tuple[lora_lib.Map, ...]
  layout: Layout | None = None

  def called(self, others: Sequence["_Module"]) -> list[str]:
    """By what ends of names PEFT's configs call it, and no other module.

    T5's encoder and decoder have some that end alike up to the layer.
    """
    parts = self.name.rpartition("}.")[-1].split(".")
    for n in range(1, len(parts) + 1):
      end = ".".join(parts[-n:])
      if not any(m.name.endswith(f".{end}") for m in others):
        return [end]
    return [name for _, name in self.places()]

  @property
  def sizes(self) -> tuple[int, int]:
    """Inputs and outputs."""
    return (
        math.prod(size for size, _ in self.maps[0].inward),
        sum(math.prod(size for size, _ in m.outward) for m in self.maps),
    )

  def places(self) -> Iterator[tuple[tuple[int, ...], str]]:
    """(layer and expert, name) of each of them."""
    for at in itertools.product(*(range(n) for n, _ in self.maps[0].stacked)):
      places = dict(zip(("layer", "expert"), at, strict=False))
      yield at, self.name.format(**places)

  def outward(self, rank: int) -> list[tuple[int, ...]]:
    """The shapes of our maps' b."""
    return [(rank, *(size for size, _ in m.outward)) for m in self.maps]


def _modules(config: ModelConfig) -> list[_Module]:
  ours = {m.name: m for m in lora_lib.maps(config)}
  found = []
  for name, (paths, layout) in _tensors(config).items():
    module, dot, kind = name.rpartition(".")
    maps = [ours.get(path) for path in paths.split()]
    if kind == "weight" and dot and all(maps):
      found.append(_Module(module, tuple(maps), layout))
  return found


def _tensors(config: ModelConfig) -> Mapping[str, tuple[str, Layout | None]]:
  """The checkpoint's tensors: what of ours they are, and how."""
  if isinstance(config, DecoderConfig):
    return FAMILIES[config.family].keys
  return {
      name: ("/".join(path), None)
      for group in t5_families.groups(config)
      for name, path in zip(group.names, group.paths, strict=True)
  }


def save_adapter(
    directory: str | os.PathLike,
    config: ModelConfig,
    lora: lora_lib.LoraConfig,
    adapters: Mapping[str, Any],
    adapter: int = 0,
    base_name: str | None = None,
) -> None:
  """Writes an adapter as `peft` loads it, all or nothing.

  Args:
    directory: replaced if it exists.
    config: of the base.
    lora: how the adapters were made.
    adapters: the tree of lora.py, unboxed.
    adapter: which of the K.
    base_name: the base's directory or name, which PEFT notes.

  Raises:
    CheckpointError: the adapters are none of this base and LoraConfig.
  """
  values = _one(config, lora, adapters, adapter)
  wanted = set(values)
  # Of experts PEFT takes both of these or neither.
  pair = {"blocks/mlp/gate", "blocks/mlp/up"}
  experts = isinstance(config, DecoderConfig) and config.num_experts
  if experts and wanted & pair:
    wanted |= pair
  modules, others = [], []
  for module in _modules(config):
    there = wanted.intersection(m.name for m in module.maps)
    (modules if there else others).append(module)
  tensors, ranks = {}, {}
  for module in modules:
    for at, name in module.places():
      a, b = _to_theirs(module, values, at, lora.rank)
      tensors[_PREFIX + name + _A] = np.ascontiguousarray(a)
      tensors[_PREFIX + name + _B] = np.ascontiguousarray(b)
    ranks |= dict.fromkeys(module.called(others), len(a))
  # PEFT has experts' and routers' adapters without dropout only.
  plain = not experts or all("mlp" not in name for name in values)
  decoder = isinstance(config, DecoderConfig)
  about = peft_config.write(
      lora, ranks, base_name, lora.dropout if plain else 0.0,
      "CAUSAL_LM" if decoder else "SEQ_2_SEQ_LM",
  )
  with exchange.replacing(directory) as temporary:
    safetensors_file.write(
        temporary / _WEIGHTS,
        {name: (x.dtype, x.shape) for name, x in tensors.items()},
        tensors.__getitem__,
    )
    records.write_json(temporary / CONFIG, about)


def _one(config, lora, adapters, adapter) -> dict[str, tuple]:
  """{map: (a, b)} of one adapter, in NumPy."""
  values = {}
  for m in lora_lib.chosen(config, lora):
    node = adapters
    for key in m.path:
      node = node.get(key, {}) if isinstance(node, Mapping) else {}
    layers, *experts = (size for size, _ in m.stacked)
    inward, outward = ([n for n, _ in axes] for axes in (m.inward, m.outward))
    rests = {"a": [*inward, lora.rank], "b": [lora.rank, *outward]}
    for part, rest in rests.items():
      shape = tuple(np.shape(node.get(part)))
      count = shape[1] if len(shape) > 1 else 0
      if shape != (layers, count, *experts, *rest) or adapter >= count:
        raise CheckpointError(
            f"adapter {m.name}/{part} has shape {shape}, the config says"
            f" {(layers, 'K', *experts, *rest)} with K above {adapter}; save it"
            " with the configs it was made with"
        )
    values[m.name] = tuple(np.asarray(node[part][:, adapter]) for part in rests)
  return values


def _to_theirs(module, values, at, rank) -> tuple[np.ndarray, np.ndarray]:
  """A and B of one place."""
  there = [values[m.name] for m in module.maps if m.name in values]
  inputs, outputs = module.sizes
  if not there:
    return (
        np.zeros((rank, inputs), np.float32),
        np.zeros((outputs, rank), np.float32),
    )
  a = np.concatenate([a[at].reshape(inputs, rank) for a, _ in there], axis=1)
  if len(module.maps) == 1:
    return a.T, there[0][1][at].reshape(rank, outputs).T
  blocks, begin = [], 0
  for m, shape in zip(module.maps, module.outward(a.shape[1]), strict=True):
    block = np.zeros(shape, a.dtype)
    if m.name in values:
      block[begin : begin + rank] = values[m.name][1][at]
      begin += rank
    blocks.append(block)
  _, to_theirs = module.layout([block.shape for block in blocks])
  return a.T, to_theirs(*blocks)[0]


class Merged:
  """A checkpoint's tensors with an adapter in them.

  The interface is `storage.Tensors`; a tensor is merged when it is read, in
  float32.
  """

  def __init__(
      self,
      tensors: storage.Tensors,
      config: ModelConfig,
      directory: str | os.PathLike,
      dtype: np.dtype | None = None,
  ):
    """Reads the adapter.

    Args:
      tensors: of the base, with or without the prefix of its family.
      config: of the base.
      directory: of the adapter.
      dtype: of tensors that change, so that they are rounded once; None: as
        they are.

    Raises:
      CheckpointError: as `load_adapter`.
    """
    adapters, self._lora = load_adapter(directory, config)
    self._values = _one(config, self._lora, adapters, 0)
    self._tensors, self._dtype = tensors, dtype
    self.names, self.shape = tensors.names, tensors.shape
    prefix, there = "", set(tensors.names())
    if isinstance(config, DecoderConfig):
      prefix = FAMILIES[config.family].prefix
    self._changed = {}
    for module in _modules(config):
      if any(m.name in self._values for m in module.maps):
        for at, name in module.places():
          name += ".weight"
          name = name if name in there else name.removeprefix(prefix)
          self._changed[name] = module, at

  def dtype(self, name: str) -> np.dtype:
    """The type of a tensor's numbers."""
    if self._dtype is not None and name in self._changed:
      return self._dtype
    return self._tensors.dtype(name)

  def read(self, name: str) -> np.ndarray:
    """Reads and merges one tensor."""
    value = self._tensors.read(name)
    if name not in self._changed:
      return value
    module, at = self._changed[name]
    a, b = _to_theirs(module, self._values, at, self._lora.rank)
    merged = value.astype(np.float32) + np.float32(self._lora.scale) * (b @ a)
    return storage.cast(merged, self.dtype(name), name)


def load_adapter(
    directory: str | os.PathLike, config: ModelConfig
) -> tuple[dict, lora_lib.LoraConfig]:
  """Reads an adapter that `peft` wrote, or `save_adapter`.

  Ranks and scales that differ from map to map become one: smaller ranks are
  filled up with zeros, and b takes up the rest of a scale.

  Args:
    directory: of the adapter.
    config: of the base it is for.

  Returns:
    The tree of lora.py, K being 1, as float32 NumPy arrays; and how it is to
    be used.

  Raises:
    CheckpointError: it adapts something else than linear maps of the blocks,
      in another way than LoRA; has an unknown field; or is damaged, incomplete
      or of another base. Names file, and field or tensor.
  """
  directory = pathlib.Path(directory)
  about = peft_config.read(directory / CONFIG)
  path, tensors = _read(directory)
  try:
    unfused = peft_experts.split(config, tensors, _PREFIX)
  except ValueError as e:
    raise CheckpointError(f"{path}: {e}") from None
  pieces: dict[str, dict] = {}
  for module in _modules(config):
    for at, name in module.places():
      a, b = (tensors.pop(_PREFIX + name + kind, None) for kind in (_A, _B))
      if a is None and b is None and not about.requires(name, at[0]):
        continue
      for value, kind in ((a, _A), (b, _B)):
        if value is None:
          raise CheckpointError(f"{path}: no tensor {_PREFIX + name + kind!r}")
      _check(path, about, module, name, unfused.get(name, name), a, b)
      scale = about.scale(unfused.get(name, name))
      for m, part in zip(module.maps, _to_ours(module, a, b), strict=True):
        if part is not None:
          pieces.setdefault(m.name, {})[at] = (*part, scale)
  if tensors:
    raise CheckpointError(
        f"{path}: tensor {min(tensors)!r} is of no linear map of this model's"
        f" blocks ({config.family})"
    )
  if not pieces:
    raise CheckpointError(f"{path}: no adapter in it")
  return _assemble(config, pieces, about.dropout)


def _read(directory) -> tuple[pathlib.Path, dict[str, np.ndarray]]:
  for name, read in _READERS.items():
    path = directory / name
    if path.exists():
      return path, {
          n: storage.cast(stored.read(n), np.dtype(np.float32), n)
          for n, stored in read(path).items()
      }
  known = " or ".join(_READERS)
  raise CheckpointError(f"{directory}: no weights; expected {known}")


def _check(path, about, module, name, said, a, b) -> None:
  """Raises CheckpointError unless two tensors have the shapes they must."""
  inputs, outputs = module.sizes
  rank = about.rank(said)
  for value, kind, shape in (
      (a, _A, (rank, inputs)), (b, _B, (outputs, rank)),
  ):
    if value.shape != shape:
      raise CheckpointError(
          f"{path}: {_PREFIX + name + kind!r} has shape {value.shape};"
          f" {CONFIG} and the base say {shape}"
      )
    if value.dtype != np.float32:
      raise CheckpointError(
          f"{path}: {_PREFIX + name + kind!r} is of type {value.dtype}"
      )


def _to_ours(module, a, b) -> list[tuple[np.ndarray, np.ndarray] | None]:
  """(a, b) of each of our maps; None where they change nothing."""
  rank = len(a)
  if len(module.maps) == 1:
    return [(a.T, b.T.reshape(module.outward(rank)[0]))]
  to_ours, _ = module.layout(module.outward(rank))
  found, parts = [], to_ours(b)
  new = not b.any()  # nothing is learnt yet: every part stays
  for part in parts:
    # What goes out as blocks comes in as it was: other blocks are zero.
    used = np.flatnonzero(new | part.reshape(rank, -1).any(axis=1))
    found.append((a[used].T, part[used]) if used.size else None)
  return found


def _assemble(config, pieces, dropout) -> tuple[dict, lora_lib.LoraConfig]:
  every = [piece for places in pieces.values() for piece in places.values()]
  rank = max(len(b) for _, b, _ in every)
  scale = max(scale for *_, scale in every)
  names = "|".join(sorted(pieces))
  lora = lora_lib.LoraConfig(
      f"^({names})$", rank, float(scale * rank), float(dropout)
  )
  usual = lora_lib.LoraConfig()
  if {m.name for m in lora_lib.chosen(config, usual)} == set(pieces):
    lora = dataclasses.replace(lora, pattern=usual.pattern)
  tree: dict = {}
  for m in lora_lib.maps(config):
    if m.name not in pieces:
      continue
    (layers, _), *experts = m.stacked
    around = (layers, 1, *(size for size, _ in experts))
    inward, outward = ([n for n, _ in axes] for axes in (m.inward, m.outward))
    a = np.zeros((*around, *inward, rank), np.float32)
    b = np.zeros((*around, rank, *outward), np.float32)
    for (layer, *expert), (down, up, own) in pieces[m.name].items():
      at, used = (layer, 0, *expert), down.shape[1]
      a[at][..., :used] = down.reshape(*inward, used)
      b[at][:used] = up if own == scale else up * np.float32(own / scale)
    node = tree
    for key in m.path[:-1]:
      node = node.setdefault(key, {})
    node[m.path[-1]] = {"a": a, "b": b}
  return tree, lora
