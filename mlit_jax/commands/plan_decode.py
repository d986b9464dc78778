"""The part of `mlit plan` that is about decoding with the run's model."""

import math


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
  from mlit_jax.decoding.slots import STEPS
  from mlit_jax.models.interchange.family import boxed_params
  from mlit_jax.training import collectives, flops, setup
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
  prompt, written = length - length // 2, length // 2
  lowered, params, slots = ahead.lower(
      model, mesh, num_slots=num_slots, prompt=prompt, written=written
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
  chip, kinds = slices.chip, [None, None]
  if (program := plan_lib.program_text(compiled)) is not None:
    found = collectives.read(program, slices.num_chips, slices.per_slice)
    # The loop has up to STEPS steps of a token each.
    kinds = [
        _of_each(collectives.by_kind(found, between), STEPS)
        for between in (False, True)
    ]
  links, network = (
      sum(c["sent"] for c in kind.values()) if kind else 0.0 for kind in kinds
  )
  operations = flops.decode_step(model, num_slots, prompt, written)
  seconds = max(
      (params + slots) / chip.memory_bandwidth,
      operations / (slices.num_chips * chip.flops),
      links / slices.link_bandwidth if links else 0.0,
      network / (chip.network_bandwidth or math.inf),
  )
  return said | {
      "fits": analysis.peak_memory_in_bytes <= chip.memory, "failure": "",
      "peak": analysis.peak_memory_in_bytes,
      "temporary": analysis.temp_size_in_bytes,
      "collectives": kinds[0],
      "between_slices": kinds[1],
      "operations": operations,
      "seconds_per_token": seconds,
      "tokens_per_second": num_slots / seconds,
  }


def _of_each(kinds: dict, steps: int) -> dict:
  """Of one step, from what all of them do."""
  return {
      kind: {name: n / steps for name, n in found.items()}
      for kind, found in kinds.items()
  }


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
  from mlit_jax.training import collectives

  verdict = "fits" if said["fits"] else "DOES NOT FIT"
  return [
      *lines,
      f"              {verdict}: {said['peak'] / gib:.3g} of"
      f" {said['available'] / gib:.4g} GiB a chip at the peak",
      *(
          line for where in ("collectives", "between_slices")
          for line in collectives.lines(
              said[where], where == "between_slices", "a token"
          )
      ),
      f"              at most {said['tokens_per_second']:,.0f} tokens a second"
      " (weights and cache read once a token; operations at the chip's peak;"
      " chips' exchanges)",
  ]
