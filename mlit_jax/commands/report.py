"""`mlit report`: the report of a study, built anew from its files."""

SUMMARY = "build a study's report again from its results"
EXAMPLE = """mlit report runs/pocket
  mlit report runs/seed1 --against runs/seed0   writes comparison.html"""


def add_arguments(parser) -> None:
  parser.add_argument("directory", metavar="DIR", help="a study's workdir")
  parser.add_argument(
      "--study", metavar="FILE", help="the file of a study of your own"
  )
  parser.add_argument(
      "--against", metavar="DIR",
      help="another one: write what differs, question by question, into the"
      " first one's comparison.html",
  )


def run(args) -> int:
  import pathlib

  from mlit_jax.commands import overrides
  from mlit_jax.errors import UsageError
  from mlit_jax.studies import loading
  from mlit_jax.studies.report import comparison_page, page

  overrides.refuse(args.overrides)
  if args.against is not None:
    path = comparison_page.write(args.directory, args.against)
    print(f"comparison: {path}")
    return 0
  view = None
  if args.study is not None:
    view = getattr(loading.study(args.study), "view", None)
    if view is None:
      raise UsageError(f"{args.study}: it has no view, which makes the page")
  print(f"report: {page.write_report(pathlib.Path(args.directory), view)}")
  return 0
