"""Training against transformers and PEFT, on real conversations.

  python benchmarks/train.py --data SHARED/data   three rounds

On a CPU (benchmarks/train_gpu.py is for GPUs): a LLaMA shape of about 25
million parameters, float32, AdamW, full tuning and LoRA (rank 8 on query, key
and value). Contenders are processes of their own that take turns: ours, packed;
transformers with its padding (batches in random order, filled to their longest
example, as its Trainer does); and transformers on the very rows that ours has,
without a mask between their examples, which is the cheapest it can do. Ours and
the last also accumulate the gradient over parts of two rows, whose activations
a CPU's cache holds better. What counts are real tokens: those of examples, not
of padding. Processor time tells more than wall time where much else runs. The
same examples, the same number of examples a step.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

LENGTH, ROWS = 1024, 8
VOCAB, RANK = 8000, 8
PART = 2  # rows
CONTENDERS = (
    "ours", "ours, in parts", "padded", "packed", "packed, in parts"
)


def conversations(data: pathlib.Path):
  """[(text, whether it is learnt), …] of real conversations."""
  found = []
  messages = {}
  for line in (data / "oasst1_en/en-validation.jsonl").open(encoding="utf-8"):
    row = json.loads(line)
    messages[row["message_id"]] = row
  parents = {row["parent_id"] for row in messages.values()}
  for leaf in messages.values():
    if leaf["message_id"] in parents or leaf["role"] != "assistant":
      continue
    chain = []
    while leaf is not None:
      chain.append((leaf["text"], leaf["role"] == "assistant"))
      leaf = messages.get(leaf["parent_id"])
    found.append(chain[::-1])
  for questions in sorted(data.glob("mt_bench/*/question.jsonl")):
    answers = {}
    for path in questions.parent.glob("answers_*.jsonl"):
      for line in path.open(encoding="utf-8"):
        row = json.loads(line)
        answers[row["question_id"]] = row["choices"][0]["turns"]
    for line in questions.open(encoding="utf-8"):
      row = json.loads(line)
      if said := answers.get(row["question_id"]):
        found.append([
            pair for asked, told in zip(row["turns"], said, strict=False)
            for pair in ((asked, False), (told, True))
        ])
  return found


def examples(data: pathlib.Path):
  """[(token ids, loss mask)], in a random order; at most LENGTH tokens."""
  import numpy as np

  from mlit_jax.data import tokenizers

  texts = conversations(data)
  tokenizer = tokenizers.train_sentencepiece(
      [line for c in texts for text, _ in c for line in text.splitlines()],
      VOCAB,
  )
  found = []
  for chain in texts:
    ids, mask = [tokenizer.bos_id], [0]
    for text, learnt in chain:
      piece = [*tokenizer.encode(text), tokenizer.eos_id]
      ids += piece
      mask += [int(learnt)] * len(piece)
    if any(mask[: LENGTH + 1]):
      found.append((ids[: LENGTH + 1], mask[: LENGTH + 1]))
  order = np.random.default_rng(0).permutation(len(found))
  return [found[i] for i in order]


def packed(found):
  """Rows of ours: arrays [rows, LENGTH], by field of a batch."""
  import numpy as np

  from mlit_jax.data import batches

  plan = batches.plan_packing(
      [len(ids) - 1 for ids, _ in found], LENGTH,
      [sum(mask[1:]) for _, mask in found], LENGTH,
  )
  plan = [plan[i] for i in np.random.default_rng(1).permutation(len(plan))]
  shape = len(plan), LENGTH
  fields = {
      name: np.zeros(shape, np.int32)
      for name in ("inputs", "segment_ids", "positions", "targets")
  }
  weights = np.zeros(shape, np.float32)
  for row, members in enumerate(plan):
    start = 0
    for segment, i in enumerate(members, start=1):
      ids, mask = found[i]
      part = row, slice(start, start + len(ids) - 1)
      fields["inputs"][part], fields["targets"][part] = ids[:-1], ids[1:]
      fields["segment_ids"][part] = segment
      fields["positions"][part] = np.arange(len(ids) - 1)
      weights[part] = mask[1:]
      start += len(ids) - 1
  places = np.tile(np.arange(LENGTH, dtype=np.int32), (len(plan), 1))
  return fields | {"weights": weights, "loss_positions": places}


def shape():
  from mlit_jax.models.config import DecoderConfig

  return DecoderConfig(
      VOCAB, 8, 448, 7, 7, 64, 1216, LENGTH, tie_embeddings=False
  )


def their_config(shape, **more):
  """transformers' config of the same model."""
  import transformers

  from mlit_jax.models.interchange.families import FAMILIES

  values = FAMILIES["llama"].write_config(shape)
  return transformers.LlamaConfig.from_dict(values | more)


def ours(fields, method: str, part: int, steps: int) -> dict:
  """Trains on packed rows, `part` of them at once; tokens a second."""
  import jax
  import numpy as np

  from mlit_jax import partitioning
  from mlit_jax.models.lora import LoraConfig
  from mlit_jax.training.optimizer import OptimizerConfig
  from mlit_jax.training.step import Step, StepConfig

  lora = LoraConfig(rank=RANK, dropout=0.0) if method == "lora" else None
  step = Step(
      shape(),
      StepConfig(OptimizerConfig(1e-4), lora, accumulation=ROWS // part),
      partitioning.make_mesh(),
  )
  state = step.start(step.init(0))
  rates, limits = np.asarray([1e-4]), np.asarray([np.inf])
  seen, waiting, started = 0, None, None
  for number in range(steps + 2):
    rows = np.arange(number * ROWS, (number + 1) * ROWS) % len(fields["inputs"])
    batch = {name: array[rows] for name, array in fields.items()}
    state, metrics = step(state, step.place(batch), rates, limits)
    if waiting is not None:
      float(waiting.loss[0])  # a step late, as in a run
    waiting = metrics
    if number < 2:  # compiles
      jax.block_until_ready(state)
      started = time.perf_counter(), time.process_time()
      continue
    seen += int((batch["segment_ids"] > 0).sum())
  jax.block_until_ready(state)
  return {
      "tokens": seen, "seconds": time.perf_counter() - started[0],
      "processor": time.process_time() - started[1],
      "loss": float(waiting.loss[0]),
  }


def adapted(model):
  """transformers' model with PEFT's adapters on query, key and value."""
  import peft

  return peft.get_peft_model(
      model,
      peft.LoraConfig(
          r=RANK, lora_alpha=16, lora_dropout=0.0,
          target_modules=["q_proj", "k_proj", "v_proj"],
      ),
  )


def theirs(
    found, fields, method: str, padding: bool, part: int, steps: int
) -> dict:
  """Trains the same shape in PyTorch; tokens a second.

  Padded examples are computed at once, however many; packed rows `part` at a
  time.
  """
  import numpy as np
  import torch
  import transformers

  torch.set_num_threads(os.cpu_count())
  model = transformers.LlamaForCausalLM(
      their_config(shape(), use_cache=False, attn_implementation="sdpa")
  )
  if method == "lora":
    model = adapted(model)
  model.train()
  adam = torch.optim.AdamW(
      [p for p in model.parameters() if p.requires_grad], lr=1e-4
  )
  # As many examples a step as ours has in its rows.
  per_step = round(ROWS * len(found) / len(fields["inputs"]))
  seen, started = 0, None
  for number in range(steps + 2):
    if padding:
      chosen = [
          found[i % len(found)]
          for i in range(number * per_step, (number + 1) * per_step)
      ]
      width = max(len(ids) for ids, _ in chosen) - 1
      tokens = torch.zeros(len(chosen), width, dtype=torch.long)
      attended = torch.zeros_like(tokens)
      labels = torch.full_like(tokens, -100)
      for row, (ids, mask) in enumerate(chosen):
        n = len(ids) - 1
        tokens[row, :n] = torch.tensor(ids[:-1])
        attended[row, :n] = 1
        kept = np.where(np.asarray(mask[1:]) > 0, ids[1:], -100)
        labels[row, :n] = torch.tensor(kept)
      given = {"attention_mask": attended}
      real = int(attended.sum())
    else:
      rows = np.arange(number * ROWS, (number + 1) * ROWS) % len(
          fields["inputs"]
      )
      tokens = torch.tensor(fields["inputs"][rows]).long()
      labels = torch.tensor(
          np.where(fields["weights"][rows] > 0, fields["targets"][rows], -100)
      ).long()
      given, real = {}, int((fields["segment_ids"][rows] > 0).sum())
    adam.zero_grad(set_to_none=True)
    loss, learnt = 0.0, (labels != -100).sum()
    at_once = len(tokens) if padding else part
    for begin in range(0, len(tokens), at_once):
      mine = slice(begin, begin + at_once)
      logits = model(
          input_ids=tokens[mine], **{k: x[mine] for k, x in given.items()}
      ).logits
      share = torch.nn.functional.cross_entropy(
          logits.flatten(0, 1), labels[mine].flatten(), reduction="sum"
      ) / learnt
      share.backward()
      loss += float(share)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    if number < 2:
      started = time.perf_counter(), time.process_time()
      continue
    seen += real
  return {
      "tokens": seen, "seconds": time.perf_counter() - started[0],
      "processor": time.process_time() - started[1],
      "loss": loss,
  }


def child(who: str, method: str, path: str, steps: int) -> None:
  """One contender, in a process of its own; prints JSON."""
  import pickle

  found, fields = pickle.loads(pathlib.Path(path).read_bytes())
  who, _, parts = who.partition(", ")
  part = PART if parts else ROWS
  if who == "ours":
    result = ours(fields, method, part, steps)
  else:
    result = theirs(found, fields, method, who == "padded", part, steps)
  result["peak_gib"] = (
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  )
  print(json.dumps(result))


def compare(data: pathlib.Path, rounds: int, steps: int) -> None:
  import pickle

  found = examples(data)
  fields = packed(found)
  real = int((fields["segment_ids"] > 0).sum())
  c = shape()
  print(
      f"{len(found)} conversations, {real} tokens, {len(fields['inputs'])} rows"
      f" of {LENGTH} ({real / fields['inputs'].size:.0%} full); {c.num_layers}"
      f" layers of width {c.embed_dim}; {os.cpu_count()} cores"
  )
  print(
      "| method | round | who | tokens/s | ours is faster by |"
      " by processor time | peak GiB |"
  )
  print("|---" * 7 + "|")
  with tempfile.TemporaryDirectory() as place:
    path = pathlib.Path(place) / "data"
    path.write_bytes(pickle.dumps((found, fields)))
    for method in ("full", "lora"):
      for turn in range(rounds):
        speed, own = {}, {}
        for who in CONTENDERS:
          done = subprocess.run(
              [sys.executable, __file__, "--child", who, method, str(path),
               str(steps)],
              capture_output=True, text=True, check=True,
              env=os.environ | {"JAX_PLATFORMS": "cpu"},
          )
          result = json.loads(done.stdout.splitlines()[-1])
          speed[who] = result["tokens"] / result["seconds"]
          own[who] = result["tokens"] / result["processor"]
          print(
              f"| {method} | {turn + 1} | {who} | {speed[who]:.0f} |"
              f" {speed['ours'] / speed[who]:.2f} |"
              f" {own['ours'] / own[who]:.2f} |"
              f" {result['peak_gib']:.1f} |", flush=True,
          )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument(
      "--data", type=pathlib.Path, help="holds mt_bench and oasst1_en"
  )
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--steps", type=int, default=6, help="of each run")
  parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.child:
    child(*args.child[:3], int(args.child[3]))
    return
  if args.data is None:
    parser.error("give --data, the directory with mt_bench and oasst1_en")
  compare(args.data, args.rounds, args.steps)
  print("GPU: skipped here; python benchmarks/train_gpu.py")


if __name__ == "__main__":
  main()
