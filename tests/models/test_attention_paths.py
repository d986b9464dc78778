"""The choice of a path, and the page that states it."""

import contextlib
import io
import pathlib
import runpy

import pytest

from mlit_jax.models import attention_paths as paths

TPU, CPU = paths.Device("tpu"), paths.Device("cpu")
HOPPER, AMPERE = paths.Device("gpu", 9.0), paths.Device("gpu", 8.0)
DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_command_prints_the_page_in_the_docs():
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    runpy.run_module("mlit_jax.models.attention", run_name="__main__")
  assert printed.getvalue() == (DOCS / "attention.md").read_text("utf-8")


@pytest.mark.parametrize("length", [2048, 2049, 65536])
@pytest.mark.parametrize("family", paths.FAMILIES, ids=lambda f: f.name[:8])
def test_no_family_is_quadratic_from_2048_on(family, length):
  for _, device in paths.DEVICES:
    for head_dim in family.head_dims:
      case = paths.Case(length, length, head_dim, **family.fields)
      path, why = paths.choose(case, device)
      assert path != "plain" and why
      if path == "cudnn":  # what packed rows' masks take, in bfloat16
        assert 2 * length**2 <= 32 * 2**20


@pytest.mark.parametrize(
    "device, changes, path, why",
    [
        (TPU, {}, "splash", "fused"),
        (TPU, {"softcap": True, "window": "one of"}, "splash", "fused"),
        (TPU, {"window": "traced"}, "blockwise", "windows beforehand"),
        (TPU, {"bias": True}, "blockwise", "no bias"),
        (TPU, {"dtype": "float32"}, "splash", "fused"),
        (TPU, {"dtype": "float16"}, "blockwise", "float16"),
        # Queries against a longer cache; without a causal mask it may.
        (TPU, {"length": 1024}, "blockwise", "part of the keys"),
        (TPU, {"length": 1024, "causal": False}, "splash", "fused"),
        (TPU, {"length": 1, "key_length": 2**17}, "plain", "a few queries"),
        (TPU, {"length": 64, "key_length": 64}, "plain", "tile of 128"),
        (HOPPER, {}, "cudnn", "fused"),
        (HOPPER, {"head_dim": 256, "window": "traced"}, "cudnn", "fused"),
        (AMPERE, {"head_dim": 256}, "blockwise", "up to 128, not 256"),
        (HOPPER, {"head_dim": 100}, "blockwise", "multiple of 8"),
        (HOPPER, {"dtype": "float32"}, "blockwise", "float32"),
        (HOPPER, {"softcap": True}, "blockwise", "caps no scores"),
        (HOPPER, {"bias": True}, "blockwise", "no bias"),
        (HOPPER, {"length": 2047, "key_length": 2047}, "blockwise", "even"),
        (
            HOPPER, {"length": 8192, "key_length": 8192}, "blockwise",
            "a mask beyond 4096 x 4096",
        ),
        (
            HOPPER, {"length": 8192, "key_length": 8192, "packed": False},
            "cudnn", "fused",
        ),
        (paths.Device("gpu", 7.5), {}, "blockwise", "capability 8.0"),
        (CPU, {}, "rows", "no kernel on cpu"),
        (CPU, {"batch_parts": 2}, "blockwise", "no kernel on cpu"),
        (CPU, {"length": 256, "key_length": 256}, "plain", "one block"),
        (CPU, {"length": 257, "key_length": 256}, "rows", "no kernel"),
    ],
)
def test_choices_by_hand(device, changes, path, why):
  case = paths.Case(
      **{"length": 2048, "key_length": 2048, "head_dim": 128} | changes
  )
  found, reason = paths.choose(case, device)
  assert found == path and why in reason
