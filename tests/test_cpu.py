"""The C allocator is told to keep what is freed."""

import os
import subprocess
import sys

import pytest

from mlit_jax import cpu

# Prints MiB of resident memory: at most, and after a block so large is freed.
_SCRIPT = """
import resource
import sys
from mlit_jax import cpu
if sys.argv[1] == "keep":
  assert cpu.keep_freed_memory()
# Nothing in between: whatever lies on top of the block would keep it.
block = bytearray(b"x") * (int(sys.argv[2]) << 20)
del block
with open("/proc/self/statm") as file:
  after = int(file.read().split()[1]) * 4096 >> 20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, after)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "glibc" not in os.confstr(
        "CS_GNU_LIBC_VERSION"
    ),
    reason="glibc's allocator",
)
@pytest.mark.parametrize("setting, size", [
    ("keep", 200), ("keep", 2100), ("default", 200),  # 2,048 is no threshold
])
def test_freed_memory_is_kept(setting, size):
  done = subprocess.run(
      [sys.executable, "-c", _SCRIPT, setting, str(size)],
      capture_output=True, text=True,
  )
  assert done.returncode == 0, done.stderr
  filled, after = map(int, done.stdout.split())
  assert filled > size
  assert (after > size) is (setting == "keep")


def test_elsewhere_it_says_no(monkeypatch):
  monkeypatch.setattr(sys, "platform", "darwin")
  assert cpu.keep_freed_memory() is False
