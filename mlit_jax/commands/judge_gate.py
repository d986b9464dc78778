"""Which language gate `mlit judge` uses."""

from mlit_jax.errors import UsageError


def choose(args, spec, prompts):
  """(the gate, the languages it chooses from), or (None, None)."""
  kind, _, file = args.gate.partition(":")
  if kind not in ("auto", "none", "pocket", "identify") or (
      file and kind != "identify"
  ):
    raise UsageError(
        f"--gate {args.gate}: give auto, none, pocket, identify or"
        " identify:FILE"
    )
  if kind == "auto":
    kind = "pocket" if spec.kind == "reference" else "identify"
  if kind == "none" and spec.kind != "reference":
    return None, None
  named = tuple(dict.fromkeys(p.lang for p in prompts))
  if kind == "identify" and spec.kind != "reference":
    return _identification(args, file, named)
  from mlit_jax.data.pocket import world
  from mlit_jax.studies import asking

  candidates = world.language_codes()
  if foreign := set(named) - set(candidates):
    what = "judge" if spec.kind == "reference" else "gate"
    raise UsageError(
        f"{args.prompts}: this {what} knows the pocket world's languages"
        f" ({' '.join(candidates)}), not {' '.join(sorted(foreign))}"
    )
  return asking.pocket_gate(candidates), candidates


def _identification(args, file: str, named: tuple[str, ...]):
  """The fastText gate and the prompts' languages."""
  from mlit_jax import languages
  from mlit_jax.judging import identification

  for code in named:
    try:
      languages.get(code)
    except languages.UnknownLanguageError as e:
      raise UsageError(
          f"{args.prompts}: {e} Mend it, or judge with --gate none"
      ) from None
  return identification.FastTextGate(file), named
