"""Batches of several adapters, in order, unpacked, weighted by example."""

import itertools

import numpy as np
import pytest

from mlit_jax.data import batches, build, token_file

ROW, SIZE = 128, 4


@pytest.fixture(scope="module")
def directories(tmp_path_factory, tokenizer, instruction_examples):
  made = []
  for name, examples in (
      ("all", instruction_examples), ("few", instruction_examples[:9]),
  ):
    path = tmp_path_factory.mktemp(name)
    build.build(name, examples, tokenizer, path, origin={})
    made.append(path)
  return made


@pytest.fixture(scope="module")
def rows(directories):
  return [
      batches.PackedRows(path, ROW, SIZE, packing=False) for path in directories
  ]


@pytest.mark.parametrize("host", [(0, 1), (1, 2)])
def test_every_adapter_has_the_rows_that_it_had_alone(rows, host):
  epochs = (1, 2)
  both = list(
      batches.together(rows, SIZE, seed=3, epochs=epochs, host=host)
  )
  own = SIZE // host[1]
  for k, (r, n) in enumerate(zip(rows, epochs, strict=True)):
    alone = list(batches.batches(r, SIZE, seed=3, epochs=n, host=host))
    for batch, single in itertools.zip_longest(both, alone):
      part = slice(k * own, (k + 1) * own)
      assert (batch["adapter_ids"][part] == k).all()
      for name in (*batches.ROW_FIELDS, *batches.LOSS_FIELDS):
        if single is None:
          assert not batch[name][part].any()
        else:
          np.testing.assert_array_equal(batch[name][part], single[name])
  assert len(both) == max(
      batches.num_batches(r, SIZE, n) for r, n in zip(rows, epochs)
  ) > batches.num_batches(rows[1], SIZE, 2)


def test_a_saved_place_goes_on_exactly(rows):
  def make():
    return iter(batches.together(rows, SIZE, seed=0, epochs=(1, 1)))

  first = make()
  next(first)
  state = first.get_state()
  wanted = list(first)
  second = make()
  second.set_state(state)
  for batch, other in zip(second, wanted, strict=True):
    for name, value in batch.items():
      np.testing.assert_array_equal(value, other[name])


def test_unpacked_rows_hold_an_example_each(directories, rows):
  examples = token_file.TokenFile(directories[0])
  assert len(rows[0]) == len(examples) + -len(examples) % SIZE
  for row, example in zip(rows[0], examples, strict=False):
    length = len(example.tokens) - 1
    assert row["inputs"][:length].tolist() == example.tokens[:-1].tolist()
    assert row["segment_ids"].sum() == length


def test_in_order_and_as_often_as_wanted(rows):
  found = batches.in_order(rows[1], SIZE)
  for _ in range(2):
    inputs = np.concatenate([batch["inputs"] for batch in found])
    np.testing.assert_array_equal(
        inputs, np.stack([row["inputs"] for row in rows[1]])
    )


def test_weights_by_example_sum_to_one(directories):
  packed = batches.PackedRows(directories[0], ROW, SIZE, weighting="examples")
  plain = batches.PackedRows(directories[0], ROW, SIZE)
  assert plain[0]["segment_ids"].max() > 1
  for row, counted in zip(packed, plain, strict=True):
    segments = row["segment_ids"][row["loss_positions"]]
    for segment in range(1, row["segment_ids"].max() + 1):
      mine = (segments == segment) & (counted["weights"] > 0)
      assert row["weights"][mine].sum() == pytest.approx(1)
      assert len(set(row["weights"][mine])) == 1


def test_one_language_has_its_examples_alone(directories):
  examples = token_file.TokenFile(directories[0])
  found = 0
  for lang in {e.lang for e in examples}:
    rows = batches.PackedRows(directories[0], ROW, SIZE, lang=lang)
    own = [e for e in examples if e.lang == lang]
    assert rows.num_examples == len(own)
    counted = sum(row["segment_ids"].astype(bool).sum() for row in rows)
    assert counted == sum(len(e.tokens) - 1 for e in own)
    found += len(own)
  assert found == len(examples)
