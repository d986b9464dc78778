"""seqio Tasks and Mixtures over manifests.

A manifest is registered whole as one Task, in its order, which is how token
files are built; and as one Task per language under a Mixture that draws every
example exactly once. Importing this module imports TensorFlow; nothing at
training, decoding or judging time does.
"""

import collections
import functools
from collections.abc import Iterable, Mapping, Sequence

from mlit_jax.data.native_stderr import silenced

# TensorFlow's C++ tells of its kernels and missing GPUs as it loads.
with silenced():
  import seqio
  import tensorflow as tf

  # It only prepares data here: the accelerators are JAX's.
  tf.config.set_visible_devices([], "GPU")

from mlit_jax.data import templates
from mlit_jax.data.counts import RecipeError
from mlit_jax.data.manifest import Manifest
from mlit_jax.data.tokenizers import Tokenizer
from mlit_jax.records import Instruction

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
  """Registers examples as Task `name` and as Mixture `name.by_language`.

  The Mixture's Tasks are `name.<language>`; its rates are their counts, and it
  stops when all are empty, so that an epoch has every example once (a mixture
  by rates alone draws with repeats). A name that is taken is registered anew.

  Args:
    name: letters, digits, `_`, `.`; seqio allows no `-`, so that the Task of
      zh-Hant is `name.zh_Hant`.
    examples: rows with the texts `id`, `lang`, `inputs` and `targets`.
    tokenizer: tokenizes inputs and targets.
  """
  groups = collections.defaultdict(list)
  for example in examples:
    groups[f"{name}.{example['lang']}".replace("-", "_")].append(example)
  for task, group in groups.items():
    _register_task(task, group, tokenizer)
  _register_task(name, examples, tokenizer)
  mixture = f"{name}.by_language"
  seqio.MixtureRegistry.remove(mixture)
  seqio.MixtureRegistry.add(
      mixture,
      [(task, len(group)) for task, group in groups.items()],
      sample_fn=functools.partial(
          tf.data.Dataset.sample_from_datasets, stop_on_empty_dataset=False
      ),
  )


def instruction_examples(
    manifest: Manifest,
    instructions: Mapping[tuple[str, str], Instruction],
    template: templates.Template,
) -> list[dict[str, str]]:
  """A manifest's rows as seqio examples.

  Args:
    manifest: which instruction in which language.
    instructions: the source, by (id, language).
    template: puts the prompt in words.

  Raises:
    RecipeError: the source lacks an example that the manifest names.
  """
  examples = []
  for row in manifest.rows:
    try:
      asked = instructions[row.id, row.lang]
      answered = instructions[row.response_id, row.response_lang or row.lang]
    except KeyError as e:
      raise RecipeError(f"the source has no example {e}") from None
    examples.append({
        "id": row.id,
        "lang": row.lang,
        "inputs": template.prompt(asked.messages),
        "targets": answered.response,
    })
  return examples


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


def _register_task(name, examples, tokenizer):
  def source(split, shuffle_files=False, seed=None):
    del split, shuffle_files, seed
    columns = {
        key: tf.constant([example[key] for example in examples])
        for key in COLUMNS
    }
    return tf.data.Dataset.from_tensor_slices(columns)

  seqio.TaskRegistry.remove(name)
  seqio.TaskRegistry.add(
      name,
      source=seqio.FunctionDataSource(
          source,
          splits=["train"],
          num_input_examples={"train": len(examples)},
      ),
      preprocessors=[
          functools.partial(_tokenize, tokenizer=tokenizer),
          seqio.preprocessors.append_eos,
          # From here on seqio's own offline cache may stand in.
          seqio.CacheDatasetPlaceholder(),
      ],
      output_features=features(tokenizer),
      metric_fns=[],
  )
