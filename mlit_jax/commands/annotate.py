"""`mlit annotate`: sheets for people, out and in."""

from mlit_jax.commands import outputs, overrides
from mlit_jax.errors import UsageError

SUMMARY = "make sheets for people to rate answers, and read them back"
EXAMPLE = """\
mlit annotate make rating --prompts P.jsonl --a A.jsonl OTHER.jsonl --number 50 --output sheets
  mlit annotate make rating --study runs/alpaca --a all mono-en --number 50 --output sheets
  mlit annotate make side_by_side --prompts P.jsonl --a A.jsonl --b B.jsonl --output sheets
  mlit annotate read sheets/key.jsonl he-anna.json ben=sheet-he.csv --output people.jsonl --judge J.jsonl"""  # noqa: E501
_MAKE = """\
example: mlit annotate make rating --prompts P.jsonl --a A.jsonl --output sheets

writes sheet-LANG.html and sheet-LANG.csv for each language, the same in two
forms, and key.jsonl, which says which system is which: keep it from raters."""
_READ = """\
example: mlit annotate read sheets/key.jsonl he-anna.json --output people.jsonl

writes people's judgments (human:RATER), with --judge also what both gave
(people.ratings.csv, as `mlit agreement` takes it), and people.summary.json."""
KEY = "key.jsonl"


def add_arguments(parser) -> None:
  import argparse

  actions = parser.add_subparsers(dest="action", required=True)
  raw = argparse.RawDescriptionHelpFormatter
  make = actions.add_parser(
      "make", help="write sheets: HTML pages and CSV", epilog=_MAKE,
      formatter_class=raw,
  )
  add = make.add_argument
  add("protocol", choices=(
      "side_by_side", "rating", "mt_bench", "correctness", "rubric"
  ))
  add("--prompts", help="instructions, JSONL (or FastChat's questions)")
  add("--study", metavar="DIR",
      help="instead of --prompts: a study's directory; --a and --b are then"
      " names of its systems")
  add("--a", required=True, nargs="+", metavar="FILE",
      help="responses, JSONL (or FastChat's answers); of several systems,"
      " unless there is --b")
  add("--b", metavar="FILE", help="responses of a system to compare with")
  add("--output", required=True, metavar="DIR", help="a new directory")
  add("--number", type=int, default=0, metavar="N",
      help="draw N prompts, the same in every language (all)")
  add("--seed", type=int, default=0, help="of drawing and shuffling")
  add("--both_orders", action="store_true",
      help="show each pair twice, the other way round the second time")
  add("--lang", help="language of FastChat's questions")
  add("--references", help="FastChat's reference answers")
  add("--rubric", metavar="FILE", help="a rubric for every prompt")
  read = actions.add_parser(
      "read", help="check filled-in sheets, compare with a judge", epilog=_READ,
      formatter_class=raw,
  )
  read.add_argument("key", metavar="KEY.jsonl", help="written by `make`")
  read.add_argument(
      "sheets", nargs="+", metavar="[RATER=]FILE",
      help="a page's export or a filled-in CSV; the rater's name is that in the"
      " export, else the file's",
  )
  read.add_argument("--output", required=True, metavar="J.jsonl")
  read.add_argument(
      "--judge", nargs="+", metavar="J.jsonl", default=(),
      help="a judge's judgments of the same answers",
  )


def run(args) -> int:
  overrides.refuse(args.overrides)
  return _make(args) if args.action == "make" else _read(args)


def _make(args) -> int:
  import pathlib
  import re

  from mlit_jax import records
  from mlit_jax.judging import protocols, sheet_page, sheets

  if args.b and len(args.a) > 1:
    raise UsageError("--b compares with one system; give one file to --a")
  if args.number < 0:
    raise UsageError("--number must not be negative")
  directory = pathlib.Path(args.output)
  # Without its key a sheet is worth nothing: a run was killed.
  if (directory / KEY).exists():
    raise UsageError(
        f"{directory} holds sheets already; one that was given out must not"
        " change under its raters: give a new directory"
    )
  name = "mt_bench_pair" if args.protocol == "mt_bench" and args.b else None
  prompts, answers = _rows(args)
  made = sheets.make(
      protocols.PROTOCOLS[name or args.protocol], prompts,
      [answers(path) for path in args.a], answers(args.b),
      number=args.number, seed=args.seed, both_orders=args.both_orders,
  )
  if odd := [s.lang for s in made if not re.fullmatch(r"[\w-]+", s.lang)]:
    raise UsageError(f"{args.prompts}: {odd[0]!r:.40} is no language code")
  # The key last: where it stands, the sheets are whole.
  for sheet in made:
    path = directory / f"sheet-{sheet.lang}"
    records.write_text(path.with_suffix(".csv"), [sheet.to_csv()])
    records.write_text(path.with_suffix(".html"), [sheet_page.render(sheet)])
    print(f"{path}.html: {len(sheet.items)} items")
  records.write_records(
      directory / KEY, [e for sheet in made for e in sheet.entries]
  )
  print(f"{directory / KEY}: which system is which; keep it from the raters")
  return 0


def _rows(args):
  """The prompts, and what gives a system's responses by file or by name."""
  from mlit_jax import records
  from mlit_jax.commands import judge

  if bool(args.study) == bool(args.prompts):
    raise UsageError("give either --prompts or --study")
  if args.prompts:
    return judge.read_rows(args)
  if args.protocol == "mt_bench":
    raise UsageError(
        "a study's answers.jsonl has the last turn alone; give --prompts and"
        " files for --a"
    )
  if args.lang or args.references:
    raise UsageError("--lang and --references are for FastChat's questions")
  from mlit_jax.studies.report import answers as answers_lib

  try:
    prompts, responses = answers_lib.responses(
        args.study, [*args.a, *([args.b] if args.b else [])]
    )
  except records.RecordError as e:
    raise UsageError(str(e)) from None
  if args.rubric:
    prompts = judge.with_rubric(prompts, args.rubric)
  return prompts, lambda name: name and responses[name]


def _read(args) -> int:
  import pathlib

  from mlit_jax import records
  from mlit_jax.analysis import people
  from mlit_jax.judging import ratings, sheets

  try:
    key = [*sheets.read_key(records.read_jsonl(args.key))]
  except records.RecordError as e:
    raise UsageError(_named(args.key, e)) from None
  if not key:
    raise UsageError(f"{args.key}: the key is empty")
  rated, paths = [], [args.key, *args.judge]
  for given in args.sheets:
    rater, named, path = given.rpartition("=")
    # A file may have such a name.
    if not named or pathlib.Path(given).exists():
      rater, path = "", given
    rated.append(ratings.read(path, rater.strip()))
    paths.append(path)
  output = pathlib.Path(args.output)
  outputs.keep_inputs(
      [output, *map(output.with_suffix, (".summary.json", ".ratings.csv"))],
      paths,
  )
  found, done = ratings.judgments(key, rated)
  for (rater, sheet), (number, asked) in done.items():
    left = f", {asked - number} not" if asked > number else ""
    print(f"{rater} rated {number} of {asked} items of {sheet}{left}")
  if not found:
    raise UsageError("the sheets hold no ratings")
  if len({j.protocol for j in found}) > 1:
    raise UsageError(f"{args.key}: more than one protocol; read one at a time")
  judge = [
      row for path in args.judge
      for row in records.read_records(path, records.Judgment)
  ]
  if args.judge:
    _check_same(found, judge, args.judge)
  records.write_records(output, found)
  summary = people.summarise(found)
  for lang, about in summary.items():
    _print(lang, about)
  if args.judge:
    _compare(found, judge, output, summary)
  records.write_json(output.with_suffix(".summary.json"), summary)
  return 0


def _named(path: str, error: Exception) -> str:
  said = str(error)
  return said if said.startswith(path) else f"{path}: {said}"


def _check_same(found, judge, paths) -> None:
  """UsageError unless one judge judged what people did, by one protocol."""
  wanted = {j.protocol for j in found}
  about = {(j.protocol, j.judge) for j in judge}
  if len(about) > 1:
    names = ", ".join(" by ".join(pair) for pair in sorted(about))
    raise UsageError(f"--judge holds more than one: {names}; compare one")
  if {protocol for protocol, _ in about} != wanted:
    raise UsageError(
        f"{', '.join(paths)}: judged by"
        f" {', '.join(sorted(p for p, _ in about)) or 'nothing'}, people by"
        f" {', '.join(sorted(wanted))}"
    )


def _print(lang: str, about) -> None:
  for system, row in about["systems"].items():
    print(
        f"{lang}: {system}: {row['score']:.3f}   95%"
        f" [{row['ci'][0]:.3f}, {row['ci'][1]:.3f}]   n = {row['n']}"
    )
  if about["first_position_rate"] is not None:
    print(f"{lang}: the answer shown first won"
          f" {about['first_position_rate']:.3f} of what was decided")
  if about["raters"] is not None:
    print(f"{lang}: raters among themselves: alpha {about['raters']:.4f}")


def _compare(found, judge, output, summary) -> None:
  """Writes and prints how the judge agrees with people; adds to the summary."""
  import csv
  import io

  from mlit_jax import records
  from mlit_jax.analysis import agreement as agreement_lib
  from mlit_jax.analysis import people
  from mlit_jax.commands import agreement

  both, alone = people.ratings(found, judge)
  if alone:
    print(f"{alone} answers that people rated have no judgment; left out")
  if not both:
    raise UsageError("the judge judged none of the answers that people rated")
  file = io.StringIO()
  writer = csv.writer(file, lineterminator="\n")
  writer.writerow(["system", "lang", "item", "human", "judge"])
  for row in both:
    writer.writerow(
        [row.system, row.lang, row.item, f"{row.human:g}", f"{row.judge:g}"]
    )
  path = output.with_suffix(".ratings.csv")
  records.write_text(path, [file.getvalue()])
  measures = agreement_lib.summarise(both)
  for lang, levels in measures.items():
    summary[lang]["agreement"] = levels
  agreement.show(measures)
  print(f"what both gave: {path}")
