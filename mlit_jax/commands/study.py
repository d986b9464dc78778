"""`mlit study`: a whole paper, from data to report."""

import functools
import pathlib
import sys

from mlit_jax.commands import overrides, study_plan
from mlit_jax.errors import UsageError

SUMMARY = "run a study: data, training, decoding, judging, report"
EXAMPLE = """mlit study pinch:pocket --workdir runs/pocket
  mlit study pinch:pocket --workdir runs/two --study.languages=en,es
  mlit study pinch:paper --plan --accelerator v5litepod-16 --price 1.2
  mlit study pinch:pocket --workdir runs/pocket --only 'judge-*'
  mlit study pinch:pocket --workdir runs/judged --study.judge=openai:MODEL --study.judging.price=0.15,0.6 --study.judging.max_cost=5

the preset `paper` is the paper at its own size: it says in one line what must be
given, its base and its data; --plan does without

any key of the study's config (configs/studies/) is overridden by
--study.KEY=VALUE, e.g. --study.seed=1 --study.tune.epochs=2; the judge is any
that `mlit judge` takes"""  # noqa: E501


def add_arguments(parser) -> None:
  parser.add_argument(
      "name", metavar="NAME[:PRESET]",
      help="pinch, lucky52, alpaca, polyglot, xllama, or a file of your own:"
      " my_study.py[:PRESET] (docs/adding-a-study.md)",
  )
  parser.add_argument(
      "--workdir", metavar="DIR",
      help="where everything goes (a plan needs none)",
  )
  parser.add_argument(
      "--update", action="store_true",
      help="take over a workdir with another config; redo what that changes",
  )
  parser.add_argument(
      "--take", nargs="+", action="extend", metavar="DIR", type=pathlib.Path,
      help="first take over the steps that these workdirs have done, e.g. of"
      " the slices that trained the study's models (docs/launch.md)",
  )
  parser.add_argument(
      "--jobs", type=int, metavar="N",
      help="steps done at once, each in a process (default: on CPU one per"
      " core, at most 4; else 1); results are the same to rounding, and to the"
      " byte with the same N and as many cores",
  )
  parser.add_argument(
      "--status", action="store_true",
      help="say what is done, and stop; at any time, also while a run is at it",
  )
  parser.add_argument(
      "--only", nargs="+", action="extend", metavar="STEP",
      help="do these steps and what they need, no others; 'judge-*' means all"
      " that begin so",
  )
  parser.add_argument(
      "--from", nargs="+", action="extend", metavar="STEP", dest="again",
      help="do these steps and all that depend on them again",
  )
  study_plan.add_arguments(parser)


def run(args) -> int:
  source, preset, config = load(args.name, args.overrides)
  if args.jobs is not None and args.jobs < 1:
    raise UsageError(f"--jobs {args.jobs}: give at least 1")
  from mlit_jax.studies import (
      expected,
      joining,
      loading,
      own_rows,
      plan_translation,
      runner,
  )
  from mlit_jax.studies import study as study_lib

  # The graph's own module is light; JAX comes with the first step that trains.
  if args.workdir is None and not args.plan:
    raise UsageError("give a --workdir, where everything goes")
  workdir = pathlib.Path(args.workdir or ".")
  make_graph = functools.partial(
      loading.graph, source, config, preset, workdir
  )
  whole = graph = make_graph()
  if args.only:
    graph = study_lib.needed(whole, study_lib.named(whole, args.only))
  again = {
      step.name for step in study_lib.dependent(
          whole, study_lib.named(whole, args.again or ())
      )
  }
  if args.status:
    return study_plan.print_status(runner.states(graph, workdir, again))
  if not args.plan:
    expected.check(args.name, graph, config)
    plan_translation.check(graph, config)
  for sentence in own_rows.look(config):
    print(f"note: {sentence}", file=sys.stderr, flush=True)
  if args.plan:
    return study_plan.run(args, graph, config, args.workdir and workdir, again)
  from mlit_jax import cpu
  from mlit_jax.studies import workers
  from mlit_jax.studies.progress import Progress

  identity = {
      "study": loading.study(source).NAME, "preset": preset,
      "config": overrides.flatten(config),
  }
  with runner.Workdir(workdir, identity, update=args.update) as opened:
    runner.forget(again, opened)
    if args.take:
      taken = joining.take(graph, opened, args.take)
      for other in args.take:
        number = sum(owner == other for owner in taken.values())
        print(f"steps taken from {other}: {number}", flush=True)
    cpu.keep_freed_memory()
    pool = None
    if not all(runner.status(graph, workdir).values()):
      _say_cost(config, graph, runner.status(graph, workdir))
      jobs = args.jobs or workers.default_jobs()
      if jobs > 1:
        pool = workers.Pool(make_graph, workdir, opened.steps, jobs)
    runner.run(graph, opened, Progress(), pool)
  if args.only:
    print(f"done: {len(graph)} of {len(whole)} steps of the study")
  else:
    print(f"report: {workdir / 'report.html'}")
  return 0


def _say_cost(config, graph, done) -> None:
  """Says what judging takes, before anything is spent."""
  from mlit_jax.studies import asking

  asks = [
      step.params["asks"] for step in graph
      if "asks" in step.params and not done[step.name]
  ]
  if said := asking.forecast(config, asks):
    print(said, flush=True)


def load(spec: str, rest):
  """(study or its file, preset, config) of `NAME[:PRESET]` and its overrides.

  Raises:
    UsageError: no such study, preset, key or language; names the nearest.
  """
  from mlit_jax.studies import loading

  source, _, preset = spec.partition(":")
  module = loading.configs(source)
  preset = loading.preset(source, preset, module.PRESETS)
  config = module.get_config(preset)
  overrides.apply(config, rest, "study")
  loading.study(source).check(config)
  return source, preset, config
