"""Runs a translator as a command does: progress, signals, what was left."""

import asyncio
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from mlit_jax.translation import translator


class Running(Protocol):
  """A Translator, or what else runs jobs."""

  outcome: translator.Outcome

  def stop(self, why: str) -> None:
    """Sends nothing more."""

  async def run(self, jobs: Iterable[translator.Job]) -> translator.Outcome:
    """Gets what the store lacks."""


class Runner:
  """Runs jobs; several runs share one cap on what may be spent."""

  def __init__(
      self, make: Callable[..., "Running"], settings: translator.Settings
  ):
    """Takes what makes a run of (settings, show)."""
    self._make, self._settings = make, settings
    self._last = 0.0

  def run(self, jobs: Iterable[translator.Job]) -> translator.Outcome:
    """Gets what the store lacks; see `Translator.run` for errors.

    The first Ctrl-C or SIGTERM waits for what is under way, which is paid for;
    the second one ends the process.
    """
    running = self._make(self._settings, self._show)
    left = running.outcome.interrupted
    if left.requests:
      print(
          f"{left.requests} requests ({left.segments} segments,"
          f" {left.characters} characters) were in flight when an earlier run"
          " was killed; they may be charged twice",
          file=sys.stderr,
      )
    self._last = time.monotonic()
    try:
      outcome = asyncio.run(_with_signals(running, jobs))
    finally:
      self._show(running.outcome, last=True)
    if self._settings.max_cost is not None:
      self._settings = dataclasses.replace(
          self._settings, max_cost=self._settings.max_cost - outcome.cost
      )
    return outcome

  def _show(self, outcome: translator.Outcome, last: bool = False) -> None:
    """A moving line on a terminal; elsewhere a line every half minute."""
    moving = sys.stderr.isatty()
    now = time.monotonic()
    due = last or now - self._last > (0.2 if moving else 30)
    if not outcome.requests or not due:
      return
    self._last = now
    text = (
        f"{outcome.segments} segments, {outcome.requests} requests,"
        f" {outcome.characters} characters"
    )
    if self._settings.price:
      text += f", cost {outcome.cost:.2f}"
    if outcome.repeated:
      text += f", {outcome.repeated.total()} repeated"
    begin, end = ("\r", "\n" if last else "") if moving else ("", "\n")
    print(f"{begin}{text}", end=end, file=sys.stderr, flush=True)


async def _with_signals(
    running: Running, jobs: Iterable[translator.Job]
) -> translator.Outcome:
  loop = asyncio.get_running_loop()
  numbers = (signal.SIGINT, signal.SIGTERM)

  def stop(number: signal.Signals) -> None:
    running.stop(number.name)
    loop.remove_signal_handler(number)

  for number in numbers:
    loop.add_signal_handler(number, stop, number)
  try:
    return await running.run(jobs)
  finally:
    for number in numbers:
      loop.remove_signal_handler(number)
