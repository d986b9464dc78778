"""Sharded, packed, accumulated, recomputed: one run, one loss curve.

Several processes are compared with one in test_pod_training.py.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("equal_runs.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision, tolerance", [("float64", 1e-9), ("float32", 1e-4)]
)
def test_fifty_steps_in_seven_ways(precision, tolerance, tmp_path):
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8",
      "JAX_ENABLE_X64": str(int(precision == "float64")),
  }
  out = tmp_path / "losses.json"
  subprocess.run(
      [sys.executable, SCRIPT, out, precision], check=True, timeout=900,
      env=environment,
  )
  found = json.loads(out.read_text())
  plain = np.asarray(found.pop("plain"))
  assert len(plain) == 50 and plain[-2:].mean() < plain[:2].mean() - 0.05
  assert len(found) == 6
  for name, losses in found.items():
    np.testing.assert_allclose(
        losses, plain, rtol=0, atol=tolerance, err_msg=name
    )
