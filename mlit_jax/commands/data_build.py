"""`mlit data build`: from a recipe and sources to manifest and token files."""

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Mapping
from typing import Any

from mlit_jax import records
from mlit_jax.errors import UsageError

EXAMPLE = "mlit data build percent:1 --total 1280 --workdir runs/data/p1"
_EPILOG = f"""example: {EXAMPLE} ;
mlit data build coit.json --source alpaca=alpaca:alpaca.json --source
wiki=moses:wikimatrix/ --tokenizer models/llama --workdir runs/data/coit
(a recipe file's format stands in mlit_jax/data/recipe_spec.py)"""
_RECIPES = "monolingual:LANG, percent:P, or a recipe file (*.json)"
_POCKET = "pocket"
_SOURCE = re.compile(r"([^=]+)=([^:\[]+)(?:\[([^\]]*)\])?:(.+)")


def add_arguments(build) -> None:
  build.epilog = _EPILOG
  build.add_argument("recipe", metavar="RECIPE", help=f"one of {_RECIPES}")
  build.add_argument("--workdir", required=True, help="where they go")
  build.add_argument(
      "--source", action="append", default=[], metavar="NAME=READER:PATH",
      help="a source that the recipe file names (mlit data sources lists"
      " the readers); READER[OPTION=VALUE;...]:PATH gives it options, e.g."
      " oasst[turns=all]:trees.jsonl.gz for whole conversations",
  )
  build.add_argument("--total", type=int, default=1280, help="examples")
  build.add_argument("--languages", help="codes with commas; default: all of"
                     " the pocket world")
  build.add_argument("--main", default="en", help="language of the rest")
  build.add_argument("--seed", type=int, help="default: the recipe's, or 0")
  build.add_argument(
      "--template", default="plain", help="a name, a file.toml, or checkpoint:"
      " the one that --tokenizer ships (checkpoint:DIR: that one's)",
  )
  build.add_argument("--tokenizer", metavar="DIR", help="directory with a"
                     " tokenizer; default: one is trained on the pocket world")
  build.add_argument("--vocab_size", type=int, default=4000)
  build.add_argument(
      "--max_length", type=int, default=0, help="tokens; default: any length"
  )
  build.add_argument(
      "--too_long", default="fail", choices=("fail", "truncate", "drop")
  )
  build.add_argument("--shards", type=int, default=1, help="files")
  build.add_argument(
      "--jobs", type=int, default=1, help="processes that tokenize shards"
  )
  build.add_argument(
      "--beam", metavar="OPTIONS", help="tokenize shards through Apache Beam"
      " (extra beam) with these options of its own, e.g. --beam="
      '"--runner=DataflowRunner --project=P"; "" is its DirectRunner, here.'
      " --workdir must lie where all workers mount it",
  )
  build.add_argument(
      "--max_bad", default="0", metavar="N|P%%",
      help="bad rows to put up with (default 0); they go to bad_rows/",
  )


def run(args) -> pathlib.Path:
  """Builds; returns the directory."""
  from mlit_jax.data import (
      build,
      checkpoint_template,
      conversations,
      recipe_spec,
      tokenizers,
  )
  from mlit_jax.data.manifest import Manifest, Row
  from mlit_jax.models.interchange import tokenizer_json

  for name in ("total", "shards", "jobs"):
    if getattr(args, name) < 1:
      raise UsageError(
          f"--{name} must be at least 1, not {getattr(args, name)}"
      )
  recipe, given = _recipe(args), _sources(args.source)
  wanted = recipe_spec.languages(recipe)
  form = checkpoint_template.find(args.template, args.tokenizer)
  directory = pathlib.Path(args.workdir)
  if not args.tokenizer and set(wanted) != {_POCKET}:
    raise UsageError("texts of your own need --tokenizer DIR, a model's")
  if args.tokenizer:
    tokenizers.load(args.tokenizer)
  examples = {
      source: _read(source, codes, given, args.max_bad, directory)
      for source, codes in wanted.items()
  }
  directory.mkdir(parents=True, exist_ok=True)
  _tokenizer_files(args, directory, wanted, tokenizer_json)
  tokenizer = tokenizers.load(directory)
  if lost := tokenizer.normalizes:
    print(f"note: this tokenizer does not keep: {'; '.join(lost)}")
  everything = {k: v for rows in examples.values() for k, v in rows.items()}

  def length(source: str, id_: str, lang: str) -> int:
    key = id_, lang
    rows = conversations.rows(
        Manifest((Row(id_, lang, id_),), "", 0), {key: examples[source][key]}
    )
    return len(conversations.encode(rows[0], tokenizer, form).tokens)

  pools = {source: _pool(rows) for source, rows in examples.items()}
  made = recipe_spec.make(recipe, pools, length)
  options: dict[str, Any] = {
      "shards": args.shards, "max_length": args.max_length,
      "too_long": args.too_long,
  }
  if args.jobs > 1 and args.beam is not None:
    raise UsageError("give --jobs or --beam, not both")
  if args.beam is not None:
    options["run"] = build.in_beam(shlex.split(args.beam))
  elif args.jobs > 1:
    options["run"] = build.in_processes(args.jobs)
  for manifest, folder in (
      (made.train, directory), (made.validation, directory / "validation")
  ):
    if not manifest.rows:
      continue
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder)
    build.build(
        folder.name,
        conversations.rows(manifest, everything),
        tokenizer,
        folder,
        form=form,
        origin={
            "recipe": recipe,
            "design": manifest.design,
            "seed": manifest.seed,
            "manifest_sha256": manifest.hash,
            "template": args.template,
        },
        **options,
    )
  return directory


def _recipe(args) -> dict[str, Any]:
  """The recipe as data; the short forms are of the pocket world."""
  from mlit_jax.data import recipe_spec

  kind, _, value = args.recipe.partition(":")
  seed = {} if args.seed is None else {"seed": args.seed}
  if args.recipe.endswith(".json"):
    recipe = recipe_spec.read(args.recipe) | seed
    recipe_spec.check(recipe)
    return recipe
  if kind == "monolingual":
    (lang,) = pocket_languages(value) if value else (args.main,)
    counts: Mapping[str, Any] = {lang: args.total}
  elif kind == "percent":
    try:
      percent = float(value)
    except ValueError:
      raise UsageError(f"percent:{value!r} needs a number") from None
    counts = {
        "rule": "percent", "languages": pocket_languages(args.languages),
        "percent": percent, "total": args.total, "main": args.main,
    }
  else:
    raise UsageError(f"unknown recipe {args.recipe!r}; known: {_RECIPES}")
  part = {
      "source": _POCKET, "design": "partition", "counts": counts,
      "main": args.main,
  }
  return {"seed": 0, "parts": [part]} | seed


def _sources(given: list[str]) -> dict[str, tuple[str, str, dict[str, str]]]:
  """Source name -> (reader, path, options)."""
  found = {}
  for text in given:
    match = _SOURCE.fullmatch(text)
    pairs = [p.partition("=") for p in ((match and match[3]) or "").split(";")]
    if not match or any(key and not equals for key, equals, _ in pairs):
      raise UsageError(
          f"--source {text!r}: write NAME=READER:PATH, or"
          " NAME=READER[OPTION=VALUE;...]:PATH"
      )
    options = {key: value for key, _, value in pairs if key}
    found[match[1]] = match[2], match[4], options
  return found


def _read(source, codes, given, max_bad: str, directory: pathlib.Path):
  """A source's examples by (id, language)."""
  from mlit_jax.data import quality, sources

  if source == _POCKET and source not in given:
    pocket_languages(",".join(codes))
    return sources.pocket_instructions(codes, "train")
  if source not in given:
    raise UsageError(
        f"the recipe needs the source {source!r}; give --source"
        f" {source}=READER:PATH"
    )
  reader, path, options = given[source]
  limit = quality.parse_max_bad(max_bad)
  aside = directory / "bad_rows" / f"{source}.jsonl"
  with quality.BadRows(aside, limit) as bad:
    rows = sources.open_source(
        reader, path, languages=codes, bad_rows=bad, **options
    )
    # Two sources may use one id: the source's name keeps them apart.
    found = {}
    for row in rows:
      id_ = f"{source}/{row.id.removeprefix(source + '/')}"
      found[id_, row.lang] = dataclasses.replace(row, id=id_)
  if bad.num_bad:
    print(f"{source}: {bad.summary()}")
  return found


def _pool(rows: Mapping[tuple[str, str], records.Instruction]):
  pool: dict[str, list[str]] = {}
  for id_, lang in rows:
    pool.setdefault(lang, []).append(id_)
  return pool


def _tokenizer_files(args, directory, wanted, tokenizer_json) -> None:
  from mlit_jax.studies import steps

  if args.tokenizer:
    if not directory.samefile(args.tokenizer):
      tokenizer_json.copy_files(args.tokenizer, directory)
    return
  tokenizer_json.remove_files(directory)
  # As large as the whole set: `percent:1` and `percent:0` share a vocabulary.
  codes = pocket_languages(args.languages) if (
      not args.recipe.endswith(".json")
  ) else wanted[_POCKET]
  steps.train_vocabulary(directory, codes, args.vocab_size)


def pocket_languages(text: str | None) -> tuple[str, ...]:
  """Codes of the pocket world; UsageError names one that it lacks."""
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
