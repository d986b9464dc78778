"""`mlit compare`: many systems beside each other, from their judgments."""

from mlit_jax.commands import judge, outputs, overrides
from mlit_jax.errors import UsageError

SUMMARY = "put judged systems beside each other: scores, strengths, differences"
EXAMPLE = """\
mlit compare one.jsonl two.jsonl three.jsonl --json compared.json

takes the judgments that `mlit judge` writes, or FastChat's (--lang), of one
judge and one protocol. Scores per language (a matrix of IF_L, if each language
has one opponent), Bradley-Terry strengths of systems that were compared two by
two, and their differences on the same questions with p-values for so many tests
at a time."""
_SHOWN = 20


def add_arguments(parser) -> None:
  parser.add_argument(
      "judgments", nargs="+", metavar="J.jsonl",
      help="judgments, ours or FastChat's model_judgment",
  )
  parser.add_argument("--lang", help="language of FastChat's questions")
  parser.add_argument("--json", metavar="OUT", help="write all numbers")


def run(args) -> int:
  from mlit_jax import records
  from mlit_jax.analysis import systems

  overrides.refuse(args.overrides)
  if len(set(args.judgments)) < len(args.judgments):
    raise UsageError("a file is given twice")
  outputs.keep_inputs([args.json], args.judgments)
  judgments = [row for path in args.judgments for row in _read(path, args)]
  try:
    found = systems.summarise(judgments)
  except systems.SystemsError as e:
    raise UsageError(f"{', '.join(args.judgments)}: {e}") from None
  if args.json:
    records.write_json(args.json, found)
  failed = sum(bool(j.failure) for j in judgments)
  print(
      f"{found['protocol']} by {found['judge']}: {len(judgments)} judgments,"
      f" {failed} of them failed and left out"
  )
  _print_matrix(found["matrix"])
  if "strengths" in found:
    _print_strengths(found["strengths"])
  _print_differences(found["differences"])
  return 0


def _read(path: str, args) -> list:
  from mlit_jax import records
  from mlit_jax.judging import fastchat

  if not fastchat.is_fastchat(path):
    return records.read_records(path, records.Judgment)
  code = judge.fastchat_language(path, "judgments", args.lang)
  return fastchat.read_judgments(path, code)


def _print_matrix(matrix) -> None:
  langs = list(next(iter(matrix.values())))
  wide = max(map(len, (*matrix, "score")))
  print("\n" + f"{'score':<{wide}}" + "".join(f"{x:>9}" for x in langs))
  for system, cells in matrix.items():
    shown = "".join(
        f"{'–' if cells[x]['score'] is None else format(cells[x]['score'], '.2f'):>9}"  # noqa: E501
        for x in langs
    )
    print(f"{system:<{wide}}{shown}")


def _print_strengths(strengths) -> None:
  from mlit_jax.analysis.judgments import OVERALL

  found = strengths[OVERALL]
  if found is None:
    print(
        "\nno strengths: some systems were never compared with others, directly"
        " or through a third"
    )
    return
  print("\nstrength (Bradley-Terry, log odds)")
  for system, row in found.items():
    print(f"  {row['strength']:+.3f}{_interval(row['ci'])}   {system}")


def _print_differences(rows) -> None:
  from mlit_jax.analysis.judgments import OVERALL

  rows = [row for row in rows if row["lang"] == OVERALL]
  if not rows:
    return
  print("\ndifferences, all languages (p: Holm's, for all of these tests)")
  rows.sort(key=lambda row: row["p_holm"])
  for row in rows[:_SHOWN]:
    against = f", both against {row['against']}" if row["against"] else ""
    print(
        f"  {row['difference']:+.3f}{_interval(row['ci'])}  p"
        f" {row['p_holm']:.4f}   {row['a']} less {row['b']}{against}"
    )
  if len(rows) > _SHOWN:
    print(f"  and {len(rows) - _SHOWN} more; --json has them all")


def _interval(ci) -> str:
  if ci[0] is None:
    return "   no interval"
  return f"   95% [{ci[0]:.3f}, {ci[1]:.3f}]"
