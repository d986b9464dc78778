"""`mlit plan`: does a run fit a TPU slice, and what will it cost?"""

from mlit_jax.commands import train_config
from mlit_jax.errors import UsageError

SUMMARY = "compile a run's step for TPUs that are not there: memory, time, cost"
EXAMPLE = """mlit plan --config llama_7b:lora --topology v5litepod-8
  mlit plan --config bloom_7b1 --topology v5e:8x8,v5p-32 --json plan.json
    --config.plan.price=1.2"""
_GIB = 1 << 30


def add_arguments(parser) -> None:
  train_config.add_arguments(parser)
  parser.add_argument(
      "--topology", metavar="NAME[,NAME]",
      help="TPU slices as gcloud calls them (v5litepod-16, v4-32, 2xv5p-64), or"
      " v5e:4x4; default: the config's plan.accelerator",
  )
  parser.add_argument(
      "--json", metavar="OUT", help="write everything here as JSON"
  )
  parser.add_argument(
      "--layout", action="store_true",
      help="print how each array of the training state is cut",
  )
  parser.add_argument(
      "--no_search", action="store_true",
      help="do not look for what would fit",
  )
  parser.add_argument(
      "--decode", type=int, metavar="SLOTS",
      help="compile decoding with the model, too: so many answers together",
  )
  parser.add_argument("--workdir", help="not used; as of mlit train")


def run(args) -> int:
  if args.config_help:
    train_config.print_help()
    return 0
  import os
  import pathlib
  import warnings

  # Nothing runs: a TPU of this machine is left to those who use it.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  config = train_config.load(args)
  from mlit_jax import partitioning, records
  from mlit_jax.training import accelerators
  from mlit_jax.training import plan as plan_lib

  if args.json and not (folder := pathlib.Path(args.json).parent).is_dir():
    raise UsageError(f"--json {args.json}: no directory {folder}; make it")

  if args.decode is not None and args.decode < 1:
    raise UsageError(f"--decode {args.decode}: at least one answer")
  names = (args.topology or config.plan.accelerator).split(",")
  try:
    slices = [accelerators.parse(name) for name in names]
  except accelerators.AcceleratorError as e:
    raise UsageError(str(e)) from None
  found = []
  for where in slices:
    try:
      with warnings.catch_warnings():
        # A program for chips that are not here cannot be taken from a cache;
        # it is compiled again.
        warnings.filterwarnings("ignore", "Error reading persistent compilat")
        found.append(_plan(config, where, args))
    except (partitioning.PartitionError, plan_lib.PlanError) as e:
      if len(slices) == 1:
        raise
      # The others were asked for, too.
      print(f"{config.name} on {where.name}: NO PLAN: {e}", flush=True)
      found.append({
          "run": config.name, "accelerator": where.name, "fits": False,
          "failure": str(e),
      })
    if args.json:
      records.write_json(args.json, {"plans": found})
  parts = [*found, *(plan["decode"] for plan in found if "decode" in plan)]
  return 0 if all(part["fits"] for part in parts) else 1


def _plan(config, slices, args) -> dict:
  """Prints a plan and what would fit; returns both as JSON values."""
  import sys

  from mlit_jax.training import plan as plan_lib
  from mlit_jax.training import plan_search

  print(
      f"compiling {config.name} for {slices.name} …", file=sys.stderr,
      flush=True,
  )
  plan = plan_lib.make(config, slices)
  said = describe(plan)
  print("\n".join(text(said)), flush=True)
  if args.layout:
    from mlit_jax import partitioning

    print(partitioning.layout_table(plan.layout))
  if args.decode is not None:
    from mlit_jax.commands import plan_decode

    said["decode"] = plan_decode.plan(config, slices, args.decode)
    print("\n".join(plan_decode.text(said["decode"])), flush=True)
  if plan.fits or args.no_search:
    return said
  found = plan_search.search(
      config, slices,
      show=lambda line: print(f"  {line}", file=sys.stderr, flush=True),
  )
  if found is None:
    print("nothing that was tried fits: a smaller model, or LoRA")
    return said | {"suggestion": None}
  flags, better = found
  print(f"what would fit: add {' '.join(flags)}")
  better = describe(better)
  print("\n".join(text(better)), flush=True)
  return said | {"suggestion": {"flags": list(flags), "plan": better}}


def describe(plan) -> dict:
  """A plan as JSON values: bytes, seconds, operations of a step."""
  import dataclasses
  import importlib.metadata

  from mlit_jax.commands import train_data
  from mlit_jax.training import plan as plan_lib

  run, times = plan.run, plan.times
  said = {
      "run": run.name,
      "accelerator": plan.slices.name,
      "topology": plan.slices.topology,
      "chips": plan.slices.num_chips,
      "mesh": plan.mesh,
      "mesh_reason": plan.reason,
      "batch": plan.batch,
      "settings": {
          name: getattr(run.train, name)
          for name in ("precision", "remat", "loss", "accumulation")
      } | {"lora_rank": run.lora.rank if run.lora else None},
      "fits": plan.fits,
      "failure": plan.failure,
      "memory": dataclasses.asdict(plan.memory),
      "collectives": plan.collectives,
      "between_slices": plan.between_slices,
      "model_flops": plan.model_flops,
      "device_flops": plan.device_flops,
      "compile_seconds": round(plan.compile_seconds, 1),
      "versions": {
          name: importlib.metadata.version(name) for name in ("jax", "libtpu")
      },
  }
  if times is not None:
    said["seconds"] = dataclasses.asdict(times) | {
        "best": times.best, "worst": times.worst,
    }
    said["mfu"] = {
        "best": plan.mfu(times.best), "worst": plan.mfu(times.worst),
    }
    # Adapters over one base are learnt in one program.
    programs = -(-run.plan.runs // max(1, len(run.data.directories)))
    steps = train_data.num_steps(run) or plan_lib.num_steps(run)
    steps *= programs
    if steps:
      hours = [steps * t / 3600 for t in (times.best, times.worst)]
      chip_hours = [plan.slices.num_chips * h for h in hours]
      said["study"] = {
          "runs": run.plan.runs, "steps": steps, "hours": hours,
          "chip_hours": chip_hours, "price": run.plan.price,
          "cost": [run.plan.price * h for h in chip_hours],
      }
  return said


def text(said: dict) -> list[str]:
  """The lines that `mlit plan` prints of `describe`'s values."""
  from mlit_jax.training import collectives

  memory, batch, how = said["memory"], said["batch"], said["settings"]
  mesh = " x ".join(f"{a}={n}" for a, n in said["mesh"].items()) or "1 chip"
  number = how["accumulation"]
  lora = f", LoRA of rank {how['lora_rank']}" if how["lora_rank"] else ""
  lines = [
      f"{said['run']} on {said['accelerator']}: {said['chips']}"
      f" chip{'s' * (said['chips'] > 1)}"
      f" ({said['topology']})",
      f"  mesh        {mesh} ({said['mesh_reason']})",
      f"  batch       {batch['rows']} rows of {batch['length']} tokens"
      f"{f' in {number} parts' if number > 1 else ''}, {how['precision']},"
      f" remat {how['remat']}{lora}",
  ]
  parts = ", ".join(
      f"{name} {_gib(memory[name])}"
      for name in ("params", "base", "optimizer", "best", "batch", "temporary")
      if memory[name]
  )
  if said["failure"]:
    lines.append(f"  memory      DOES NOT FIT: {said['failure']}")
    lines.append(f"              GiB a chip: {parts}")
    return lines
  verdict = "fits" if said["fits"] else "DOES NOT FIT"
  lines += [
      f"  memory      {verdict}: {_gib(memory['peak'])} of"
      f" {_gib(memory['available'])} GiB a chip at the peak",
      f"              {parts}",
  ]
  for where in "collectives", "between_slices":
    lines += collectives.lines(said[where], where == "between_slices")
  t, mfu = said["seconds"], said["mfu"]
  links, network = (
      "not known" if t[name] is None else f"{t[name]:.3g}"
      for name in ("links", "network")
  )
  lines += [
      f"  operations  {said['model_flops']:.3g} a step by formula;"
      f" {said['device_flops']:.3g} with what is done again",
      f"  seconds     arithmetic {t['compute']:.3g}, HBM {t['memory']:.3g},"
      f" links {links}"
      + ("" if t["network"] == 0 else f", between slices {network}"),
      f"  a step      {t['best']:.3g} s (MFU {mfu['best']:.0%}) if all overlap,"
      f" {t['worst']:.3g} s (MFU {mfu['worst']:.0%}) if chips then talk",
  ]
  if study := said.get("study"):
    low, high = study["hours"]
    line = (
        f"  the study   {study['runs']} runs, {study['steps']:,} steps:"
        f" {low:,.1f} to {high:,.1f} hours"
    )
    if study["price"]:
      low, high = study["cost"]
      line += f", {low:,.0f} to {high:,.0f} at {study['price']:g} a chip-hour"
    lines.append(line)
  return lines


def _gib(size: float) -> str:
  return f"{size / _GIB:.{2 if size >= _GIB else 3}f}"
