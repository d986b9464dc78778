"""Which path attention takes, for what model and on what device, and why."""

import dataclasses

from mlit_jax.models.attention_xla import BLOCK
from mlit_jax.models.device import Device

TILE = 128  # rows and columns of the kernels' smallest tile
LONGEST_MASK = 4096
FEW = 16  # scores of so many queries take no more room than keys and values
KERNELS = {"tpu": "splash", "gpu": "cudnn"}


@dataclasses.dataclass(frozen=True)
class Case:
  """What of a call to `attend` decides the path.

  Attributes:
    length: T, queries of a row.
    key_length: S, keys of a row.
    head_dim: H.
    dtype: of the activations.
    causal: whether a query sees no later key.
    packed: whether segments are given.
    window: "none", "fixed" (the same in every layer), "one of" (traced, its
      values known) or "traced".
    softcap: whether scores are capped.
    bias: whether a bias is added to the scores.
    parts: into how many parts the mesh cuts the queries of a row.
    batch_parts: into how many it cuts the rows of a batch.
  """

  length: int
  key_length: int
  head_dim: int
  dtype: str = "bfloat16"
  causal: bool = True
  packed: bool = True
  window: str = "none"
  softcap: bool = False
  bias: bool = False
  parts: int = 1
  batch_parts: int = 1


def refusal(path: str, case: Case, device: Device) -> str | None:
  """Why a kernel cannot compute a case; None: it can."""
  if KERNELS.get(device.platform) != path:
    return f"{path} does not run on {device.platform}"
  if case.causal and case.length != case.key_length:
    return "queries are a part of the keys only"
  if min(case.length, case.key_length) < TILE:
    return f"shorter than a tile of {TILE}"
  if case.bias:
    return "a kernel adds no bias that is a function"
  return (_splash_refusal if path == "splash" else _cudnn_refusal)(
      case, device
  )


def _splash_refusal(case, device):
  del device
  if case.window == "traced":
    return "splash wants to know the windows beforehand"
  if case.dtype not in ("bfloat16", "float32"):
    return f"splash does not compute in {case.dtype}"
  if case.parts > 1 and case.length % (case.parts * TILE):
    return (
        f"a device's part of a row, cut into {case.parts}, is no multiple of"
        f" {TILE}"
    )
  return None


def _cudnn_refusal(case, device):
  if device.capability < 8:
    return "cuDNN's fused attention wants compute capability 8.0"
  if case.parts > 1:
    return "cuDNN divides rows and heads, not the places of a row"
  if case.softcap:
    return "cuDNN caps no scores"
  if case.dtype not in ("bfloat16", "float16"):
    return f"cuDNN does not compute in {case.dtype}"
  widest = 256 if device.capability >= 9 else 128
  if case.head_dim > widest or case.head_dim % 8:
    return (
        f"cuDNN wants heads of a multiple of 8 up to {widest}, not"
        f" {case.head_dim}"
    )
  if case.packed or case.window in ("one of", "traced"):
    if case.length % 2 or case.key_length % 2:
      return "cuDNN wants even lengths with a mask"
    if case.length * case.key_length > LONGEST_MASK**2:
      return f"a mask beyond {LONGEST_MASK} x {LONGEST_MASK} is too large"
  return None


def choose(case: Case, device: Device) -> tuple[str, str]:
  """The path of a case on a device, and why.

  A kernel wherever it can; else plain attention for a few queries (decoding),
  or where a head's scores are no more than one block of the blockwise path,
  which would then do the same in more steps; else blockwise, or row by row on
  a CPU that has all rows.
  """
  kernel = KERNELS.get(device.platform)
  if kernel is None:
    reason = f"no kernel on {device.platform}"
  else:
    reason = refusal(kernel, case, device)
    if reason is None:
      return kernel, "fused kernel"
  if case.length <= FEW:
    return "plain", f"{reason}; a few queries"
  if case.length * case.key_length <= BLOCK**2:
    return "plain", f"{reason}; the scores are one block at most"
  if device.platform == "cpu" and case.batch_parts == case.parts == 1:
    return "rows", reason
  return "blockwise", reason


@dataclasses.dataclass(frozen=True)
class Family:
  """How attention looks in a family of models.

  Attributes:
    name: what it is called in the table.
    head_dims: head sizes of its published models.
    fields: of a `Case`.
  """

  name: str
  head_dims: tuple[int, ...]
  fields: dict


FAMILIES = (
    Family(
        "LLaMA 1–3, OpenLLaMA, Alpaca, Teuken, Baichuan-2 7B, Mixtral,"
        " Qwen 2–3",
        (64, 128), {},
    ),
    Family("Mistral (window)", (128,), {"window": "fixed"}),
    Family("GPT-NeoX, Pythia", (64, 80, 96, 128, 256), {}),
    Family("BLOOM, Baichuan-2 13B (ALiBi)", (64, 128), {"bias": True}),
    Family("Gemma 1", (256,), {}),
    Family(
        "Gemma 2 (soft cap, alternating windows)", (128, 256),
        {"softcap": True, "window": "one of"},
    ),
    Family(
        "Gemma 3 (alternating windows)", (128, 256), {"window": "one of"}
    ),
    Family(
        "T5, mT5, umT5: encoder (bias)", (64,), {"bias": True, "causal": False}
    ),
    Family("T5, mT5, umT5: decoder (bias)", (64,), {"bias": True}),
    Family("T5, mT5, umT5: cross-attention", (64,), {"causal": False}),
)
DEVICES = (
    ("TPU", Device("tpu")),
    ("NVIDIA, capability 9.0 or more", Device("gpu", 9.0)),
    ("NVIDIA, capability 8", Device("gpu", 8.0)),
    ("CPU", Device("cpu")),
)


def _cell(family: Family, device: Device, length: int) -> str:
  """Paths by head size, told apart only where they differ."""
  found: dict[tuple[str, str], list[int]] = {}
  for head_dim in family.head_dims:
    case = Case(length, length, head_dim, **family.fields)
    found.setdefault(choose(case, device), []).append(head_dim)
  parts = []
  for (path, why), head_dims in found.items():
    part = f"**{path}**" if path in KERNELS.values() else f"{path}: {why}"
    if len(found) > 1:
      part += f" (heads of {', '.join(map(str, head_dims))})"
    parts.append(part)
  return "; ".join(parts)


def page() -> str:
  """docs/attention.md."""
  rows = [["family", *(name for name, _ in DEVICES)]]
  rows.append(["---"] * len(rows[0]))
  for family in FAMILIES:
    cells = (_cell(family, device, 2048) for _, device in DEVICES)
    rows.append([family.name, *cells])
  return _PAGE.format(
      table="\n".join(f"| {' | '.join(row)} |" for row in rows),
      tile=TILE, mask=LONGEST_MASK, block=BLOCK, few=FEW,
  )


_PAGE = """\
# Attention

Made by `python -m mlit_jax.models.attention`; a test holds the two equal.

`attend` in `models/attention.py` computes the same value by several paths. The
path of packed training rows of 2,048 tokens in bfloat16:

{table}

## The paths

- **splash** (TPU) and **cudnn** (NVIDIA) are fused kernels: no scores in
  memory, hidden blocks skipped. They see places in a row, not positions, so
  that causal attention to a cache longer than the queries goes another way. On
  a mesh, splash runs on each device's rows and heads through `shard_map`; cuDNN
  divides itself.
- Where a mesh cuts rows (`sequence`, docs/plan.md), a device has its own
  queries and puts the keys of their rows together, in `shard_map`: splash with
  the masks of these queries, if a device's part is a multiple of {tile} tokens;
  else, and on GPUs, blockwise or plain.
- **blockwise** computes {block} queries by {block} keys at a time in XLA's
  operations, exactly, with every feature, and once more in the backward pass.
  Memory is linear in the length in both. Blocks that no row of the batch sees
  are skipped.
- **rows** is for CPUs: of one row after another, {block} queries of a head
  (fewer where heads share keys) by all keys between the first and the last that
  they may see, whose number is one of a few that are compiled. These scores
  stay in the cache, and softmax needs no rescaling.
- **plain** holds all scores. It is taken where a head's scores are no more than
  {block} × {block}, one block of the blockwise path, which would do the same
  in more steps; and for up to {few} queries against a cache, whose scores take
  no more room than its keys and values.

So a training row of 2,048 tokens never takes the quadratic path, and neither
does a longer one.

## What decides

- Kernels are taken from {tile} tokens up, the size of their smallest tile.
- Where windows alternate between layers of one scan, the window is traced.
  Splash makes its masks at compile time: `window_values` says what the window
  may be, and a kernel for each is compiled. Without it the path is blockwise.
- cuDNN gets packed rows and traced windows as a boolean mask [B, 1, T, S], up
  to {mask} × {mask}: one bfloat16 array per row without a heads axis, at most
  32 MiB. Beyond, blockwise. (JAX's public function has no packed layout.)
- cuDNN computes in bfloat16 and float16 only; float32 goes blockwise.
- In float32, splash and blockwise agree with plain to rounding; this is tested
  on CPU, splash in Pallas's interpreter. That splash compiles for TPU, forwards
  and backwards, alone and on a mesh, is tested with TPU's compiler. cuDNN
  needs a GPU: `python benchmarks/attention.py` compares and times every path
  that the device has and says which it left out.
"""
