"""What test_distributed.py has processes do; a script.

    python pod_work.py HOW [INDEX]

sum: adds a number of each host's, and prints the sum.
SIGKILL, SIGSTOP: so does host INDEX to itself, while the others go on adding.
fail, use: host INDEX raises an error of ours, or one of wrong use.
term: adds until it is told to end, and prints at which step.
"""

import os
import signal
import sys
import time

from mlit_jax import distributed
from mlit_jax.errors import PREEMPTED, UsageError


def work(how, victim):
  import jax
  import numpy as np
  from jax.sharding import Mesh, NamedSharding, PartitionSpec

  from mlit_jax.training import preemption

  index, number = jax.process_index(), jax.process_count()
  mesh = Mesh(np.array(jax.devices()), ("hosts",))
  mine = np.full(jax.local_device_count(), 10.0**index, np.float32)
  numbers = jax.make_array_from_process_local_data(
      NamedSharding(mesh, PartitionSpec("hosts")), mine
  )
  add = jax.jit(lambda x: x.sum())
  print(index, number, float(add(numbers)), flush=True)
  if how == "sum":
    return 0
  with preemption.Watch() as watch:
    for step in range(1, 10_000):
      add(numbers).block_until_ready()
      if step == 5 and index == victim:
        if how == "fail":
          raise distributed.DistributedError("this one failed")
        if how == "use":
          raise UsageError("wrong use")
        if how.startswith("SIG"):
          os.kill(os.getpid(), getattr(signal, how))
      if watch.asked(step):
        print("asked at", step, flush=True)
        return PREEMPTED
      time.sleep(0.02)
  return 1


def main():
  how, victim = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
  try:
    return distributed.run(lambda: work(how, victim))
  except UsageError as e:
    print(f"pod: {e}", file=sys.stderr)
    return 2
  except distributed.DistributedError as e:
    print(f"pod: {e}", file=sys.stderr)
    return 1


if __name__ == "__main__":
  sys.exit(main())
