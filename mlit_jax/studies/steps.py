"""The steps that studies are made of: vocabulary, data, models, answers.

Each function does one step in a Place and is given what it needs as plain
arguments; the heavy libraries are imported where they are used, so that a
study with nothing left to do starts at once.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.data import recipes, sources, templates, token_file, tokenizers

MODEL, RESPONSES, TOKENIZER = "model", "responses.jsonl", "tokenizer.model"
SUMMARY = "summary.json"
_Show = Callable[[str], None]


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
) -> None:
  """Tokenizes the pocket world's running text."""
  from mlit_jax.data import build

  documents = sources.pocket_documents(shares, total, seed)
  examples = [
      {
          "id": d.id,
          "lang": d.id.split("/")[1],
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
    counts: Mapping[str, int],
    *,
    main: str,
    template: str,
    seed: int,
    shuffle_responses: bool = False,
) -> None:
  """Draws a manifest from the pocket world and tokenizes it."""
  from mlit_jax.data import build, conversations, recipe_spec

  source = sources.pocket_instructions(tuple(counts), "train")
  pool = {lang: [i for i, at in source if at == lang] for lang in counts}
  part = {
      "source": "pocket", "design": "partition", "counts": dict(counts),
      "main": main,
  }
  recipe = {"seed": seed, "parts": [part]}
  manifest = recipe_spec.make(recipe, {"pocket": pool}).train
  if shuffle_responses:
    texts = {key: row.response for key, row in source.items()}
    manifest = recipes.shuffle_responses(manifest, seed, texts)
  manifest.write(directory)
  origin = {
      "recipe": recipe,
      "design": manifest.design,
      "seed": seed,
      "manifest_sha256": manifest.hash,
      "template": template,
  }
  build.build(
      directory.name, conversations.rows(manifest, source),
      tokenizers.load(vocabulary), directory, origin=origin,
      form=templates.get(template),
  )


def train(
    directory: pathlib.Path,
    data: pathlib.Path,
    vocabulary: pathlib.Path,
    *,
    base: pathlib.Path | None,
    model: Mapping[str, Any],
    options: Mapping[str, Any],
    seed: int,
    show: _Show,
) -> None:
  """Trains a model, from `base` or from scratch, and exports it.

  Args:
    directory: the step's; the model goes to its `model` folder.
    data: a built token file.
    vocabulary: where the tokenizer lies.
    base: a model directory, or None.
    model: fields of DecoderConfig without the vocabulary's size.
    options: `row_length, loss_length, batch_size, epochs,
      checkpoint_every` and `optimizer`, the fields of OptimizerConfig.
    seed: of the initial parameters and of the order of the data.
    show: shows the progress.
  """
  from mlit_jax.data import batches
  from mlit_jax.models.config import DecoderConfig
  from mlit_jax.models.interchange import huggingface
  from mlit_jax.studies import session
  from mlit_jax.training.optimizer import OptimizerConfig

  tokenizer = tokenizers.SentencePieceTokenizer.from_directory(vocabulary)
  config = DecoderConfig(vocab_size=tokenizer.vocab_size, **model)
  trainer = session.trainer(config, OptimizerConfig(**options["optimizer"]))
  if base is None:
    params = trainer.init(seed)
  else:
    found, params = huggingface.load(base)
    if found != config:
      raise huggingface.CheckpointError(
          f"{base}: the base is {found}, the run is {config}"
      )
  size, epochs = options["batch_size"], options["epochs"]
  rows = batches.PackedRows(
      data, options["row_length"], size, options["loss_length"]
  )
  num_steps = batches.num_batches(rows, size, epochs)
  checkpoints = None
  if every := options["checkpoint_every"]:
    checkpoints = directory / "checkpoints", every
  params, loss = trainer.run(
      params,
      batches.batches(rows, size, seed=seed, epochs=epochs),
      num_steps,
      checkpoints=checkpoints,
      report=lambda p: show(
          f"step {p.step}/{p.num_steps}  loss {p.loss:.3f}"
      ),
  )
  huggingface.save(
      directory / MODEL, config, params, tokenizer.model,
      bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id,
  )
  built = token_file.read_summary(data)
  records.write_json(
      directory / SUMMARY,
      {
          "steps": num_steps,
          "epochs": epochs,
          "tokens_seen": built["total"]["tokens"] * epochs,
          "parameters": sum(x.size for x in _leaves(params)),
          "final_loss": round(loss, 4),
          "packing_density": round(rows.density, 4),
      },
  )


def decode(
    output: pathlib.Path,
    model: pathlib.Path,
    name: str,
    prompts: Sequence[records.Instruction],
    *,
    template: str,
    max_new_tokens: int,
    batch_size: int,
    show: _Show,
) -> None:
  """Answers prompts greedily; writes the responses in their order.

  Args:
    output: where to, JSON Lines.
    model: a model directory.
    name: the system's name in the responses.
    prompts: what to answer; (id, lang) is unique.
    template: puts the prompts in words.
    max_new_tokens: per answer.
    batch_size: prompts decoded together.
    show: shows the progress.
  """
  from mlit_jax.decoding.engine import Request
  from mlit_jax.studies.answering import Answerer

  answerer = Answerer(model, template, batch_size)
  requests = [
      Request(
          f"{p.lang}:{p.id}", answerer.encode(p.messages), max_new_tokens
      )
      for p in prompts
  ]
  results = {}
  for result in answerer.generate(requests):
    results[result.id] = result
    show(f"{len(results)}/{len(requests)} answers")
  responses = []
  for prompt, request in zip(prompts, requests, strict=True):
    result = results[request.id]
    responses.append(
        records.Response(
            id=prompt.id,
            lang=prompt.lang,
            model=name,
            response=answerer.read(result),
            finish_reason=result.finish_reason,
            num_tokens=result.num_tokens,
        )
    )
  records.write_records(output, responses)


def _leaves(params) -> list:
  import jax

  return jax.tree.leaves(params)
