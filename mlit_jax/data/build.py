"""Builds token files: a seqio task, tokenized once."""

import collections
import hashlib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from mlit_jax import records
from mlit_jax.data import tasks
from mlit_jax.data.token_file import SUMMARY, TOKENS, DataError, TokenExample
from mlit_jax.data.tokenizers import Tokenizer


def build(
    name: str,
    examples: Sequence[Mapping[str, str]],
    tokenizer: Tokenizer,
    directory: str | os.PathLike,
    *,
    origin: Mapping,
) -> dict:
  """Registers examples as seqio task `name`, tokenizes and writes them.

  Args:
    name: of the seqio task; what seqio does not allow in it becomes `_`.
    examples: rows with `id`, `lang`, `inputs`, `targets`; where inputs is
      empty (running text) every token but the first is learnt.
    tokenizer: what to tokenize with.
    directory: where to write.
    origin: what the examples were made from (recipe, design, seed, hash); it
      is written down with the counts.

  Returns:
    What build.json holds.

  Raises:
    DataError: there are no examples.
  """
  if not examples:
    raise DataError(f"{directory}: there are no examples to build")
  name = re.sub(r"[^\w.]", "_", name) or "_"
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  tasks.register(name, examples, tokenizer)
  partial = directory / f".{TOKENS}.tmp"
  try:
    counts, digest = _write(partial, examples, name, tokenizer.begin_ids)
    # What was here before stays whole until now; a summary is never beside
    # tokens that it does not describe.
    (directory / SUMMARY).unlink(missing_ok=True)
    os.replace(partial, directory / TOKENS)
  finally:
    partial.unlink(missing_ok=True)
  summary = {
      "task": name,
      "origin": dict(origin),
      "languages": {
          lang: {
              **c,
              "tokens_per_word": round(c["tokens"] / max(c["words"], 1), 3),
          }
          for lang, c in sorted(counts.items())
      },
      "total": dict(sum(counts.values(), collections.Counter())),
      "tokens_sha256": digest,
      "vocab_size": tokenizer.vocab_size,
      "pad_id": tokenizer.pad_id,
  }
  records.write_json(directory / SUMMARY, summary)
  return summary


def _write(
    path: pathlib.Path,
    examples: Sequence[Mapping[str, str]],
    name: str,
    begin: Sequence[int],
) -> tuple[dict[str, collections.Counter], str]:
  """Writes a registered task's tokens; returns counts by language, SHA-256."""
  digest = hashlib.sha256()
  counts = collections.defaultdict(collections.Counter)
  writer = ArrayRecordWriter(str(path), "group_size:1")
  try:
    for source, row in zip(examples, tasks.tokenized(name), strict=True):
      example = _join(row, begin)
      data = example.to_bytes()
      digest.update(data)
      writer.write(data)
      text = source["inputs"] + source["targets"]
      counts[example.lang].update(
          examples=1,
          tokens=len(example.tokens),
          loss_tokens=int(example.loss_mask.sum()),
          characters=len(text),
          words=len(text.split()),
      )
  finally:
    writer.close()
  return counts, digest.hexdigest()


def _join(row: Mapping, begin: Sequence[int]) -> TokenExample:
  prompt, answer = row["inputs"], row["targets"]
  tokens = np.concatenate([begin, prompt, answer]).astype(np.int32)
  mask = np.zeros(len(tokens), np.uint8)
  # Nothing foretells a row's first token.
  mask[max(len(begin) + len(prompt), 1) :] = 1
  return TokenExample(tokens, mask, row["id"].decode(), row["lang"].decode())
