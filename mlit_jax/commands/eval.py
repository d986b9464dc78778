"""`mlit eval`: benchmarks on a model; two models compared."""

from mlit_jax.commands import outputs, overrides, placing
from mlit_jax.errors import UsageError

SUMMARY = "run multilingual benchmarks on a model, or compare two runs"
EXAMPLE = """mlit eval xcopa,xquad --model MODEL --data DIR --output runs/eval
  mlit eval --compare runs/eval_a runs/eval_b --output runs/a_b

tasks: xcopa xstorycloze xwinograd xquad mlqa flores mgsm, and representation (a
probe of the layers). xcopa runs its two versions, xcopa:harness or
xcopa:corrected one of them, and so do the next two. The files in --data are the
benchmarks' own (docs/evaluation.md). results.json holds task -> language ->
{metric, score, n, ci}, items/ what was asked and answered, tables/ the same as
CSV, groups.json means over languages"""


def add_arguments(parser) -> None:
  parser.add_argument("tasks", nargs="?", metavar="TASK[,TASK]")
  parser.add_argument("--model", help="a model directory")
  placing.add_adapter(parser)
  parser.add_argument("--output", required=True, help="a folder for results")
  parser.add_argument(
      "--data", default="hub",
      help="a folder with the benchmarks' files, or hub (default)",
  )
  parser.add_argument(
      "--languages", help="only these, e.g. en,sw; default: all with files"
  )
  parser.add_argument("--limit", type=int, help="items a language at most")
  parser.add_argument(
      "--shots", type=int, default=0, metavar="N",
      help="mgsm: N of its eight examples before each question; default: 0",
  )
  parser.add_argument(
      "--template",
      help="put questions in a chat template: a name, a file.toml, or"
      " checkpoint; default: as text that the model goes on from",
  )
  parser.add_argument(
      "--seen_by_base", metavar="LANGUAGES",
      help="what the base was trained on: codes or sets (bloom), for groups",
  )
  parser.add_argument(
      "--tuned_on", metavar="LANGUAGES",
      help="what it was tuned on: codes, a set, or its first K (lucky52:K)",
  )
  parser.add_argument("--comet", metavar="FILE", help="a COMET checkpoint")
  parser.add_argument("--bleurt", metavar="DIR", help="a BLEURT checkpoint")
  parser.add_argument("--batch_size", type=int, default=32)
  placing.add_arguments(parser, "items")
  parser.add_argument(
      "--compare", nargs=2, metavar=("A", "B"),
      help="two folders of results: paired significance, item by item",
  )


def run(args) -> int:
  overrides.refuse(args.overrides)
  if args.compare:
    if args.tasks or args.model or args.adapter:
      raise UsageError("--compare takes two folders and no task or --model")
    return _compare(args)
  if not args.tasks or not args.model:
    raise UsageError("name the tasks and --model, or --compare two folders")
  if args.batch_size < 1 or (args.limit is not None and args.limit < 1):
    raise UsageError("--batch_size and --limit must be at least 1")
  if args.shots < 0:
    raise UsageError("--shots must be a number from 0 up")
  return _run(args)


def _run(args) -> int:
  from mlit_jax import cpu, locked_directory, partitioning
  from mlit_jax.data import checkpoint_template
  from mlit_jax.evals import (
      benchmarks,
      learned_metrics,
      mt,
      outcomes,
      representation,
      running,
      scoring,
      settings,
      tables,
  )

  mesh = placing.mesh_shape(args)
  tasks = [part.strip() for part in args.tasks.split(",")]
  is_probed = representation.NAME in tasks
  tasks = [task for task in tasks if task != representation.NAME]
  named = benchmarks.named(",".join(tasks)) if tasks or not is_probed else {}
  chosen, base, tuned = (
      None if text is None else tables.parse_languages(text)
      for text in (args.languages, args.seen_by_base, args.tuned_on)
  )
  outputs.check_model(args.model, args.adapter)
  outputs.check_folder(args.output)
  if is_probed:
    representation.check(args.model)
  translates = any(b.is_corpus for b in named.values())
  if (args.comet or args.bleurt) and not translates:
    raise UsageError("--comet and --bleurt are for flores")
  form = None
  if args.template is not None:
    form = checkpoint_template.find(args.template, args.model)
  learned = {
      name: getattr(learned_metrics, name)(getattr(args, name))
      for name in ("comet", "bleurt") if getattr(args, name) is not None
  }
  options = running.Options(
      args.data, chosen, args.limit, form, args.batch_size, learned, args.shots
  )
  work, missing = running.plan(named, options)
  sentences = None
  if is_probed:
    sentences, gone = representation.sentences(args.data, chosen, args.limit)
    if gone:
      missing[representation.NAME] = gone
  made_with = settings.describe(
      args.model, args.template, args.shots, args.dtype, args.adapter
  )
  settings.check(args.output, made_with)
  for name, langs in missing.items():
    all_of_them = len(
        named[name].languages if name in named else mt.LANGUAGES
    )
    which = " ".join(langs[:12]) + (" ..." if len(langs) > 12 else "")
    print(f"{name}: no file for {len(langs)} of {all_of_them}: {which}")
  if any(named[name].is_corpus for name, _, _ in work):
    print(*mt.missing_tokenizers(), sep="\n")
  cpu.keep_freed_memory()
  model = scoring.LanguageModel(
      args.model, batch_size=args.batch_size, adapter=args.adapter,
      mesh=partitioning.make_mesh(mesh), dtype=args.dtype,
  )

  def check() -> None:
    settings.check(args.output, made_with)

  with locked_directory.LockedDirectory(args.output, check, "--output"):
    settings.keep(args.output, made_with)
    results = running.run(model, work, options, args.output, print)
    if sentences is not None:
      results[representation.NAME] = representation.run(
          model, sentences, args.batch_size, args.output, print
      )
      outcomes.write_results(args.output, results)
    groups = tables.write(args.output, results, base, tuned)
  done = [name for name, _, _ in work]
  for name in dict.fromkeys(done + [representation.NAME] * is_probed):
    for group, mean in groups[name].items():
      if mean["languages"]:
        print(f"{name} {group}: {mean['score']:.3f} over"
              f" {' '.join(mean['languages'])}")
  failed = sum(results[name][lang].get("failed", 0) for name, lang, _ in work)
  print(f"results: {args.output}/results.json")
  if failed:
    print(f"{failed} items could not be scored; items/ says why")
  return 1 if failed else 0


def _compare(args) -> int:
  import pathlib

  from mlit_jax import records
  from mlit_jax.evals import comparison

  found = comparison.compare(*args.compare)
  path = pathlib.Path(args.output) / "comparison.json"
  records.write_json(path, found)
  for name, by_lang in found.items():
    for lang, metrics in by_lang.items():
      for metric, entry in metrics.items():
        print(
            f"{name} {lang} {metric}: {entry['first']:.3f} ->"
            f" {entry['second']:.3f}, p {entry['p']:.4f}"
            f" ({entry['p_holm']:.4f} for all languages together)"
        )
  print(f"comparison: {path}")
  return 0
