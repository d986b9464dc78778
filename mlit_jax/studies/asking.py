"""A study's judge and language gate, from its config; what judging costs."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.data import sources
from mlit_jax.data.pocket import text
from mlit_jax.errors import UsageError
from mlit_jax.judging import gate as gate_lib
from mlit_jax.judging import (
    identification,
    judges,
    pacing,
    prompt_files,
    protocols,
    specs,
)
from mlit_jax.studies import (
    judge_setup,
    material,
    pipeline,
    plan_translation,
    steps,
)
from mlit_jax.studies.study import Place

REPLIES = "replies.jsonl"
_NOTES = {
    "reference": (
        "The reference judge is not a language model: it compares each answer"
        " with one right answer, letter by letter, after checking its language."
        " It is made for the closed pocket world and says nothing about free"
        " text."
    ),
    "human": "The judgments are people's.",
    "replay": "The judgments were recorded before.",
}
_MODEL_NOTE = (
    "The judge is a language model; its replies are kept word for word with"
    " every judgment."
)
_GATES = "auto, pocket, identify or identify:FILE"


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What is judged together.

  Attributes:
    prompts: with references where there are any.
    a: the responses of system a, one per prompt.
    b: of system b, or None.
  """

  prompts: Sequence[records.Instruction]
  a: Sequence[records.Response]
  b: Sequence[records.Response] | None = None


@functools.cache
def pocket_gate(languages: tuple[str, ...]) -> gate_lib.LexiconGate:
  """Tells the pocket world's languages apart, by its own words."""
  lines = {code: [s.text for s in text.statements(code)] for code in languages}
  source = sources.pocket_instructions(languages, "train")
  for (_, code), instruction in source.items():
    lines[code].append(instruction.response)
  return gate_lib.LexiconGate.from_text(lines)


def gate(
    config, candidates: Sequence[str], asked: str = ""
) -> gate_lib.Gate:
  """What tells the answers' languages.

  Args:
    config: of the study.
    candidates: the languages that it chooses from.
    asked: the material; default: the study's own.
  """
  kind, _, file = config.judging.gate.partition(":")
  if kind == "auto":
    kind = "identify"
    if material.is_pocket(asked or config.evaluation):
      kind = "pocket"
  if kind == "pocket":
    return pocket_gate(tuple(candidates))
  return _identification(file)


@functools.cache
def _identification(file: str) -> identification.FastTextGate:
  return identification.FastTextGate(file)


def check(config) -> None:
  """UsageError unless the study's judge can be asked.

  What it takes is looked for now, before anything is trained.
  """
  options = config.judging
  kind, _, file = options.gate.partition(":")
  if kind not in ("auto", "pocket", "identify") or (
      file and kind != "identify"
  ):
    raise UsageError(f"judging.gate={options.gate!r}: give {_GATES}")
  if kind == "identify":
    _identification(file)
  if kind == "pocket" and not material.is_pocket(config.evaluation):
    raise UsageError(
        "judging.gate=pocket knows the pocket world's words alone; give"
        " identify"
    )
  if options.prompt_language != "instruction":
    prompt_files.Ours(options.prompt_language)
  if not 0 <= options.tolerated_failures < 1:
    raise UsageError("judging.tolerated_failures must lie in [0, 1)")
  if not config.judge:  # a paper's; it must be given before it is asked
    return
  spec = specs.parse(config.judge)
  if options.max_cost and not options.price:
    raise UsageError("judging.max_cost needs judging.price=IN,OUT")
  if options.batch and (
      spec.kind not in ("openai", "gemini") or spec.on_vertex
  ):
    raise UsageError(
        "judging.batch is for openai judges and for gemini with a key"
    )
  made = _options(config, pathlib.Path())
  if spec.kind in ("openai", "gemini"):
    judge_setup.vendor(spec, made)
  elif spec.kind == "local":
    steps.fingerprint(pathlib.Path(spec.name))
  elif spec.kind in ("human", "replay"):
    _file_digest(spec)


def params(
    config, protocol: str, asked: str, languages: Sequence[str]
) -> dict[str, Any]:
  """What a judging step hangs on, beside the answers.

  Args:
    config: of the study.
    protocol: its name.
    asked: the material.
    languages: of the questions; of a judge that is paid for, `asks` says what
      they take at most.
  """
  options = config.judging
  found: dict[str, Any] = {"judge": config.judge, "gate": options.gate}
  if not config.judge:
    return found | {"asks": _asks(config, protocol, asked, languages)}
  spec = specs.parse(config.judge)
  found["judge"] = spec.text
  if spec.kind == "reference":
    return found
  if spec.kind in ("human", "replay"):
    return found | {"file": _file_digest(spec)}
  found |= {
      name: options[name]
      for name in ("prompt_language", "temperature", "max_tokens")
  }
  if spec.kind == "local":
    files = steps.fingerprint(pathlib.Path(spec.name))
    return found | {"files": files, "template": options.template}
  return found | {"asks": _asks(config, protocol, asked, languages)}


def alone(config) -> bool:
  """Whether a judging step wants the machine, or the provider, to itself."""
  return not config.judge or specs.parse(config.judge).is_language_model


def about(config) -> dict[str, Any]:
  """The judge as results.json tells of it, without paths."""
  spec = specs.parse(config.judge)
  shown = spec.text
  if spec.kind in ("local", "human", "replay"):
    shown = f"{spec.kind}:{pathlib.Path(spec.name).name}"
  return {
      "spec": shown, "is_language_model": spec.is_language_model,
      "note": _NOTES.get(spec.kind, _MODEL_NOTE),
  }


def forecast(config, asks: Iterable[Mapping[str, int]]) -> str:
  """A sentence on what judging will take at most; "" where nothing is paid."""
  asks = list(asks)
  if not asks:
    return ""
  total = {key: sum(ask[key] for ask in asks) for key in asks[0]}
  said = (
      f"judge {config.judge}: at most {total['requests']} requests, about"
      f" {total['input']} tokens in and {total['output']} out"
  )
  if not config.judging.price:
    return f"{said}; no price was given (--study.judging.price=IN,OUT)"
  cost = _limits(config).cost(total)
  cap = config.judging.max_cost
  capped = f"; it stops at {cap:g}" if cap else ""
  return f"{said}: at most about {cost:.2f}{capped}"


def judge(
    config,
    place: Place,
    show: Callable[[str], None],
    protocol: str,
    comparisons: Sequence[Comparison],
    candidates: Sequence[str],
    asked: str = "",
) -> list[records.Judgment]:
  """The judgments of some comparisons, asked for as one batch.

  Args:
    config: of the study.
    place: of the step.
    show: shows the progress.
    protocol: its name.
    comparisons: what is judged.
    candidates: the languages that the gate chooses from.
    asked: the material; default: the study's own.

  Raises:
    JudgeError: the judge cannot go on, or too many requests had no reply.
      What was answered is kept for the next run.
  """
  spec = specs.parse(config.judge)
  found, used = protocols.PROTOCOLS[protocol], gate(config, candidates, asked)
  if spec.kind == "human":
    found = protocols.for_people(found)
  wording = prompt_files.Ours(config.judging.prompt_language)
  with judge_setup.judge(
      spec, _options(config, place.workdir), candidates, show, used
  ) as judge:
    questions = [
        question
        for c in comparisons
        for question in protocols.ask(
            found, judge.reads_prompt, c.prompts, c.a, c.b, wording=wording
        )
    ]
    judgments = protocols.answer(
        found, judge, spec.text, questions, gate=used,
        candidates=tuple(candidates),
    )
  if repeated := getattr(judge, "repeated", 0):
    # Plain: a line that moves on would take it away.
    print(
        f"{repeated} requests to the judge were under way when the last run was"
        " stopped; only these may have been paid for twice", flush=True,
    )
  lost = [j for j in judgments if j.failure == "transport"]
  if len(lost) > config.judging.tolerated_failures * len(judgments):
    raise judges.JudgeError(
        f"{len(lost)} of {len(judgments)} questions had no reply, the first:"
        f" {lost[0].raw or 'no reason'}; start again to ask them anew, or"
        " tolerate a share of them (--study.judging.tolerated_failures)"
    )
  return judgments


def _options(config, workdir: pathlib.Path) -> judge_setup.Options:
  options = config.judging
  return judge_setup.Options(
      replies=workdir / REPLIES,
      journal=workdir / ".judge.asked",
      temperature=options.temperature,
      max_tokens=options.max_tokens,
      limits=_limits(config),
      batch=options.batch,
      template=options.template,
      batch_size=options.batch_size,
      cap_counts_stored=True,
  )


def _limits(config) -> pacing.Limits:
  options = config.judging
  return pacing.Limits(
      concurrency=options.concurrency,
      requests_per_minute=options.requests_per_minute,
      tokens_per_minute=options.tokens_per_minute,
      max_cost=options.max_cost,
      prices=judge_setup.prices("judging.price", options.price),
  )


def _asks(
    config, protocol: str, asked: str, languages: Sequence[str]
) -> dict[str, int]:
  """What judging systems' answers to a material takes at most."""
  address = config.sources.get(asked, "")
  rows = [
      _estimate(
          protocol, asked, address, lang, pipeline.origin(config, asked),
          config.judging.prompt_language, config.judging.max_tokens,
          config.max_new_tokens,
      )
      for lang in languages
  ]
  keys = ("requests", "input", "output")
  return {key: sum(row[key] for row in rows) for key in keys}


@functools.cache  # every system is asked the same
def _estimate(
    protocol: str,
    asked: str,
    address: str,
    lang: str,
    origin: str,
    prompt_language: str,
    max_tokens: int,
    max_new_tokens: int,
) -> dict[str, int]:
  prompts = plan_translation.questions(
      asked, lang, origin, {asked: address} if address else {}
  )
  found = protocols.PROTOCOLS[protocol]
  empty = [
      records.Response(
          p.id, p.lang, "", "", "stop", 0,
          # An answer to every turn but the last.
          messages=tuple(
              m for turn in p.messages
              for m in (turn, records.Message("assistant", ""))
          )[:-1],
      )
      for p in prompts
  ]
  questions = protocols.ask(
      found, True, prompts, empty, empty if found.paired else None,
      wording=prompt_files.Ours(prompt_language),
  )
  answers = sum(
      q.request.turn * len(q.request.answers) for q in questions
  )
  return {
      "requests": len(questions),
      "input": sum(pacing.estimate(q.request) for q in questions)
      + answers * max_new_tokens,
      "output": len(questions) * max_tokens,
  }


def _file_digest(spec: specs.Spec) -> str:
  try:
    return hashlib.sha256(pathlib.Path(spec.name).read_bytes()).hexdigest()
  except OSError as e:
    raise UsageError(f"{spec.text}: cannot be read ({e.strerror})") from None
