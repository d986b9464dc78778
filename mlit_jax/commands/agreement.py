"""`mlit agreement`: do a judge and people agree?"""

from mlit_jax.commands import outputs, overrides
from mlit_jax.errors import UsageError

SUMMARY = "compare a judge's ratings with people's"
EXAMPLE = """mlit agreement ratings.csv --json agreement.json

the columns are system, lang, human, judge and, where single ratings are given,
item; without it a row is a system's total"""
_MEASURES = (
    "pearson", "spearman", "kendall", "alpha", "agreement", "kappa",
    "weighted_kappa",
)


def add_arguments(parser) -> None:
  parser.add_argument("ratings", metavar="RATINGS.csv")
  parser.add_argument("--json", metavar="OUT", help="write the numbers, too")


def run(args) -> int:
  import pathlib

  from mlit_jax import records
  from mlit_jax.analysis import agreement

  overrides.refuse(args.overrides)
  path = pathlib.Path(args.ratings)
  outputs.keep_inputs([args.json], [path])
  try:
    text = path.read_text(encoding="utf-8-sig")
  except OSError as e:
    raise UsageError(f"{path}: cannot be read ({e.strerror})") from None
  except UnicodeDecodeError:
    raise UsageError(f"{path}: not UTF-8; save it as UTF-8") from None
  try:
    ratings = agreement.read(text)
  except agreement.RatingsError as e:
    raise UsageError(f"{path}: {e}") from None
  found = agreement.summarise(ratings)
  if args.json:
    records.write_json(args.json, found)
  show(found)
  return 0


def show(found) -> None:
  """Prints what analysis.agreement.summarise gives."""
  for lang, levels in found.items():
    for level, measures in levels.items():
      if not any(measures.values()):
        continue
      print(f"{lang}, by {level}:")
      for name in _MEASURES:
        if row := measures.get(name):
          print(f"  {name:<15}{row['value']:8.4f}{_interval(row)}")


def _interval(row) -> str:
  said = f"   n = {row['n']}"
  if row["ci"]:
    said = f"   95% [{row['ci'][0]:.3f}, {row['ci'][1]:.3f}]{said}"
  return said
