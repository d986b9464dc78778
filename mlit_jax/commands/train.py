"""`mlit train`: one training run, from a config."""

import re

from mlit_jax.commands import train_config
from mlit_jax.errors import UsageError

SUMMARY = "train one model, or several adapters over one, from a config"
EXAMPLE = """mlit data build percent:10 --total 200 --workdir runs/data/tiny
  mlit train --config tiny --config.data.directories=runs/data/tiny --workdir
    runs/tiny

--config.KEY=VALUE changes any field (--config_help lists them); gin files and
bindings fill the same fields: --gin_file models/bloom_7b1 --gin_file
papers/alpaca_lora --gin_bindings "train.learning_rate = 1e-5" """


def add_arguments(parser) -> None:
  train_config.add_arguments(parser)
  parser.add_argument(
      "--workdir", help="where everything goes; a run that was stopped goes on"
  )
  parser.add_argument(
      "--study", metavar="NAME[:PRESET]",
      help="train a model of a study, in the study's --workdir; with --run",
  )
  parser.add_argument("--run", dest="study_run", metavar="RUN",
                      help="which of the study's models, e.g. mono-en")
  parser.add_argument(
      "--profile_steps", metavar="A:B",
      help="trace these steps, from 1, for TensorBoard's profiler",
  )


def run(args) -> int:
  if args.config_help:
    train_config.print_help()
    return 0
  if not args.workdir:
    raise UsageError("say where everything goes: --workdir DIR")
  if args.study:
    if args.config or args.gin_file or args.gin_bindings or args.profile_steps:
      raise UsageError(
          "--study has a config of its own (--study.KEY=VALUE); leave --config,"
          " --gin_file, --gin_bindings and --profile_steps out"
      )
    from mlit_jax.commands import train_study

    return train_study.run(
        args.study, args.study_run, args.workdir, args.overrides
    )
  if args.study_run:
    raise UsageError("--run is of a study; give --study NAME[:PRESET], too")
  profiled = _steps(args.profile_steps)
  config = train_config.load(args)
  from mlit_jax import distributed

  return distributed.run(lambda: _train(config, args.workdir, profiled))


def _train(config, workdir, profiled) -> int:
  from mlit_jax.commands import train_run

  train_run.run(config, workdir, profiled)
  return 0


def _steps(text: str | None) -> tuple[int, int] | None:
  """(first, last) of `A:B`."""
  if text is None:
    return None
  found = re.fullmatch(r"(\d+):(\d+)", text)
  if not found or not 1 <= int(found[1]) <= int(found[2]):
    raise UsageError(f"--profile_steps {text!r}: write FIRST:LAST, e.g. 10:12")
  return int(found[1]), int(found[2])
