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
# How the tokens that are learnt count: all the same, or each example's together
# as much as another's.
WEIGHTINGS = ("tokens", "examples")


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
      *,
      packing: bool = True,
      weighting: str = "tokens",
      lang: str | None = None,
  ):
    """Reads the file and plans the packing.

    Args:
      directory: with a built token file.
      row_length: T, tokens in a row.
      multiple: of rows.
      loss_length: P, at most so many tokens of a row are learnt; 0: T. Short
        answers to long prompts need few, and the head works on these alone.
      packing: without it every example has a row of its own.
      weighting: one of WEIGHTINGS.
      lang: of the examples; None: all of them.

    Raises:
      DataError: the file is missing, damaged, or an example is too long.
    """
    self._examples = token_file.TokenFile(directory)
    self._indices = self._examples.indices(lang)
    self._pad_id = self._examples.summary["pad_id"]
    self._row_length = row_length
    self._loss_length = loss_length or row_length
    self._by_example = weighting == "examples"
    # A token predicts the next one: the last of an example predicts nothing.
    try:
      plan = plan_packing(
          (self._examples.lengths[self._indices] - 1).tolist(),
          row_length,
          self._examples.loss_lengths[self._indices].tolist(),
          self._loss_length,
      )
    except DataError as e:
      raise DataError(f"{directory}: {e}") from None
    if not packing:
      plan = [[i] for i in range(len(self._indices))]
    self._plan = [[int(self._indices[i]) for i in row] for row in plan]
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
      loss["weights"][part] = 1 / len(places) if self._by_example else 1
      start, learnt = start + length, learnt + len(places)
    return row | loss

  @property
  def num_examples(self) -> int:
    return len(self._indices)

  @property
  def density(self) -> float:
    """Share of the rows' places that hold tokens."""
    used = int((self._examples.lengths[self._indices] - 1).sum())
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
  dataset = grain.MapDataset.source(rows).seed(seed).shuffle().repeat(epochs)
  return _read(_batched(dataset, batch_size, host))


def in_order(
    rows: PackedRows, batch_size: int, *, host: tuple[int, int] = (0, 1)
) -> grain.MapDataset:
  """Batches of all rows once, unshuffled; can be gone through repeatedly.

  Args:
    rows: made with a multiple of `batch_size`.
    batch_size: B, rows per batch over all hosts.
    host: (index, number) of the hosts.
  """
  return _batched(grain.MapDataset.source(rows), batch_size, host)


def together(
    rows: Sequence[PackedRows],
    batch_size: int,
    *,
    seed: int,
    epochs: Sequence[int],
    host: tuple[int, int] = (0, 1),
) -> grain.IterDataset:
  """Batches of several adapters: of each the rows that it had alone.

  Behind the fields of `batches` there is "adapter_ids" [K B]. An adapter whose
  data have ended gets empty rows.

  Args:
    rows: of every adapter, each made with a multiple of `batch_size`.
    batch_size: B, rows of an adapter per batch over all hosts.
    seed: of the shuffles, the same for all.
    epochs: how often every row of each adapter comes.
    host: (index, number) of the hosts; this one gets K B / number rows a batch.
  """
  alone = [
      _batched(
          grain.MapDataset.source(r).seed(seed).shuffle().repeat(n),
          batch_size, host,
      )
      for r, n in zip(rows, epochs, strict=True)
  ]
  return _read(grain.MapDataset.source(_Together(alone)))


class _Together:
  """The batches of several datasets, one behind the other."""

  def __init__(self, datasets: Sequence[grain.MapDataset]):
    self._datasets = datasets

  def __len__(self) -> int:
    return max(map(len, self._datasets))

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    parts = []
    for number, dataset in enumerate(self._datasets):
      if index < len(dataset):
        batch = dataset[index]
      else:
        batch = {k: np.zeros_like(x) for k, x in dataset[0].items()}
      ids = np.full(len(batch["inputs"]), number, np.int32)
      parts.append(batch | {"adapter_ids": ids})
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def _batched(
    dataset: grain.MapDataset, batch_size: int, host: tuple[int, int]
) -> grain.MapDataset:
  """This host's part of every batch."""
  index, number = host
  if batch_size % number:
    raise DataError(
        f"a batch of {batch_size} rows cannot be shared by {number} hosts;"
        f" choose a multiple of {number}"
    )
  # Host after host, the parts are the batch in its own order.
  parts = dataset.batch(batch_size // number, drop_remainder=True)
  return parts[index::number]


def _read(dataset: grain.MapDataset) -> grain.IterDataset:
  return dataset.to_iter_dataset(
      grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
  )


def num_batches(rows: PackedRows, batch_size: int, epochs: int) -> int:
  """Number of batches that `batches` gives."""
  return len(rows) * epochs // batch_size
