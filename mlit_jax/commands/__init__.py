"""The subcommands of `mlit`, a module each."""

import dataclasses
from collections.abc import Callable

from mlit_jax.commands import (
    agreement,
    annotate,
    compare,
    convert,
    data,
    decode,
    eval,
    judge,
    plan,
    report,
    score,
    study,
    train,
    translate,
)


@dataclasses.dataclass(frozen=True)
class Command:
  """A subcommand.

  Attributes:
    summary: one line for the help.
    example: a command line that works.
    add_arguments: adds its arguments to a parser.
    run: does it; returns the exit code.
  """

  summary: str
  example: str
  add_arguments: Callable
  run: Callable


COMMANDS = {
    module.__name__.rsplit(".", 1)[1]: Command(
        module.SUMMARY, module.EXAMPLE, module.add_arguments, module.run
    )
    for module in (
        study, data, translate, train, plan, decode, score, eval, judge,
        compare, agreement, annotate, report, convert,
    )
}
