"""Training on a GPU, against transformers and PEFT and the matmul ceiling.

  python benchmarks/train_gpu.py

LLaMA shapes of 1 and 7 billion parameters, bfloat16, full rows of 2,048 tokens,
LoRA (rank 8 on query, key and value) and, of 1 billion, full tuning. Every
contender is a process of its own, because JAX takes a GPU's memory for itself;
they take turns. What counts is the share of the measured speed of one large
bfloat16 product, in operations by formula (mlit_jax/training/flops.py), which
are the same for both. Theirs is used as its Trainer uses it with bf16=True:
full tuning with float32 weights under autocast, the base of LoRA in bfloat16;
attention by torch's fused kernels, AdamW fused; without and with gradient
checkpointing, of which the faster one that fits counts.
"""

import argparse
import json
import sys
import time

import own_process
from train import RANK, adapted, their_config

LENGTH = 2048
RUNS = (("1b", "full", 8), ("1b", "lora", 16), ("7b", "lora", 4))
CONTENDERS = ("ours", "theirs", "theirs, checkpointed")
STEPS, WARM = 10, 2


def shape(size: str):
  from mlit_jax.models.config import DecoderConfig

  return {
      # To try this script on a CPU.
      "tiny": DecoderConfig(512, 2, 64, 2, 2, 32, 176, LENGTH),
      "1b": DecoderConfig(32000, 16, 2048, 16, 16, 128, 5632, LENGTH),
      "7b": DecoderConfig(32000, 32, 4096, 32, 32, 128, 11008, LENGTH),
  }[size]


def lora_config(method: str):
  from mlit_jax.models.lora import LoraConfig

  return LoraConfig(rank=RANK, dropout=0.0) if method == "lora" else None


def tokens(config, rows: int):
  """Inputs and targets [rows, LENGTH]."""
  import numpy as np

  drawn = np.random.default_rng(0).integers(
      0, config.vocab_size, (rows, LENGTH + 1), "int32"
  )
  return drawn[:, :-1], drawn[:, 1:]


def ours(size: str, method: str, rows: int, steps: int) -> dict:
  """Seconds a step of this project's own."""
  import jax
  import numpy as np

  from mlit_jax import partitioning
  from mlit_jax.training.optimizer import OptimizerConfig
  from mlit_jax.training.step import Step, StepConfig

  config = shape(size)
  step = Step(
      config,
      StepConfig(
          OptimizerConfig(1e-4), lora_config(method), precision="bfloat16",
          remat="context",
      ),
      partitioning.make_mesh(),
  )
  state = step.start(step.init(0))
  inputs, targets = tokens(config, rows)
  places = np.tile(np.arange(LENGTH, dtype=np.int32), (rows, 1))
  batch = step.place({
      "inputs": inputs, "targets": targets, "positions": places,
      "segment_ids": np.ones_like(inputs), "loss_positions": places,
      "weights": np.ones(inputs.shape, np.float32),
  })
  rates, limits = np.asarray([1e-4]), np.asarray([np.inf])
  for number in range(WARM + steps):
    if number == WARM:
      jax.block_until_ready(state)
      began = time.perf_counter()
    state, metrics = step(state, batch, rates, limits)
  jax.block_until_ready(state)
  seconds = (time.perf_counter() - began) / steps
  memory = jax.devices()[0].memory_stats() or {}
  return {
      "seconds": seconds, "loss": float(metrics.loss[0]),
      "gib": memory.get("peak_bytes_in_use", 0) / 2**30,
  }


def theirs(
    size: str, method: str, rows: int, steps: int, checkpointed: bool
) -> dict:
  """Seconds a step of transformers' model, with PEFT's adapters for LoRA."""
  import torch
  import transformers

  c = shape(size)
  on_gpu = torch.cuda.is_available()
  device = torch.device("cuda" if on_gpu else "cpu")
  kind = torch.bfloat16 if method == "lora" else torch.float32
  with torch.device(device):
    model = transformers.LlamaForCausalLM(
        their_config(
            c, use_cache=False, attn_implementation="sdpa", dtype=kind
        )
    ).to(kind)
  if checkpointed:
    model.gradient_checkpointing_enable({"use_reentrant": False})
  if method == "lora":
    if checkpointed:
      model.enable_input_require_grads()
    model = adapted(model)
  model.train()
  trained = [p for p in model.parameters() if p.requires_grad]
  adam = torch.optim.AdamW(trained, lr=1e-4, fused=on_gpu)
  inputs, targets = (
      torch.tensor(x, dtype=torch.long, device=device) for x in tokens(c, rows)
  )

  def wait():
    if on_gpu:
      torch.cuda.synchronize()

  for number in range(WARM + steps):
    if number == WARM:
      wait()
      began = time.perf_counter()
    adam.zero_grad(set_to_none=True)
    with torch.autocast(device.type, torch.bfloat16):
      logits = model(input_ids=inputs).logits
      loss = torch.nn.functional.cross_entropy(
          logits.flatten(0, 1).float(), targets.flatten()
      )
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    adam.step()
  wait()
  seconds = (time.perf_counter() - began) / steps
  peak = torch.cuda.max_memory_allocated() if on_gpu else 0
  return {
      "seconds": seconds, "loss": float(loss.detach()), "gib": peak / 2**30
  }


def ceiling() -> dict:
  """The GPU's name, None without one, and FLOP/s of a large product."""
  import jax
  import jax.numpy as jnp

  if jax.default_backend() != "gpu":
    return {"gpu": None}
  n, times = 8192, 10
  x = jnp.ones((n, n), jnp.bfloat16)
  product = jax.jit(lambda x, y: x @ y)
  product(x, x).block_until_ready()
  best = 0.0
  for _ in range(5):
    began = time.perf_counter()
    y = x
    for _ in range(times):
      y = product(x, y)
    y.block_until_ready()
    best = max(best, times * 2 * n**3 / (time.perf_counter() - began))
  return {"gpu": jax.devices()[0].device_kind, "flops": best}


def child(who: str, size: str, method: str, rows: int, steps: int) -> dict:
  if who == "ceiling":
    return ceiling()
  if who == "ours":
    return ours(size, method, rows, steps)
  return theirs(size, method, rows, steps, checkpointed="," in who)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--rounds", type=int, default=2)
  parser.add_argument("--steps", type=int, default=STEPS)
  parser.add_argument(
      "--tiny", action="store_true", help="try the script, on a CPU too"
  )
  parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.child:
    who, *about = args.child
    size, method, rows, steps = [*about, *["", "", 0, 0][len(about):]]
    print(json.dumps(child(who, size, method, int(rows), int(steps))))
    return
  found = own_process.run(__file__, "ceiling")
  if isinstance(found, str):
    sys.exit(f"the matmul ceiling was not measured: {found}")
  if found["gpu"] is None and not args.tiny:
    print("skipped: there is no GPU")
    return
  from mlit_jax.training import flops

  speed = found.get("flops", 1e12)
  print(f"{found['gpu'] or 'CPU'}: {speed / 1e12:.0f} TFLOP/s measured")
  print(
      "| run | round | who | tokens/s | of the ceiling | ours is faster by |"
      " GiB | loss |"
  )
  print("|---" * 8 + "|")
  runs = RUNS
  if args.tiny:
    runs = (("tiny", "full", 2), ("tiny", "lora", 2))
  for size, method, rows in runs:
    work = flops.train_step(
        shape(size), rows, LENGTH, lora=lora_config(method)
    )
    for turn in range(args.rounds):
      own = None
      for who in CONTENDERS:
        result = own_process.run(
            __file__, who, size, method, rows, args.steps
        )
        name = f"| {size} {method}, {rows} rows | {turn + 1} | {who} |"
        if isinstance(result, str):
          print(f"{name} failed: {result} | | | | |", flush=True)
          continue
        seconds = result["seconds"]
        own = seconds if who == "ours" else own
        ratio = f"{seconds / own:.2f}" if own else ""
        print(
            f"{name} {rows * LENGTH / seconds:.0f} |"
            f" {work / seconds / speed:.0%} | {ratio} | {result['gib']:.1f} |"
            f" {result['loss']:.2f} |", flush=True,
        )


if __name__ == "__main__":
  main()
