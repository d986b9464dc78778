"""seqio Tasks and Mixtures over what `mlit data build` made.

An exact mixture is registered whole as one Task, in its order; as one Task per
language under a Mixture that draws every example exactly once; and under one
that draws by rate, as seqio usually does. Importing this module imports
TensorFlow; no command of `mlit` does that, but for reading a TFDS dataset.
"""

import collections
import functools
import os
from collections.abc import Sequence

from mlit_jax.data.native_stderr import silenced

# TensorFlow's C++ tells of its kernels and missing GPUs as it loads.
with silenced():
  import seqio
  import tensorflow as tf

  # It only prepares data here: the accelerators are JAX's.
  tf.config.set_visible_devices([], "GPU")

import numpy as np

from mlit_jax.data import token_file, tokenizers
from mlit_jax.data.tokenizers import Tokenizer


class Vocabulary(seqio.Vocabulary):
  """One of our tokenizers as seqio's Vocabulary."""

  def __init__(self, tokenizer: Tokenizer):
    super().__init__(extra_ids=0)
    self._tokenizer = tokenizer

  @property
  def bos_id(self) -> int | None:
    return self._tokenizer.bos_id

  @property
  def eos_id(self) -> int:
    return self._tokenizer.eos_id

  @property
  def unk_id(self) -> int | None:
    return self._tokenizer.unk_id

  @property
  def pad_id(self) -> int:
    return self._tokenizer.pad_id

  @property
  def _base_vocab_size(self) -> int:
    return self._tokenizer.vocab_size

  def _encode(self, s: str) -> Sequence[int]:
    return self._tokenizer.encode(s)

  def _decode(self, ids: Sequence[int]) -> str:
    return self._tokenizer.decode(ids)

  def _encode_tf(self, s):
    def encode(text):
      return tf.constant(self._encode(text.numpy().decode()), tf.int32)

    ids = tf.py_function(encode, [s], tf.int32)
    ids.set_shape([None])
    return ids

  def _decode_tf(self, ids):
    def decode(row):
      return tf.constant(self._decode(row.numpy().tolist()))

    text = tf.py_function(decode, [ids], tf.string)
    text.set_shape([])
    return text

  def __eq__(self, other) -> bool:
    return (
        isinstance(other, Vocabulary) and self._tokenizer == other._tokenizer
    )


def features(tokenizer: Tokenizer) -> dict[str, seqio.Feature]:
  """The features of every task: a prompt, and an answer with its end token."""
  vocabulary = Vocabulary(tokenizer)
  return {
      "inputs": seqio.Feature(vocabulary, add_eos=False, required=False),
      "targets": seqio.Feature(vocabulary, add_eos=True),
  }


def register_built(
    name: str, directory: str | os.PathLike, tokenizer: Tokenizer | None = None
) -> None:
  """Registers what `mlit data build` made as a Task and as two Mixtures.

      tasks.register_built("p1", "runs/data/p1")
      seqio.get_mixture_or_task("p1")

  The Mixtures' Tasks are `name.<language>`, their rates the counts.
  `name.by_language` stops when all Tasks are empty, so that an epoch has every
  example once. `name.by_rate` draws with repeats and has no end: 40 of 4,640
  by rate are 40 ± 6. A name that is taken is registered anew.

  `targets` is the last answer, `inputs` what stands before it. A conversation
  of several turns has the loss on each of them in `decoder_input_tokens`,
  `decoder_target_tokens` and `decoder_loss_weights`, which
  `seqio.PassThroughFeatureConverter` hands on.

  Args:
    name: letters, digits, `_`, `.`; seqio allows no `-`, so that the Task of
      zh-Hant is `name.zh_Hant`.
    directory: a built one.
    tokenizer: what it was built with; None: the one that lies there.

  Raises:
    DataError: the directory is not a built one, or damaged.
  """
  tokenizer = tokenizer or tokenizers.load(directory)
  groups = {name: list(token_file.TokenFile(directory))}
  for example in groups[name]:
    task = f"{name}.{example.lang}".replace("-", "_")
    groups.setdefault(task, []).append(example)
  for task, examples in groups.items():
    _register(task, examples, tokenizer)
  rates = [(task, len(group)) for task, group in groups.items() if task != name]
  whole = functools.partial(
      tf.data.Dataset.sample_from_datasets, stop_on_empty_dataset=False
  )
  for kind, options in (("by_language", {"sample_fn": whole}), ("by_rate", {})):
    seqio.MixtureRegistry.remove(f"{name}.{kind}")
    seqio.MixtureRegistry.add(f"{name}.{kind}", rates, **options)


def _register(
    name: str,
    examples: Sequence[token_file.TokenExample],
    tokenizer: Tokenizer,
) -> None:
  def source(split, shuffle_files=False, seed=None):
    del split, shuffle_files, seed
    return _dataset(examples, len(tokenizer.begin_ids))

  seqio.TaskRegistry.remove(name)
  seqio.TaskRegistry.add(
      name,
      source=seqio.FunctionDataSource(
          source,
          splits=["train"],
          num_input_examples={"train": len(examples)},
      ),
      # Tokens come out of the source: seqio's own offline cache may stand in.
      preprocessors=[seqio.CacheDatasetPlaceholder()],
      output_features=features(tokenizer),
      metric_fns=[],
  )


def _dataset(
    examples: Sequence[token_file.TokenExample], begin: int
) -> tf.data.Dataset:
  """The columns of examples; `begin` is how many begin tokens these have."""
  made = collections.defaultdict(list)
  for example in examples:
    made["id"].append(example.id)
    made["lang"].append(example.lang)
    for key, value in _parts(example, begin).items():
      made[key].append(value)
  return tf.data.Dataset.from_tensor_slices({
      key: tf.constant(values) if key in ("id", "lang") else _ragged(values)
      for key, values in made.items()
  })


def _parts(example: token_file.TokenExample, begin: int) -> dict:
  """What converters take of an example."""
  tokens, mask = example.tokens, example.loss_mask
  (last,) = np.flatnonzero(np.diff(mask, prepend=0) == 1)[-1:]
  if last == 1 and not begin:  # a text: only its first token is not learnt
    last = 0
  end = len(mask) - int(mask[::-1].argmax())
  return {
      "inputs": tokens[begin:last],
      "targets": tokens[last:end],
      "decoder_input_tokens": np.concatenate([[0], tokens[:-1]]),
      "decoder_target_tokens": tokens,
      "decoder_loss_weights": mask,
  }


def _ragged(rows: Sequence[np.ndarray]) -> tf.RaggedTensor:
  return tf.RaggedTensor.from_row_lengths(
      np.concatenate(rows).astype(np.int32), [len(row) for row in rows]
  )
