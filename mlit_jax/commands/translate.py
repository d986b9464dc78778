"""`mlit translate`: instructions into other languages, paid for once."""

import sys

from mlit_jax.commands import overrides
from mlit_jax.errors import INTERRUPTED, PREEMPTED, UsageError

SUMMARY = "translate prompts or instructions into other languages"
EXAMPLE = """mlit translate IN.jsonl --to he,ru --output OUT.jsonl \\
    --dry-run --price 20
  mlit translate IN.jsonl --to he,ru --output OUT.jsonl --project my-project \\
    --price 20 --max_cost 50
  mlit translate IN.jsonl --to he --output OUT.jsonl \\
    --backend openai:MODEL@https://HOST/v1 --key_file key.txt
  mlit translate IN.jsonl --to he --output OUT.jsonl --from-file elsewhere.jsonl

every reply is kept in a store (--cache): the same command after a stop, or
another study with the same texts, pays for nothing twice. Rows with flags are
written like all others; OUT.summary.json counts them. Credentials come from
where Google's libraries look for them, or from --key_env and --key_file.
exit codes: 0 done; 1 something has no translation, or the spending cap was
reached (the message says how to go on); 2 wrong use; 75 stopped by SIGTERM"""


def add_arguments(parser) -> None:
  add = parser.add_argument
  add("input", help="prompts or instructions, JSONL")
  add("--to", required=True, metavar="LANG,LANG", help="e.g. he,ru")
  add("--output", required=True, help="translated rows, JSONL; the summary"
      " goes beside them")
  add("--backend", default="google", metavar="SPEC",
      help="google (default), google@localhost:PORT (a stand-in),"
      " openai:MODEL@URL or local:DIR")
  add("--from-file", "--from_file", metavar="FILE",
      help="take the translations from a file of rows (same id, target lang)")
  add("--dry-run", "--dry_run", action="store_true",
      help="say what would be sent and what it costs, and stop")
  add("--json", action="store_true", help="the dry run's figures as JSON")
  add("--cache", metavar="FILE", help="the store of replies (default:"
      " $MLIT_REPLIES/translations.jsonl or in the user's data directory)")
  add("--prompts_only", action="store_true",
      help="leave responses out of the translated rows")
  add("--price", type=float, metavar="P",
      help="price of a million characters, e.g. 20 (see the service's list)")
  add("--max_cost", type=float, metavar="C",
      help="stop this run before it costs more; needs --price")
  add("--per_minute", type=float, default=3_000_000, metavar="N",
      help="characters sent a minute (default 3000000)")
  add("--concurrency", type=int, default=8, help="requests at once")
  add("--timeout", type=float, default=60, metavar="S",
      help="seconds a request may take (default 60)")
  add("--max_segments", type=int, help="texts a request at most")
  add("--max_characters", type=int, help="code points a request at most")
  add("--back_translate", type=int, default=0, metavar="N",
      help="translate N prompts a language back and score them with chrF")
  add("--project", default="", help="Google Cloud project")
  add("--location", default="global", help="Google Cloud location")
  add("--model", default="general/nmt", help="Google model, e.g."
      " general/translation-llm")
  add("--glossary", action="append", default=[], metavar="LANG=ID",
      help="a Google glossary for a language; may be repeated")
  add("--batch", metavar="gs://BUCKET/FOLDER",
      help="use Google's asynchronous jobs, with files in that folder")
  add("--key_env", default="OPENAI_API_KEY", metavar="NAME",
      help="environment variable with the key of openai:")
  add("--key_file", default="", help="file with that key instead")
  add("--template", metavar="T", help="prompt of local:, with {text},"
      " {source_name}, {target_name}, {source}, {target}")
  add("--max_new_tokens", type=int, default=512, help="of local:")


def run(args) -> int:
  overrides.refuse(args.overrides)
  import pathlib

  from mlit_jax import cache
  from mlit_jax.commands import translation_backends
  from mlit_jax.translation import rows

  targets = _targets(args.to)
  _check(args)
  backend = translation_backends.make(args)
  items = rows.read(
      args.input, targets, max_length=backend.max_length,
      prompts_only=args.prompts_only,
  )
  path = pathlib.Path(args.cache or cache.default_path("translations"))
  if args.dry_run and not path.exists():
    _print_plan(_plan(items, targets, backend, ()), args)
    return 0
  with cache.Cache(path) as store:
    if args.dry_run:
      _print_plan(_plan(items, targets, backend, store), args)
      return 0
    return _translate(args, targets, backend, items, store)


def _translate(args, targets, backend, items, store) -> int:
  import functools
  import pathlib

  from mlit_jax import records
  from mlit_jax.translation import (
      back_translation,
      google_batch,
      rows,
      running,
      translator,
  )

  settings = translator.Settings(
      concurrency=args.concurrency,
      per_minute=args.per_minute,
      price=args.price or 0.0,
      max_cost=args.max_cost,
      timeout=args.timeout + 5,  # after the client's own
  )
  make = functools.partial(translator.Translator, backend, store)
  if args.batch:
    make = functools.partial(google_batch.Batch, backend, store, args.batch)
  runner = running.Runner(make, settings)
  if args.from_file:
    find, origin = rows.from_file(args.from_file), "file"
  else:
    outcome = runner.run(rows.jobs(items, targets, backend))
    if outcome.stopped:
      return _say_stopped(outcome, args, store)
    find = rows.from_store(backend, store, outcome.failed)
    origin = backend.name
  sample = back_translation.Sample(items, args.back_translate)
  summary = rows.Summary(items)
  output = pathlib.Path(args.output)
  finished = rows.finish(items, targets, find, origin)
  records.write_records(output, sample.through(summary.through(finished)))
  for lang in targets if args.back_translate else ():
    outcome = runner.run(sample.jobs(lang, backend))
    if outcome.stopped:
      return _say_stopped(outcome, args, store)
    summary.back_translation[lang] = sample.score(lang, backend, store)
  report = summary.to_json(origin)
  records.write_json(output.with_suffix(".summary.json"), report)
  print(
      f"{report['overall']['rows']} rows, {report['overall']['flagged']} with"
      f" flags: {output}"
  )
  failures = output.with_suffix(".failed.jsonl")
  failures.unlink(missing_ok=True)
  if not summary.failures:
    return 0
  records.write_records(failures, summary.failures)
  print(
      f"mlit translate: {len(summary.failures)} rows have no translation;"
      f" {failures} says why. The same command asks again for them alone",
      file=sys.stderr,
  )
  return 1


def _targets(text: str) -> list[str]:
  from mlit_jax import languages

  try:
    targets = [languages.get(code).code for code in text.split(",") if code]
  except languages.UnknownLanguageError as e:
    raise UsageError(f"--to: {e}") from None
  if not targets or len(set(targets)) < len(targets):
    raise UsageError(f"--to {text!r}: give each language once, as he,ru")
  return targets


def _check(args) -> None:
  positive = ("per_minute", "concurrency", "timeout", "max_new_tokens")
  for name in positive:
    if not getattr(args, name) > 0:
      raise UsageError(f"--{name} must be greater than 0")
  for name in ("price", "max_cost", "back_translate"):
    value = getattr(args, name)
    if value is not None and not 0 <= value < float("inf"):
      raise UsageError(f"--{name} must be 0 or more")
  if args.from_file and args.dry_run:
    raise UsageError("--from-file sends nothing; there is nothing to plan")
  if args.batch and args.backend.partition("@")[0] != "google":
    raise UsageError("--batch is for google alone")
  if args.batch and not args.batch.startswith("gs://"):
    raise UsageError(f"--batch {args.batch!r}: write gs://BUCKET/FOLDER")
  if args.batch and args.location == "global":
    raise UsageError("--batch needs a --location, e.g. us-central1")
  if args.max_cost is not None and args.price is None:
    raise UsageError("--max_cost needs --price, the price of a million"
                     " characters")


def _plan(items, targets, backend, store) -> dict[str, dict[str, float]]:
  """What is missing, per language; texts that repeat count once."""
  from mlit_jax.translation import rows

  plan = {
      lang: {"segments": 0, "stored": 0, "missing": 0, "characters": 0}
      for lang in targets
  }
  seen = set()
  for job in rows.jobs(items, targets, backend):
    if job.key in seen:
      continue
    seen.add(job.key)
    entry = plan[job.target]
    entry["segments"] += 1
    if job.key in store:
      entry["stored"] += 1
    else:
      entry["missing"] += 1
      entry["characters"] += len(job.text)
  return plan


def _print_plan(plan, args) -> None:
  import json

  total = {
      name: sum(entry[name] for entry in plan.values())
      for name in ("segments", "stored", "missing", "characters")
  }
  if args.price is not None:
    for entry in (*plan.values(), total):
      entry["cost"] = round(entry["characters"] * args.price / 1e6, 6)
  if args.json:
    print(json.dumps({"languages": plan, "overall": total}))
    return
  print("language    segments      stored     to send  characters        cost")
  for name, entry in (*plan.items(), ("all", total)):
    cost = f"{entry['cost']:12.2f}" if "cost" in entry else " " * 12
    print(
        f"{name:<8}{entry['segments']:12,}{entry['stored']:12,}"
        f"{entry['missing']:12,}{entry['characters']:12,}{cost}".rstrip()
    )
  if args.price is None:
    print("no cost without --price (of a million characters)")


def _say_stopped(outcome, args, store) -> int:
  from mlit_jax.translation import translator

  if outcome.stopped == translator.BUDGET:
    why = (
        f"stopped at the cap of {args.max_cost:g} (spent"
        f" {outcome.cost:.2f}); the same command goes on from here with"
        " another --max_cost"
    )
  else:
    why = "stopped; the same command goes on from here"
  print(
      f"mlit translate: {why}; {outcome.segments} replies of this run are in"
      f" {store.path}",
      file=sys.stderr,
  )
  codes = {translator.BUDGET: 1, "SIGTERM": PREEMPTED}
  return codes.get(outcome.stopped, INTERRUPTED)
