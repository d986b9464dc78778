"""seqio: the Vocabulary, Tasks in order, a Mixture that is exact."""

import collections

import pytest
import seqio
import small_tokenizers
import tensorflow as tf

from mlit_jax import records
from mlit_jax.data import build, tasks, templates, tokenizers

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


def _rows(name):
  task = seqio.TaskRegistry.get(name)
  dataset = task.get_dataset(None, split="train", shuffle=False)
  return list(dataset.as_numpy_iterator())


@pytest.fixture
def register(tmp_path):
  """Builds examples and registers what was built."""

  def make(name, examples, tokenizer):
    build.build(name, examples, tokenizer, tmp_path, origin={})
    tasks.register_built(name, tmp_path, tokenizer)

  return make


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
def test_any_tokenizer_s_task_goes_through_a_converter(kind, kinds, register):
  tokenizer = kinds[kind]
  examples = _examples({"he": 2})
  register("tasks_kind", examples, tokenizer)
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


def test_a_task_gives_the_rows_in_order_with_an_end(tokenizer, register):
  examples = _examples({"en": 70, "he": 3})  # one of them without a prompt
  examples[5] |= {"inputs": ""}
  register("tasks_order", examples, tokenizer)
  found = [_found(row) for row in _rows("tasks_order")]
  assert found == [_expected(e, tokenizer) for e in examples]


def test_the_order_does_not_change_on_a_second_reading(tokenizer, register):
  register("tasks_again", _examples({"en": 20, "fi": 9}), tokenizer)
  first, second = (
      [_found(row) for row in _rows("tasks_again")] for _ in range(2)
  )
  assert first == second


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_mixture_gives_every_example_once(tokenizer, shuffle, register):
  counts = {"en": 60, "he": 7, "zh-Hant": 1, "fi": 30}
  examples = _examples(counts)
  register("tasks_mixture", examples, tokenizer)
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


def test_a_mixtures_rates_are_the_counts(tokenizer, register):
  register("tasks_rates", _examples({"en": 40, "he": 10}), tokenizer)
  mixture = seqio.MixtureRegistry.get("tasks_rates.by_language")
  rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
  assert rates == {"tasks_rates.en": 40, "tasks_rates.he": 10}
  assert mixture.num_input_examples("train") == 50


def test_a_name_that_is_taken_is_registered_anew(tokenizer, register):
  register("tasks_anew", _examples({"en": 9, "he": 9}), tokenizer)
  second = _examples({"en": 2})
  register("tasks_anew", second, tokenizer)
  found = [_found(row) for row in _rows("tasks_anew")]
  assert found == [_expected(e, tokenizer) for e in second]
  mixture = seqio.MixtureRegistry.get("tasks_anew.by_language")
  assert [task.name for task in mixture.tasks] == ["tasks_anew.en"]


def test_a_mixture_by_rate_draws_with_repeats(tokenizer, register):
  examples = _examples({"en": 300, "he": 3})
  register("tasks_by_rate", examples, tokenizer)
  mixture = seqio.get_mixture_or_task("tasks_by_rate.by_rate")
  rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
  assert rates == {"tasks_by_rate.en": 300, "tasks_by_rate.he": 3}
  dataset = mixture.get_dataset(
      sequence_length=None, split="train", shuffle=False, num_epochs=None,
      seed=0, passthrough_features=["id", "lang"],
  )
  found = [r["id"] for r in dataset.take(1500).as_numpy_iterator()]
  drawn = collections.Counter(i.split(b"/")[1] for i in found)
  assert 4 < drawn[b"he"] < 40 and drawn[b"he"] != 15
  assert len(set(found)) == 303  # every example, most of them several times


CONVERSATION = [
    ("user", "Hi"), ("assistant", "Hello."), ("user", "And?"),
    ("assistant", "Bye."),
]


@pytest.fixture(scope="module")
def built(tokenizer, tmp_path_factory):
  """Conversations of two turns and of one, with llama2's special tokens."""
  directory = tmp_path_factory.mktemp("built")
  (directory / "tokenizer.model").write_bytes(tokenizer.model)
  turns = [records.Message(*turn) for turn in CONVERSATION]
  rows = [
      {
          "id": str(n), "lang": lang,
          "messages": [vars(m) for m in (turns if lang == "en" else turns[2:])],
      }
      for n, lang in enumerate(["en", "he"] * 3)
  ]
  build.build(
      "built", rows, tokenizer, directory, origin={}, form=templates.LLAMA2
  )
  tasks.register_built("tasks_built", directory)
  return directory


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["tasks_built", "tasks_built.by_language", "tasks_built.by_rate"]
)
def test_what_was_built_goes_through_seqio_s_converters(built, tokenizer, name):
  """Prefix-LM, decoder and encoder-decoder, packed and not."""
  asked = tokenizer.encode("[INST] And? [/INST]")
  answer = [*tokenizer.encode(" Bye. ", continues=True), 2]

  def rows(converter, **lengths):
    dataset = seqio.get_dataset(
        name, lengths, converter, dataset_split="train", shuffle=False, seed=0,
        num_epochs=None if name.endswith("rate") else 1,
    )
    return list(dataset.take(6).as_numpy_iterator())

  for pack in (False, True):
    found = rows(
        seqio.EncDecFeatureConverter(pack=pack), inputs=120, targets=40
    )
    counts = []
    for row in found:
      ids = row["decoder_target_tokens"][row["decoder_loss_weights"] > 0]
      counts.append(len(ids) // len(answer))
      assert ids.tolist() == answer * counts[-1]
    assert (max(counts) > 1) == pack
  found = rows(seqio.PrefixLMFeatureConverter(pack=False), inputs=90, targets=9)
  assert len(found) == 6
  for row in found:
    learnt = row["decoder_loss_weights"] > 0
    assert row["decoder_target_tokens"][learnt].tolist() == answer
    start = int(learnt.argmax())
    before = row["decoder_target_tokens"][:start].tolist()
    assert before[-len(asked) :] == asked
  for row in rows(seqio.LMFeatureConverter(pack=False), targets=12):
    learnt = row["decoder_loss_weights"] > 0
    assert row["decoder_target_tokens"][learnt].tolist() == answer


def test_every_answer_is_learnt_when_passed_through(built, tokenizer):
  dataset = seqio.get_dataset(
      "tasks_built", None, seqio.PassThroughFeatureConverter(), shuffle=False
  )
  first = next(iter(dataset.as_numpy_iterator()))
  tokens = first["decoder_target_tokens"]
  learnt = tokens[first["decoder_loss_weights"] > 0].tolist()
  hello, bye = (
      [*tokenizer.encode(f" {text} ", continues=True), 2]
      for text in ("Hello.", "Bye.")
  )
  assert learnt == hello + bye
  assert first["decoder_input_tokens"].tolist() == [0, *tokens[:-1]]


def test_running_text_has_no_inputs(tokenizer, tmp_path):
  rows = [{"id": "a", "lang": "en", "inputs": "", "targets": "A dog."}]
  build.build("text", rows, tokenizer, tmp_path, origin={})
  tasks.register_built("tasks_text", tmp_path, tokenizer)
  (row,) = _rows("tasks_text")
  assert row["inputs"].tolist() == []
  assert row["targets"].tolist() == [*tokenizer.encode("A dog."), 2]
