"""Rows of prompts and answers, by hand and in all."""

import numpy as np
import pytest
import token_directories

from mlit_jax.data import batches, paired_rows
from mlit_jax.data.token_file import DataError, TokenExample


@pytest.fixture
def directory(tmp_path):
  """A token file of three examples, the last of two turns."""
  examples = [
      TokenExample(np.array(t), np.array(m, np.uint8), f"{i}", lang)
      for i, (lang, t, m) in enumerate([
          ("fr", [5, 6, 7, 8], [0, 0, 1, 1]),
          ("en", [9, 10], [0, 1]),
          ("en", [11, 12, 13, 14, 15], [0, 1, 0, 1, 1]),
      ])
  ]

  return token_directories.write(tmp_path, examples, pad_id=3)


def test_a_row_by_hand(directory):
  rows = paired_rows.PairedRows(directory, 6, 10, 2, end_id=1)
  # Longest first, by its answer: all three fit.
  assert len(rows) == 2 and rows.num_examples == 3
  row = rows[0]
  assert row["encoder_inputs"].tolist() == [5, 6, 1, 11, 12, 13, 1, 9, 1, 3]
  assert row["encoder_segment_ids"].tolist() == [1, 1, 1, 2, 2, 2, 2, 3, 3, 0]
  assert row["encoder_positions"].tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 0]
  assert row["inputs"].tolist() == [0, 7, 0, 14, 0, 3]
  assert row["targets"].tolist() == [7, 8, 14, 15, 10, 0]
  assert row["segment_ids"].tolist() == [1, 1, 2, 2, 3, 0]
  assert row["positions"].tolist() == [0, 1, 0, 1, 0, 0]
  assert row["loss_positions"].tolist() == [0, 1, 2, 3, 4, 0]
  assert row["weights"].tolist() == [1, 1, 1, 1, 1, 0]
  assert not rows[1]["weights"].any() and rows.density == 5 / 12


def test_unpacked_and_by_example(directory):
  rows = paired_rows.PairedRows(
      directory, 2, 4, 1, end_id=1, packing=False, weighting="examples"
  )
  assert [row["weights"].tolist() for row in rows] == [
      [0.5, 0.5], [1, 0], [0.5, 0.5]
  ]


def test_one_language(directory):
  rows = paired_rows.PairedRows(directory, 6, 10, 1, end_id=1, lang="en")
  assert rows.num_examples == 2 and rows.density == 0.5
  assert rows[0]["targets"].tolist() == [14, 15, 10, 0, 0, 0]


def test_they_make_batches(directory):
  rows = paired_rows.PairedRows(directory, 6, 10, 2, end_id=1)
  found, = batches.batches(rows, 2, seed=0, epochs=1)
  assert found["encoder_inputs"].shape == (2, 10)


@pytest.mark.parametrize(("row", "inputs", "said"), [
    (1, 10, "longest answer has 2 tokens and a row holds 1"),
    (6, 3, "longest prompt has 4 tokens and a row holds 3"),
])
def test_what_is_too_long(directory, row, inputs, said):
  with pytest.raises(DataError, match=said):
    paired_rows.PairedRows(directory, row, inputs, 1, end_id=1)
