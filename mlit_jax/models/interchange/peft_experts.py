"""PEFT's adapters over all experts of a layer at once, taken apart.

transformers 5 keeps the experts' maps in one array, gate and up in one, and
PEFT adapts these (`target_parameters`): A of (E · rank, in), expert by expert;
B of (out, rank · E), with the experts innermost. A module's second array has
its adapter around the first's: its tensors are called `experts.lora_…`, those
inside `experts.base_layer.lora_…`; which is which, their sizes tell.
"""

import re

import numpy as np

from mlit_jax.models.config import DecoderConfig

_ROUTER = re.compile(r"(.*\.layers\.\d+)\.mlp\.gate(\.lora_[AB]\.weight)")
_EXPERTS = re.compile(
    r"(.*\.layers\.\d+)\.mlp\.experts((?:\.base_layer)?)\.lora_A\.weight"
)


def split(
    config: DecoderConfig, tensors: dict[str, np.ndarray], prefix: str
) -> dict[str, str]:
  """Replaces, in `tensors`, adapters over experts by one for each.

  Args:
    config: of the base.
    tensors: of the adapter, by name; changed.
    prefix: before the modules' names.

  Returns:
    {module: the parameter that the config of the adapter calls it by}.

  Raises:
    ValueError: an adapter has another shape.
  """
  called: dict[str, str] = {}
  if config.family != "mixtral":
    return called
  c = config
  for name in list(tensors):
    if found := _ROUTER.fullmatch(name):
      layer, rest = found.groups()
      tensors[f"{layer}.block_sparse_moe.gate{rest}"] = tensors.pop(name)
      layer = layer.removeprefix(prefix)
      called[f"{layer}.block_sparse_moe.gate"] = f"{layer}.mlp.gate.weight"
    elif found := _EXPERTS.fullmatch(name):
      layer, _ = found.groups()
      other = name.replace("lora_A", "lora_B")
      if other not in tensors:
        raise ValueError(f"no tensor {other!r}")
      a, b = tensors.pop(name), tensors.pop(other)
      kinds = {
          (c.embed_dim, 2 * c.mlp_dim): ("gate_up_proj", ("w1", "w3")),
          (c.mlp_dim, c.embed_dim): ("down_proj", ("w2",)),
      }
      kind = (a.shape[-1], b.shape[0])
      if a.ndim != 2 or b.ndim != 2 or kind not in kinds or (
          len(a) != b.shape[1] or len(a) % c.num_experts
      ):
        raise ValueError(
            f"{name!r} has shape {a.shape} and {other!r} {b.shape}; they fit"
            f" no adapter of {c.num_experts} experts"
        )
      parameter, maps = kinds[kind]
      a = a.reshape(c.num_experts, -1, a.shape[-1])
      b = np.moveaxis(b.reshape(len(b), -1, c.num_experts), -1, 0)
      for expert in range(c.num_experts):
        # gate's rows stand before up's
        parts = np.split(b[expert], len(maps))
        for module, part in zip(maps, parts, strict=True):
          base = f"{layer}.block_sparse_moe.experts.{expert}.{module}"
          tensors[f"{base}.lora_A.weight"] = a[expert]
          tensors[f"{base}.lora_B.weight"] = part
          called[base.removeprefix(prefix)] = (
              f"{layer.removeprefix(prefix)}.mlp.experts.{parameter}"
          )
  return called
