"""Decoding against transformers, and many adapters against one by one.

  python benchmarks/decode.py --data SHARED/data      both, three rounds
  python benchmarks/decode.py --part adapters --rounds 5

On a CPU (benchmarks/decode_gpu.py is for GPUs). Random weights, so that answers
have no end of their own: each prompt has a limit, drawn from a log-normal
distribution (median 48, at most 128), which gives answers the spread of
instruction-tuned ones. A batch of transformers goes on until its longest answer
has ended, and only tokens within the limits count. Contenders take turns, and
what is reported is each round's ratio: of wall time, and of processor time,
which a busy machine disturbs less.
"""

import argparse
import json
import pathlib
import time

NEW, ADAPTERS, PROMPTS = 128, 12, 16


def prompts(data: pathlib.Path, count: int, vocabulary: pathlib.Path):
  """Token ids of real questions in several languages."""
  import sentencepiece

  model = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
  texts = []
  for path in [*sorted(data.glob("mt_bench/*/question.jsonl")),
               *sorted(data.glob("vicuna80/*.jsonl"))]:
    for line in path.read_text(encoding="utf-8").splitlines():
      row = json.loads(line)
      texts.append(row["turns"][0] if "turns" in row else row["text"])
  import numpy as np

  chosen = np.random.default_rng(0).permutation(len(texts))[:count]
  return [[1, *model.encode(texts[i])][:1024] for i in chosen]


def limits(count: int):
  import numpy as np

  drawn = np.random.default_rng(1).lognormal(np.log(48), 0.8, count)
  return np.clip(drawn, 1, NEW).astype(int).tolist()


def shape(vocab_size: int):
  from mlit_jax.models.config import DecoderConfig

  return DecoderConfig(
      vocab_size, num_layers=8, embed_dim=384, num_heads=6, num_kv_heads=6,
      head_dim=64, mlp_dim=1024, max_length=2048, tie_embeddings=True,
  )


def random_params(config):
  import flax.linen as nn
  import jax

  from mlit_jax.models import decoder

  return nn.meta.unbox(jax.jit(lambda: decoder.init_params(config, 0))())


def padded(batch, rows: int, width: int, device: str):
  """Prompts at the end of their rows, and where they are, for transformers."""
  import torch

  tokens = torch.zeros(rows, width, dtype=torch.long, device=device)
  mask = torch.zeros_like(tokens)
  for row, r in enumerate(batch):
    tokens[row, width - len(r.tokens) :] = torch.tensor(r.tokens)
    mask[row, width - len(r.tokens) :] = 1
  return tokens, mask


def theirs(config, params, asked, rows: int):
  """Runs transformers over batches of prompts of like length."""
  import tempfile

  import torch
  import transformers

  from mlit_jax.models.interchange import huggingface

  with tempfile.TemporaryDirectory() as place:
    huggingface.write_model(pathlib.Path(place), config, params, {})
    model = transformers.AutoModelForCausalLM.from_pretrained(place)
  model.generation_config.eos_token_id = None
  model.generation_config.pad_token_id = 0
  order = sorted(asked, key=lambda r: len(r.tokens))

  def run():
    for start in range(0, len(order), rows):
      batch = order[start : start + rows]
      width = max(len(r.tokens) for r in batch)
      tokens, mask = padded(batch, len(batch), width, "cpu")
      with torch.inference_mode():
        model.generate(
            tokens, attention_mask=mask, do_sample=False,
            max_new_tokens=max(r.max_new_tokens for r in batch),
        )

  return run


def compare(contenders: dict, rounds: int) -> None:
  """Prints seconds and ratios to the last contender."""
  for run in contenders.values():
    run()  # compiles
  print("| round | who | s | times as fast | by processor time |")
  print("|---" * 5 + "|")
  names = list(contenders)
  for turn in range(rounds):
    found = {}
    for name, run in contenders.items():
      wall, own = time.perf_counter(), time.process_time()
      run()
      found[name] = time.perf_counter() - wall, time.process_time() - own
    base = found[names[-1]]
    for name, (wall, own) in found.items():
      print(
          f"| {turn + 1} | {name} | {wall:.1f} | {base[0] / wall:.2f} |"
          f" {base[1] / own:.2f} |", flush=True,
      )


def requests(data, vocabulary, count):
  from mlit_jax.decoding.requests import Request

  pairs = zip(prompts(data, count, vocabulary), limits(count), strict=True)
  return [
      Request(f"{i}", tuple(tokens), limit)
      for i, (tokens, limit) in enumerate(pairs)
  ]


def against_transformers(args) -> None:
  from mlit_jax import partitioning
  from mlit_jax.decoding.engine import Engine

  asked = requests(args.data, args.vocabulary, args.prompts)
  config = shape(32000)
  params = random_params(config)
  engine = Engine(
      config, partitioning.make_mesh(), end_ids=[2], num_slots=args.slots
  )
  total = sum(r.max_new_tokens for r in asked)
  print(f"{total} tokens of {len(asked)} answers\n")
  compare(
      {
          f"mlit, {args.slots} slots": lambda: list(
              engine.generate(params, asked)
          ),
          f"transformers, {args.rows} rows": theirs(
              config, params, asked, args.rows
          ),
      },
      args.rounds,
  )


def many_adapters(args) -> None:
  import dataclasses
  import functools

  import jax
  import numpy as np

  from mlit_jax import partitioning
  from mlit_jax.decoding.engine import Engine
  from mlit_jax.models import lora

  asked = requests(args.data, args.vocabulary, ADAPTERS * PROMPTS)
  config, how = shape(32000), lora.LoraConfig()
  params, mesh = random_params(config), partitioning.make_mesh()
  rng = np.random.default_rng(0)

  def adapter(seed):
    tree = jax.tree.map(np.asarray, lora.init(config, how, seed))
    import flax.linen as nn

    return jax.tree.map(
        lambda x: 0.02 * rng.standard_normal(x.shape).astype(np.float32),
        nn.meta.unbox(tree),
    ), how

  found = {f"a{k}": adapter(k) for k in range(ADAPTERS)}
  asked = [
      dataclasses.replace(r, adapter=f"a{i % ADAPTERS}")
      for i, r in enumerate(asked)
  ]
  together = Engine(config, mesh, end_ids=[2], num_slots=args.slots)
  alone = Engine(config, mesh, end_ids=[2], num_slots=PROMPTS)

  def one_by_one(asked):
    for name, value in found.items():
      own = [r for r in asked if r.adapter == name]
      list(alone.generate(params, own, adapters={name: value}))

  def at_once(asked):
    list(together.generate(params, asked, adapters=found))

  # An answer of one token is chosen where its prompt is read.
  first = [dataclasses.replace(r, max_new_tokens=1) for r in asked]
  for title, rows in (("whole answers", asked), ("prompts alone", first)):
    read = sum(len(r.tokens) for r in rows)
    wrote = sum(r.max_new_tokens for r in rows)
    print(f"\n{title}: {read} tokens read, {wrote} written\n")
    compare(
        {
            f"{ADAPTERS} adapters at once, {args.slots} slots":
                functools.partial(at_once, rows),
            f"one after the other, {PROMPTS} slots":
                functools.partial(one_by_one, rows),
        },
        args.rounds,
    )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--part", choices=("transformers", "adapters"))
  parser.add_argument("--data", type=pathlib.Path, required=True)
  parser.add_argument("--vocabulary", type=pathlib.Path)
  parser.add_argument("--prompts", type=int, default=256)
  parser.add_argument("--slots", type=int, default=64)
  parser.add_argument("--rows", type=int, default=64)
  parser.add_argument("--rounds", type=int, default=3)
  args = parser.parse_args()
  args.vocabulary = args.vocabulary or next(
      args.data.glob("tokenizers/*mistral*.model")
  )
  from mlit_jax import cpu

  cpu.keep_freed_memory()
  parts = {"transformers": against_transformers, "adapters": many_adapters}
  for name, run in parts.items():
    if args.part in (None, name):
      print(f"\n## {name}\n")
      run(args)


if __name__ == "__main__":
  main()
