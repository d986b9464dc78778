"""Batches: packing, exactly-once, resuming, zero-weight filling, errors."""

import collections
import json
import random

import numpy as np
import pytest

from mlit_jax.data import batches, build, token_file

ROW, LOSS, SIZE = 128, 48, 4


@pytest.fixture(scope="module")
def directory(tmp_path_factory, tokenizer, instruction_examples):
  path = tmp_path_factory.mktemp("tokens")
  build.build("batches", instruction_examples, tokenizer, path, origin={})
  return path


@pytest.fixture(scope="module")
def rows(directory):
  return batches.PackedRows(directory, ROW, SIZE, LOSS)


def _examples_of(batch):
  """(tokens but the last, what is learnt of them) of a batch's segments."""
  for b in range(len(batch["inputs"])):
    part = {key: value[b] for key, value in batch.items()}
    learnt = part["weights"] > 0
    targets = dict(
        zip(part["loss_positions"][learnt], part["targets"][learnt],
            strict=True)
    )
    assert len(targets) == learnt.sum()  # no place is learnt twice
    for segment in range(1, part["segment_ids"].max() + 1):
      places = np.flatnonzero(part["segment_ids"] == segment)
      assert part["positions"][places].tolist() == list(range(len(places)))
      assert np.diff(places).tolist() == [1] * (len(places) - 1)
      yield (
          tuple(part["inputs"][places].tolist()),
          tuple(
              (n, int(targets.pop(p)))
              for n, p in enumerate(places)
              if p in targets
          ),
      )
    assert not targets  # nothing is learnt outside an example


def _expected(directory):
  for example in token_file.TokenFile(directory):
    tokens, mask = example.tokens.tolist(), example.loss_mask
    yield (
        tuple(tokens[:-1]),
        tuple(
            (n - 1, tokens[n]) for n in range(1, len(tokens)) if mask[n]
        ),
    )


def test_packing_is_best_fit_longest_first():
  # 5 opens a row and leaves 2; 4 opens one and leaves 3, which 3 fills; 2
  # fills the first.
  assert batches.plan_packing([4, 2, 3, 5], 7, [0] * 4, 7) == [[3, 1], [0, 2]]
  # A 2 goes where least is left over.
  assert batches.plan_packing([5, 4, 2], 7, [0] * 3, 7) == [[0, 2], [1]]
  # One token to learn in a row.
  assert batches.plan_packing([4, 2, 3, 5], 7, [1] * 4, 1) == (
      [[3], [0], [2], [1]]
  )
  assert batches.plan_packing([], 7, [], 7) == []


def test_packing_respects_both_limits_and_uses_every_index_once():
  rng = random.Random(0)
  for _ in range(100):
    row, loss = rng.randint(5, 60), rng.randint(1, 30)
    lengths = [rng.randint(0, row) for _ in range(rng.randint(1, 80))]
    learnt = [rng.randint(0, min(n, loss)) for n in lengths]
    plan = batches.plan_packing(lengths, row, learnt, loss)
    assert sorted(i for r in plan for i in r) == list(range(len(lengths)))
    for indices in plan:
      assert indices
      assert sum(lengths[i] for i in indices) <= row
      assert sum(learnt[i] for i in indices) <= loss
    # No row's whole content would fit into another row: first-fit's bound.
    if loss >= row:
      assert sum(2 * sum(lengths[i] for i in r) <= row for r in plan) <= 1


def test_an_example_that_is_too_long_is_named(directory):
  longest = max(len(e.tokens) for e in token_file.TokenFile(directory)) - 1
  with pytest.raises(token_file.DataError) as e:
    batches.PackedRows(directory, longest - 1, SIZE)
  assert str(e.value) == (
      f"{directory}: the longest example has {longest} tokens and a row holds"
      f" {longest - 1}; raise the row's length or drop long examples"
  )
  assert len(batches.PackedRows(directory, longest, SIZE)) > 0
  with pytest.raises(token_file.DataError, match="tokens to learn and a row"):
    batches.PackedRows(directory, ROW, SIZE, 3)


def test_a_row_by_hand(tmp_path, tokenizer):
  examples = [
      {"id": "a", "lang": "en", "inputs": "x\n", "targets": "y"},
      {"id": "b", "lang": "en", "inputs": "", "targets": "zz z zz z"},
  ]
  build.build("batches_hand", examples, tokenizer, tmp_path, origin={})
  x, y, z = (tokenizer.encode(t) for t in ("x\n", "y", "zz z zz z"))
  rows = batches.PackedRows(tmp_path, 48, 2, 32)
  assert len(rows) == 2
  first, second = [1, *z], [1, *x, *y]
  assert len(first) > len(second)  # and so it stands first
  n, m, k = len(first), len(second), len(y) + 1
  row = {key: value.tolist() for key, value in rows[0].items()}
  rest = [0] * (48 - n - m)
  assert row["inputs"] == [*first, *second, *rest]
  assert row["segment_ids"] == [1] * n + [2] * m + rest
  assert row["positions"] == [*range(n), *range(m), *rest]
  left = [0] * (32 - n - k)
  assert row["loss_positions"] == (
      [*range(n), *range(n + m - k, n + m), *left]
  )
  assert row["targets"] == [*z, 2, *y, 2, *left]
  assert row["weights"] == [1.0] * (n + k) + left
  assert rows.density == (n + m) / 96
  empty = rows[1]
  assert not any(value.any() for value in empty.values())
  assert {key: v.shape for key, v in empty.items()} == {
      **dict.fromkeys(batches.ROW_FIELDS, (48,)),
      **dict.fromkeys(batches.LOSS_FIELDS, (32,)),
  }
  assert empty["weights"].dtype == np.float32


@pytest.mark.parametrize("loss_length", [0, LOSS])
@pytest.mark.parametrize("size", [1, 4, 7])
def test_every_token_comes_once_an_epoch(directory, size, loss_length):
  rows = batches.PackedRows(directory, ROW, size, loss_length)
  assert len(rows) % size == 0
  dataset = batches.batches(rows, size, seed=1, epochs=2)
  found = list(dataset)
  steps = batches.num_batches(rows, size, 2)
  assert len(found) == steps == 2 * len(rows) // size
  expected = collections.Counter(_expected(directory))
  assert expected.total() == 144
  for epoch in (found[: steps // 2], found[steps // 2 :]):
    seen = collections.Counter(e for b in epoch for e in _examples_of(b))
    assert seen == expected
  shapes = {key: value.shape for key, value in found[0].items()}
  assert shapes == {
      **dict.fromkeys(batches.ROW_FIELDS, (size, ROW)),
      **dict.fromkeys(batches.LOSS_FIELDS, (size, loss_length or ROW)),
  }


def test_an_epochs_end_is_filled_with_rows_of_no_weight(directory):
  alone = len(batches.PackedRows(directory, ROW, 1, LOSS))
  size = alone - 1
  rows = batches.PackedRows(directory, ROW, size, LOSS)
  assert len(rows) == 2 * size
  found = list(batches.batches(rows, size, seed=0, epochs=1))
  weights = np.concatenate([b["weights"] for b in found]).sum(axis=1)
  segments = np.concatenate([b["segment_ids"] for b in found]).max(axis=1)
  assert (weights == 0).sum() == 2 * size - alone
  assert ((weights == 0) == (segments == 0)).all()


def test_the_density(directory, rows):
  used = sum(len(e.tokens) - 1 for e in token_file.TokenFile(directory))
  assert rows.density == used / (len(rows) * ROW)
  assert rows.density > 0.6


def _order(rows, **options):
  return [b["inputs"].tobytes() for b in batches.batches(rows, 1, **options)]


def test_the_order_is_of_the_seed_and_of_the_epoch(rows):
  first = _order(rows, seed=0, epochs=2)
  assert _order(rows, seed=0, epochs=2) == first
  other = _order(rows, seed=1, epochs=2)
  assert other != first
  assert sorted(other) == sorted(first)
  half = len(rows)
  assert first[:half] != first[half:]
  assert sorted(first[:half]) == sorted(first[half:])
  assert _order(rows, seed=0, epochs=1) == first[:half]


def _same(batch, other):
  return batch.keys() == other.keys() and all(
      np.array_equal(batch[key], other[key]) for key in batch
  )


@pytest.mark.parametrize("taken", [0, 1, 9, 10, 11])
def test_a_saved_place_continues_exactly(directory, taken):
  def fresh():
    rows = batches.PackedRows(directory, ROW, SIZE, LOSS)
    return iter(batches.batches(rows, SIZE, seed=4, epochs=3))

  whole = list(fresh())
  assert len(whole) > 12
  iterator = fresh()
  for _ in range(taken):
    next(iterator)
  # As a checkpoint keeps it; the iterator that goes on does not change it.
  state = json.dumps(iterator.get_state())
  next(iterator)
  restored = fresh()
  restored.set_state(json.loads(state))
  rest = list(restored)
  assert len(rest) == len(whole) - taken
  assert all(map(_same, rest, whole[taken:]))


def test_a_missing_or_truncated_file(tmp_path, directory):
  with pytest.raises(token_file.DataError, match=r"json: cannot be read"):
    batches.PackedRows(tmp_path, ROW, SIZE)
  for name in ("build.json", token_file.shard_name(0, 1)):
    (tmp_path / name).write_bytes((directory / name).read_bytes())
  path = tmp_path / token_file.shard_name(0, 1)
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(token_file.DataError, match="damaged or cut off"):
    batches.PackedRows(tmp_path, ROW, SIZE)


@pytest.mark.parametrize("hosts", [1, 2, 3, 8])
def test_hosts_share_out_every_batch(directory, hosts):
  size = 24
  rows = batches.PackedRows(directory, ROW, size, LOSS)
  whole = list(batches.batches(rows, size, seed=1, epochs=2))
  shared = [
      list(batches.batches(
          rows, size, seed=1, epochs=2, host=(index, hosts)
      ))
      for index in range(hosts)
  ]
  assert {len(s) for s in shared} == {len(whole)}
  for step, batch in enumerate(whole):
    got = np.concatenate([s[step]["inputs"] for s in shared])
    np.testing.assert_array_equal(got, batch["inputs"])


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (3, 8), (8, 1)])
def test_the_number_of_hosts_may_change_at_a_resume(directory, before, after):
  size = 24
  rows = batches.PackedRows(directory, ROW, size, LOSS)

  def iterators(hosts):
    return [
        iter(batches.batches(
            rows, size, seed=1, epochs=2, host=(index, hosts)
        ))
        for index in range(hosts)
    ]

  first = iterators(before)
  seen = [next(it)["inputs"] for _ in range(2) for it in first]
  state = json.loads(json.dumps(first[-1].get_state(), default=int))
  second = iterators(after)
  for it in second:
    it.set_state(state)
  seen += [batch["inputs"] for it in second for batch in it]
  found = collections.Counter(map(tuple, np.concatenate(seen)))
  whole = [b["inputs"] for b in batches.batches(rows, size, seed=1, epochs=2)]
  assert found == collections.Counter(map(tuple, np.concatenate(whole)))


def test_hosts_must_divide_the_batch(directory):
  rows = batches.PackedRows(directory, ROW, 4, LOSS)
  with pytest.raises(token_file.DataError, match="shared by 3 hosts"):
    batches.batches(rows, 4, seed=0, epochs=1, host=(0, 3))


def test_tokens_past_memory_lie_in_a_file(directory, monkeypatch):
  before = [e.to_bytes() for e in token_file.TokenFile(directory)]
  monkeypatch.setattr(token_file, "_IN_MEMORY", 16)
  found = token_file.TokenFile(directory)
  assert isinstance(found._tokens, np.memmap)
  assert [e.to_bytes() for e in found] == before
  with pytest.raises(IndexError):
    found[len(found)]
