"""`mlit study`: a whole paper, from data to report."""

import difflib
import functools
import importlib
import pathlib
import sys

from mlit_jax.commands import overrides
from mlit_jax.errors import UsageError

SUMMARY = "run a study: data, training, decoding, judging, report"
EXAMPLE = """mlit study pinch:pocket --workdir runs/pocket
  mlit study pinch:pocket --workdir runs/two --study.languages=en,es

any key of the study's config (configs/studies/) is overridden by
--study.KEY=VALUE, e.g. --study.seed=1 --study.tune.epochs=2"""
STUDIES = ("pinch", "lucky52", "alpaca", "polyglot")


def add_arguments(parser) -> None:
  parser.add_argument(
      "name", metavar="NAME[:PRESET]", help=f"one of {', '.join(STUDIES)}"
  )
  parser.add_argument("--workdir", required=True, help="where everything goes")
  parser.add_argument(
      "--update", action="store_true",
      help="take over a workdir with another config; redo what that changes",
  )
  parser.add_argument(
      "--jobs", type=int, metavar="N",
      help="steps done at once, each in a process (default: on CPU one per"
      " core, at most 4; else 1); results are the same to rounding, and to the"
      " byte with the same N and as many cores",
  )
  parser.add_argument(
      "--status", action="store_true", help="say what is done, and stop"
  )


def run(args) -> int:
  name, preset, config = load(args.name, args.overrides)
  if args.jobs is not None and args.jobs < 1:
    raise UsageError(f"--jobs {args.jobs}: give at least 1")
  from mlit_jax.studies import runner

  # The graph's own module is light; JAX comes with the first step that trains.
  study = importlib.import_module(f"mlit_jax.studies.{name}")
  workdir = pathlib.Path(args.workdir)
  make_graph = functools.partial(study.graph, config, preset, workdir)
  graph = make_graph()
  if args.status:
    return _print_status(runner.status(graph, workdir))
  from mlit_jax import cpu
  from mlit_jax.studies import workers
  from mlit_jax.studies.progress import Progress

  identity = {
      "study": name, "preset": preset, "config": overrides.flatten(config),
  }
  with runner.Workdir(workdir, identity, update=args.update) as opened:
    cpu.keep_freed_memory()
    pool = None
    if not all(runner.status(graph, workdir).values()):
      jobs = args.jobs or workers.default_jobs()
      if jobs > 1:
        pool = workers.Pool(make_graph, workdir, opened.steps, jobs)
    runner.run(graph, opened, Progress(), pool)
  print(f"report: {workdir / 'report.html'}")
  return 0


def load(spec: str, rest):
  """(study, preset, config) of `NAME[:PRESET]` and its overrides.

  Raises:
    UsageError: no such study, preset, key or language; names the nearest.
  """
  name, _, preset = spec.partition(":")
  if name not in STUDIES:
    raise UsageError(
        f"unknown study {name!r}; {_nearest(name, STUDIES)}"
    )
  module = importlib.import_module(f"mlit_jax.configs.studies.{name}")
  preset = preset or module.PRESETS[0]
  if preset not in module.PRESETS:
    raise UsageError(
        f"study {name} has no preset {preset!r};"
        f" {_nearest(preset, module.PRESETS)}"
    )
  config = module.get_config(preset)
  overrides.apply(config, rest, "study")
  importlib.import_module(f"mlit_jax.studies.{name}").check(config)
  return name, preset, config


def _nearest(word: str, known) -> str:
  near = difflib.get_close_matches(word, known, n=1)
  if near:
    return f"did you mean {near[0]!r}?"
  return f"known: {', '.join(known)}"


def _print_status(done: dict[str, bool]) -> int:
  for name, is_done in done.items():
    print(f"{'done' if is_done else 'open':<5} {name}")
  print(f"{sum(done.values())} of {len(done)} steps done", file=sys.stderr)
  return 0
