"""`mlit data`: mixtures as manifests and token files."""

from mlit_jax.commands import data_build, overrides
from mlit_jax.errors import UsageError

SUMMARY = "build, show, compare and check training mixtures"
EXAMPLE = data_build.EXAMPLE


def add_arguments(parser) -> None:
  actions = parser.add_subparsers(dest="action", required=True)
  build = actions.add_parser(
      "build",
      help="write manifest and token files",
  )
  data_build.add_arguments(build)
  listed = actions.add_parser(
      "sources",
      help="list the readers of sources, or explain one",
      epilog="example: mlit data sources bactrian",
  )
  listed.add_argument("name", metavar="READER", nargs="?", default="")
  show = actions.add_parser(
      "show",
      help="print counts, fertility and samples",
      epilog="example: mlit data show runs/data/p1",
  )
  show.add_argument("directory", metavar="DIR")
  show.add_argument("--samples", type=int, default=3)
  show.add_argument(
      "--row_length", type=int, default=0, metavar="T",
      help="also say how the examples pack into rows of so many tokens",
  )
  diff = actions.add_parser(
      "diff",
      help="compare two manifests; exit 1 if they differ",
      epilog="example: mlit data diff runs/data/p1 runs/data/p10",
  )
  diff.add_argument("a", metavar="A", help="built directory or manifest")
  diff.add_argument("b", metavar="B")
  diff.add_argument("--json", metavar="OUT", help="write every difference")
  check = actions.add_parser(
      "check",
      help="look for evaluation prompts in training data, across languages",
      epilog="example: mlit data check runs/data/p1 eval.jsonl --fatal",
  )
  check.add_argument(
      "train", metavar="TRAIN", help="built directory, or rows as JSON Lines"
  )
  check.add_argument("evaluation", metavar="EVAL")
  check.add_argument(
      "--threshold", type=float, default=0.8,
      help="similarity of near-duplicates, 0 to 1 (default 0.8)",
  )
  check.add_argument("--output", metavar="J.jsonl", help="write every leak")
  check.add_argument(
      "--fatal", action="store_true", help="exit 1 if there is a leak"
  )


def run(args) -> int:
  overrides.refuse(args.overrides)
  actions = {
      "build": _build, "sources": _sources, "show": _show, "diff": _diff,
      "check": _check,
  }
  return actions[args.action](args)


def _build(args) -> int:
  return _print(data_build.run(args), samples=0)


def _sources(args) -> int:
  from mlit_jax.data import sources

  print(sources.describe(args.name))
  return 0


def _show(args) -> int:
  import pathlib

  if args.samples < 0 or args.row_length < 0:
    raise UsageError("--samples and --row_length must not be negative")
  return _print(pathlib.Path(args.directory), args.samples, args.row_length)


def _print(directory, samples: int, row_length: int = 0) -> int:
  from mlit_jax.data import token_file

  built = token_file.read_summary(directory)
  print(
      f"{'language':<10}{'examples':>10}{'tokens':>10}{'per word':>10}"
      f"{'per char':>10}"
  )
  for lang, row in built["languages"].items():
    print(
        f"{lang:<10}{row['examples']:>10}{row['tokens']:>10}"
        f"{row['tokens_per_word']:>10.2f}{row['tokens_per_character']:>10.2f}"
    )
  total = built["total"]
  print(f"{'all':<10}{total['examples']:>10}{total['tokens']:>10}")
  for what in ("truncated", "dropped"):
    if number := sum(row.get(what, 0) for row in built["languages"].values()):
      print(f"{what}: {number} examples that were too long")
  if row_length:
    _print_packing(directory, row_length)
  print(f"manifest sha256 {built['origin'].get('manifest_sha256', 'none')}")
  if samples:
    _print_samples(directory, samples)
  return 0


def _print_packing(directory, row_length: int) -> None:
  """How full rows would be, and what padding each example would waste."""
  from mlit_jax.data import batches

  rows = batches.PackedRows(directory, row_length, 1)
  examples, used = rows.num_examples, 100 * rows.density
  print(
      f"packed: {len(rows)} rows of {row_length} tokens hold {examples}"
      f" examples ({examples / len(rows):.1f} a row), {used:.1f} % of the"
      " places used; one example a row would use"
      f" {used * len(rows) / examples:.1f} %"
  )


def _print_samples(directory, number: int) -> None:
  import itertools

  from mlit_jax.data import token_file, tokenizers

  tokenizer = tokenizers.load(directory)
  examples = token_file.TokenFile(directory)
  for example in itertools.islice(examples, number):
    print(f"\n{example.id} [{example.lang}]")
    # Turn by turn: what is learnt and what is not.
    pairs = zip(example.tokens.tolist(), example.loss_mask, strict=True)
    for learnt, turn in itertools.groupby(pairs, key=lambda pair: pair[1]):
      text = tokenizer.decode([token for token, _ in turn]).strip()
      if text:
        print(f"  {'-> ' if learnt else ''}{text}")


def _diff(args) -> int:
  from mlit_jax import records
  from mlit_jax.data import manifest

  found = manifest.diff(manifest.read(args.a), manifest.read(args.b))
  if args.json:
    records.write_json(
        args.json,
        {
            "counts": found.counts,
            "only_a": [row.fields() for row in found.only_a],
            "only_b": [row.fields() for row in found.only_b],
            "moved": found.moved,
            "reordered": found.reordered,
        },
    )
  for lang, (a, b) in found.counts.items():
    print(f"{lang:<10}{a:>10} -> {b:<10}{b - a:+}")
  for name, rows in (("A", found.only_a), ("B", found.only_b)):
    if rows:
      print(f"only in {name}: {len(rows)} rows, e.g. {rows[0].fields()}")
  if found.moved:
    id_, before, after = found.moved[0]
    print(
        f"other languages: {len(found.moved)} ids, e.g. {id_}:"
        f" {' '.join(before)} -> {' '.join(after)}"
    )
  if found.reordered:
    print("the same rows in another order")
  if not found:
    print("equal")
  return 1 if found else 0


def _check(args) -> int:
  import collections

  from mlit_jax import records
  from mlit_jax.data import leakage

  if not 0 < args.threshold <= 1:
    raise UsageError(f"--threshold {args.threshold} does not lie in (0, 1]")
  train, evaluation = _texts(args.train), _texts(args.evaluation)
  leaks = list(leakage.find(train, evaluation, args.threshold))
  if args.output:
    records.write_records(args.output, leaks)
  kinds = collections.Counter(leak.kind for leak in leaks)
  hit = len({leak.evaluation[0] for leak in leaks})
  print(f"{len(train)} training and {len(evaluation)} evaluation prompts")
  print(f"same id {kinds['id']}, same text {kinds['text']}, near-duplicates"
        f" {kinds['near']}: {hit} evaluation ids leak")
  for leak in leaks[:3]:
    print(f"  {leak.kind:<5} {' '.join(leak.train)} ~"
          f" {' '.join(leak.evaluation)} ({leak.similarity:.2f})")
  return 1 if leaks and args.fatal else 0


def _texts(path: str):
  """The prompts of a built directory, or of instruction or prompt rows."""
  import pathlib

  from mlit_jax import records
  from mlit_jax.data import leakage, token_file, tokenizers

  if pathlib.Path(path).is_dir():
    tokenizer = tokenizers.load(path)
    return [
        leakage.Text(
            e.id, e.lang, tokenizer.decode(e.tokens[e.loss_mask == 0])
        )
        for e in token_file.TokenFile(path)
    ]
  return [
      leakage.Text(r.id, r.lang, "\n".join(m.content for m in r.messages))
      for r in records.read_records(path, records.Instruction)
  ]
