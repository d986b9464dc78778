"""`mlit judge`: compares the answers of two systems."""

from mlit_jax.commands import overrides
from mlit_jax.errors import UsageError

SUMMARY = "judge two systems' responses side by side"
EXAMPLE = (
    "mlit judge side_by_side --judge reference --prompts P.jsonl --a A.jsonl"
    " --b B.jsonl --output J.jsonl"
)
PROTOCOLS = ("side_by_side",)


def add_arguments(parser) -> None:
  parser.add_argument("protocol", choices=PROTOCOLS)
  parser.add_argument("--judge", required=True, metavar="SPEC",
                      help="`reference` (offline, not a language model)")
  parser.add_argument("--prompts", required=True, help="instructions, JSONL")
  parser.add_argument("--a", required=True, help="responses of system a")
  parser.add_argument("--b", required=True, help="responses of system b")
  parser.add_argument("--output", required=True, help="judgments, JSONL; the"
                      " summary goes beside them")


def run(args) -> int:
  overrides.refuse(args.overrides)
  import pathlib

  from mlit_jax import records
  from mlit_jax.analysis import judgments as judgments_lib
  from mlit_jax.data.pocket import world
  from mlit_jax.judging import protocols
  from mlit_jax.studies import comparisons

  prompts = records.read_records(args.prompts, records.Instruction)
  a = records.read_records(args.a, records.Response)
  b = records.read_records(args.b, records.Response)
  candidates = world.language_codes()
  if foreign := {p.lang for p in prompts} - set(candidates):
    raise UsageError(
        f"{args.prompts}: the reference judge knows the pocket world's"
        f" languages ({' '.join(candidates)}), not {' '.join(sorted(foreign))}"
    )
  judge = comparisons.make_judge(args.judge, candidates)
  gate = comparisons.pocket_gate(candidates)
  judgments = protocols.judge(
      protocols.SIDE_BY_SIDE, judge, args.judge, prompts, a, b,
      gate=gate, candidates=candidates,
  )
  output = pathlib.Path(args.output)
  records.write_records(output, judgments)
  summary = judgments_lib.summarise(judgments)
  path = output.with_suffix(".summary.json")
  records.write_json(path, summary)
  overall = summary["overall"]
  print(
      f"{overall['score']:.1f} for {args.a} (n = {overall['n']}; {args.judge}"
      f" judge, not a language model): {path}"
  )
  return 0
