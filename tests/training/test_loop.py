"""The training loop: learning, errors, one compilation, and going on."""

import contextlib
import pickle
import signal
import subprocess
import sys

import grain
import jax
import killed_run
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.errors import Preempted
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.training import loop, watch
from mlit_jax.training.loop import TrainingError
from mlit_jax.training.step import Step, StepConfig


@pytest.fixture(scope="module")
def step(compiled):
  return killed_run.make_step()


@pytest.fixture(scope="module")
def start(step):
  return jax.device_get(step.init(0))


def run(step, start, num_steps, **options):
  """(parameters, loss, every Progress)."""
  seen = []
  dataset = options.pop("dataset", None) or killed_run.dataset(num_steps)
  result = killed_run.run(
      step, start, dataset, num_steps, report=seen.append, **options
  )
  return jax.device_get(result.params), result.loss, seen


def batches(num_batches, spoil=None):
  """Batches of the first rows; that with index `spoil` gives a loss of NaN."""
  rows = killed_run.rows()[: killed_run.BATCH]
  found = [
      jax.tree.map(lambda *x: np.stack(x), *rows) for _ in range(num_batches)
  ]
  if spoil is not None:
    found[spoil]["weights"][0, 0] = np.nan
  return grain.MapDataset.source(found).to_iter_dataset()


def assert_equal(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.long
def test_it_learns_a_small_set_by_heart(step, start):
  _, loss, seen = run(step, start, 120)
  # At first it knows nothing of 23 tokens; every sequence is random, so it can
  # only know it by heart (but for the first token's successor).
  assert seen[0].loss == pytest.approx(np.log(23), rel=0.25)
  assert loss < 0.3 and loss == seen[-1].loss
  parts = np.reshape([p.loss for p in seen], (4, 30)).mean(axis=1)
  assert (np.diff(parts) < 0).all()


def test_every_step_is_reported_once_with_its_rate(step, start):
  _, _, seen = run(step, start, 12)
  assert [p.step for p in seen] == list(range(1, 13))
  assert {p.num_steps for p in seen} == {12}
  # Linear: 2 steps of warm-up to 0.01, then down by a tenth of it.
  expected = [0.005, 0.01] + [0.01 - 0.001 * i for i in range(10)]
  assert [p.learning_rate for p in seen] == pytest.approx(expected, rel=1e-9)


def test_the_start_is_not_changed(step, start):
  """Neither NumPy's arrays nor JAX's, although the step reuses its memory."""
  copy = jax.tree.map(np.array, start)
  placed = step.init(0)
  for params in (start, placed):
    run(step, params, 2)
    assert_equal(jax.device_get(params), copy)
  one, other = (run(step, p, 2)[0] for p in (start, placed))
  assert_equal(one, other)
  assert np.abs(one["head"] - start["head"]).max() > 1e-3


def test_init_is_seeded(step, start):
  assert_equal(jax.device_get(step.init(0)), start)
  other = step.init(1)["head"]
  assert np.abs(np.asarray(other) - start["head"]).max() > 0.1


def test_equal_runs_are_bitwise_equal(step, start):
  one, other = (run(step, start, 6) for _ in range(2))
  assert_equal(one[0], other[0])
  assert one[1:] == other[1:]


def test_runs_of_other_lengths_share_one_compilation(
    step, start, compiled, tmp_path
):
  # The second continues from a checkpoint of the first.
  run(step, start, 4, checkpoints=(tmp_path / "c", 4))
  run(step, start, 6, checkpoints=(tmp_path / "c", 4))
  run(step, start, 10)
  step.init(5)
  assert compiled.count("jit(_train_step)") == 1
  assert compiled.count("jit(_init_params)") == 1


def test_a_loss_that_is_not_finite_names_the_step(step, start):
  with pytest.raises(TrainingError) as error:
    run(step, start, 4, dataset=batches(4, spoil=2))
  assert str(error.value) == (
      "the loss is nan at step 3 of 4 (learning rate 6.67e-03); lower the rate"
      " or look at the data"
  )


@pytest.mark.parametrize("num_steps, spoil", [(4, 3), (6, 3)])
def test_a_failed_run_does_not_look_finished_later(
    step, start, tmp_path, num_steps, spoil
):
  """A checkpoint is due at the step that fails; it fails again."""
  for _ in range(2):
    with pytest.raises(TrainingError, match="the loss is nan at step 4 of"):
      run(
          step, start, num_steps, dataset=batches(num_steps, spoil),
          checkpoints=(tmp_path / "c", 2),
      )


def test_data_that_end_early_are_an_error(step, start):
  with pytest.raises(TrainingError) as error:
    run(step, start, 5, dataset=batches(3))
  assert str(error.value) == "the data ended at step 3 of 5"


def test_a_checkpoint_of_a_longer_run_is_refused(step, start, tmp_path):
  run(step, start, 6, checkpoints=(tmp_path / "c", 3))
  with pytest.raises(TrainingError) as error:
    run(step, start, 5, dataset=batches(5), checkpoints=(tmp_path / "c", 3))
  assert str(error.value) == (
      f"the checkpoint in {tmp_path / 'c'} is of step 6, and the run has 5"
      " steps; give it another directory"
  )


def test_a_checkpoint_of_other_data_is_refused(step, start, tmp_path):
  options = {"checkpoints": (tmp_path / "c", 4)}
  run(step, start, 4, **options)
  with pytest.raises(TrainingError) as error:
    run(step, start, 6, dataset=killed_run.dataset(2), **options)
  message = str(error.value)
  assert message.startswith(f"the checkpoint in {tmp_path / 'c'} is of other")
  assert message.endswith("give the run another directory")


def test_a_finished_run_gives_its_result_again(step, start, tmp_path):
  options = {"checkpoints": (tmp_path / "c", 3)}
  params, loss, _ = run(step, start, 6, **options)
  again, same, seen = run(step, start, 6, **options)
  assert_equal(again, params)
  assert same == loss and seen == []


@pytest.mark.long
def test_killed_twice_it_ends_as_if_undisturbed(step, start, tmp_path):
  """kill -9 while a checkpoint is being written, and between two of them."""
  checkpoints, pickled = tmp_path / "checkpoints", tmp_path / "start"
  pickled.write_bytes(pickle.dumps(start))

  def dies(last, wait):
    arguments = pickled, checkpoints, str(last), str(wait)
    done = subprocess.run(
        [sys.executable, killed_run.__file__, *arguments],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return [int(step) for step in done.stdout.split()]

  num_steps = killed_run.NUM_STEPS
  expected, loss, every = run(step, start, num_steps)
  # The report is a step late: at 3 the third checkpoint has just been begun.
  assert dies(last=3, wait=0) == [1, 2, 3]
  second = dies(last=8, wait=6)
  assert second in (list(range(1, 9)), list(range(4, 9)))
  params, same, seen = run(
      step, start, num_steps, checkpoints=(checkpoints, killed_run.EVERY)
  )
  assert [p.step for p in seen] == list(range(7, 13))
  assert seen == every[6:] and same == loss
  assert_equal(params, expected)


def test_stopped_between_checkpoints_its_limits_are_the_same(
    step, start, tmp_path, monkeypatch
):
  """What a jump of the loss is does not depend on who waited for a step."""
  limits = watch.Watch.limits

  def run_some(**options):
    found = []

    def keep(self, at):
      found.append((at, *limits(self, at)))
      return np.array(found[-1][1:])

    monkeypatch.setattr(watch.Watch, "limits", keep)
    with contextlib.suppress(Preempted):
      loop.run(
          step, step.start(start), killed_run.dataset(30),
          loop.RunConfig((30,), watch.WatchConfig(spike=3.0)), **options,
      )
    return found

  expected = run_some()
  assert [np.isfinite(limit) for _, limit in expected] == [
      step > 21 for step in range(1, 31)
  ]
  options = {"checkpoints": (tmp_path / "c", 100)}
  stopped = run_some(preempted=lambda done: done == 24, **options)
  assert len(stopped) == 24
  assert stopped + run_some(**options) == expected


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16_params"])
def test_with_dropout_it_goes_on_bit_by_bit(precision, tmp_path):
  """An encoder-decoder, stopped after two of four steps.

  Weights in bfloat16 are rounded at random.
  """
  model = EncoderDecoderConfig("mt5", 23, 1, 1, 16, 2, 8, 24)
  config = StepConfig(killed_run.OPTIMIZER, dropout=0.3, precision=precision)
  step = Step(model, config, partitioning.make_mesh())
  start = jax.device_get(step.init(0))
  rows = [
      row | {
          f"encoder_{name}": row[name]
          for name in ("inputs", "segment_ids", "positions")
      }
      for row in killed_run.rows()
  ]

  def run(**options):
    seen = []
    result = loop.run(
        step, step.start(start), killed_run.dataset(4, rows),
        loop.RunConfig((4,)), report=lambda p: seen.append(p.loss), **options,
    )
    return jax.device_get(result.params), seen

  params, losses = run()
  options = {"checkpoints": (tmp_path / "c", 10)}
  with pytest.raises(Preempted):
    run(preempted=lambda done: done == 2, **options)
  again, rest = run(**options)
  assert rest == losses[2:]
  assert_equal(again, params)


def test_a_batch_without_loss_tokens_changes_nothing(step, start):
  """Not even by the decay of weights."""
  rows = killed_run.rows()
  for row in rows:
    row["weights"] = np.zeros_like(row["weights"])
  params, _, seen = run(step, start, 2, dataset=killed_run.dataset(2, rows))
  assert [(p.loss, p.ok) for p in seen] == [(0.0, (None,))] * 2
  assert_equal(params, start)
