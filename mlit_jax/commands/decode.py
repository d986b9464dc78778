"""`mlit decode`: a model directory answers prompts."""

import sys
import time

from mlit_jax.commands import outputs, overrides, placing
from mlit_jax.errors import UsageError

SUMMARY = "answer the prompts of a JSONL file with a model"
EXAMPLE = """mlit decode --model runs/pocket/steps/model-mono-en/model --input
  prompts.jsonl --output responses.jsonl

answers are appended to OUTPUT.part as they come; OUTPUT, in the order of the
prompts, and OUTPUT.summary.json are written at the end. After a kill the same
command goes on. A row that cannot be answered gets a "failure", and the exit
code is then 1. An OUTPUT that is there already is not written over. With
--adapter a row is answered by the adapter that its field "adapter" names, and
one that names none by every adapter. A row's own max_new_tokens, temperature,
top_k, top_p, min_p, repetition_penalty, seed and stop go before the options"""

_TOLD = 3  # reasons of failures


def add_arguments(parser) -> None:
  parser.add_argument("--model", required=True, help="a model directory")
  parser.add_argument("--input", required=True, help="prompts, JSONL")
  parser.add_argument("--output", required=True, help="responses, JSONL")
  parser.add_argument("--name", help="the model's name in the output")
  parser.add_argument(
      "--adapter", action="append", default=[], metavar="NAME=DIR",
      help="a PEFT adapter over the model; several are decoded at once",
  )
  parser.add_argument(
      "--template", default="plain",
      help="a name, a file.toml, or checkpoint: the one that the model ships",
  )
  parser.add_argument("--max_new_tokens", type=int, default=64)
  parser.add_argument(
      "--too_long", default="fail", choices=("fail", "truncate"),
      help="a prompt that is too long for the model: fail (default), or drop"
      " its beginning",
  )
  parser.add_argument(
      "--temperature", type=float, default=0.0, help="0 (default) is greedy"
  )
  parser.add_argument("--top_k", type=int, default=0, help="0: all tokens")
  parser.add_argument("--top_p", type=float, default=1.0)
  parser.add_argument("--min_p", type=float, default=0.0)
  parser.add_argument("--repetition_penalty", type=float, default=1.0)
  parser.add_argument(
      "--beams", type=int, default=1, help="above 1: beam search"
  )
  parser.add_argument(
      "--length_penalty", type=float, default=1.0,
      help="of beam search: scores are divided by length to this power",
  )
  parser.add_argument(
      "--seed", type=int, default=0,
      help="of samples; each answer draws its own from it",
  )
  parser.add_argument(
      "--stop", action="append", default=[], metavar="TEXT",
      help="ends an answer, which does not hold it; may be given again",
  )
  parser.add_argument(
      "--logprobs", action="store_true",
      help="write log-probabilities of the answers' tokens",
  )
  parser.add_argument(
      "--batch_size", type=int, default=64, help="answers that go on together"
  )
  parser.add_argument(
      "--share", default="0/1", metavar="I/N",
      help="answer every N-th prompt only, from the I-th (from 0) on: for"
      " several hosts, each with an --output of its own",
  )
  placing.add_arguments(parser, "answers")
  parser.add_argument(
      "--cache_dtype", choices=(*placing.DTYPES, "int8"),
      help="of keys and values kept; default: that of --dtype",
  )


def run(args) -> int:
  overrides.refuse(args.overrides)
  import hashlib
  import itertools
  import pathlib

  from mlit_jax import cpu, records
  from mlit_jax.data import checkpoint_template
  from mlit_jax.studies import local_judge

  _check(args)
  outputs.check_model(args.model)
  outputs.check_file(args.output)
  outputs.keep_inputs(
      [args.output, f"{args.output}.part", f"{args.output}.summary.json"],
      [args.input],
  )
  part, parts = _share(args.share)
  mesh = placing.mesh_shape(args)
  adapters = _adapters(args.adapter)
  model, output = pathlib.Path(args.model), pathlib.Path(args.output)
  cpu.keep_freed_memory()
  from mlit_jax.studies import answer_file, answering

  try:
    rows = answer_file.read_prompts(args.input)
  except records.RecordError as e:
    raise UsageError(str(e)) from None
  if not rows:
    raise UsageError(f"{args.input}: no prompts; give one a line")
  name = args.name or model.name
  options = answering.Options(
      args.max_new_tokens, args.temperature, args.top_k, args.top_p,
      args.min_p, args.repetition_penalty, tuple(args.stop), args.logprobs,
      args.seed, args.too_long == "truncate",
  )
  source = hashlib.sha256(pathlib.Path(args.input).read_bytes()).hexdigest()
  identity = {
      "model": local_judge.fingerprint(model),
      "name": name,
      "adapters": {
          k: local_judge.fingerprint(place) for k, place in adapters.items()
      },
      "input": source,
      "template": [
          args.template,
          checkpoint_template.fingerprint(args.template, args.model),
      ],
      "options": {**vars(options), "stop": list(options.stop)},
      "batch_size": args.batch_size, "share": args.share, "mesh": args.mesh,
      "dtype": args.dtype, "cache_dtype": args.cache_dtype,
      "beams": args.beams,
      "length_penalty": args.length_penalty,
  }

  progress = _Progress()

  def make():
    answerer = answering.Answerer(
        model, args.template, args.batch_size, adapters=adapters,
        mesh_shape=mesh, dtype=args.dtype,
        cache_dtype=args.cache_dtype, num_beams=args.beams,
        length_penalty=args.length_penalty,
    )
    progress.begin()
    return answerer

  asked = [
      _questions(row, name, adapters, options, args.beams > 1) for row in rows
  ]
  # Over all shares: two hosts would not see that they answer one id.
  different = iter(_different(itertools.chain(*asked)))
  shares = [list(itertools.islice(different, len(qs))) for qs in asked]
  questions = list(itertools.chain(*shares[part::parts]))
  summary = answer_file.run(
      output, questions, make, options, identity, progress.show
  )
  failed = summary["failed"]
  done = "" if summary["new"] else "done before: "
  print(
      f"{done}{summary['answers']} responses"
      f"{f', {failed} failed' * bool(failed)}:"
      f" {output}", file=sys.stderr if failed else sys.stdout,
  )
  reasons = list(summary["failures"].items())
  for reason, count in reasons[:_TOLD]:
    print(f"  {count} x {reason}", file=sys.stderr)
  if len(reasons) > _TOLD:
    print(f"  and others; {output} has them all", file=sys.stderr)
  return 1 if failed else 0


def _check(args) -> None:
  from mlit_jax.studies import row_options

  if args.batch_size < 1 or args.beams < 1:
    raise UsageError("--batch_size and --beams must be at least 1")
  if wrong := row_options.fault(vars(args)):
    raise UsageError(f"--{wrong}")
  if not abs(args.length_penalty) < float("inf"):
    raise UsageError("--length_penalty must be a number")
  sampled = args.temperature or args.repetition_penalty != 1
  limited = args.top_k or args.top_p != 1 or args.min_p
  if args.beams > 1 and (sampled or limited or args.stop):
    raise UsageError(
        "--beams goes with none of --temperature, --top_k, --top_p, --min_p,"
        " --repetition_penalty and --stop"
    )
  if args.beams == 1 and args.length_penalty != 1:
    raise UsageError("--length_penalty is of beam search; give --beams, too")


def _share(text: str) -> tuple[int, int]:
  """I and N of --share."""
  try:
    part, parts = map(int, text.split("/"))
  except ValueError:
    raise UsageError(
        f"{text!r}: write it as --share I/N, I from 0 to N-1"
    ) from None
  if not 0 <= part < parts:
    raise UsageError(f"--share {text}: I must lie between 0 and N-1")
  return part, parts


def _adapters(given: list[str]) -> dict:
  """Directories by name."""
  import pathlib

  found = {}
  for entry in given:
    name, _, place = entry.partition("=")
    if not name or not place or name in found:
      raise UsageError(
          f"--adapter {entry!r}: write it as NAME=DIR, each name once"
      )
    if not pathlib.Path(place).is_dir():
      raise UsageError(f"--adapter {entry}: there is no such directory")
    found[name] = pathlib.Path(place)
  return found


def _questions(row, name: str, adapters: dict, options, beams: bool):
  """What a row asks, of whom, and how."""
  import dataclasses

  from mlit_jax import records
  from mlit_jax.studies import row_options
  from mlit_jax.studies.answering import Question

  if isinstance(row, records.Response):
    return [dataclasses.replace(row, model=name)]
  own = row_options.of_row(row.extra, options, beams)
  if isinstance(own, str):
    return [records.Response(
        id=row.id, lang=row.lang, model=name, response="",
        finish_reason="error", num_tokens=0, failure=own,
    )]
  asked = row.extra.get("adapter")
  if asked is not None:
    return [Question(row, str(asked), str(asked), own)]
  if adapters:
    return [Question(row, adapter, adapter, own) for adapter in adapters]
  return [Question(row, name, None, own)]


def _different(questions) -> list:
  """The questions; one whose id, language and model stood before is a failure.

  Nothing could tell its answer from the other's.
  """
  from mlit_jax import records

  found, seen = [], set()
  for q in questions:
    if not isinstance(q, records.Response):
      key = q.prompt.id, q.prompt.lang, q.name
      if key in seen:
        q = records.Response(
            id=key[0], lang=key[1], model=key[2], response="",
            finish_reason="error", num_tokens=0,
            failure=(
                f"the id {key[0]!r} stands twice in {key[1]}; give each prompt"
                " one of its own"
            ),
        )
      seen.add(key)
    found.append(q)
  return found


class _Progress:
  """A moving line on a terminal; elsewhere a line every half minute."""

  def begin(self) -> None:
    """The model is loaded: from here on time counts."""
    self._began = self._last = time.monotonic()
    self._before: int | None = None

  def show(self, done: int, total: int, tokens: int) -> None:
    """As of answer_file.run."""
    moving, now = sys.stderr.isatty(), time.monotonic()
    if self._before is None:
      self._before = done - 1  # answered by an earlier run
    last = done == total
    if now - self._last < (0.2 if moving else 30) and not last:
      return
    self._last = now
    seconds = max(now - self._began, 1e-3)
    left = (total - done) * seconds / (done - self._before)
    text = (
        f"{done}/{total} answers, {tokens / seconds:.0f} tokens/s,"
        f" {int(left) // 60}:{int(left) % 60:02d} left"
    )
    begin, end = ("\r", "\n" if last else "") if moving else ("", "\n")
    print(f"{begin}{text:<60}".rstrip(), end=end, file=sys.stderr, flush=True)
