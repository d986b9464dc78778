"""Packed rows for encoder-decoders: prompts are read, answers are written."""

import os

import numpy as np

from mlit_jax.data import token_file
from mlit_jax.data.batches import LOSS_FIELDS, ROW_FIELDS, plan_packing
from mlit_jax.data.token_file import DataError

# Of every place of the encoder's row, [B, S]: the token, the example, its
# position. ROW_FIELDS are the decoder's.
ENCODER_FIELDS = ("encoder_inputs", "encoder_segment_ids", "encoder_positions")
_START = 0  # T5's decoder begins with its padding


class PairedRows:
  """Random access to rows of (prompt, answer), as `batches.PackedRows`.

  Of a conversation the last answer is learnt, and all before it is read.
  """

  def __init__(
      self,
      directory: str | os.PathLike,
      row_length: int,
      input_length: int,
      multiple: int,
      *,
      end_id: int,
      packing: bool = True,
      weighting: str = "tokens",
      lang: str | None = None,
  ):
    """Reads the file and plans the packing.

    Args:
      directory: with a built token file.
      row_length: T, tokens in a row of the decoder.
      input_length: S, tokens in a row of the encoder.
      multiple: of rows.
      end_id: put behind what the encoder reads, as T5 was trained.
      packing: without it every example has a row of its own.
      weighting: one of `batches.WEIGHTINGS`.
      lang: of the examples; None: all of them.

    Raises:
      DataError: the file is missing, damaged, or an example is too long.
    """
    self._examples = token_file.TokenFile(directory)
    self._pad_id, self._end_id = self._examples.summary["pad_id"], end_id
    self._row_length, self._input_length = row_length, input_length
    self._by_example = weighting == "examples"
    indices = self._examples.indices(lang).tolist()
    self._number = len(indices)
    pairs = [self._pair(i) for i in indices]
    read, written = (
        [len(x) for x in side] for side in zip(*pairs, strict=True)
    )
    for what, lengths, limit in (
        ("prompt", read, input_length), ("answer", written, row_length)
    ):
      if max(lengths) > limit:
        raise DataError(
            f"{directory}: the longest {what} has {max(lengths)} tokens and a"
            f" row holds {limit}; raise the row's length or drop long examples"
        )
    self._used = sum(written)
    plan = [[i] for i in range(len(pairs))]
    if packing:
      plan = plan_packing(written, row_length, read, input_length)
    self._plan = [[indices[i] for i in row] for row in plan]
    self._plan += [[] for _ in range(-len(self._plan) % multiple)]

  def _pair(self, index: int) -> tuple[list[int], list[int]]:
    """What is read and what is written of an example."""
    example = self._examples[index]
    learnt = np.flatnonzero(example.loss_mask)
    if not len(learnt):
      raise DataError(f"example {example.id!r} has no answer; build it again")
    end = learnt[-1] + 1
    start = end - 1
    while start and example.loss_mask[start - 1]:
      start -= 1
    tokens = example.tokens.tolist()
    return [*tokens[:start], self._end_id], tokens[start:end]

  def __len__(self) -> int:
    return len(self._plan)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    row = {k: np.zeros(self._row_length, np.int32) for k in ROW_FIELDS}
    row |= {k: np.zeros(self._row_length, np.int32) for k in LOSS_FIELDS}
    row["weights"] = row["weights"].astype(np.float32)
    row |= {k: np.zeros(self._input_length, np.int32) for k in ENCODER_FIELDS}
    row["inputs"][:] = row["encoder_inputs"][:] = self._pad_id
    read = written = 0
    for segment, i in enumerate(self._plan[index], start=1):
      prompt, answer = self._pair(i)
      part = slice(read, read + len(prompt))
      row["encoder_inputs"][part] = prompt
      row["encoder_segment_ids"][part] = segment
      row["encoder_positions"][part] = np.arange(len(prompt))
      read = part.stop
      part = slice(written, written + len(answer))
      row["inputs"][part] = [_START, *answer[:-1]]
      row["segment_ids"][part] = segment
      row["positions"][part] = np.arange(len(answer))
      row["loss_positions"][part] = np.arange(part.start, part.stop)
      row["targets"][part] = answer
      row["weights"][part] = 1 / len(answer) if self._by_example else 1
      written = part.stop
    return row

  @property
  def num_examples(self) -> int:
    return self._number

  @property
  def density(self) -> float:
    """Share of the decoder rows' places that hold tokens."""
    return self._used / (len(self) * self._row_length)
