"""`mlit judge`: has answers judged, by any protocol and any judge."""

import argparse
import json

from mlit_jax.commands import judge_gate, outputs, overrides
from mlit_jax.errors import UsageError

SUMMARY = "have responses judged, those of one system or of two"
EXAMPLE = """\
mlit judge side_by_side --judge reference --prompts P.jsonl --a A.jsonl --b B.jsonl --output J.jsonl
  mlit judge side_by_side --judge gemini:gemini-2.5-flash --samples 5 --temperature 1 --prompts P.jsonl --a A.jsonl --b B.jsonl --output J.jsonl
  mlit judge rating --judge openai:MODEL@http://localhost:8000/v1 --prompt_language instruction --prompts P.jsonl --a A.jsonl --output J.jsonl
  mlit judge mt_bench --judge openai:MODEL --prompts question.jsonl --lang de --a answers.jsonl --output J.jsonl
  mlit judge mt_bench --judge openai:MODEL --prompts question.jsonl --lang de --a answers.jsonl --b others.jsonl --output J.jsonl
  mlit judge correctness --judge local:DIR --prompts QA.jsonl --a A.jsonl --output J.jsonl
  mlit judge score_pair --judge openai:MODEL --price 0.15,0.6 --max_cost 5 --prompts P.jsonl --a A.jsonl --b B.jsonl --output J.jsonl
  mlit judge rubric --judge openai:MODEL --rubric rubric.txt --prompts P.jsonl --a A.jsonl --output J.jsonl

judges:
  openai:MODEL[@URL]               any server that speaks OpenAI's protocol
  gemini:MODEL[@PROJECT/LOCATION]  Gemini, with an API key or on Vertex AI
  local:DIR                        a model directory
  reference                        compares with a known answer; offline, not a
                                   language model
  replay:FILE                      recorded judgments
  human:FILE                       people's judgments

Keys come from OPENAI_API_KEY, GEMINI_API_KEY or --key_file. Replies are kept
(--cache); the same command goes on where it stopped and pays nothing twice."""  # noqa: E501
PROTOCOLS = (
    "side_by_side", "rating", "mt_bench", "correctness", "score_pair", "rubric"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  add = parser.add_argument
  add("protocol", choices=PROTOCOLS)
  add("--judge", required=True, metavar="SPEC", help="see below")
  add("--prompts", required=True,
      help="instructions, JSONL (or FastChat's questions)")
  add("--a", required=True,
      help="responses of system a, JSONL (or FastChat's answers)")
  add("--b", help="responses of system b, to compare with")
  add("--output", required=True,
      help="judgments, JSONL; the summary goes beside them")
  add("--lang", help="language of FastChat's questions")
  add("--references", help="FastChat's reference answers")
  add("--fastchat_output", metavar="FILE",
      help="judgments in FastChat's format, too (mt_bench)")
  add("--rubric", metavar="FILE", help="a rubric for every prompt")
  add("--prompt_file", metavar="FILE", help="a judge's prompt of your own")
  add("--prompt_language", default="en", metavar="CODE",
      help="of the judge's prompt; `instruction` for that of each item")
  add("--samples", type=int, default=1, help="replies per question and order")
  add("--temperature", type=float, default=0.0)
  add("--max_tokens", type=int, default=1024, help="of a reply")
  add("--request_options", metavar="JSON",
      help='further fields of each request, e.g. \'{"reasoning_effort":'
      ' "low"}\'; null takes a field out')
  add("--no_ask_again", action="store_true",
      help="do not ask once more where a reply holds no verdict")
  add("--gate", default="auto", metavar="auto|none|pocket|identify[:FILE]",
      help="language gate: none, the pocket world's words, or a fastText model"
      " (lid.176, or a FILE such as OpenLID's); auto: pocket for the reference"
      " judge, else identify")
  add("--cache", metavar="FILE",
      help="stored replies (replies.jsonl beside the output)")
  add("--key_file", metavar="FILE", help="holds the API key")
  add("--dry-run", action="store_true", help="say what it takes, ask nothing")
  add("--price", metavar="IN,OUT", help="of a million tokens in and out")
  add("--max_cost", type=float, default=0, help="stop before it is passed")
  add("--batch", action="store_true",
      help="use the provider's batch API (openai, gemini)")
  add("--poll_seconds", type=float, default=30, help="with --batch")
  add("--concurrency", type=int, default=16)
  add("--requests_per_minute", type=float, default=0)
  add("--tokens_per_minute", type=float, default=0)
  add("--timeout", type=float, default=120, help="seconds per request")
  add("--attempts", type=int, default=8, help="per request")
  add("--template", default="plain", help="of a local judge")
  add("--batch_size", type=int, default=16, help="of a local judge")


def run(args) -> int:
  overrides.refuse(args.overrides)
  import pathlib

  from mlit_jax import records
  from mlit_jax.judging import prompt_files, protocols, specs
  from mlit_jax.studies import judge_setup

  spec = specs.parse(args.judge)
  _check(args, spec)
  name = "mt_bench_pair" if args.protocol == "mt_bench" and args.b else None
  protocol = protocols.PROTOCOLS[name or args.protocol]
  if spec.kind == "human":
    protocol = protocols.for_people(protocol)
  wording = prompt_files.Ours(args.prompt_language)
  if args.prompt_file:
    wording = prompt_files.Theirs(args.prompt_file)
  prompts, answers = read_rows(args)
  a, b = answers(args.a), answers(args.b)
  questions = protocols.ask(
      protocol, spec.is_language_model or bool(args.fastchat_output), prompts,
      a, b, wording=wording, samples=args.samples,
  )
  systems = questions[0].request.systems
  if len(set(systems)) < len(systems):
    raise UsageError(
        f"both systems are called {systems[0]!r}; give the responses of two"
        " different ones (`mlit decode --name` names them)"
    )
  if protocol.by_turn:
    _tell_missing_references(questions)
  output = pathlib.Path(args.output)
  file = spec.name if spec.kind in ("human", "replay") else None
  options = _options(args, output)
  outputs.keep_inputs(
      [output, output.with_suffix(".summary.json"), args.fastchat_output],
      [args.prompts, args.a, args.b, args.references, file, options.replies,
       args.key_file, args.rubric, args.prompt_file],
  )
  if args.dry_run:
    plan = judge_setup.plan(spec, options, [q.request for q in questions])
    _print_plan(plan, args)
    return 0
  gate, candidates = judge_gate.choose(args, spec, prompts)
  show = _Progress()
  with judge_setup.judge(
      spec, options, candidates or (), show, gate
  ) as judge:
    try:
      judgments = protocols.answer(
          protocol, judge, spec.text, questions,
          ask_again=not args.no_ask_again, gate=gate, candidates=candidates,
      )
    finally:
      show.end()
      if getattr(judge, "repeated", 0):
        print(
            f"{judge.repeated} requests were under way when the last run was"
            " stopped; only these may have been paid for twice"
        )
  records.write_records(output, judgments)
  if args.fastchat_output:
    _write_fastchat(args.fastchat_output, judgments, questions)
  spent = getattr(judge, "spent", 0)
  return _report(args, spec, protocol, questions, judgments, output, spent)


def _check(args, spec) -> None:
  """UsageError for options that do not go together."""
  for name in (
      "samples", "max_tokens", "concurrency", "attempts", "batch_size"
  ):
    if getattr(args, name) < 1:
      raise UsageError(f"--{name} must be at least 1")
  for name in (
      "temperature", "max_cost", "requests_per_minute", "tokens_per_minute"
  ):
    if not 0 <= getattr(args, name) < float("inf"):
      raise UsageError(f"--{name} must be a number from 0 up")
  if not 0 < args.timeout < float("inf"):
    raise UsageError("--timeout must be a number of seconds above 0")
  if args.samples > 1 and not args.temperature and spec.is_language_model:
    raise UsageError(
        "--samples above 1 needs a --temperature above 0: the replies would be"
        " the same"
    )
  if args.max_cost and not args.price:
    raise UsageError("--max_cost needs --price IN,OUT")
  if args.batch and spec.kind not in ("openai", "gemini"):
    raise UsageError("--batch is for openai and gemini judges")
  if args.batch and spec.kind == "gemini" and spec.on_vertex:
    raise UsageError(
        "--batch needs Gemini's own API (gemini:MODEL with a key); on Vertex AI"
        " jobs go through Cloud Storage"
    )
  for option, protocol in (
      ("fastchat_output", "mt_bench"), ("rubric", "rubric")
  ):
    if getattr(args, option) and args.protocol != protocol:
      raise UsageError(f"--{option} is for the protocol {protocol}")


def _options(args, output):
  import pathlib

  from mlit_jax.judging import pacing
  from mlit_jax.studies import judge_setup

  replies = args.cache or output.parent / "replies.jsonl"
  return judge_setup.Options(
      replies=pathlib.Path(replies),
      journal=output.with_name(f".{output.name}.asked"),
      key_file=args.key_file,
      temperature=args.temperature,
      max_tokens=args.max_tokens,
      request_options=_json_object(args.request_options),
      limits=pacing.Limits(
          concurrency=args.concurrency,
          requests_per_minute=args.requests_per_minute,
          tokens_per_minute=args.tokens_per_minute,
          timeout=args.timeout,
          attempts=args.attempts,
          max_cost=args.max_cost,
          prices=judge_setup.prices("--price", args.price),
      ),
      batch=args.batch,
      poll_seconds=args.poll_seconds,
      template=args.template,
      batch_size=args.batch_size,
  )


def _json_object(text: str | None) -> dict | None:
  if text is None:
    return None
  from mlit_jax import cache

  try:
    found = json.loads(text)
  except ValueError:
    found = None
  if not isinstance(found, dict):
    raise UsageError(f"--request_options {text!r} is no JSON object")
  try:
    cache.key(options=found)  # as the replies' names do, it refuses keys
  except ValueError as e:
    raise UsageError(f"--request_options: {e}") from None
  return found


def fastchat_language(path: str, what: str, lang: str | None) -> str:
  """The code that --lang means; FastChat's files do not say it."""
  from mlit_jax import languages

  if not lang:
    raise UsageError(
        f"{path} holds FastChat's {what}, which name no language; give --lang"
    )
  try:
    return languages.get(lang).code
  except languages.UnknownLanguageError as e:
    raise UsageError(f"--lang: {e}") from None


def read_rows(args):
  """The prompts, and what reads responses to them; ours or FastChat's."""
  from mlit_jax import records
  from mlit_jax.judging import fastchat

  if fastchat.is_fastchat(args.prompts):
    code = fastchat_language(args.prompts, "questions", args.lang)
    prompts = fastchat.read_questions(args.prompts, code, args.references)
  else:
    if args.lang or args.references:
      raise UsageError("--lang and --references are for FastChat's questions")
    prompts = records.read_records(args.prompts, records.Instruction)
  if args.rubric:
    prompts = with_rubric(prompts, args.rubric)

  def answers(path):
    if path is None:
      return None
    if fastchat.is_fastchat(path):
      return fastchat.read_answers(path, prompts)
    return records.read_records(path, records.Response)

  return prompts, answers


def with_rubric(prompts, path: str) -> list:
  """The prompts, each with the rubric of a file."""
  import dataclasses
  import pathlib

  try:
    rubric = pathlib.Path(path).read_text(encoding="utf-8").strip()
  except (OSError, UnicodeDecodeError) as e:
    raise UsageError(f"{path}: cannot be read: {type(e).__name__}") from None
  if not rubric:
    raise UsageError(f"{path}: the rubric is empty")
  return [
      dataclasses.replace(p, extra={**p.extra, "rubric": rubric})
      for p in prompts
  ]


def _tell_missing_references(questions) -> None:
  from mlit_jax.judging import items

  missing = {
      f"{q.request.id} (turn {q.request.turn})"
      for q in questions
      if q.item.prompt.extra.get("category") in items.GUIDED
      and not q.item.guided
  }
  if missing:
    print(
        f"{len(missing)} turns of {', '.join(sorted(items.GUIDED))} have no"
        f" reference answer and are judged without: {items.names(missing)}"
    )


def _write_fastchat(path, judgments, questions) -> None:
  from mlit_jax.judging import fastchat

  told = {
      fastchat.prompt_key(q.request): q.request.prompt[-1].content
      for q in questions
  }
  fastchat.write_judgments(path, judgments, told)


def _print_plan(plan, args) -> None:
  print(
      f"{plan.requests} requests, {plan.stored} of them answered before; the"
      f" others take about {plan.input_tokens} tokens in and at most"
      f" {plan.output_tokens} out"
  )
  if args.price:
    print(f"cost: at most about {plan.cost:.2f} at {args.price} a million")
  print("nothing was asked; asking again for a verdict comes on top")


def _report(
    args, spec, protocol, questions, judgments, output, spent
) -> int:
  import collections

  from mlit_jax import records
  from mlit_jax.analysis import judgments as judgments_lib
  from mlit_jax.analysis import scores as scores_lib

  if protocol.paired:
    summary = judgments_lib.summarise(judgments, lengths=_lengths(questions))
  else:
    summary = scores_lib.summarise(judgments)
  path = output.with_suffix(".summary.json")
  records.write_json(path, summary)
  failures = collections.Counter(j.failure for j in judgments if j.failure)
  if failures:
    kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(failures.items()))
    more = "; run it again to ask anew" if failures["transport"] else ""
    print(f"{failures.total()} of {len(judgments)} judgments failed:"
          f" {kinds}{more}")
  overall = summary[judgments_lib.OVERALL]
  for reason, count in overall.get("transport_reasons", {}).items():
    print(f"  {count} x {reason}")
  if spent:
    print(f"cost of this run: {spent:.4f}")
  score = "no score"
  if overall["score"] is not None:
    score = f"{overall['score']:.{1 if protocol.paired else 3}f}"
  kind = "" if spec.kind != "reference" else " judge, not a language model"
  print(
      f"{score} for {args.a} (n = {overall['n']}; {spec.text}{kind}): {path}"
  )
  return 0 if overall["n"] else 1


def _lengths(questions) -> dict:
  """(id, language, turn) -> side -> characters of the answer."""
  return {
      (q.request.id, q.request.lang, q.request.turn): {
          side: len(texts[-1]) for side, texts in q.item.answers.items()
      }
      for q in questions
  }


class _Progress:
  """One moving line on a terminal, a plain one now and then elsewhere."""

  def __init__(self):
    import sys
    import time

    self._stream, self._clock = sys.stderr, time.monotonic
    self._last, self._open = self._clock(), False

  def __call__(self, text: str) -> None:
    moving = self._stream.isatty()
    now = self._clock()
    if now - self._last < (0.2 if moving else 30):
      return
    self._last, self._open = now, moving
    self._stream.write(f"\r{text:<78}" if moving else f"{text}\n")
    self._stream.flush()

  def end(self) -> None:
    if self._open:
      self._stream.write("\n")
