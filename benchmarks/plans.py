"""Makes docs/plan.md: every paper model on slices of v4, v5e, v5p and v6e.

    python benchmarks/plans.py [--only TEXT] [--minutes N] [--jobs N]
    python benchmarks/plans.py --figures | --write

Each plan is one `mlit plan --no_search --json`, half a minute to some minutes
of compiling; its result is kept in benchmarks/plans/, so that a run that was
stopped goes on where it was. Runs of one shape (LLaMA, LLaMA 2 and OpenLLaMA
of 7B) are compiled once. Of 24EU-7B no shape is published. A result is the
config's, whatever the code was: it holds the day and the commit (+: with
changes) at which it was compiled, and the page shows them; delete its file to
compile it anew. --figures makes operations, seconds, hours and cost anew by the
formulas of today, from the memory and the traffic that were compiled. --write
only writes the page from what there is.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import importlib
import json
import pathlib
import subprocess
import sys
import time

from mlit_jax import records

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "plans"
PAGE = ROOT / "docs" / "plan.md"
BEGIN, END = "<!-- tables: benchmarks/plans.py -->", "<!-- end -->"

# The same work as MaxText's own figures: rows of 2,048 tokens, a row a chip,
# full remat, everything cut along fsdp; and MaxText's peak in GiB a chip.
_EQUAL = (
    "--config.data.row_length=2048", "--config.train.remat=full",
    "--config.train.loss=chunked",
)
_FSDP = ("--config.mesh.preset=fsdp",)
_LORA = (*_FSDP, "--config.lora.rank=16")
COMPARED = (
    ("llama2_7b", "v5litepod-8", 8, _FSDP, 15.00),
    ("llama2_7b", "v5litepod-64", 64, _FSDP, 3.19),
    ("llama2_7b", "v5litepod-64", 256, _FSDP, 5.40),
    ("llama2_7b", "v5p-32", 16, _FSDP, 8.14),
    ("mixtral_8x7b", "v5p-128", 64, (), 16.8),
    ("llama2_7b:lora", "v5litepod-64", 64, _LORA, 1.64),
    ("llama2_7b:lora", "v5p-32", 16, _LORA, 2.75),
)
MODELS = (
    "bloom_7b1", "llama_7b", "mixtral_8x7b", "llama_13b", "llama2_7b",
    "llama2_13b", "openllama_7b", "baichuan2_7b", "gemma_2b", "gemma_7b",
    "bloom_560m", "bloom_1b1", "bloom_1b7", "bloom_3b",
    "mt5_small", "mt5_base", "mt5_large", "mt5_xl", "mt5_xxl", "pythia_70m",
    "pythia_160m", "pythia_410m", "pythia_1b", "pythia_1b4", "pythia_2b8",
    "pythia_6b9", "pythia_12b",
)
SLICES = ("v5litepod-64", "v5p-32", "v4-64", "v6e-32")
MORE = (("llama_7b:lora", "v5litepod-8"),)  # small slices that are enough


def command(config: str, accelerator: str, flags=()) -> list[str]:
  return [
      "--config", config, "--topology", accelerator, "--no_search", *flags,
  ]


def compared() -> list[tuple[list[str], float]]:
  return [
      (
          command(
              config, accelerator,
              (*_EQUAL, f"--config.train.batch_size={rows}", *more),
          ),
          peak,
      )
      for config, accelerator, rows, more, peak in COMPARED
  ]


def table() -> list[list[str]]:
  found = []
  for config in MODELS:
    module = importlib.import_module(f"mlit_jax.configs.train.{config}")
    for preset in ("full", "lora"):
      if preset in module.PRESETS:
        found += [command(f"{config}:{preset}", where) for where in SLICES]
  return found + [command(*run) for run in MORE]


def identity(line: list[str]) -> str:
  """What the compiler is given: the run without its name.

  Fields at their defaults are left out, so that a new one changes nothing.
  """
  run, topology = _load(line)
  run = _said(run)
  for name in ("name", "plan", "checkpoint", "logging", "seed"):
    run.pop(name, None)
  text = json.dumps([run, topology], sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _load(line: list[str]):
  """The run of a command line, and its slice."""
  from mlit_jax import main
  from mlit_jax.commands import train_config

  args, rest = main.parser().parse_known_args(["plan", *line])
  args.overrides = rest
  return train_config.load(args), args.topology


def _said(value):
  """A config's fields that are not at their defaults, as plain values."""
  if not dataclasses.is_dataclass(value):
    return value
  found = {}
  for field in dataclasses.fields(value):
    given, default = getattr(value, field.name), field.default
    if field.default_factory is not dataclasses.MISSING:
      default = field.default_factory()
    if given != default:
      found[field.name] = _said(given)
  return found


def fill(lines: list[list[str]], until: float, only: str, jobs: int) -> None:
  """Compiles the plans that have no file yet, `jobs` at once."""
  RESULTS.mkdir(exist_ok=True)
  missing = {}
  for line in lines:
    file = RESULTS / f"{identity(line)}.json"
    if only in " ".join(line) and not file.exists():
      missing.setdefault(file, line)

  def one(file, line):
    if time.monotonic() > until:
      return
    print(" ".join(line), flush=True)
    code = commit()
    done = subprocess.run(
        [sys.executable, "-m", "mlit_jax.main", "plan", *line, "--json", file],
        cwd=ROOT, capture_output=True, text=True,
    )
    if not file.exists():
      print(f"  {done.stderr.strip().splitlines()[-1:]}", flush=True)
      return
    found = json.loads(file.read_text(encoding="utf-8"))
    found["compiled"] = f"{time.strftime('%Y-%m-%d', time.gmtime())} {code}"
    records.write_json(file, found)

  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    list(pool.map(lambda found: one(*found), missing.items()))


def result(line: list[str]) -> dict | None:
  """The plan of a command line, if it was compiled."""
  file = RESULTS / f"{identity(line)}.json"
  if not file.exists():
    return None
  found = json.loads(file.read_text(encoding="utf-8"))
  return found["plans"][0] | {"compiled": found["compiled"]}


def refigure(line: list[str]) -> None:
  """Makes a result's figures anew from what the compiler had said."""
  import jax

  from mlit_jax.commands import plan as command
  from mlit_jax.models.interchange import family
  from mlit_jax.partitioning import MESH_AXES
  from mlit_jax.training import accelerators, flops, plan, setup

  file = RESULTS / f"{identity(line)}.json"
  if not file.exists():
    return
  found = json.loads(file.read_text(encoding="utf-8"))
  (old,) = found["plans"]
  run, _ = _load(line)
  slices, shape = accelerators.parse(old["accelerator"]), setup.model(run)
  config = setup.step_config(run)
  memory = plan.Memory(**{"best": 0} | old["memory"])
  batch = old["batch"]
  work = tuple(
      batch[name] for name in ("rows", "length", "loss_length", "input_length")
  )
  done = plan.executed(config, shape, work, slices.num_chips)
  times, kinds = None, [old["collectives"], old.get("between_slices", {})]
  if not old["failure"]:
    sent = None if None in kinds else [
        sum(kind["sent"] for kind in by_kind.values()) for by_kind in kinds
    ]
    weights = sum(
        x.size for x in jax.tree.leaves(family.abstract_params(shape))
    )
    times = plan.bounds(
        config, slices, dict.fromkeys(MESH_AXES, 1) | old["mesh"], weights,
        memory, sent, done,
    )
  made = plan.Plan(
      run, slices, old["mesh"], old["mesh_reason"], memory, old["failure"], [],
      *kinds, flops.train_step(shape, *work, config.lora), done, times,
      old["compile_seconds"],
  )
  said = command.describe(made) | {"versions": old["versions"]}
  found["plans"] = [old | said]
  records.write_json(file, found)


def commit() -> str:
  """The commit that is checked out; with a + if files of the package differ."""
  def git(*arguments):
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True,
        check=True,
    ).stdout.strip()

  changed = git("status", "--porcelain", "--", "mlit_jax", "configs")
  return git("rev-parse", "--short", "HEAD") + "+" * bool(changed)


def row(config: str, plan: dict) -> str:
  """A line of the table."""
  gib, batch = 1 << 30, plan["batch"]
  memory = plan["memory"]
  mesh = " × ".join(f"{axis} {n}" for axis, n in plan["mesh"].items())
  cells = [
      config, plan["accelerator"], f"{batch['rows']} × {batch['length']}", mesh,
  ]
  if not plan["fits"]:
    why = "does not fit"
    if not plan["failure"]:
      why += f": {memory['peak'] / gib:.1f}"
    cells += [why, "", "", "", plan["compiled"]]
    return "| " + " | ".join(cells) + " |"
  seconds, mfu = plan["seconds"], plan["mfu"]
  hours = plan.get("study", {}).get("hours")
  cells += [
      f"{memory['peak'] / gib:.2f} of {memory['available'] / gib:.2f}",
      f"{_short(seconds['best'])}–{_short(seconds['worst'])}",
      f"{100 * mfu['best']:.0f}–{100 * mfu['worst']:.0f} %",
      f"{_short(hours[0])}–{_short(hours[1])}" if hours else "",
      plan["compiled"],
  ]
  return "| " + " | ".join(cells) + " |"


def _short(number: float) -> str:
  """In three digits, or whole."""
  return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def write() -> None:
  """Writes the tables of what was compiled into the page."""
  lines = [
      BEGIN, "", "### Beside MaxText's own ahead-of-time compile", "",
      "Peak GiB a chip, rows of 2,048 tokens, full remat, chunked loss:", "",
      "| run | slice | rows | MaxText | here | | compiled |",
      "|---|---|---|---|---|---|---|",
  ]
  for (line, theirs), (*_, rows, _, _) in zip(
      compared(), COMPARED, strict=True
  ):
    said = "not compiled yet | |"
    if (plan := result(line)) is not None:
      ours = plan["memory"]["peak"] / (1 << 30)
      said = f"{ours:.2f} | {ours / theirs:.0%} | {plan['compiled']}"
    lines.append(
        f"| {line[1]} | {line[3]} | {rows} | {theirs:.2f} | {said} |"
    )
  lines += [
      "", "### Every model of the papers, as its config has it", "",
      "| run | slice | batch | mesh | peak GiB a chip | s a step | MFU |"
      " hours of the study | compiled |",
      "|---|---|---|---|---|---|---|---|---|",
  ]
  missing, every, versions = 0, table(), set()
  for line in every:
    if (plan := result(line)) is not None:
      lines.append(row(line[1], plan))
      versions.add(" and ".join(
          f"{name} {version}" for name, version in plan["versions"].items()
      ))
    else:
      missing += 1
  lines += ["", f"By {'; '.join(sorted(versions))}."]
  if missing:
    lines += [
        "", f"{missing} of {len(every)} are not compiled yet; `python"
        " benchmarks/plans.py` goes on with them.",
    ]
  page = PAGE.read_text(encoding="utf-8")
  before, _, rest = page.partition(BEGIN)
  after = rest.partition(END)[2]
  PAGE.write_text(
      before + "\n".join(lines) + f"\n\n{END}" + after, encoding="utf-8"
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--only", default="", help="lines that hold this text")
  parser.add_argument("--minutes", type=float, default=600)
  parser.add_argument("--jobs", type=int, default=1, help="compiled at once")
  parser.add_argument("--write", action="store_true", help="compile nothing")
  parser.add_argument(
      "--figures", action="store_true",
      help="compile nothing; figures by today's formulas",
  )
  args = parser.parse_args()
  lines = [line for line, _ in compared()] + table()
  if args.figures:
    for line in lines:
      refigure(line)
  elif not args.write:
    until = time.monotonic() + 60 * args.minutes
    fill(lines, until, args.only, args.jobs)
  write()


if __name__ == "__main__":
  main()
