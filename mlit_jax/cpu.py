"""Prepares a process for training on CPU; call before JAX starts.

XLA's CPU client allocates its buffers anew for every step, and glibc hands
large ones back to the kernel at once, which then clears their pages again and
again (benchmarks/cpu.py measures what keeping them gains).
"""

import ctypes
import sys

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_KEPT = 1 << 28  # bytes
_NEVER = -1


def keep_freed_memory() -> bool:
  """Makes the C allocator keep freed memory; False where there is no glibc."""
  if not sys.platform.startswith("linux"):
    return False
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (OSError, AttributeError):
    return False
  settings = (
      (_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER),
      (_TOP_PAD, _KEPT),
  )
  return all(mallopt(name, value) == 1 for name, value in settings)
