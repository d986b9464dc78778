"""One training run of a study, with the steps that it needs and no others."""

import difflib
import pathlib
from collections.abc import Sequence

from mlit_jax.errors import UsageError

_PREFIX = "model-"


def run(spec: str, run_name: str | None, workdir: str, rest) -> int:
  """Does it in a study's directory, where `mlit study` finds it done.

  Args:
    spec: NAME[:PRESET] of the study.
    run_name: of the model, as the study calls it.
    workdir: the study's.
    rest: the command line's `--study.KEY=VALUE`.

  Raises:
    UsageError: no such study, key or run; names the nearest, or all runs.
  """
  from mlit_jax.commands import overrides, study
  from mlit_jax.studies import loading, runner

  name, preset, config = study.load(spec, rest)
  path = pathlib.Path(workdir)
  steps = _needed(loading.graph(name, config, preset, path), run_name)
  from mlit_jax import cpu
  from mlit_jax.studies.progress import Progress

  identity = {
      "study": loading.study(name).NAME, "preset": preset,
      "config": overrides.flatten(config),
  }
  cpu.keep_freed_memory()  # before JAX starts
  with runner.Workdir(path, identity) as opened:
    runner.run(steps, opened, Progress())
  print(f"done: {opened.steps / steps[-1].name / 'model'}")
  return 0


def _needed(steps: Sequence, run_name: str | None) -> list:
  """The run's step, and before it all that it needs, in the graph's order."""
  names = [
      step.name.removeprefix(_PREFIX) for step in steps
      if step.name.startswith(_PREFIX)
  ]
  if run_name not in names:
    near = difflib.get_close_matches(run_name or "", names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else (
        f"its runs are {', '.join(names)}"
    )
    raise UsageError(f"the study has no --run {run_name!r}; {hint}")
  wanted = {_PREFIX + run_name}
  for step in reversed(steps):
    if step.name in wanted:
      wanted |= set(step.needs)
  return [step for step in steps if step.name in wanted]
