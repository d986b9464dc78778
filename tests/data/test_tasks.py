"""seqio: the Vocabulary, Tasks in order, a Mixture that is exact."""

import collections

import pytest
import seqio
import small_tokenizers
import tensorflow as tf

from mlit_jax import records
from mlit_jax.data import recipes, sources, tasks, templates, tokenizers

TEXTS = ["", "Tere, maailm!", " 两只猫 ", "שלום\nعالم", "\U0001f600"]


def _examples(counts):
  rows = [(lang, n) for lang, count in counts.items() for n in range(count)]
  return [
      {
          "id": f"id/{lang}/{n}",
          "lang": lang,
          "inputs": f"{lang} asks {n}?\n",
          "targets": f"שלום {n}",
      }
      for lang, n in sorted(rows, key=lambda row: (row[1], row[0]))
  ]


def _expected(example, tokenizer):
  return (
      example["id"],
      example["lang"],
      tokenizer.encode(example["inputs"]),
      [*tokenizer.encode(example["targets"]), 2],
  )


def _found(row):
  return (
      row["id"].decode(),
      row["lang"].decode(),
      row["inputs"].tolist(),
      row["targets"].tolist(),
  )


def test_the_vocabulary_has_our_ids(tokenizer):
  vocabulary = tasks.Vocabulary(tokenizer)
  assert isinstance(vocabulary, seqio.Vocabulary)
  assert vocabulary.vocab_size == 2000
  assert (vocabulary.unk_id, vocabulary.bos_id, vocabulary.eos_id) == (0, 1, 2)
  assert vocabulary.pad_id == 0
  assert vocabulary == tasks.Vocabulary(tokenizer)
  assert vocabulary != seqio.ByteVocabulary()


@pytest.mark.parametrize("text", TEXTS)
def test_the_vocabulary_round_trips(tokenizer, text):
  vocabulary = tasks.Vocabulary(tokenizer)
  ids = vocabulary.encode(text)
  assert list(ids) == tokenizer.encode(text)
  assert vocabulary.decode(ids) == text
  # seqio drops what follows the end.
  assert vocabulary.decode([*ids, 2, 7, 7, 0]) == text


@pytest.mark.parametrize("text", TEXTS)
def test_the_vocabulary_round_trips_inside_tensorflow(tokenizer, text):
  vocabulary = tasks.Vocabulary(tokenizer)
  dataset = tf.data.Dataset.from_tensors(text).map(vocabulary.encode_tf)
  (ids,) = dataset.as_numpy_iterator()
  assert ids.tolist() == tokenizer.encode(text)
  (back,) = dataset.map(vocabulary.decode_tf).as_numpy_iterator()
  assert back.decode() == text


@pytest.fixture(scope="module")
def kinds(pocket_lines, tmp_path_factory):
  root = tmp_path_factory.mktemp("kinds")
  made = {"bytes": tokenizers.ByteTokenizer()}
  for family in small_tokenizers.FAMILIES:
    path = small_tokenizers.write(family, root / family, pocket_lines)
    made[family] = tokenizers.load(path)
  return made


@pytest.mark.parametrize(
    ("kind", "size", "ids"),
    [
        ("bytes", 384, (None, 1, 0, 2)),
        ("bloom", 1500, (1, 2, 3, 0)),
        ("neox", 1500, (0, 0, 0, 0)),
        ("qwen", 1504, (None, 1502, 1500, None)),
        ("llama3", 1500, (0, 4, 4, None)),
        ("gemma", 1462, (2, 1, 0, 3)),
    ],
)
def test_every_tokenizer_is_a_vocabulary(kind, size, ids, kinds):
  tokenizer = kinds[kind]
  v = tasks.Vocabulary(tokenizer)
  assert (v.bos_id, v.eos_id, v.pad_id, v.unk_id) == ids
  assert v.vocab_size == size
  for text in TEXTS:
    encoded = v.encode(text)
    assert list(encoded) == tokenizer.encode(text)
    assert v.decode(encoded) == text
    dataset = tf.data.Dataset.from_tensors(text).map(v.encode_tf)
    (found,) = dataset.as_numpy_iterator()
    assert found.tolist() == tokenizer.encode(text)
    (back,) = dataset.map(v.decode_tf).as_numpy_iterator()
    assert back.decode() == text


@pytest.mark.parametrize("kind", ["bytes", "qwen", "gemma"])
def test_a_task_of_any_tokenizer_goes_through_a_converter(kind, kinds):
  tokenizer = kinds[kind]
  examples = _examples({"he": 2})
  tasks.register("tasks_kind", examples, tokenizer)
  lengths = {"inputs": 64, "targets": 64}
  dataset = seqio.get_dataset(
      "tasks_kind", lengths, seqio.EncDecFeatureConverter(pack=False)
  )
  rows = list(dataset.as_numpy_iterator())
  assert len(rows) == 2
  for row, example in zip(rows, examples):
    learnt = row["decoder_loss_weights"] > 0
    ids = row["decoder_target_tokens"][learnt].tolist()
    assert ids == [*tokenizer.encode(example["targets"]), tokenizer.eos_id]
    asked = row["encoder_input_tokens"][: len(
        tokenizer.encode(example["inputs"])
    )]
    assert tokenizer.decode(asked) == example["inputs"]


def test_the_features(tokenizer):
  features = tasks.features(tokenizer)
  assert set(features) == {"inputs", "targets"}
  assert features["targets"].add_eos
  assert not features["inputs"].add_eos
  assert features["inputs"].vocabulary.vocab_size == 2000


def test_a_task_gives_the_rows_in_order_with_an_end(tokenizer):
  # More than one call's worth of rows, and one without a prompt.
  examples = _examples({"en": 700, "he": 3})
  examples[5] |= {"inputs": ""}
  tasks.register("tasks_order", examples, tokenizer)
  found = [_found(row) for row in tasks.tokenized("tasks_order")]
  assert found == [_expected(e, tokenizer) for e in examples]


def test_the_order_does_not_change_on_a_second_reading(tokenizer):
  tasks.register("tasks_again", _examples({"en": 20, "fi": 9}), tokenizer)
  first, second = (
      [_found(row) for row in tasks.tokenized("tasks_again")] for _ in range(2)
  )
  assert first == second


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_mixture_gives_every_example_once(tokenizer, shuffle):
  counts = {"en": 60, "he": 7, "zh-Hant": 1, "fi": 30}
  examples = _examples(counts)
  tasks.register("tasks_mixture", examples, tokenizer)
  mixture = seqio.MixtureRegistry.get("tasks_mixture.by_language")
  assert {t.name for t in mixture.tasks} == {
      "tasks_mixture.en", "tasks_mixture.he", "tasks_mixture.fi",
      "tasks_mixture.zh_Hant",
  }
  dataset = mixture.get_dataset(
      sequence_length=None,
      split="train",
      shuffle=shuffle,
      seed=3,
      num_epochs=1,
      passthrough_features=["id", "lang"],
  )
  found = [_found(row) for row in dataset.as_numpy_iterator()]
  assert collections.Counter(row[1] for row in found) == counts
  assert sorted(found) == sorted(_expected(e, tokenizer) for e in examples)
  # Mixed, not one language after the other.
  assert len({row[1] for row in found[:20]}) > 1


def test_a_mixtures_rates_are_the_counts(tokenizer):
  tasks.register("tasks_rates", _examples({"en": 40, "he": 10}), tokenizer)
  mixture = seqio.MixtureRegistry.get("tasks_rates.by_language")
  rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
  assert rates == {"tasks_rates.en": 40, "tasks_rates.he": 10}
  assert mixture.num_input_examples("train") == 50


def test_a_name_that_is_taken_is_registered_anew(tokenizer):
  tasks.register("tasks_anew", _examples({"en": 9, "he": 9}), tokenizer)
  second = _examples({"en": 2})
  tasks.register("tasks_anew", second, tokenizer)
  found = [_found(row) for row in tasks.tokenized("tasks_anew")]
  assert found == [_expected(e, tokenizer) for e in second]
  mixture = seqio.MixtureRegistry.get("tasks_anew.by_language")
  assert [task.name for task in mixture.tasks] == ["tasks_anew.en"]


def test_instruction_examples_follow_the_manifest():
  source = sources.pocket_instructions(("en", "sw"), "train")
  rows = (
      recipes.Row("capital/france-paris/0", "sw", "capital/france-paris/0"),
      recipes.Row("capital/france-paris/0", "en", "opposite/big-small/1"),
  )
  manifest = recipes.Manifest(rows, "parallel", 0)
  template = templates.Template(
      "marks",
      before={"user": "Q: ", "assistant": "A: "},
      after={"user": "\n"},
  )
  assert tasks.instruction_examples(manifest, source, template) == [
      {
          "id": "capital/france-paris/0",
          "lang": "sw",
          "inputs": "Q: Mji mkuu wa Ufaransa ni upi?\nA: ",
          "targets": "Mji mkuu wa Ufaransa ni Paris.",
      },
      {
          "id": "capital/france-paris/0",
          "lang": "en",
          "inputs": "Q: What is the capital of France?\nA: ",
          "targets": "The opposite of “big” is “small”.",
      },
  ]


def test_a_manifest_that_the_source_does_not_have():
  message = records.Message("user", "?")
  source = {("1", "en"): records.Instruction("1", "en", (message,), "!")}
  rows = (recipes.Row("1", "en", "1"), recipes.Row("1", "he", "1"))
  manifest = recipes.Manifest(rows, "partition", 0)
  with pytest.raises(recipes.RecipeError, match=r"no example \('1', 'he'\)"):
    tasks.instruction_examples(manifest, source, templates.PLAIN)
