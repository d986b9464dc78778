"""`mlit data`: mixtures as manifests and token files."""

from mlit_jax.commands import overrides
from mlit_jax.errors import UsageError

SUMMARY = "build and show training mixtures with exact counts"
EXAMPLE = "mlit data build percent:1 --total 1280 --workdir runs/data/p1"
_RECIPES = "monolingual:LANG, percent:P"


def add_arguments(parser) -> None:
  actions = parser.add_subparsers(dest="action", required=True)
  build = actions.add_parser(
      "build",
      help="write manifest and token files",
      epilog=f"example: {EXAMPLE}",
  )
  build.add_argument("recipe", metavar="RECIPE", help=f"one of {_RECIPES}")
  build.add_argument("--workdir", required=True, help="where they go")
  build.add_argument("--total", type=int, default=1280, help="examples")
  build.add_argument("--languages", help="codes with commas; default: all of"
                     " the pocket world")
  build.add_argument("--main", default="en", help="language of the rest")
  build.add_argument("--seed", type=int, default=0)
  build.add_argument("--template", default="plain")
  build.add_argument("--tokenizer", metavar="DIR", help="directory with a"
                     " tokenizer.model; default: one is trained")
  build.add_argument("--vocab_size", type=int, default=4000)
  show = actions.add_parser(
      "show",
      help="print counts, fertility and samples",
      epilog="example: mlit data show runs/data/p1",
  )
  show.add_argument("directory", metavar="DIR")
  show.add_argument("--samples", type=int, default=3)


def run(args) -> int:
  overrides.refuse(args.overrides)
  return _build(args) if args.action == "build" else _show(args)


def _build(args) -> int:
  import pathlib

  from mlit_jax.data import recipes, templates, tokenizers
  from mlit_jax.studies import steps

  if args.total < 1:
    raise UsageError(f"--total must be at least 1, not {args.total}")
  languages = _languages(args.languages)
  kind, _, value = args.recipe.partition(":")
  if kind == "monolingual":
    (lang,) = _languages(value) if value else (args.main,)
    counts = recipes.monolingual_counts(lang, args.total)
  elif kind == "percent":
    try:
      percent = float(value)
    except ValueError:
      raise UsageError(f"percent:{value!r} needs a number") from None
    counts = recipes.percent_counts(languages, percent, args.total, args.main)
  else:
    raise UsageError(f"unknown recipe {args.recipe!r}; known: {_RECIPES}")
  templates.get(args.template)
  directory = pathlib.Path(args.workdir)
  directory.mkdir(parents=True, exist_ok=True)
  vocabulary = pathlib.Path(args.tokenizer or directory)
  if not args.tokenizer:
    steps.train_vocabulary(vocabulary, languages, args.vocab_size)
  else:
    model = tokenizers.SentencePieceTokenizer.from_directory(vocabulary).model
    (directory / tokenizers.FILE_NAME).write_bytes(model)
  steps.build_instructions(
      directory, vocabulary, counts, main=args.main, template=args.template,
      seed=args.seed,
  )
  return _print(directory, samples=0)


def _show(args) -> int:
  import pathlib

  return _print(pathlib.Path(args.directory), args.samples)


def _print(directory, samples: int) -> int:
  from mlit_jax.data import token_file

  built = token_file.read_summary(directory)
  print(f"{'language':<10}{'examples':>10}{'tokens':>10}{'per word':>10}")
  for lang, row in built["languages"].items():
    print(
        f"{lang:<10}{row['examples']:>10}{row['tokens']:>10}"
        f"{row['tokens_per_word']:>10.2f}"
    )
  total = built["total"]
  print(f"{'all':<10}{total['examples']:>10}{total['tokens']:>10}")
  print(f"manifest sha256 {built['origin'].get('manifest_sha256', 'none')}")
  if samples:
    _print_samples(directory, samples)
  return 0


def _print_samples(directory, number: int) -> None:
  from mlit_jax.data import token_file, tokenizers

  tokenizer = tokenizers.SentencePieceTokenizer.from_directory(directory)
  for example in token_file.read_examples(directory)[:number]:
    prompt = example.tokens[example.loss_mask == 0]
    answer = example.tokens[example.loss_mask == 1]
    print(f"\n{example.id} [{example.lang}]")
    print(f"  {tokenizer.decode(prompt).strip()}")
    print(f"  -> {tokenizer.decode(answer).strip()}")


def _languages(text: str | None) -> tuple[str, ...]:
  from mlit_jax.data.pocket import world

  known = world.language_codes()
  if not text:
    return known
  codes = tuple(dict.fromkeys(text.split(",")))
  if unknown := [c for c in codes if c not in known]:
    raise UsageError(
        f"the pocket world has no language {unknown[0]!r}; it has"
        f" {' '.join(known)}"
    )
  return codes
