"""Decoding on a GPU, against its memory's bandwidth and transformers.

  python benchmarks/decode_gpu.py --data SHARED/data
  python benchmarks/decode_gpu.py --data SHARED/data --tiny     on a CPU, too

LLaMA shapes of 1 and 7 billion parameters, bfloat16, random weights. First one
answer at a time: what counts is the share of the measured bandwidth of a copy,
if a token reads every weight once. Then many answers, their prompts and limits
as in decode.py, by us and by transformers with its static cache, compiled; of
as many rows together as fit. Every contender is a process of its own.
"""

import argparse
import json
import pathlib
import sys
import time

import own_process
from decode import NEW, padded, requests
from train import their_config

SHAPES = {
    # To try this script.
    "tiny": {
        "vocab_size": 32000, "num_layers": 2, "embed_dim": 64, "num_heads": 4,
        "num_kv_heads": 2, "head_dim": 16, "mlp_dim": 176,
        "tie_embeddings": True,
    },
    "1B": {
        "vocab_size": 128256, "num_layers": 16, "embed_dim": 2048,
        "num_heads": 32, "num_kv_heads": 8, "head_dim": 64, "mlp_dim": 8192,
        "tie_embeddings": True,
    },
    "7B": {
        "vocab_size": 32000, "num_layers": 32, "embed_dim": 4096,
        "num_heads": 32, "num_kv_heads": 32, "head_dim": 128,
        "mlp_dim": 11008,
    },
}
LENGTH, PROMPTS = 2048, 512
# Answers together, from the most on until they fit.
ROWS = {"ours": (256, 128, 64, 32), "theirs": (256, 128, 64, 32)}
TINY_PROMPTS, TINY_ROWS = 8, (4,)


def shape(size: str):
  from mlit_jax.models.config import DecoderConfig

  return DecoderConfig(**SHAPES[size], max_length=LENGTH)


def asked(args, size: str):
  return requests(
      args.data, args.vocabulary, TINY_PROMPTS if size == "tiny" else PROMPTS
  )


def seconds(run, times: int) -> float:
  """The best of some times, the first not counted: it compiles."""
  run()
  found = []
  for _ in range(times):
    began = time.perf_counter()
    run()
    found.append(time.perf_counter() - began)
  return min(found)


def bandwidth() -> dict:
  """The GPU's name, None without one, and bytes a second of a copy."""
  import jax
  import jax.numpy as jnp

  on_gpu = jax.default_backend() == "gpu"
  big = jnp.ones(1 << (31 if on_gpu else 24), jnp.bfloat16)
  copy = jax.jit(lambda x: x + 1)
  took = seconds(lambda: copy(big).block_until_ready(), 5)
  return {
      "gpu": jax.devices()[0].device_kind if on_gpu else None,
      "bytes": 2 * big.nbytes / took,
  }


def engine_of(size: str, slots: int):
  """An engine; its weights, and how many bytes of them a token reads."""
  import functools

  import flax.linen as nn
  import jax
  import jax.numpy as jnp

  from mlit_jax import partitioning
  from mlit_jax.decoding.engine import Engine
  from mlit_jax.models import decoder

  config = shape(size)
  shapes = nn.meta.unbox(
      jax.eval_shape(functools.partial(decoder.init_params, config), 0)
  )
  params = jax.tree.map(
      lambda x: x.shape[-1] ** -0.5
      * jax.random.normal(jax.random.key(0), x.shape, jnp.bfloat16),
      shapes,
  )
  read = sum(x.nbytes for x in jax.tree.leaves(params))
  if not config.tie_embeddings:
    read -= params["embedding"].nbytes  # of which a row is read
  engine = Engine(
      config, partitioning.make_mesh(), dtype=jnp.bfloat16, num_slots=slots,
      end_ids=[config.vocab_size],
  )
  return engine, engine.take(params), read


def alone(size: str) -> dict:
  """Seconds a token of one answer, and the bytes that it reads."""
  from mlit_jax.decoding.requests import Request

  engine, params, read = engine_of(size, 1)
  prompt = tuple(range(3, 60))
  few, many = (
      seconds(
          lambda n=n: list(engine.generate(params, [Request("a", prompt, n)])),
          3,
      )
      for n in (128, 640)
  )
  return {"seconds": (many - few) / 512, "bytes": read}


def ours(args, size: str, rows: int) -> dict:
  engine, params, _ = engine_of(size, rows)
  wanted = asked(args, size)
  return {
      "seconds": seconds(lambda: list(engine.generate(params, wanted)), 2)
  }


def theirs(args, size: str, rows: int) -> dict:
  """A batch goes on until its longest answer has ended."""
  import torch
  import transformers

  c = shape(size)
  device = "cuda" if torch.cuda.is_available() else "cpu"
  with torch.device(device):
    model = transformers.LlamaForCausalLM(
        their_config(c, dtype=torch.bfloat16)
    ).to(torch.bfloat16)
  model.generation_config.eos_token_id = None
  model.generation_config.pad_token_id = 0
  order = sorted(asked(args, size), key=lambda r: len(r.tokens))

  def run():
    for start in range(0, len(order), rows):
      batch = order[start : start + rows]
      width = 64 * -(-max(len(r.tokens) for r in batch) // 64)
      tokens, mask = padded(batch, rows, width, device)
      with torch.inference_mode():
        model.generate(
            tokens, attention_mask=mask, do_sample=False, max_new_tokens=NEW,
            cache_implementation="static",
        )
    if device == "cuda":
      torch.cuda.synchronize()

  return {"seconds": seconds(run, 2)}


def child(args) -> dict:
  who, size, rows = args.child
  if who == "bandwidth":
    return bandwidth()
  if who == "alone":
    return alone(size)
  return {"ours": ours, "theirs": theirs}[who](args, size, int(rows))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data", type=pathlib.Path, required=True)
  parser.add_argument("--vocabulary", type=pathlib.Path)
  parser.add_argument(
      "--tiny", action="store_true", help="try the script, on a CPU too"
  )
  parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
  args = parser.parse_args()
  args.vocabulary = args.vocabulary or next(
      args.data.glob("tokenizers/*mistral*.model")
  )
  if args.child:
    print(json.dumps(child(args)))
    return

  def run(who: str, size: str = "", rows: int = 0) -> dict | str:
    return own_process.run(
        __file__, who, size, rows, "--data", args.data, "--vocabulary",
        args.vocabulary,
    )

  found = run("bandwidth")
  if isinstance(found, str):
    sys.exit(f"the bandwidth was not measured: {found}")
  if found["gpu"] is None and not args.tiny:
    print("skipped: there is no GPU")
    return
  print(f"{found['gpu'] or 'CPU'}: copies at {found['bytes'] / 1e12:.3f} TB/s")
  for size in ("tiny",) if args.tiny else ("1B", "7B"):
    one = run("alone", size)
    if isinstance(one, str):
      print(f"\n{size}, one answer: failed: {one}", flush=True)
    else:
      speed = 1 / one["seconds"]
      share = one["bytes"] * speed / found["bytes"]
      print(
          f"\n{size}, one answer: {speed:.0f} tokens/s, {share:.0%} of the"
          " bandwidth", flush=True,
      )
    total = sum(r.max_new_tokens for r in asked(args, size))
    base = None
    for who, counts in ROWS.items():
      for rows in TINY_ROWS if args.tiny else counts:
        result = run(who, size, rows)
        if isinstance(result, dict):
          break
        print(f"{size}, {who}, {rows} together: failed: {result}", flush=True)
      else:
        continue
      speed = total / result["seconds"]
      ratio = f"; ours is {base / speed:.2f} times as fast" if base else ""
      base = speed
      print(
          f"{size}, {who}, {rows} together: {speed:.0f} tokens/s{ratio}",
          flush=True,
      )


if __name__ == "__main__":
  main()
