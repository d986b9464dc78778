"""What a study will take, before it is begun: tokens, steps, hours, money.

Examples and questions are counted exactly, as the study itself draws them.
Tokens are counted where data has been built, and else estimated from the
characters. Operations are those of training/flops.py.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from mlit_jax.data import recipe_spec, token_file
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.lora import LoraConfig
from mlit_jax.studies import (
    expected,
    material,
    pipeline,
    plan_sizes,
    plan_tokens,
    runner,
    steps,
)
from mlit_jax.studies.plan_sizes import Model
from mlit_jax.studies.study import Step
from mlit_jax.training import accelerators, flops

_JUDGMENT = 400  # bytes of one in a file
# Of a parameter: as trained on a TPU, as exported, in a checkpoint with AdamW's
# two moments. Of a token in a file: its id and loss weight.
_ON_CHIP, _EXPORTED, _CHECKPOINT, _PER_TOKEN = 2, 4, 12, 6


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a step takes.

  Attributes:
    step: its name.
    needs: the steps that it reads.
    state: done, begun or open.
    examples: that a model learns from, or questions that it is asked.
    tokens: read in training (over all epochs), or read and written.
    runs: of training; adapters trained together are several.
    steps: of the optimizer.
    flops: operations.
    memory_bytes: read from the accelerator's memory where that decides how
      long it takes: in decoding every weight is read for every token.
    calls: of a judge.
    judge_input, judge_output: its tokens, of one that is paid for.
    disk: bytes that it leaves.
    is_known: whether there is an estimate.
  """

  step: str
  needs: tuple[str, ...]
  state: str
  examples: int = 0
  tokens: int = 0
  runs: int = 0
  steps: int = 0
  flops: float = 0.0
  memory_bytes: float = 0.0
  calls: int = 0
  judge_input: int = 0
  judge_output: int = 0
  disk: int = 0
  is_known: bool = True

  def seconds(self, slices: accelerators.Slices, mfu: float) -> float:
    """On an accelerator that reaches a share `mfu` of its peak."""
    return max(
        self.flops / (slices.num_chips * slices.chip.flops * mfu),
        self.memory_bytes
        / (slices.num_chips * slices.chip.memory_bandwidth),
    )


def estimate(
    graph: Sequence[Step],
    config,
    workdir: pathlib.Path | None,
    again: Collection[str] = (),
) -> list[Cost]:
  """The cost of every step, in the graph's order.

  Args:
    graph: of the study.
    config: of the study.
    workdir: where it runs; None: nothing is done yet.
    again: names of steps that are to be done again.
  """
  return _Estimate(graph, config, workdir, again).costs()


@dataclasses.dataclass(frozen=True)
class _Asked:
  """What a decoding step asks: language -> (questions, turns, tokens)."""

  languages: Mapping[str, tuple[int, int, int]]
  new_tokens: int

  def total(self, languages: Sequence[str]) -> tuple[int, int, int]:
    rows = [self.languages.get(lang, (0, 0, 0)) for lang in languages]
    return tuple(map(sum, zip(*rows, strict=True))) if rows else (0, 0, 0)

  @property
  def disk(self) -> int:
    """Bytes of a system's answers."""
    return 4 * self.total(tuple(self.languages))[1] * self.new_tokens


class _Estimate:
  """Goes through the graph; a step knows of those before it."""

  def __init__(self, graph, config, workdir, again):
    self._graph = graph
    self._given = pipeline.given(config)
    self._steps = None if workdir is None else workdir / runner.STEPS
    names = {step.name for step in graph}
    self._states = (
        dict.fromkeys(names, runner.OPEN) if workdir is None
        else runner.states(graph, workdir, again)
    )
    made = self._states.get(pipeline.VOCABULARY) == runner.DONE
    self._texts = plan_tokens.Texts(
        config, self._steps / pipeline.VOCABULARY if made else None
    )
    self._params = {step.name: step.params for step in graph}
    self._models: dict[str, Model] = {}
    self._data: dict[str, tuple[int, int]] = {}  # examples, tokens
    self._held: dict[str, int] = {}  # tokens that are held out
    self._asked: dict[str, _Asked] = {}
    self._choices: dict[tuple, list[int]] = {}
    self._vocab_size = 0

  def costs(self) -> list[Cost]:
    kinds: dict[str, Callable[[Step], dict[str, Any]]] = {
        "vocabulary": self._vocabulary, "data": self._build,
        "model": self._train, "adapters": self._train,
        "decode": self._decode, "answers": self._decode, "judge": self._judge,
        "score": self._score, "vectors": self._represent,
        "laws": lambda step: {}, "results": lambda step: {},
        "report": lambda step: {},
    }
    found = []
    for step in self._graph:
      make = kinds.get(step.name.partition("-")[0])
      found.append(
          Cost(
              step.name, step.needs, self._states[step.name],
              **(make(step) if make else {"is_known": False}),
          )
      )
    return found

  def _vocabulary(self, step: Step) -> dict[str, Any]:
    self._vocab_size = step.params.get("vocab_size", 0)
    return {}

  def _build(self, step: Step) -> dict[str, Any]:
    params = step.params
    if self._states[step.name] == runner.DONE:
      place = self._steps / step.name
      total = token_file.read_summary(place)["total"]
      examples, tokens = total["examples"], total["tokens"]
      if (place / steps.VALIDATION).is_dir():
        held = token_file.read_summary(place / steps.VALIDATION)["total"]
        self._held[step.name] = held["tokens"]
    elif "recipe" in params:
      examples, tokens, held = self._texts.drawn(params["recipe"])
      self._held[step.name] = held
      # Pairs that are shared out only when other models have been seen.
      if later := params.get("of", 0):
        asked = recipe_spec.languages(params["recipe"])
        codes = tuple(dict.fromkeys(x for row in asked.values() for x in row))
        length = self._texts.length(material.INTO, codes)
        tokens += self._texts.tokens(later * length)
        examples += later
    else:
      examples = params["documents"]
      held = params.get("sources", {}).get(material.DOCUMENTS)
      if held and (promised := expected.of(held)):
        characters = promised.characters
      else:
        size = min(plan_tokens.SAMPLE, examples)
        sample = material.documents(
            params["shares"], size, 0, params.get("sources", {})
        )
        characters = sum(len(d.text) for d in sample) / len(sample)
      tokens = self._texts.tokens(examples * characters)
    self._data[step.name] = examples, tokens
    return {
        "examples": examples, "tokens": tokens, "disk": tokens * _PER_TOKEN
    }

  def _train(self, step: Step) -> dict[str, Any]:
    if shared := step.params.get("taken_from"):
      self._models[step.name] = model = self._models[shared]
      lora = LoraConfig(**self._params[shared]["options"]["lora"])
      return {"disk": _EXPORTED * plan_sizes.num_trained(model, lora)}
    options = step.params.get("options")
    if options is None:  # a base that is taken as it is
      from mlit_jax.models.interchange import huggingface

      base = step.params["base"]
      self._models[step.name] = (
          huggingface.check(pathlib.Path(base))[0] if base
          else expected.shape(step.params["expected"])
      )
      return {}
    read = [self._data[x] for x in step.needs if x in self._data]
    runs, examples, tokens = len(read), *map(sum, zip(*read, strict=True))
    before = [self._models[x] for x in step.needs if x in self._models]
    fields = step.params["model"]
    model = (
        DecoderConfig(vocab_size=self._vocab_size, **fields)
        if fields and self._vocab_size else before[0]
    )
    self._models[step.name] = model
    size, epochs = options["batch_size"], options["epochs"]
    number = max(plan_sizes.num_steps(options, *x) for x in read)
    parameters, lora = plan_sizes.num_parameters(model), None
    if "lora" in options:
      lora = LoraConfig(**options["lora"])
      parameters = plan_sizes.num_trained(model, lora)
    every = options["checkpoint_every"]
    return {
        "examples": examples, "tokens": tokens * epochs, "runs": runs,
        "steps": number,
        "flops": self._validation(step, model, number) + (
            number * flops.train_step(
                model, runs * size, options["row_length"],
                options["loss_length"], lora=lora,
            )
        ),
        "disk": (
            runs * parameters * (_EXPORTED + (_CHECKPOINT if every else 0))
        ),
    }

  def _validation(self, step: Step, model: Model, number: int) -> float:
    """Operations of validating, every so often and after the last step."""
    options = step.params["options"]
    if not (every := options.get("validate_every", 0)):
      return 0.0
    length = options["row_length"]
    rows = sum(
        plan_sizes.num_rows(self._held.get(x, 0), length) for x in step.needs
    )
    return math.ceil(number / every) * flops.forward(model, rows, length).total

  def _decode(self, step: Step) -> dict[str, Any]:
    if shared := step.params.get("taken_from"):
      self._asked[step.name] = asked = self._asked[shared]
      return {"disk": asked.disk}
    params = step.params
    name, _ = params["prompts"]
    languages = self._texts.questions(name, tuple(params["languages"]))
    asked = _Asked(languages, params["max_new_tokens"])
    self._asked[step.name] = asked
    systems = len(step.needs)
    questions, turns, read = (
        systems * n for n in asked.total(tuple(languages))
    )
    model, new = self._models[step.needs[0]], asked.new_tokens
    size = params["batch_size"]
    return {
        "examples": questions, "tokens": read + turns * new,
        "flops": flops.forward(
            model, turns, read // max(1, turns) + new, new
        ).total,
        "memory_bytes": (
            float(math.ceil(turns / size)) * new * _ON_CHIP
            * plan_sizes.num_parameters(model)
        ),
        "disk": systems * asked.disk,
    }

  def _score(self, step: Step) -> dict[str, Any]:
    key = tuple(step.params["tests"]), tuple(step.params["languages"])
    if key not in self._choices:  # every system is asked the same
      tests, languages = key
      self._choices[key] = [
          len(choice.context) + len(ending)
          for test in tests
          for choice in material.choices(test, languages, self._given)
          for ending in choice.endings
      ]
    return self._read(step, self._choices[key])

  def _represent(self, step: Step) -> dict[str, Any]:
    texts = material.parallel_sentences(
        step.params["languages"], self._given
    )
    return self._read(step, [len(x) for y in texts.values() for x in y])

  def _read(self, step: Step, lengths: Sequence[int]) -> dict[str, Any]:
    """A forward pass over texts of so many characters."""
    tokens, number = self._texts.tokens(sum(lengths)), len(lengths)
    model = self._models[step.needs[0]]
    return {
        "examples": number, "tokens": tokens,
        "flops": flops.forward(
            model, number, math.ceil(tokens / max(1, number))
        ).total,
    }

  def _judge(self, step: Step) -> dict[str, Any]:
    params = step.params
    needs = [self._asked[x] for x in step.needs if x in self._asked]
    if not needs:
      return {"is_known": False}
    asked = needs[0]
    languages = tuple(params.get("opponents", asked.languages))
    paired = "opponents" in params or len(needs) > 1
    _, turns, _ = asked.total(languages)
    orders = 2 if paired else 1
    calls, tokens = orders * turns, {}
    if paid := params.get("asks"):  # studies/asking.py
      calls = paid["requests"]
      tokens = {"judge_input": paid["input"], "judge_output": paid["output"]}
    return {
        "examples": turns, "calls": calls, "disk": _JUDGMENT * calls, **tokens
    }
