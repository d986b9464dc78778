"""seqio Tasks and Mixtures over manifests.

A manifest is registered whole as one Task, in its order; as one Task per
language under a Mixture that draws every example exactly once; and under one
that draws by rate, as seqio usually does. Importing this module imports
TensorFlow; nothing at training, decoding or judging time does.
"""

import collections
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

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

COLUMNS = ("id", "lang", "inputs", "targets")
_ROWS_PER_CALL = 512


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


def register(
    name: str, examples: Sequence[Mapping[str, str]], tokenizer: Tokenizer
) -> None:
  """Registers examples as Task `name` and as two Mixtures.

  The Mixtures' Tasks are `name.<language>`, their rates the counts.
  `name.by_language` stops when all Tasks are empty, so that an epoch has every
  example once. `name.by_rate` draws with repeats and has no end: 40 of 4,640
  by rate are 40 ± 6. A name that is taken is registered anew.

  Args:
    name: letters, digits, `_`, `.`; seqio allows no `-`, so that the Task of
      zh-Hant is `name.zh_Hant`.
    examples: rows with the texts `id`, `lang`, `inputs` and `targets`.
    tokenizer: tokenizes inputs and targets.
  """
  def columns(rows):
    texts = {
        key: tf.constant([example[key] for example in rows])
        for key in COLUMNS
    }
    return tf.data.Dataset.from_tensor_slices(texts)

  tokenize = [
      functools.partial(_tokenize, tokenizer=tokenizer),
      seqio.preprocessors.append_eos,
  ]
  langs = [example["lang"] for example in examples]
  _register(name, examples, langs, columns, tokenize, tokenizer)


def register_built(
    name: str, directory: str | os.PathLike, tokenizer: Tokenizer | None = None
) -> None:
  """Registers what `mlit data build` made as `register` does.

      tasks.register_built("p1", "runs/data/p1")
      seqio.get_mixture_or_task("p1")

  `targets` is the last answer, `inputs` what stands before it. A conversation
  of several turns has the loss on each of them in `decoder_input_tokens`,
  `decoder_target_tokens` and `decoder_loss_weights`, which
  `seqio.PassThroughFeatureConverter` hands on.

  Args:
    name: as of `register`.
    directory: a built one.
    tokenizer: what it was built with; None: the one that lies there.

  Raises:
    DataError: the directory is not a built one, or damaged.
  """
  tokenizer = tokenizer or tokenizers.load(directory)
  examples = list(token_file.TokenFile(directory))
  begin = len(tokenizer.begin_ids)

  def columns(rows):
    made = collections.defaultdict(list)
    for row in rows:
      made["id"].append(row.id)
      made["lang"].append(row.lang)
      for key, value in _parts(row, begin).items():
        made[key].append(value)
    return tf.data.Dataset.from_tensor_slices({
        key: tf.constant(values) if key in ("id", "lang") else _ragged(values)
        for key, values in made.items()
    })

  langs = [example.lang for example in examples]
  _register(name, examples, langs, columns, [], tokenizer)


def _parts(example: token_file.TokenExample, begin: int) -> dict:
  """What converters take of an example; `begin` is how many begin tokens."""
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


def _register(
    name: str,
    examples: Sequence,
    langs: Sequence[str],
    columns: Callable,
    preprocessors: Sequence[Callable],
    tokenizer: Tokenizer,
) -> None:
  """The Task, those of languages, and their Mixtures."""
  groups = collections.defaultdict(list)
  for example, lang in zip(examples, langs, strict=True):
    groups[f"{name}.{lang}".replace("-", "_")].append(example)
  for task, group in [*groups.items(), (name, examples)]:
    _register_task(task, group, columns, preprocessors, tokenizer)
  rates = [(task, len(group)) for task, group in groups.items()]
  whole = functools.partial(
      tf.data.Dataset.sample_from_datasets, stop_on_empty_dataset=False
  )
  for kind, options in (("by_language", {"sample_fn": whole}), ("by_rate", {})):
    seqio.MixtureRegistry.remove(f"{name}.{kind}")
    seqio.MixtureRegistry.add(f"{name}.{kind}", rates, **options)


def tokenized(name: str) -> Iterable[Mapping]:
  """A registered task's examples in order: numpy ids, texts as bytes."""
  task = seqio.TaskRegistry.get(name)
  dataset = task.get_dataset(sequence_length=None, split="train", shuffle=False)
  return dataset.as_numpy_iterator()


def _tokenize(dataset, tokenizer: Tokenizer):
  """seqio's `tokenize`, many rows at a time: one call into Python for all."""

  def encode(texts):
    rows = [tokenizer.encode(text.decode()) for text in texts.numpy()]
    flat = [i for row in rows for i in row]
    lengths = [len(row) for row in rows]
    return tf.constant(flat, tf.int32), tf.constant(lengths, tf.int64)

  def encode_batch(batch):
    encoded = dict(batch)
    for name in ("inputs", "targets"):
      flat, lengths = tf.py_function(
          encode, [batch[name]], (tf.int32, tf.int64)
      )
      flat.set_shape([None])
      lengths.set_shape([None])
      encoded[name] = tf.RaggedTensor.from_row_lengths(
          flat, lengths, validate=False
      )
    return encoded

  return dataset.batch(_ROWS_PER_CALL).map(encode_batch).unbatch()


def _register_task(name, examples, columns, preprocessors, tokenizer):
  def source(split, shuffle_files=False, seed=None):
    del split, shuffle_files, seed
    return columns(examples)

  seqio.TaskRegistry.remove(name)
  seqio.TaskRegistry.add(
      name,
      source=seqio.FunctionDataSource(
          source,
          splits=["train"],
          num_input_examples={"train": len(examples)},
      ),
      preprocessors=[
          *preprocessors,
          # From here on seqio's own offline cache may stand in.
          seqio.CacheDatasetPlaceholder(),
      ],
      output_features=features(tokenizer),
      metric_fns=[],
  )
