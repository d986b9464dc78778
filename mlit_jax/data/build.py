"""Builds token files: examples, tokenized once, shard by shard.

A shard is a contiguous part of the examples. Shards are tokenized one after the
other here or in processes of their own; those that a killed build had finished
are not done again. tasks.py makes seqio Tasks of what was built.
"""

import collections
import concurrent.futures
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import pathlib
import pickle
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from mlit_jax import records
from mlit_jax.data import conversations
from mlit_jax.data.chat import Form
from mlit_jax.data.token_file import (
    SUMMARY,
    DataError,
    TokenExample,
    shard_name,
)
from mlit_jax.data.tokenizers import Tokenizer
from mlit_jax.errors import UsageError

TOO_LONG = ("fail", "truncate", "drop")
_COUNTED = {"truncate": "truncated", "drop": "dropped"}
_PARTIAL = ".partial"
_Runner = Callable[[Callable[[int], None], Sequence[int]], None]


def build(
    name: str,
    examples: Iterable[Mapping],
    tokenizer: Tokenizer,
    directory: str | os.PathLike,
    *,
    origin: Mapping,
    form: Form | None = None,
    shards: int = 1,
    max_length: int = 0,
    too_long: str = "fail",
    run: _Runner | None = None,
) -> dict:
  """Tokenizes examples and writes them.

  Args:
    name: what was built is called; what seqio does not allow in a Task's
      name becomes `_`.
    examples: rows with `id` and `lang`, and either `messages` (conversations)
      or the texts `inputs` and `targets`; where inputs is empty (running text)
      every token but the first is learnt. Read once.
    tokenizer: what to tokenize with.
    directory: where to write.
    origin: what the examples were made from (recipe, design, seed, hash); it
      is written down with the counts.
    form: the template of conversations.
    shards: number of files, and of pieces of work.
    max_length: longest example, in tokens; 0: any.
    too_long: what happens to longer ones: `fail`, `truncate` (the end is cut
      off) or `drop`; both are counted.
    run: runs the pieces of work; one after the other by default. See
      `in_processes` and `in_beam`.

  Returns:
    What build.json holds.

  Raises:
    DataError: there are no examples, or one is too long.
  """
  if too_long not in TOO_LONG:
    raise ValueError(f"too_long={too_long!r} is not one of {TOO_LONG}")
  directory = pathlib.Path(directory)
  partial = directory / _PARTIAL
  work = functools.partial(
      _build_shard, partial, tokenizer, form, shards, max_length, too_long
  )
  fingerprint = hashlib.sha256(pickle.dumps((tokenizer, form))).hexdigest()
  pending = _write_examples(
      partial, examples, [shards, fingerprint, max_length, too_long]
  )
  (run or _one_by_one)(work, pending)
  made = [
      json.loads((partial / f"{i}.json").read_text()) for i in range(shards)
  ]
  # What was here before stays whole until now; a summary is never beside
  # tokens that it does not describe.
  (directory / SUMMARY).unlink(missing_ok=True)
  for old in directory.glob("tokens-*.array_record"):
    old.unlink()
  for shard in made:
    os.replace(partial / shard["file"], directory / shard["file"])
  summary = _summarise(made, tokenizer) | {
      "task": re.sub(r"[^\w.]", "_", name) or "_", "origin": dict(origin),
  }
  records.write_json(directory / SUMMARY, summary)
  shutil.rmtree(partial)
  return summary


def in_processes(number: int) -> _Runner:
  """Runs pieces of work in so many processes."""

  def run(work, shards):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(number, context) as pool:
      for _ in pool.map(work, shards):
        pass

  return run


def in_beam(options: Sequence[str]) -> _Runner:
  """Runs pieces of work through Apache Beam (extra `beam`).

  Args:
    options: Beam's own, e.g. `--runner=DataflowRunner`; without any, its
      DirectRunner works here. The directory must lie where all workers mount
      it.

  Raises:
    UsageError: Beam is not installed, or does not take its options.
  """
  try:
    import apache_beam
    from apache_beam.options import pipeline_options
  except ImportError as e:
    raise UsageError(
        f"Apache Beam cannot be loaded ({e}); pip install 'mlit-jax[beam]'"
    ) from None
  try:
    pipeline = apache_beam.Pipeline(
        options=pipeline_options.PipelineOptions(list(options))
    )
  except (ValueError, SystemExit) as e:
    raise UsageError(f"Apache Beam does not take {options}: {e}") from None

  def run(work, shards):
    with pipeline:
      numbers = pipeline | apache_beam.Create(list(shards))
      _ = numbers | apache_beam.Reshuffle() | apache_beam.Map(work)

  return run


def _one_by_one(work: Callable[[int], None], shards: Sequence[int]) -> None:
  for shard in shards:
    work(shard)


def _write_examples(
    partial: pathlib.Path,
    examples: Iterable[Mapping],
    settings: list,
) -> list[int]:
  """Puts the examples on disk by shard; returns the shards not yet done."""
  examples = iter(examples)
  if (first := next(examples, None)) is None:
    raise DataError(f"{partial.parent}: there are no examples to build")
  shards = settings[0]
  fresh = partial.with_name(f"{_PARTIAL}.new")
  shutil.rmtree(fresh, ignore_errors=True)
  fresh.mkdir(parents=True)
  digest = hashlib.sha256(json.dumps(settings).encode())
  encode = json.JSONEncoder(ensure_ascii=False).encode
  total, everything = 0, fresh / "all.jsonl"
  with open(everything, "w", encoding="utf-8") as file:
    for example in itertools.chain([first], examples):
      line = encode(_columns(example)) + "\n"
      digest.update(line.encode())
      file.write(line)
      total += 1
  with open(everything, encoding="utf-8") as file:
    for shard in range(shards):
      size = total * (shard + 1) // shards - total * shard // shards
      with open(_examples(fresh, shard), "w", encoding="utf-8") as part:
        part.writelines(next(file) for _ in range(size))
  everything.unlink()
  plan = {"sha256": digest.hexdigest()}
  if _read_json(partial / "plan.json") == plan:
    shutil.rmtree(fresh)
    return [i for i in range(shards) if not (partial / f"{i}.json").exists()]
  shutil.rmtree(partial, ignore_errors=True)
  fresh.rename(partial)
  records.write_json(partial / "plan.json", plan)
  return list(range(shards))


def _columns(example: Mapping) -> dict:
  parts = ("inputs", "targets")
  if "messages" in example:
    parts = ("messages",)
  return {key: example[key] for key in ("id", "lang", *parts)}


def _examples(partial: pathlib.Path, shard: int) -> pathlib.Path:
  return partial / f"{shard}.jsonl"


def _build_shard(
    partial: pathlib.Path,
    tokenizer: Tokenizer,
    form: Form | None,
    shards: int,
    max_length: int,
    too_long: str,
    shard: int,
) -> None:
  """Tokenizes one shard; its .json file, written last, says it is done."""
  with open(_examples(partial, shard), encoding="utf-8") as file:
    examples = [json.loads(line) for line in file]
  path = partial / shard_name(shard, shards)
  counts = collections.defaultdict(collections.Counter)
  number, digest = 0, hashlib.sha256()
  writer = ArrayRecordWriter(str(path), "group_size:1")
  try:
    for row in examples:
      said, example = _tokenized(row, tokenizer, form)
      if max_length and len(example.tokens) > max_length:
        if too_long == "fail":
          raise DataError(
              f"example {example.id!r} [{example.lang}] has"
              f" {len(example.tokens)} tokens, more than {max_length}; raise"
              " the length, or say that long ones be truncated or dropped"
          )
        counts[example.lang][_COUNTED[too_long]] += 1
        if too_long == "drop":
          continue
        example = example.truncated(max_length)
      data = example.to_bytes()
      digest.update(data)
      writer.write(data)
      number += 1
      counts[example.lang].update(
          examples=1,
          tokens=len(example.tokens),
          loss_tokens=int(example.loss_mask.sum()),
          characters=len(said),
          words=len(said.split()),
      )
  finally:
    writer.close()
  records.write_json(
      partial / f"{shard}.json",
      {
          "file": path.name,
          "examples": number,
          "sha256": digest.hexdigest(),
          "languages": counts,
      },
  )


def _tokenized(
    row: Mapping, tokenizer: Tokenizer, form: Form | None
) -> tuple[str, TokenExample]:
  """What is said, and its tokens."""
  if "messages" in row:
    return conversations.text(row), conversations.encode(row, tokenizer, form)
  start = [*tokenizer.begin_ids, *tokenizer.encode(row["inputs"])]
  answer = [*tokenizer.encode(row["targets"]), tokenizer.eos_id]
  tokens = np.array(start + answer, np.int32)
  mask = np.zeros(len(tokens), np.uint8)
  mask[max(len(start), 1) :] = 1  # nothing foretells a row's first token
  said = row["inputs"] + row["targets"]
  return said, TokenExample(tokens, mask, row["id"], row["lang"])


def _summarise(made: Sequence[Mapping], tokenizer: Tokenizer) -> dict:
  counts = collections.defaultdict(collections.Counter)
  for shard in made:
    for lang, counted in shard["languages"].items():
      counts[lang].update(counted)
  total = sum(counts.values(), collections.Counter())
  if not total["examples"]:
    raise DataError("every example was too long and dropped; raise the length")
  return {
      "languages": {
          lang: {
              **c,
              "tokens_per_word": round(c["tokens"] / max(c["words"], 1), 3),
              "tokens_per_character": round(
                  c["tokens"] / max(c["characters"], 1), 3
              ),
          }
          for lang, c in sorted(counts.items())
      },
      "total": dict(total),
      "shards": [
          {key: shard[key] for key in ("file", "examples", "sha256")}
          for shard in made
      ],
      "vocab_size": tokenizer.vocab_size,
      "pad_id": tokenizer.pad_id,
  }


def _read_json(path: pathlib.Path):
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError):
    return None
