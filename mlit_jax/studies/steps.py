"""The steps that models are made from: vocabulary, data, a base that is given.

Each function does one step in a Place and is given what it needs as plain
arguments; the heavy libraries are imported where they are used, so that a
study with nothing left to do starts at once.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.data import (
    recipe_spec,
    recipes,
    sources,
    templates,
    tokenizers,
)
from mlit_jax.data.counts import RecipeError
from mlit_jax.errors import UsageError
from mlit_jax.studies import material

MODEL, RESPONSES, TOKENIZER = "model", "responses.jsonl", "tokenizer.model"
ADAPTER = "adapter"  # beside a model that is its base
VALIDATION = "validation"  # beside the data that are learnt from
SUMMARY, SCORES = "summary.json", "scores.jsonl"


def train_vocabulary(
    directory: pathlib.Path, languages: Sequence[str], vocab_size: int
) -> None:
  """Trains a SentencePiece model on the pocket world's training text."""
  shares = dict.fromkeys(languages, 1.0)
  documents = sources.pocket_documents(shares, 500 * len(languages), seed=0)
  lines = [d.text for d in documents]
  for instruction in sources.pocket_instructions(languages, "train").values():
    lines += [instruction.prompt, instruction.response]
  tokenizer = tokenizers.train_sentencepiece(lines, vocab_size)
  (directory / TOKENIZER).write_bytes(tokenizer.model)


def build_documents(
    directory: pathlib.Path,
    vocabulary: pathlib.Path,
    shares: Mapping[str, float],
    total: int,
    seed: int,
    given: Mapping[str, str],
) -> None:
  """Tokenizes running text: the pocket world's, or the study's own."""
  from mlit_jax.data import build

  documents = material.documents(shares, total, seed, given)
  examples = [
      {
          "id": d.id,
          "lang": d.lang,
          "inputs": "",
          "targets": d.text,
      }
      for d in documents
  ]
  origin = {
      "recipe": {"shares": dict(shares), "documents": total}, "seed": seed,
  }
  build.build(
      directory.name, examples, tokenizers.load(vocabulary), directory,
      origin=origin,
  )


def build_instructions(
    directory: pathlib.Path,
    vocabulary: pathlib.Path,
    recipe: Mapping[str, Any],
    given: Mapping[str, str],
    *,
    template: str,
    shuffle_responses: bool = False,
    max_length: int = 0,
) -> None:
  """Draws a recipe's manifests and tokenizes them.

  What the recipe holds out goes to the folder `validation`.

  Args:
    directory: the step's; gets the manifest and the token files.
    vocabulary: where the tokenizer lies.
    recipe: as data/recipe_spec.py says, of sources that material.py knows.
    given: the study's own sources, name -> READER:PATH.
    template: puts the examples in words.
    shuffle_responses: makes a control.
    max_length: longer examples lose their end; 0: none does.
  """
  from mlit_jax.data import build, conversations

  made, everything = draw(recipe, given)
  tokenizer = tokenizers.load(vocabulary)
  for manifest, place in (
      (made.train, directory), (made.validation, directory / VALIDATION)
  ):
    if not manifest.rows:
      continue
    if shuffle_responses:
      texts = {key: row.response for key, row in everything.items()}
      manifest = recipes.shuffle_responses(manifest, manifest.seed, texts)
    place.mkdir(exist_ok=True)
    manifest.write(place)
    origin = {
        "recipe": recipe,
        "design": manifest.design,
        "seed": manifest.seed,
        "manifest_sha256": manifest.hash,
        "template": template,
    }
    build.build(
        directory.name, conversations.rows(manifest, everything), tokenizer,
        place, origin=origin, form=templates.get(template),
        max_length=max_length, too_long="truncate" if max_length else "fail",
    )


def draw(
    recipe: Mapping[str, Any], given: Mapping[str, str]
) -> tuple[recipe_spec.Made, dict[tuple[str, str], records.Instruction]]:
  """A recipe's manifests, and every example of its sources by (id, language).

  Args:
    recipe: as data/recipe_spec.py says, of sources that material.py knows.
    given: the study's own sources, name -> READER:PATH.

  Raises:
    RecipeError: the sources have less than is asked for.
  """
  everything: dict[tuple[str, str], records.Instruction] = {}
  pools: dict[str, dict[str, list[str]]] = {}
  for source, languages in recipe_spec.languages(recipe).items():
    rows = material.instructions(source, languages, given)
    everything |= rows
    pool = pools.setdefault(source, {lang: [] for lang in languages})
    for id_, lang in rows:
      pool[lang].append(id_)
  try:
    return recipe_spec.make(recipe, pools), everything
  except RecipeError as e:
    named = [f"sources.{x}={given[x]}" for x in pools if x in given]
    if not named:
      raise
    ids = [set(x) for pool in pools.values() for x in pool.values()]
    parallel = (
        "; rows that say the same in several languages need the same 'id'"
        if all(ids) and not set.intersection(*ids) else ""
    )
    raise RecipeError(
        f"{', '.join(named)}: {e}; --study.num_examples says how many a model"
        f" learns from, --study.languages in which languages{parallel}"
    ) from None


def fingerprint(base: pathlib.Path) -> dict[str, int]:
  """File name -> size of a model directory: what a study made from it holds.

  Raises:
    UsageError: there is no such directory.
  """
  if not (base / "config.json").is_file():
    hub = (
        "" if base.exists() else ", for there is nothing of that name; nothing"
        " is fetched from a hub: fetch it first (hf download NAME --local-dir"
        " DIR) and give DIR"
    )
    raise UsageError(
        f"{base}: not a model directory; it has no config.json{hub}"
    )
  return {
      p.name: p.stat().st_size for p in sorted(base.iterdir()) if p.is_file()
  }


def adopt_tokenizer(directory: pathlib.Path, base: pathlib.Path) -> None:
  """Takes the tokenizer of a model directory as the study's vocabulary."""
  from mlit_jax.models.interchange import tokenizer_json

  tokenizers.load(base)
  tokenizer_json.copy_files(base, directory)


def adopt_model(directory: pathlib.Path, base: pathlib.Path) -> None:
  """Takes a model directory, where it lies, as the study's base."""
  from mlit_jax.models.interchange import huggingface

  config, files = huggingface.check(base)
  (directory / MODEL).unlink(missing_ok=True)
  (directory / MODEL).symlink_to(base.absolute(), target_is_directory=True)
  shapes = [files.shape(name) for name in files.names()]
  records.write_json(
      directory / SUMMARY,
      {
          "parameters": sum(map(math.prod, shapes)),
          "num_layers": config.num_layers,
          "embed_dim": config.embed_dim,
          "family": config.family,
      },
  )
