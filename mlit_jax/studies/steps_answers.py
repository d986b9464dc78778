"""The steps in which models answer: questions, and choices between endings.

Heavy libraries are imported where they are used, as in steps.py.
"""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.data import tokenizers
from mlit_jax.studies import material
from mlit_jax.studies.steps import ADAPTER

_SCORED_TOGETHER = 64
_Show = Callable[[str], None]


def load(
    model: pathlib.Path, mesh=None, dtype: str = "float32"
) -> tuple[Any, dict]:
  """The config and parameters of a step's model, its adapter merged in."""
  from mlit_jax.models import lora as lora_lib
  from mlit_jax.models.interchange import huggingface, peft

  config, params = huggingface.load(model, mesh, dtype)
  if (place := model.parent / ADAPTER).is_dir():
    params = lora_lib.merge(params, *peft.load_adapter(place, config))
  return config, params


def decode(
    outputs: Mapping[str, pathlib.Path],
    models: Mapping[str, pathlib.Path],
    prompts: Sequence[records.Instruction],
    *,
    template: str,
    max_new_tokens: int,
    batch_size: int,
    dtype: str,
    mesh_shape: tuple[int, int, int],
    show: _Show,
) -> None:
  """Answers prompts greedily; writes the responses in their order.

  Several systems answer in one program: adapters over one base.

  Args:
    outputs: system -> where its responses go, JSON Lines.
    models: system -> its step's model directory; the adapter beside it
      answers, if there is one. All are of one base.
    prompts: what to answer; (id, lang) is unique.
    template: puts the prompts in words.
    max_new_tokens: per answer.
    batch_size: prompts decoded together.
    dtype: of weights and activations.
    mesh_shape: as of partitioning.make_mesh.
    show: shows the progress.
  """
  from mlit_jax.studies import answering

  adapters = {
      name: model.parent / ADAPTER for name, model in models.items()
      if (model.parent / ADAPTER).is_dir()
  }
  answerer = answering.Answerer(
      next(iter(models.values())), template, batch_size, dtype=dtype,
      mesh_shape=mesh_shape, adapters=adapters,
  )
  questions = [
      answering.Question(prompt, name, name if name in adapters else None)
      for name in models for prompt in prompts
  ]
  found = {}
  for index, answer in answerer.answer(
      questions, answering.Options(max_new_tokens)
  ):
    found[index] = answer.response
    show(f"{len(found)}/{len(questions)} answers")
  for number, name in enumerate(models):
    first = number * len(prompts)
    own = (found[first + i] for i in range(len(prompts)))
    records.write_records(outputs[name], own)


def score_choices(
    output: pathlib.Path,
    model: pathlib.Path,
    tests: Mapping[str, Sequence[material.Choice]],
    *,
    template: str,
    dtype: str,
    mesh_shape: tuple[int, int, int],
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
    dtype: of the weights.
    mesh_shape: as of partitioning.make_mesh.
    show: shows the progress.
  """
  from mlit_jax.data import chat, checkpoint_template
  from mlit_jax.evals import lm, pairs
  from mlit_jax.studies import session

  tokenizer = tokenizers.load(model)
  form = checkpoint_template.find(template, model)
  config, params = load(model, session.mesh(mesh_shape), dtype)
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
          pair = pairs.encode(tokenizer, choice.contexts[k], ending)
        pair = pairs.truncate(*pair, config.max_length)
        asked.append(lm.Pair(f"{test}:{i}:{k}", *pair))
  found = {}
  scorer = session.scorer(config, _SCORED_TOGETHER, mesh_shape)
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
