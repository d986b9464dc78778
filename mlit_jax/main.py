"""The `mlit` command.

Imports nothing heavy: `mlit --help` answers at once, and every command loads
what it needs when it runs.
"""

import argparse
import sys
from collections.abc import Sequence

from mlit_jax import __version__, sigterm
from mlit_jax.errors import (
    FAILED,
    INTERRUPTED,
    PREEMPTED,
    WRONG_USE,
    Preempted,
    UsageError,
)

_EPILOG = """examples:
  mlit study pinch:pocket --workdir runs/pocket
  mlit report runs/pocket
"""


class _Parser(argparse.ArgumentParser):
  """argparse, but an error is one line and no option is abbreviated."""

  def __init__(self, **options):
    super().__init__(**options, allow_abbrev=False)

  def error(self, message: str):
    self.exit(WRONG_USE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
  """The whole command line."""
  root = _Parser(
      prog="mlit",
      description="How much multilinguality does instruction tuning need?",
      epilog=_EPILOG,
      formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  root.add_argument("--version", action="version", version=__version__)
  commands = root.add_subparsers(dest="command", metavar="COMMAND")
  for module in (
      "study", "data", "translate", "train", "plan", "decode", "score", "eval",
      "judge", "compare", "agreement", "annotate", "report", "convert",
  ):
    _add_command(commands, module)
  return root


def _add_command(commands, name: str) -> None:
  from mlit_jax.commands import COMMANDS

  command = COMMANDS[name]
  sub = commands.add_parser(
      name,
      help=command.summary,
      description=command.summary,
      epilog=f"example:\n  {command.example}\n",
      formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  command.add_arguments(sub)
  sub.set_defaults(run=command.run)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  root = parser()
  args, rest = root.parse_known_args(argv)
  if args.command is None:
    root.print_help()
    return WRONG_USE
  args.overrides = rest
  try:
    with sigterm.raised():
      return args.run(args)
  except UsageError as e:
    print(f"mlit {args.command}: {_line(e)}", file=sys.stderr)
    return WRONG_USE
  except Preempted as e:
    print(
        f"mlit {args.command}: {_line(e)}; start it again with the same"
        " command, and it goes on from here", file=sys.stderr,
    )
    return PREEMPTED
  except KeyboardInterrupt:
    print(
        f"mlit {args.command}: stopped; the same command goes on from here",
        file=sys.stderr,
    )
    return INTERRUPTED
  except (ValueError, OSError, RuntimeError) as e:
    if not _expected(e):
      raise
    print(f"mlit {args.command}: {_line(e)}", file=sys.stderr)
    return FAILED


def _expected(error: Exception) -> bool:
  """Whether an error is one of ours or of the system: its message suffices."""
  return isinstance(error, OSError) or type(error).__module__.startswith(
      "mlit_jax"
  )


def _line(error: BaseException) -> str:
  text = str(error)
  if isinstance(error, OSError) and error.filename and error.strerror:
    text = f"{error.filename}: {error.strerror}"
  return " ".join(text.split())


def run() -> None:
  """The console command."""
  sys.exit(main())


if __name__ == "__main__":
  run()
