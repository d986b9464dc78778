"""Built token files without the tokenizer's and TensorFlow's weight."""

import collections
import hashlib
import json
import pathlib

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from mlit_jax.data.byte_tokenizer import CLASS, ByteTokenizer
from mlit_jax.data.token_file import TokenExample

VOCAB_SIZE = 259
TOKENIZER = ByteTokenizer(0)


def write(directory, examples, pad_id=0):
  """What `mlit data build` leaves: a shard, and build.json."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  writer = ArrayRecordWriter(str(directory / "shard"), "group_size:1")
  digest = hashlib.sha256()
  for example in examples:
    writer.write(example.to_bytes())
    digest.update(example.to_bytes())
  writer.close()
  number, tokens = len(examples), sum(len(e.tokens) for e in examples)
  shard = {
      "file": "shard", "examples": number, "sha256": digest.hexdigest(),
  }
  (directory / "build.json").write_text(json.dumps({
      "origin": {}, "pad_id": pad_id, "shards": [shard],
      "languages": dict(collections.Counter(e.lang for e in examples)),
      "total": {"examples": number, "tokens": tokens},
  }))
  return directory


def write_texts(directory, texts, number):
  """Sums in words, as bytes: (lang, pattern) in turn, `number` in all."""
  examples = []
  for i in range(number):
    lang, pattern = texts[i % len(texts)]
    prompt = TOKENIZER.encode(pattern.format(i % 7, i % 5))
    answer = [*TOKENIZER.encode(str(i % 7 + i % 5)), TOKENIZER.eos_id]
    mask = [0] * len(prompt) + [1] * len(answer)
    examples.append(TokenExample(
        np.array([*prompt, *answer]), np.array(mask, np.uint8), f"{i}", lang
    ))
  directory = write(directory, examples)
  (directory / "tokenizer_config.json").write_text(
      json.dumps({"tokenizer_class": CLASS, "extra_ids": 0})
  )
  return directory
