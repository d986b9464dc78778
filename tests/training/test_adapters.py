"""K adapters in one run equal K runs of one adapter."""

import grain
import jax
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.models import lora
from mlit_jax.models.config import DecoderConfig
from mlit_jax.training import loop
from mlit_jax.training.optimizer import OptimizerConfig
from mlit_jax.training.step import Step, StepConfig
from mlit_jax.training.validation import ValidationConfig, ValidationSet
from mlit_jax.training.watch import TrainingError, WatchConfig

CONFIG = DecoderConfig(
    vocab_size=31, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2,
    head_dim=6, mlp_dim=24, max_length=64,
)
LORA = lora.LoraConfig(
    pattern="attention/(query|out)$|mlp/down$", rank=3, dropout=0.2
)
# Some gradients are above this norm, some below. A great eps keeps Adam from
# making much of rounding.
OPTIMIZER = OptimizerConfig(
    3e-2, "linear", warmup_ratio=0.3, weight_decay=0.3, clip_norm=3.5, eps=1e-3
)
STEPS, ROWS, LENGTH = (4, 6, 3), 4, 12


def step(num_adapters, **how):
  how = {"accumulation": 2} | how
  config = StepConfig(OPTIMIZER, LORA, num_adapters, **how)
  return Step(CONFIG, config, partitioning.make_mesh())


def batch(rng):
  """Rows that differ in what they have to learn."""
  shape = ROWS, LENGTH
  weights = rng.random(shape) < rng.random((ROWS, 1))
  return {
      "inputs": rng.integers(0, 31, shape, "int32"),
      "segment_ids": np.ones(shape, np.int32),
      "positions": np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)),
      "loss_positions": np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)),
      "targets": rng.integers(0, 31, shape, "int32"),
      "weights": weights.astype(np.float32),
  }


def dataset(batches):
  return grain.MapDataset.source(batches).to_iter_dataset()


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  return [[batch(rng) for _ in range(n)] for n in STEPS]


@pytest.fixture(scope="module")
def start(random_params):
  adapters = jax.eval_shape(lambda: lora.init(CONFIG, LORA, 0, 3))
  rng = np.random.default_rng(1)
  adapters = jax.tree.map(
      lambda x: (rng.standard_normal(x.shape) / 4).astype("float32"), adapters
  )
  return random_params(CONFIG), {"blocks": adapters["blocks"]}


def unboxed(adapters):
  import flax.linen as nn

  return nn.meta.unbox(adapters)


@pytest.fixture(scope="module")
def one():
  return step(1, accumulation=1)


def together(data):
  """Every batch has the rows of all, mixed; those who are done have none."""
  order = np.random.default_rng(2).permutation(ROWS * len(data))
  found = []
  for i in range(max(map(len, data))):
    parts = []
    for k, own in enumerate(data):
      part = own[i] if i < len(own) else jax.tree.map(np.zeros_like, own[0])
      parts.append(part | {"adapter_ids": np.full(ROWS, k, np.int32)})
    # Rows of one adapter keep their order.
    joined = {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}
    ids = joined["adapter_ids"][order]
    places = np.empty_like(order)
    for k in range(len(data)):
      places[ids == k] = np.arange(ROWS * k, ROWS * (k + 1))
    found.append({n: x[places] for n, x in joined.items()})
  return found


@pytest.mark.slow
def test_three_at_once_are_three_runs(data, start):
  """With dropout, decay, clipping, accumulation and other lengths."""
  params, adapters = start
  adapters = unboxed(adapters)
  at_once, seen = step(3), []
  result = loop.run(
      at_once, at_once.start(params, 7, adapters), dataset(together(data)),
      loop.RunConfig(STEPS), report=seen.append,
  )
  alone = step(1)
  for k, batches in enumerate(data):
    own = jax.tree.map(lambda x, k=k: x[:, k : k + 1], adapters)
    progress = []
    theirs = loop.run(
        alone, alone.start(params, 7, own), dataset(batches),
        loop.RunConfig(STEPS[k : k + 1]), report=progress.append,
    )
    ours = jax.tree.map(lambda x, k=k: x[:, k : k + 1], result.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        ours, theirs.params,
    )
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), ours, own)
    assert min(jax.tree.leaves(moved)) > 1e-2
    for at, one in zip(seen, progress, strict=False):
      assert at.losses[k] == pytest.approx(one.losses[0], rel=1e-5)
      assert at.grad_norms[k] == pytest.approx(one.grad_norms[0], rel=1e-4)
      assert at.learning_rates[k] == pytest.approx(one.learning_rates[0])
    assert result.losses[k] == pytest.approx(theirs.losses[0], rel=1e-5)
  norms = [n for p in seen for n, ok in zip(p.grad_norms, p.ok, strict=True)
           if ok]
  assert min(norms) < 3.5 < max(norms)  # some are clipped
  assert [p.ok for p in seen] == [
      tuple(True if i < n else None for n in STEPS) for i in range(6)
  ]


@pytest.mark.long
def test_the_best_and_an_early_stop_are_each_adapter_s_own(start, data):
  """One gets better all the time, the other for three steps only."""
  params, adapters = start
  adapters = jax.tree.map(lambda x: x[:, :2], unboxed(adapters))
  one = step(2, accumulation=1)
  good, other = data[0][0], data[1][0]
  same = other | {"targets": np.zeros_like(other["targets"])}
  batches = together([[good] * 30, [other] * 3 + [same] * 27])
  seen, reports = [], []
  result = loop.run(
      one, one.start(params, 0, adapters), dataset(batches),
      loop.RunConfig((30, 30), validation=ValidationConfig(3, 2)),
      validation_sets=[
          ValidationSet("aa", [good], 0), ValidationSet("bb", [other], 1),
          ValidationSet("cc", [other, good], 1),
      ],
      report=reports.append, report_validation=seen.append,
  )
  assert [v.step for v in seen] == list(range(3, 31, 3))
  means = np.asarray([v.means for v in seen])
  assert result.best[0] == (30, pytest.approx(means[:, 0].min()))
  best = 3 * (1 + int(means[:, 1].argmin()))
  assert best < 21 and result.best[1] == (best, means[:, 1].min())
  # Two validations without a better one, and from then on it stands still.
  last = best + 6
  assert [p.ok[1] for p in reports] == [True] * last + [None] * (30 - last)
  assert len(set(means[last // 3 - 1 :, 1])) == 1
  assert len(set(means[:, 0])) == 10
  assert set(seen[0].losses) == {"aa", "bb", "cc"}
  weights = [other["weights"].sum(), other["weights"].sum()
             + good["weights"].sum()]
  assert means[0, 1] == pytest.approx(np.average(
      [seen[0].losses[n] for n in ("bb", "cc")], weights=weights
  ))
  # What comes back is each adapter at its own best step.
  again = one.start(params, 0, jax.device_get(result.params))
  for k, batch_ in enumerate((good, other)):
    ids = np.full(ROWS, k, np.int32)
    loss = one.evaluate(again, one.place(batch_ | {"adapter_ids": ids}))
    at = seen[result.best[k][0] // 3 - 1]
    assert float(loss.mean) == pytest.approx(
        at.losses[("aa", "bb")[k]], rel=1e-5
    )


def test_every_adapter_is_validated_after_its_own_last_step(start, data):
  params, adapters = start
  adapters = jax.tree.map(lambda x: x[:, :2], unboxed(adapters))
  one = step(2, accumulation=1)
  good, other = data[0][0], data[1][0]
  seen = []
  result = loop.run(
      one, one.start(params, 0, adapters),
      dataset(together([[good] * 4, [other] * 7])),
      loop.RunConfig((4, 7), validation=ValidationConfig(5)),
      validation_sets=[
          ValidationSet("aa", [good], 0), ValidationSet("bb", [other], 1),
      ],
      report_validation=seen.append,
  )
  assert [v.step for v in seen] == [4, 5, 7]
  # It learns its one batch: the last of its steps is the best.
  assert [step for step, _ in result.best] == [4, 7]
  assert len({v.means[0] for v in seen}) == 1


@pytest.mark.long
def test_a_killed_run_goes_on_with_its_best(one, start, data, tmp_path):
  params, adapters = start
  adapters = jax.tree.map(lambda x: x[:, :1], unboxed(adapters))
  sets = [ValidationSet("aa", [data[1][0]])]

  class Killed(Exception):
    pass

  def run(directory, last=None):
    seen = []

    def report(progress):
      seen.append(progress)
      if progress.step == last:
        raise Killed

    result = loop.run(
        one, one.start(params, 3, adapters), dataset(data[1] * 2),
        loop.RunConfig((12,), validation=ValidationConfig(2)),
        validation_sets=sets, checkpoints=(directory, 4), report=report,
    )
    return jax.device_get(result.params), result.best, result.losses, seen

  expected = run(tmp_path / "a")
  with pytest.raises(Killed):
    run(tmp_path / "b", last=7)
  found = run(tmp_path / "b")
  assert [p.step for p in found[3]] == list(range(5, 13))
  assert found[1:3] == expected[1:3] and found[3] == expected[3][4:]
  jax.tree.map(np.testing.assert_array_equal, found[0], expected[0])


def spoiled(data, *at):
  """Twelve batches, some of which have a loss of NaN."""
  batches = [jax.tree.map(np.copy, b) for b in data[1] * 2]
  for i in at:
    batches[i]["weights"][0, 0] = np.nan
  return batches


def test_a_bad_step_is_skipped(one, start, data):
  params, adapters = start
  adapters = jax.tree.map(lambda x: x[:, :1], unboxed(adapters))
  how = loop.RunConfig((12,), WatchConfig("skip"))
  seen = []
  result = loop.run(
      one, one.start(params, 3, adapters), dataset(spoiled(data, 2, 5)), how,
      report=seen.append,
  )
  assert result.skipped == 2
  assert [p.step for p in seen if p.ok == (False,)] == [3, 6]
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(result.params))
  with pytest.raises(TrainingError, match="the loss is nan at step 3 of 12"):
    loop.run(
        one, one.start(params, 3, adapters), dataset(spoiled(data, 2)),
        loop.RunConfig((12,)),
    )


def test_a_rollback_takes_the_last_checkpoint_and_newer_data(
    one, start, data, tmp_path
):
  params, adapters = start
  adapters = jax.tree.map(lambda x: x[:, :1], unboxed(adapters))
  how = loop.RunConfig((12,), WatchConfig("rollback"))

  def run(batches, directory, how):
    result = loop.run(
        one, one.start(params, 3, adapters), dataset(batches), how,
        checkpoints=(directory, 4),
    )
    return jax.device_get(result.params), result.skipped

  bad = spoiled(data, 6)
  found, skipped = run(bad, tmp_path / "a", how)
  assert skipped == 1
  # Steps 5 and 6 are undone. The rollback comes a step late: step 8, which had
  # begun, is undone with them, and it is as if their batches had been empty.
  empty = jax.tree.map(np.zeros_like, bad[0])
  as_if = bad[:4] + [empty] * 4 + bad[8:]
  expected, _ = run(as_if, tmp_path / "b", loop.RunConfig((12,)))
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  with pytest.raises(TrainingError, match="no checkpoint to go back to"):
    run(spoiled(data, 1), tmp_path / "c", how)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_bad_adapter_leaves_the_others_alone(
    one, start, data, tmp_path, policy
):
  params, adapters = start
  adapters = jax.tree.map(lambda x: x[:, :2], unboxed(adapters))
  own = [spoiled(data), spoiled(data, 6)]

  def run(step, adapters, batches, name):
    number = step.config.num_adapters
    seen = []
    result = loop.run(
        step, step.start(params, 3, adapters), dataset(batches),
        loop.RunConfig((12,) * number, WatchConfig(policy)),
        checkpoints=(tmp_path / name, 4), report=seen.append,
    )
    assert result.skipped == (name != "0")
    return jax.device_get(result.params), seen

  both, seen = run(step(2), adapters, together(own), "both")
  assert [p.step for p in seen if p.ok == (True, False)] == [7]
  for k in range(2):
    mine = jax.tree.map(lambda x, k=k: x[:, k : k + 1], adapters)
    expected, alone = run(one, mine, own[k], str(k))
    jax.tree.map(
        lambda a, b, k=k: np.testing.assert_allclose(
            a[:, k : k + 1], b, rtol=1e-4, atol=1e-4
        ),
        both, expected,
    )
    for at, by_itself in zip(seen, alone, strict=True):
      assert at.losses[k] == pytest.approx(
          by_itself.losses[0], rel=1e-5, nan_ok=True
      )


def test_a_jump_of_the_loss_is_bad(one, start, data):
  params, _ = start
  good = data[1][0]
  batches = [jax.tree.map(np.copy, good) for _ in range(40)]
  # Targets that it has learnt to exclude.
  batches[30]["targets"] = (batches[30]["targets"] + 7) % 31
  with pytest.raises(TrainingError, match=r"has jumped to .* at step 31 of 40"):
    loop.run(
        one, one.start(params, 3), dataset(batches),
        loop.RunConfig((40,), WatchConfig(spike=1.3)),
    )
