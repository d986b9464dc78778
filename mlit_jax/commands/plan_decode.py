"""The part of `mlit plan` that is about decoding with the run's model."""


def plan(run, slices, num_slots: int) -> dict:
  """Compiles the engine's decoding program; memory and bounds, as JSON values.

  Parameters and cache are bfloat16; a prompt and its answer have half a row of
  the run's data each.

  Args:
    run: its model and its lengths.
    slices: for which chips.
    num_slots: answers under way together, over all chips.

  Raises:
    PartitionError: model or slots do not divide over the chips.
    JaxRuntimeError: the compiler failed for another reason than memory.
  """
  import jax

  from mlit_jax import mesh_presets, partitioning
  from mlit_jax.decoding import ahead
  from mlit_jax.models.interchange.family import boxed_params
  from mlit_jax.training import collectives, setup
  from mlit_jax.training import plan as plan_lib

  model = setup.model(run)
  boxed = boxed_params(model)
  size = 2 * sum(x.size for x in jax.tree.leaves(boxed))
  sizes, reason = mesh_presets.choose(
      "auto",
      mesh_presets.Case(
          mesh_presets.logical_axes(boxed), slices.num_chips, num_slots, size,
          slices.chip.memory, slices.number,
      ),
  )
  mesh = partitioning.make_mesh(sizes, slices.devices())
  length = run.data.row_length
  lowered, params, slots = ahead.lower(
      model, mesh, num_slots=num_slots, prompt=length - length // 2,
      written=length // 2,
  )
  said = {
      "slots": num_slots, "length": length, "mesh": sizes,
      "mesh_reason": reason, "params": params, "cache": slots,
      "available": slices.chip.memory,
  }
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as e:
    if "RESOURCE_EXHAUSTED" not in str(e):
      raise
    return said | {"fits": False, "failure": str(e).splitlines()[0]}
  analysis = compiled.memory_analysis()
  # The loop has up to sixteen steps of a token each.
  program = plan_lib.program_text(compiled) or ""
  found = collectives.read(program, slices.num_chips, slices.per_slice)
  links = sum(c.sent for c in found) / _STEPS
  if links:
    links /= slices.link_bandwidth
  chip = slices.chip
  seconds = max((params + slots) / chip.memory_bandwidth, links)
  return said | {
      "fits": analysis.peak_memory_in_bytes <= chip.memory, "failure": "",
      "peak": analysis.peak_memory_in_bytes,
      "temporary": analysis.temp_size_in_bytes,
      "seconds_per_token": seconds,
      "tokens_per_second": num_slots / seconds,
  }


_STEPS = 16


def text(said: dict) -> list[str]:
  """The lines that `mlit plan` prints of `plan`'s values."""
  gib = 1 << 30
  mesh = " x ".join(f"{a}={n}" for a, n in said["mesh"].items())
  lines = [
      f"  decoding    {said['slots']} answers together, prompt and answer of"
      f" {said['length']} tokens, mesh {mesh} ({said['mesh_reason']})",
      f"              parameters {said['params'] / gib:.3g}, cache"
      f" {said['cache'] / gib:.3g}",
  ]
  if said["failure"]:
    return [*lines, f"              DOES NOT FIT: {said['failure']}"]
  verdict = "fits" if said["fits"] else "DOES NOT FIT"
  return [
      *lines,
      f"              {verdict}: {said['peak'] / gib:.3g} of"
      f" {said['available'] / gib:.4g} GiB a chip at the peak",
      f"              at most {said['tokens_per_second']:,.0f} tokens a second"
      " (weights and cache read once a token; chips' exchanges)",
  ]
