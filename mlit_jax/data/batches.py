"""Packed batches from token files, through grain: exact, seeded, resumable.

Packing is planned for the whole file before anything is read: every example
stands in exactly one row. Rows, not examples, are shuffled, batched and shared
out, and the last batch of the file is filled with empty rows of zero weight.
"""

import os
from collections.abc import Sequence

import grain
import numpy as np

from mlit_jax.data import token_file
from mlit_jax.data.token_file import DataError

# The parts of a batch. Of every place in a row, [B, T]: the token, the example
# it belongs to (0: padding), its position in that example. Of every place
# whose next token is learnt, [B, P]: where it is, that token, its weight (0:
# nothing to learn).
ROW_FIELDS = ("inputs", "segment_ids", "positions")
LOSS_FIELDS = ("loss_positions", "targets", "weights")


def plan_packing(
    lengths: Sequence[int],
    row_length: int,
    loss_lengths: Sequence[int],
    loss_length: int,
) -> list[list[int]]:
  """Best fit, longest first: which examples share a row.

  Args:
    lengths: of the examples, in tokens.
    row_length: what a row holds.
    loss_lengths: how many tokens of each example are learnt.
    loss_length: how many such tokens a row holds.

  Returns:
    For every row its examples' indices; every index stands once.

  Raises:
    DataError: an example is too long for a row.
  """
  for what, sizes, limit in (
      ("tokens", lengths, row_length),
      ("tokens to learn", loss_lengths, loss_length),
  ):
    if max(sizes, default=0) > limit:
      raise DataError(
          f"the longest example has {max(sizes)} {what} and a row holds"
          f" {limit}; raise the row's length or drop long examples"
      )
  # Rows by the space they have left: a fitting row is found without a search.
  by_space = [[] for _ in range(row_length + 1)]
  rows, loss_left = [], []
  for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
    length, learnt = lengths[index], loss_lengths[index]
    fitting = (
        (space, row)
        for space in range(length, row_length + 1)
        for row in reversed(by_space[space])
        if loss_left[row] >= learnt
    )
    space, row = next(fitting, (None, None))
    if row is None:
      rows.append([])
      loss_left.append(loss_length)
      space, row = row_length, len(rows) - 1
    else:
      by_space[space].remove(row)
    rows[row].append(index)
    loss_left[row] -= learnt
    by_space[space - length].append(row)
  return rows


class PackedRows:
  """Random access to the packed rows of a token file.

  The number of rows is a multiple of `multiple`: empty rows fill it up.
  """

  def __init__(
      self,
      directory: str | os.PathLike,
      row_length: int,
      multiple: int,
      loss_length: int = 0,
  ):
    """Reads the file and plans the packing.

    Args:
      directory: with a built token file.
      row_length: T, tokens in a row.
      multiple: of rows.
      loss_length: P, at most so many tokens of a row are learnt; 0: T. Short
        answers to long prompts need few, and the head works on these alone.

    Raises:
      DataError: the file is missing, damaged, or an example is too long.
    """
    self._examples = token_file.TokenFile(directory)
    self._pad_id = self._examples.summary["pad_id"]
    self._row_length = row_length
    self._loss_length = loss_length or row_length
    # A token predicts the next one: the last of an example predicts nothing.
    try:
      self._plan = plan_packing(
          (self._examples.lengths - 1).tolist(),
          row_length,
          self._examples.loss_lengths.tolist(),
          self._loss_length,
      )
    except DataError as e:
      raise DataError(f"{directory}: {e}") from None
    self._plan += [[] for _ in range(-len(self._plan) % multiple)]

  def __len__(self) -> int:
    return len(self._plan)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    row = {k: np.zeros(self._row_length, np.int32) for k in ROW_FIELDS}
    row["inputs"][:] = self._pad_id
    loss = {k: np.zeros(self._loss_length, np.int32) for k in LOSS_FIELDS}
    loss["weights"] = loss["weights"].astype(np.float32)
    start = learnt = 0
    for segment, i in enumerate(self._plan[index], start=1):
      example = self._examples[i]
      length = len(example.tokens) - 1
      part = slice(start, start + length)
      row["inputs"][part] = example.tokens[:-1]
      row["segment_ids"][part] = segment
      row["positions"][part] = np.arange(length)
      places = np.flatnonzero(example.loss_mask[1:])
      part = slice(learnt, learnt + len(places))
      loss["loss_positions"][part] = start + places
      loss["targets"][part] = example.tokens[1:][places]
      loss["weights"][part] = 1
      start, learnt = start + length, learnt + len(places)
    return row | loss

  @property
  def num_examples(self) -> int:
    return len(self._examples)

  @property
  def density(self) -> float:
    """Share of the rows' places that hold tokens."""
    used = int((self._examples.lengths - 1).sum())
    return used / (len(self) * self._row_length)


def batches(
    rows: PackedRows,
    batch_size: int,
    *,
    seed: int,
    epochs: int,
    host: tuple[int, int] = (0, 1),
) -> grain.IterDataset:
  """Shuffled batches of ROW_FIELDS and LOSS_FIELDS.

  Hosts share every batch out among them, so that all have the same number of
  batches, and a batch holds the same rows however many hosts there are. The
  iterator's `get_state()` and `set_state()` save and restore the place, which
  is a number of batches: it holds for any number of hosts.

  Args:
    rows: made with a multiple of `batch_size`.
    batch_size: B, rows per batch over all hosts.
    seed: of the shuffles; every epoch has its own.
    epochs: how often every row comes.
    host: (index, number) of the hosts; this one gets B / number rows a batch.

  Raises:
    DataError: the hosts do not divide the batch.
  """
  index, number = host
  if batch_size % number:
    raise DataError(
        f"a batch of {batch_size} rows cannot be shared by {number} hosts;"
        f" choose a multiple of {number}"
    )
  dataset = grain.MapDataset.source(rows).seed(seed).shuffle().repeat(epochs)
  dataset = dataset[index::number].batch(
      batch_size // number, drop_remainder=True
  )
  return dataset.to_iter_dataset(
      grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
  )


def num_batches(rows: PackedRows, batch_size: int, epochs: int) -> int:
  """Number of batches that `batches` gives."""
  return len(rows) * epochs // batch_size
