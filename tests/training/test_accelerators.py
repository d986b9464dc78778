"""Slices by gcloud's names; published figures."""

import pytest

from mlit_jax.training import accelerators
from mlit_jax.training.accelerators import AcceleratorError, parse


@pytest.mark.parametrize(
    "name, topology, chips, gcloud",
    [
        ("v5litepod-16", "v5e:4x4", 16, "v5litepod-16"),
        ("v5e-8", "v5e:2x4", 8, "v5litepod-8"),
        ("v5e:8x8", "v5e:8x8", 64, "v5litepod-64"),
        ("v5e-1", "v5e:1x1", 1, "v5litepod-1"),
        # Named by cores, two a chip.
        ("v4-32", "v4:2x2x4", 16, "v4-32"),
        ("v5p-8", "v5p:2x2x1", 4, "v5p-8"),
        ("V5P-128", "v5p:4x4x4", 64, "v5p-128"),
        ("v6e-256", "v6e:16x16", 256, "v6e-256"),
        ("2xv5p-64", "v5p:2x4x4", 64, "2xv5p-64"),
        ("v5e:2x8", "v5e:2x8", 16, "v5e:2x8"),
    ],
)
def test_names(name, topology, chips, gcloud):
  found = parse(name)
  assert (found.topology, found.num_chips, found.name) == (
      topology, chips, gcloud
  )


@pytest.mark.parametrize(
    "name, message",
    [
        ("v5e-7", "no accelerator 'v5e-7'; there are v5e-1, v5e-4, v5e-8,"),
        ("h100", "no accelerator 'h100'; write e.g. v5litepod-16, v5e:4x4"),
        ("", "no accelerator ''; write e.g."),
        ("v5e:2x2x2", "a slice of v5e has 2 dimensions, e.g. v5e:4x4"),
        ("v4:2x2", "a slice of v4 has 3 dimensions, e.g. v4:2x4x4"),
        ("0xv5e-8", "the number of slices must be above 0"),
    ],
)
def test_wrong_names(name, message):
  with pytest.raises(AcceleratorError) as error:
    parse(name)
  assert message in str(error.value)


def test_links_by_hand():
  # 2x4 of v5e: a link across, a line along. 16x16: two closed rings.
  assert parse("v5e-8").link_bandwidth == 2 * 50e9
  assert parse("v5e-256").link_bandwidth == 4 * 50e9
  # Google's page says 1,200 GB/s a chip, both ways, of v5p's six links.
  assert 2 * parse("v5p-128").link_bandwidth == 1200e9
  # 2x2x4 and 2x4x4 are no tori: a link a dimension.
  for name in ("v4-32", "v4-64", "v5p-32", "v5p-64"):
    slices = parse(name)
    assert slices.link_bandwidth == 3 * slices.chip.link_bandwidth, name
  assert 2 * parse("v6e-256").link_bandwidth == 800e9
  assert parse("v5e-1").link_bandwidth == 0


def test_the_next_larger_slice():
  assert parse("v5e-8").larger().name == "v5litepod-16"
  assert parse("v5e:2x8").larger().topology == "v5e:4x8"
  assert parse("v5e-256").larger() is None


@pytest.mark.tpu_compile
def test_the_compiler_knows_every_generation():
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  for name in ("v4-8", "v5e-1", "v5e-8", "v5p-8", "v6e-4", "2xv5e-4"):
    slices = parse(name)
    devices = slices.devices()
    assert len(devices) == slices.num_chips, name
  with pytest.raises(AcceleratorError, match="libtpu knows no slice v4:3x1x1"):
    parse("v4:3x1x1").devices()
  assert set(accelerators.CHIPS) == {"v4", "v5e", "v5p", "v6e"}
