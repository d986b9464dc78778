"""The smallest change that fits, on chips that are not there."""

import dataclasses

import pytest
from small_model import MODEL

from mlit_jax.models.lora import LoraConfig
from mlit_jax.training import accelerators, plan, plan_search
from mlit_jax.training.config import (
    DataConfig,
    MeshConfig,
    Run,
    TrainConfig,
)

pytestmark = pytest.mark.tpu_compile
RUN = Run(
    name="small", model=MODEL, data=DataConfig(row_length=64),
    train=TrainConfig(
        learning_rate=1e-3, batch_size=16, remat="none", loss="chunked",
        precision="bfloat16",
    ),
    mesh=MeshConfig("data"),
)


@pytest.fixture(scope="module")
def slices():
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  return accelerators.parse("v5e-4")


class Fits:
  """Stands for a plan where only what is asked for fits."""

  def __init__(self, *wanted):
    self.wanted, self.tried = wanted, []

  def __call__(self, run, slices):
    train = run.train
    said = (
        train.remat, train.accumulation, run.mesh.preset, slices.num_chips
    )
    self.tried.append(said)
    fits = any(
        all(w is None or w == s for w, s in zip(wanted, said, strict=True))
        for wanted in self.wanted
    )
    return type("Plan", (), {"fits": fits})


@pytest.mark.parametrize(
    "wanted, flags",
    [
        # One setting before several, its mildest value.
        ([("context", 1, None, 4), ("full", None, None, 4)],
         ("--config.train.remat=context",)),
        ([("full", 4, "fsdp", 4)],
         ("--config.train.remat=full", "--config.train.accumulation=4",
          "--config.mesh.preset=fsdp")),
        # Of several that are needed, each at its mildest, and no others.
        ([(remat, parts, mesh, 4) for remat in ("context", "full")
          for parts in (2, 4) for mesh in ("data", "fsdp")],
         ("--config.train.remat=context", "--config.train.accumulation=2")),
        # More chips, when nothing else does.
        ([("full", None, None, 8)],
         ("--topology v5litepod-8", "--config.train.remat=full")),
    ],
)
def test_the_smallest_change_is_found(slices, wanted, flags):
  fits = Fits(*wanted)
  found = plan_search.search(RUN, slices, make_plan=fits)
  assert (found and found[0]) == flags
  assert len(fits.tried) == len(set(fits.tried))  # nothing is compiled twice


REMAT = ("none", "dots", "context", "full")


class Bytes:
  """Stands for plans whose peak falls with every setting, by a sum."""

  def __init__(self, limit):
    self.limit = limit

  def of(self, remat, parts, mesh):
    return (
        {"data": 40, "fsdp": 10}[mesh]
        + (40 - 9 * REMAT.index(remat)) / parts
    )

  def __call__(self, run, slices):
    train = run.train
    peak = self.of(train.remat, train.accumulation, run.mesh.preset)
    return type("Plan", (), {"fits": peak <= self.limit, "run": run})


@pytest.mark.parametrize("limit", range(14, 80, 6))
def test_nothing_weaker_fits(slices, limit):
  stand_in = Bytes(limit)
  _, found = plan_search.search(RUN, slices, make_plan=stand_in)
  have = (
      found.run.train.remat, found.run.train.accumulation,
      found.run.mesh.preset,
  )
  assert stand_in.of(*have) <= limit
  all_values = REMAT, (1, 2, 4), ("data", "fsdp")
  weaker = [
      values[values.index(value) - 1]
      for values, value in zip(all_values, have, strict=True)
      if values.index(value)
  ]
  assert len(weaker) == sum(
      h != w for h, w in zip(have, ("none", 1, "data"), strict=True)
  )
  changed = [k for k, h in enumerate(have) if h != all_values[k][0]]
  for k, milder in zip(changed, weaker, strict=True):
    assert stand_in.of(*have[:k], milder, *have[k + 1 :]) > limit
  # One setting alone, if one alone is enough.
  alone = any(
      stand_in.of(*one) <= limit
      for one in (("full", 1, "data"), ("none", 4, "data"), ("none", 1, "fsdp"))
  )
  assert (len(changed) == 1) == alone


def test_parts_of_a_batch_of_several_adapters(slices):
  """On four chips; rows of all adapters count.

  Two adapters of four rows are eight: two parts have a row for each chip. Three
  are twelve, and two parts would have six.
  """
  found = []
  for names in (("one", "two", "three"), ("one", "two")):
    fits = Fits(("full", 2, None, 4), ("full", 4, None, 4))
    run = dataclasses.replace(
        RUN, lora=LoraConfig(rank=4),
        data=DataConfig(row_length=64, directories=names),
        train=dataclasses.replace(RUN.train, batch_size=4, remat="full"),
    )
    plan_search.search(run, slices, make_plan=fits)
    found.append([parts for _, parts, _, chips in fits.tried if chips == 4])
  assert max(found[0], default=1) == 1 and max(found[1]) == 2


def test_sizes_that_were_given_are_taken_back(slices):
  run = dataclasses.replace(RUN, mesh=MeshConfig(data=4))
  found = plan_search.search(
      run, slices, make_plan=Fits((None, None, "fsdp", 4))
  )
  assert found and found[0] == (
      "--config.mesh.data=0", "--config.mesh.preset=fsdp"
  )


@pytest.mark.long
def test_what_is_suggested_fits_and_the_next_weaker_does_not(slices):
  """Really compiled, for chips whose memory lies between two of its plans'."""
  run = dataclasses.replace(
      RUN, data=DataConfig(row_length=512), mesh=MeshConfig("fsdp"),
      train=dataclasses.replace(RUN.train, remat="full"),
  )
  peaks = [
      plan.make(
          dataclasses.replace(
              run, train=dataclasses.replace(run.train, accumulation=parts)
          ),
          slices,
      ).memory.peak
      for parts in (2, 4)
  ]
  less = dataclasses.replace(
      slices, chip=dataclasses.replace(slices.chip, memory=sum(peaks) // 2)
  )
  flags, found = plan_search.search(run, less)
  assert flags == ("--config.train.accumulation=4",)
  assert found.fits and found.memory.peak == peaks[1] < less.chip.memory
  assert peaks[0] > less.chip.memory  # the next weaker one


@pytest.mark.slow
def test_what_is_too_large_is_caught_and_the_suggestion_compiles(slices):
  """A state of 36 GiB on a chip of 15.75; cut over four it is 9."""
  model = dataclasses.replace(MODEL, vocab_size=300_000, embed_dim=4096)
  large = dataclasses.replace(RUN, model=model, mesh=MeshConfig("data"))
  found = plan.make(large, slices)
  assert not found.fits and "exceeds available HBM (15.75G)" in found.failure
  assert found.times is None
  flags, better = plan_search.search(large, slices)
  assert flags == ("--config.mesh.preset=fsdp",)
  assert better.fits and better.times is not None
