"""`mlit study --plan` and `--status`, as text."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence

from mlit_jax.errors import UsageError

_UNITS = ("", "k", "M", "G", "T", "P", "E", "Z")
_MILLION = 1e6


def add_arguments(parser) -> None:
  group = parser.add_argument_group("plan")
  group.add_argument(
      "--plan", action="store_true",
      help="print the graph and what it will take, and stop",
  )
  group.add_argument(
      "--accelerator", metavar="NAME",
      help="estimate hours on it, e.g. v5litepod-16, v4-32, 2xv5p-64",
  )
  group.add_argument(
      "--mfu", type=float, default=0.4, metavar="SHARE",
      help="share of the accelerator's peak that training reaches"
      " (default 0.4; measure yours)",
  )
  group.add_argument(
      "--price", type=float, metavar="USD", help="of a chip for an hour"
  )
  group.add_argument(
      "--json", action="store_true", help="the plan's steps as JSON"
  )


def run(args, graph, config, workdir, again) -> int:
  """Prints the plan; steps named in `again` are to be done in any case."""
  from mlit_jax.studies import expected, plan, plan_translation
  from mlit_jax.training import accelerators

  slices = None
  if args.accelerator:
    try:
      slices = accelerators.parse(args.accelerator)
    except accelerators.AcceleratorError as e:
      raise UsageError(f"--accelerator: {e}") from None
  if not 0 < args.mfu <= 1:
    raise UsageError(f"--mfu {args.mfu:g}: give a share above 0, at most 1")
  if args.price is not None and slices is None:
    raise UsageError("--price needs --accelerator, whose chips it is of")
  for name, value in (
      ("price", args.price),
      ("study.translation.price", config.translation.price),
  ):
    if value is not None and not value >= 0:
      raise UsageError(f"--{name} {value:g}: give 0 or more")
  costs = plan.estimate(graph, config, workdir, again)
  if args.json:
    print(json.dumps([dataclasses.asdict(c) for c in costs], indent=1))
    return 0
  _print_steps(costs, slices, args.mfu)
  print()
  for line in _totals(costs, slices, args, _judge_price(config)):
    print(line)
  if options := expected.missing(graph, config):
    print(
        "not there yet, its size assumed; before it begins give"
        f" {', '.join(options)}"
    )
  for line in _translations(
      plan_translation.translations(graph, config), config.translation.price
  ):
    print(line)
  return 0


def print_status(states: Mapping[str, str]) -> int:
  for name, state in states.items():
    print(f"{state:<5} {name}")
  done = sum(state == "done" for state in states.values())
  print(f"{done} of {len(states)} steps done", file=sys.stderr)
  return 0


def _judge_price(config) -> tuple[float, float]:
  from mlit_jax.studies import judge_setup

  return judge_setup.prices("judging.price", config.judging.price)


def _print_steps(costs: Sequence, slices, mfu: float) -> None:
  widest = max(len(cost.step) for cost in costs)
  hours = "   hours" if slices else ""
  print(
      f"state {'step':<{widest}} {'examples':>9} {'tokens':>8} {'steps':>7}"
      f" {'FLOPs':>8}{hours} {'judge calls':>11} {'disk':>8}  needs"
  )
  for cost in costs:
    cells = [
        f"{cost.state:<5} {cost.step:<{widest}}",
        f"{cost.examples or '':>9}", f"{_short(cost.tokens):>8}",
        f"{cost.steps or '':>7}", f"{_short(cost.flops):>8}",
    ]
    if slices:
      time = cost.seconds(slices, mfu) / 3600
      cells.append(f"{f'{time:.3g}' if time else '':>7}")
    cells += [f"{cost.calls or '':>11}", f"{_short(cost.disk, 'B'):>8}"]
    if not cost.is_known:
      cells.append(" (no estimate)")
    print(" ".join(cells) + f"  {_few(cost.needs)}")


def _totals(costs: Sequence, slices, args, judge_price):
  yield "totals; in brackets: of what is not done yet"

  def both(label, value, write):
    whole = sum(value(cost) for cost in costs)
    left = sum(value(cost) for cost in costs if cost.state != "done")
    return f"{label}: {write(whole)} [{write(left)}]"

  yield both("training runs", lambda c: c.runs, str)
  yield both("training tokens", lambda c: c.tokens if c.steps else 0, _whole)
  yield both("training steps", lambda c: c.steps, _whole)
  yield both("operations", lambda c: c.flops, _amount)
  if slices:
    yield both(
        f"hours on {slices.name} ({slices.num_chips} chips, {args.mfu:.0%} of"
        " their peak; without compiling, loading and saving)",
        lambda c: c.seconds(slices, args.mfu) / 3600, "{:,.3g}".format,
    )
    if args.price is not None:
      rate = slices.num_chips * args.price
      yield both(
          f"cost of that at ${args.price:g} a chip and hour",
          lambda c: rate * c.seconds(slices, args.mfu) / 3600,
          "${:,.2f}".format,
      )
  else:
    yield "hours: name an --accelerator"
  yield both("judge calls", lambda c: c.calls, _whole)
  if any(c.judge_input for c in costs):
    yield both("judge tokens read", lambda c: c.judge_input, _whole)
    yield both("judge tokens written", lambda c: c.judge_output, _whole)
    if any(judge_price):
      read, written = judge_price
      yield both(
          "cost of the judge, at most",
          lambda c: (
              c.judge_input * read + c.judge_output * written
          ) / _MILLION,
          "${:,.2f}".format,
      )
    else:
      yield "cost of the judge: give --study.judging.price=IN,OUT"
  elif any(c.calls for c in costs):
    yield "cost of the judge: none, it runs here"
  yield both("disk", lambda c: c.disk, lambda n: _amount(n, "B"))
  if unknown := [c.step for c in costs if not c.is_known]:
    yield f"not estimated: {_few(unknown)}"


def _translations(found: Sequence, price: float):
  """What to translate first, and its price a million characters."""
  from mlit_jax.studies import plan_translation

  if not found:
    yield "to translate: nothing"
    return
  total = sum(row.characters for row in found)
  yield (
      f"to translate first (mlit translate): {total:,} characters,"
      f" ${total / _MILLION * price:,.2f} at ${price:g} a million"
  )
  for row in found:
    assumed = ", its size assumed" if row.is_assumed else ""
    yield (
        f"  {row.source}{assumed}: {row.rows:,} rows from"
        f" {plan_translation.language_names([row.origin])} into"
        f" {plan_translation.language_names(row.languages)}:"
        f" {row.characters:,} characters,"
        f" ${row.characters / _MILLION * price:,.2f}"
    )


def _short(number: float, unit: str = "") -> str:
  """1.5M; nothing for 0."""
  if not number:
    return ""
  for prefix in _UNITS:
    if number < 1000 or prefix == _UNITS[-1]:
      return f"{number:.3g}{prefix}{unit}"
    number /= 1000
  raise AssertionError


def _amount(number: float, unit: str = "") -> str:
  return _short(number, unit) or "0"


def _whole(number: float) -> str:
  return f"{number:,.0f}"


def _few(names: Sequence[str]) -> str:
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return ", ".join(names[:3]) + more
