"""Errors that `mlit` tells apart, and the exit statuses beside 0."""

# sysexits.h's EX_TEMPFAIL is PREEMPTED: not done, to be started again.
FAILED, WRONG_USE, PREEMPTED, INTERRUPTED = 1, 2, 75, 130


class UsageError(ValueError):
  """A command or config that cannot be meant; the message says the mend.

  `mlit` prints it on one line and exits with WRONG_USE.
  """


class Preempted(KeyboardInterrupt):
  """The machine is taken away: the same command, started again, goes on.

  As Ctrl-C's, this is no error: whoever handles errors lets it pass. `mlit`
  prints it on one line and exits with PREEMPTED.
  """
