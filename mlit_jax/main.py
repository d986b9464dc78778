"""The `mlit` command.

Imports nothing heavy: `mlit --help` answers at once, and every command loads
what it needs when it runs.
"""

import argparse
import os
import select
import signal
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

_STDOUT = 1
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
    if _reader_has_gone(e) or not _expected(e):
      raise
    print(f"mlit {args.command}: {_line(e)}", file=sys.stderr)
    return FAILED


def _reader_has_gone(error: Exception) -> bool:
  """Whether nobody reads what is printed any more, as after `| head`."""
  if not isinstance(error, BrokenPipeError):
    return False
  # It may also be a service that has hung up.
  poll = select.poll()
  poll.register(_STDOUT, select.POLLOUT)
  gone = select.POLLERR | select.POLLHUP
  return any(event & gone for _, event in poll.poll(0))


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
  try:
    code = main()
    sys.stdout.flush()
  except BrokenPipeError as e:
    if not _reader_has_gone(e):
      raise
    # What is still to be printed goes nowhere; the code is the signal's.
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    code = 128 + signal.SIGPIPE
  sys.exit(code)


if __name__ == "__main__":
  run()
