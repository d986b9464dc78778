"""Tokens per second of building and reading token files, beside seqio.

  python benchmarks/data.py ../shared/data        prints Markdown tables

The text is real: OpenAssistant first turns and MT-Bench questions with a
model's answers in nine languages, tokenized with a 32k SentencePiece model.
Readings alternate between the two in one process; a token is one that is not
padding. seqio reads its own offline cache (TFRecord), shuffles and packs with
its own converter; `live` tokenizes on the fly.
"""

import functools
import json
import os
import pathlib
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata

import numpy as np

ROW, BATCH, ROUNDS, EPOCHS = 2048, 4, 5, 3


def load_examples(root: pathlib.Path) -> Iterator[dict[str, str]]:
  """Prompts and answers, as `mlit data build` takes them."""
  messages = {
      row["message_id"]: row
      for row in _rows(root / "oasst1_en" / "en-validation.jsonl")
  }
  for name, row in messages.items():
    asked = messages.get(row["parent_id"])  # the file lacks some
    if row["role"] == "assistant" and asked:
      yield {
          "id": f"oasst/{name}", "lang": "en", "inputs": asked["text"] + "\n",
          "targets": row["text"],
      }
  for file in sorted((root / "mt_bench").glob("*/answers_*.jsonl")):
    questions = {
        row["question_id"]: row["turns"]
        for row in _rows(file.parent / "question.jsonl")
    }
    for row in _rows(file):
      turns = row["choices"][0]["turns"]
      asked = questions[row["question_id"]]
      for number, answer in enumerate(turns):
        yield {
            "id": f"{file.parent.name}/{row['question_id']}/{number}",
            "lang": file.parent.name,
            "inputs": asked[number] + "\n",
            "targets": answer,
        }


def _rows(path: pathlib.Path) -> list[dict]:
  text = path.read_text(encoding="utf-8")
  return [json.loads(line) for line in text.splitlines() if line.strip()]


def read_ours(directory: pathlib.Path) -> Callable[[int], int]:
  from mlit_jax.data import batches

  rows = batches.PackedRows(directory, ROW, BATCH)

  def read(seed: int) -> int:
    found = batches.batches(rows, BATCH, seed=seed, epochs=EPOCHS)
    return sum(int((b["segment_ids"] > 0).sum()) for b in found)

  return read


def seqio_task(examples, tokenizer):
  """The same examples as seqio tokenizes them, with its own preprocessors."""
  from mlit_jax.data import tasks

  import seqio  # isort: skip  After tasks, which keeps TensorFlow quiet.
  import tensorflow as tf

  def source(split, shuffle_files=False, seed=None):
    del split, shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices({
        key: [row[key] for row in examples]
        for key in ("id", "lang", "inputs", "targets")
    })

  return seqio.TaskRegistry.add(
      "bench",
      source=seqio.FunctionDataSource(
          source, splits=["train"], num_input_examples={"train": len(examples)}
      ),
      preprocessors=[
          functools.partial(
              seqio.preprocessors.tokenize, copy_pretokenized=False
          ),
          seqio.preprocessors.append_eos,
          seqio.CacheDatasetPlaceholder(),
      ],
      output_features=tasks.features(tokenizer),
      metric_fns=[],
  )


def read_seqio(task, cached: bool) -> Callable[[int], int]:
  import seqio

  converter = seqio.DecoderFeatureConverter(pack=True)
  lengths = {"inputs": ROW, "targets": ROW}

  def read(seed: int) -> int:
    dataset = task.get_dataset(
        sequence_length=lengths, split="train", shuffle=True, seed=seed,
        use_cached=cached, num_epochs=EPOCHS,
    )
    dataset = converter(dataset, task_feature_lengths=lengths)
    dataset = dataset.batch(BATCH, drop_remainder=False).prefetch(8)
    return sum(
        int((b["decoder_segment_ids"] > 0).sum())
        for b in dataset.as_numpy_iterator()
    )

  return read


def write_cache(task, folder: pathlib.Path) -> None:
  """What seqio's caching pipeline writes: TFRecords, info, stats."""
  import seqio
  import tensorflow as tf

  directory = folder / seqio.utils.get_task_dir_from_name(task.name)
  directory.mkdir(parents=True)
  rows = list(
      task.get_dataset(None, "train", shuffle=False).as_numpy_iterator()
  )
  prefix = seqio.utils.get_cached_tfrecord_prefix(directory, "train")
  with tf.io.TFRecordWriter(f"{prefix}-00000-of-00001") as writer:
    for row in rows:
      writer.write(seqio.utils.dict_to_tfexample(row).SerializeToString())
  features = {
      key: {"shape": list(np.shape(rows[0][key])), "dtype": kind}
      for key, kind in (("inputs", "int32"), ("targets", "int32"))
  }
  for key in ("inputs", "targets"):
    features[key]["shape"] = [None]
  for key in ("id", "lang"):
    features[key] = {"shape": [], "dtype": "string"}
  info = {
      "num_shards": 1, "features": features,
      "seqio_version": metadata.version("seqio"),
  }
  pathlib.Path(seqio.utils.get_cached_info_path(directory, "train")).write_text(
      json.dumps(info)
  )
  pathlib.Path(
      seqio.utils.get_cached_stats_path(directory, "train")
  ).write_text(json.dumps({"examples": len(rows)}))
  (directory / "COMPLETED").touch()
  seqio.set_global_cache_dirs([str(folder)])


def main() -> None:
  root = pathlib.Path(sys.argv[1])
  from mlit_jax.data import batches, build, token_file, tokenizers

  tokenizer = tokenizers.SentencePieceTokenizer(
      (root / "tokenizers" / "tokenizer.mistral-v1.model").read_bytes()
  )
  examples = list(load_examples(root))
  # The longest ones are cut for both, so that both pack the same tokens.
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    began = time.perf_counter()
    summary = build.build(
        "bench", examples, tokenizer, folder / "ours", origin={},
        max_length=ROW, too_long="truncate",
    )
    alone = time.perf_counter() - began
    began = time.perf_counter()
    build.build(
        "bench", examples * 8, tokenizer, folder / "two", origin={},
        max_length=ROW, too_long="truncate", shards=8,
        run=build.in_processes(2),
    )
    two = (time.perf_counter() - began) / 8
    tokens = summary["total"]["tokens"]
    task = seqio_task(examples, tokenizer)
    began = time.perf_counter()
    write_cache(task, folder / "cache")
    theirs = time.perf_counter() - began
    rows = batches.PackedRows(folder / "ours", ROW, BATCH)
    readers = {
        "mlit (grain)": read_ours(folder / "ours"),
        "seqio, offline cache": read_seqio(task, cached=True),
        "seqio, live": read_seqio(task, cached=False),
    }
    rates = {name: [] for name in readers}
    for round_ in range(ROUNDS + 1):
      for name, read in readers.items():
        began = time.perf_counter()
        found = read(round_)
        if round_:  # the first is a warm-up
          rates[name].append(found / (time.perf_counter() - began))
    began = time.perf_counter()
    token_file.TokenFile(folder / "ours")
    opened = time.perf_counter() - began
  print(
      f"{os.cpu_count()} cores, Python {platform.python_version()}, seqio"
      f" {metadata.version('seqio')}, TensorFlow"
      f" {metadata.version('tensorflow')}, grain {metadata.version('grain')};"
      f" {len(examples)} examples, {tokens} tokens, rows of {ROW}\n"
  )
  print("| building | tokens/s |\n|---|---|")
  print(f"| in this process | {tokens / alone:,.0f} |")
  print(f"| two processes, eight times the text | {tokens / two:,.0f} |")
  print(f"| seqio's offline cache, in this process | {tokens / theirs:,.0f} |")
  print(f"\nopening and checking the file: {tokens / opened:,.0f} tokens/s;"
        f" {100 * rows.density:.1f} % of the positions are used\n")
  ours = np.median(rates["mlit (grain)"])
  print("| reading | tokens/s, median of 5 | ours is |\n|---|---|---|")
  for name, found in rates.items():
    rate = np.median(found)
    print(f"| {name} | {rate:,.0f} | {ours / rate:.2f} x |")


if __name__ == "__main__":
  main()
