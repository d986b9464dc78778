"""Times a study: seconds per part, processor time, memory, what was learnt.

  python benchmarks/quickstart.py                    prints Markdown tables
  python benchmarks/quickstart.py lucky52:pocket     another study

Machines differ, and other work slows them: milliseconds a step of the base's
pre-training say how fast this one was, and the processor time what a study
takes whatever else runs.
"""

import argparse
import collections
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("study", nargs="?", default="pinch:pocket")
  study = parser.parse_args().study
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / "run"
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "mlit_jax.main", "study", study,
         "--workdir", str(workdir)],
        check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    seconds = time.monotonic() - began
    results = json.loads((workdir / "results.json").read_text("utf-8"))
    timings = json.loads((workdir / "timings.json").read_text("utf-8"))
    built = workdir / "steps/model-base/summary.json"
    steps = json.loads(built.read_text("utf-8"))["steps"]
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  parts = collections.Counter()
  for step, value in timings.items():
    kind = step.split("-")[0]
    parts["model-base" if step == "model-base" else kind] += value
  print(f"\nCPU: {os.cpu_count()} cores, Python {platform.python_version()}\n")
  print("| part | seconds |\n|---|---|")
  for part, value in parts.items():
    print(f"| {part} | {value:.1f} |")
  print(f"| everything, start to end | {seconds:.1f} |")
  print(f"| processor time | {used.ru_utime + used.ru_stime:.1f} |")
  per_step = 1000 * timings["model-base"] / steps
  print(f"\n{per_step:.1f} ms a step of the base")
  print(f"\npeak memory {used.ru_maxrss / 2**20:.2f} GiB\n")
  if "against_base" not in results:
    return
  print("| language | exact, own language | low end against base | against"
        " control |\n|---|---|---|---|")
  for lang in results["languages"]:
    exact = results["exact_match"][f"mono-{lang}"][lang]["value"]
    base = results["against_base"][lang]["ci"][0]
    control = results["against_control"][lang]["ci"][0]
    print(f"| {lang} | {exact:.1f} % | {base:.1f} | {control:.1f} |")


if __name__ == "__main__":
  main()
