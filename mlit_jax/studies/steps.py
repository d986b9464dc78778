"""The steps that studies are made of: vocabulary, data, models, answers.

Each function does one step in a Place and is given what it needs as plain
arguments; the heavy libraries are imported where they are used, so that a
study with nothing left to do starts at once.
"""

import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.data import (
    recipe_spec,
    recipes,
    sources,
    templates,
    token_file,
    tokenizers,
)
from mlit_jax.errors import UsageError
from mlit_jax.studies import material

MODEL, RESPONSES, TOKENIZER = "model", "responses.jsonl", "tokenizer.model"
SUMMARY, SCORES = "summary.json", "scores.jsonl"
_SCORED_TOGETHER = 64
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
    recipe: Mapping[str, Any],
    given: Mapping[str, str],
    *,
    template: str,
    shuffle_responses: bool = False,
) -> None:
  """Draws a recipe's manifest and tokenizes it.

  Args:
    directory: the step's; gets the manifest and the token files.
    vocabulary: where the tokenizer lies.
    recipe: as data/recipe_spec.py says, of sources that material.py knows.
    given: the study's own sources, name -> READER:PATH.
    template: puts the examples in words.
    shuffle_responses: makes a control.
  """
  from mlit_jax.data import build, conversations

  everything: dict[tuple[str, str], records.Instruction] = {}
  pools: dict[str, dict[str, list[str]]] = {}
  for source, languages in recipe_spec.languages(recipe).items():
    rows = material.instructions(source, languages, given)
    everything |= rows
    pool = pools.setdefault(source, {lang: [] for lang in languages})
    for id_, lang in rows:
      pool[lang].append(id_)
  manifest = recipe_spec.make(recipe, pools).train
  if shuffle_responses:
    texts = {key: row.response for key, row in everything.items()}
    manifest = recipes.shuffle_responses(manifest, manifest.seed, texts)
  manifest.write(directory)
  origin = {
      "recipe": recipe,
      "design": manifest.design,
      "seed": manifest.seed,
      "manifest_sha256": manifest.hash,
      "template": template,
  }
  build.build(
      directory.name, conversations.rows(manifest, everything),
      tokenizers.load(vocabulary), directory, origin=origin,
      form=templates.get(template),
  )


def fingerprint(base: pathlib.Path) -> dict[str, int]:
  """File name -> size of a model directory: what a study made from it holds.

  Raises:
    UsageError: there is no such directory.
  """
  if not (base / "config.json").is_file():
    raise UsageError(f"{base}: not a model directory; it has no config.json")
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
      },
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
    model: fields of DecoderConfig without the vocabulary's size; {}: those
      of the base.
    options: `row_length, loss_length, batch_size, epochs,
      checkpoint_every` and `optimizer`, the fields of OptimizerConfig.
    seed: of the initial parameters and of the order of the data.
    show: shows the progress.
  """
  from mlit_jax.data import batches
  from mlit_jax.models.config import DecoderConfig
  from mlit_jax.models.interchange import (
      exchange,
      huggingface,
      tokenizer_json,
  )
  from mlit_jax.studies import session
  from mlit_jax.training.optimizer import OptimizerConfig

  tokenizer = tokenizers.load(vocabulary)
  config, params = None, None
  if base is not None:
    config, params = huggingface.load(base)
  if model:
    wanted = DecoderConfig(vocab_size=tokenizer.vocab_size, **model)
    if config not in (None, wanted):
      raise huggingface.CheckpointError(
          f"{base}: the base is {config}, the run is {wanted}"
      )
    config = wanted
  trainer = session.trainer(config, OptimizerConfig(**options["optimizer"]))
  if params is None:
    params = trainer.init(seed)
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
  with exchange.replacing(directory / MODEL) as temporary:
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    huggingface.write_model(temporary, config, params, ids)
    tokenizer_json.copy_files(vocabulary, temporary)
  built = token_file.read_summary(data)
  records.write_json(
      directory / SUMMARY,
      {
          "steps": num_steps,
          "epochs": epochs,
          "tokens_seen": built["total"]["tokens"] * epochs,
          "parameters": sum(x.size for x in _leaves(params)),
          "num_layers": config.num_layers,
          "embed_dim": config.embed_dim,
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
  asked = [_turns(p.messages) for p in prompts]
  said: list[list[records.Message]] = [[] for _ in prompts]
  last = {}
  for turn in range(max(map(len, asked), default=0)):
    requests = {}
    for i, turns in enumerate(asked):
      if turn < len(turns):
        said[i] += turns[turn]
        requests[f"{i}"] = Request(
            f"{i}", answerer.encode(said[i]), max_new_tokens
        )
    which = f" of turn {turn + 1}" if turn else ""
    for count, result in enumerate(
        answerer.generate(list(requests.values())), start=1
    ):
      last[int(result.id)] = result
      show(f"{count}/{len(requests)} answers{which}")
    for i, turns in enumerate(asked):
      if turn + 1 < len(turns):
        text = answerer.read(last[i])
        said[i].append(records.Message("assistant", text))
  responses = [
      records.Response(
          id=prompt.id,
          lang=prompt.lang,
          model=name,
          response=answerer.read(last[i]),
          finish_reason=last[i].finish_reason,
          num_tokens=last[i].num_tokens,
          messages=tuple(said[i]) if len(asked[i]) > 1 else (),
      )
      for i, prompt in enumerate(prompts)
  ]
  records.write_records(output, responses)


def score_choices(
    output: pathlib.Path,
    model: pathlib.Path,
    tests: Mapping[str, Sequence[material.Choice]],
    *,
    template: str,
    show: _Show,
) -> None:
  """Log-likelihoods of every ending of multiple-choice questions.

  A question is put in the template, and its endings are answers; any other
  context is put as it is.

  Args:
    output: where to, JSON Lines: test, id, lang, right, and of every ending its
      log-probability and number of tokens.
    model: a model directory.
    tests: name -> the questions.
    template: of the questions.
    show: shows the progress.
  """
  from mlit_jax.data import chat, checkpoint_template
  from mlit_jax.evals import lm, pairs
  from mlit_jax.models.interchange import huggingface
  from mlit_jax.studies import session

  tokenizer = tokenizers.load(model)
  form = checkpoint_template.find(template, model)
  config, params = huggingface.load(model)
  asked = []
  for test, choices in tests.items():
    for i, choice in enumerate(choices):
      prompt = ()
      if choice.asked:
        prompt = tuple(
            chat.encode_prompt(
                tokenizer, form, [records.Message("user", choice.context)]
            )
        )
      for k, ending in enumerate(choice.endings):
        if choice.asked:
          pair = prompt, tuple(tokenizer.encode(ending))
        else:
          pair = pairs.encode(tokenizer, choice.context, ending)
        pair = pairs.truncate(*pair, config.max_length)
        asked.append(lm.Pair(f"{test}:{i}:{k}", *pair))
  found = {}
  scorer = session.scorer(config, _SCORED_TOGETHER)
  for score in scorer.score(params, asked):
    found[score.id] = score
    show(f"{len(found)}/{len(asked)} endings")
  rows = []
  for test, choices in tests.items():
    for i, choice in enumerate(choices):
      scores = [found[f"{test}:{i}:{k}"] for k in range(len(choice.endings))]
      rows.append({
          "test": test,
          "id": choice.id,
          "lang": choice.lang,
          "right": choice.right,
          "logprobs": [score.logprob for score in scores],
          "num_tokens": [score.num_tokens for score in scores],
      })
  records.write_text(
      output, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
  )


def _turns(
    messages: Sequence[records.Message],
) -> list[list[records.Message]]:
  """What is said before each answer: a user who speaks twice is answered twice.

  A conversation that has answers already is one turn.
  """
  if any(m.role == "assistant" for m in messages):
    return [list(messages)]
  turns: list[list[records.Message]] = [[]]
  for m in messages:
    if turns[-1] and turns[-1][-1].role == "user":
      turns.append([])
    turns[-1].append(m)
  return turns


def _leaves(params) -> list:
  import jax

  return jax.tree.leaves(params)
