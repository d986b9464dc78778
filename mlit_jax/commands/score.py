"""`mlit score`: log-probabilities of continuations, or of whole texts."""

import json
import math
import pathlib
import re

from mlit_jax import records
from mlit_jax.commands import outputs, overrides, placing
from mlit_jax.errors import UsageError

SUMMARY = "score continuations of contexts, or texts, by their log-probability"
EXAMPLE = """mlit score --model runs/pocket/steps/model-mono-en/model --input
  pairs.jsonl --output scores.jsonl

a row of the input is {"id", "context", "continuation"}, of the output {"id",
"logprob", "num_tokens", "is_greedy"}, in the same order; both are tokenized and
cut as lm-evaluation-harness does. With --rolling a row of the input is {"id",
"text"}, of the output {"id", "logprob", "num_tokens", "bits_per_byte",
"bits_per_word"}. Tokens that stand for what the tokenizer does not know are
counted as "unknown". A row that cannot be scored gets {"id", "failure"}, and
the exit code is then 1"""

_PAIR, _TEXT = ("context", "continuation"), ("text",)


def add_arguments(parser) -> None:
  parser.add_argument("--model", required=True, help="a model directory")
  placing.add_adapter(parser)
  parser.add_argument("--input", required=True, help="pairs or texts, JSONL")
  parser.add_argument("--output", required=True, help="scores, JSONL")
  parser.add_argument(
      "--rolling", action="store_true",
      help="score whole texts, of any length, window by window",
  )
  parser.add_argument(
      "--too_long", default="fail", choices=("fail", "truncate"),
      help="a context that is longer than the model reads: fail (default), or"
      " drop its beginning",
  )
  parser.add_argument("--batch_size", type=int, default=32)
  placing.add_arguments(parser, "rows")


def run(args) -> int:
  overrides.refuse(args.overrides)
  if args.batch_size < 1:
    raise UsageError("--batch_size must be at least 1")
  if args.rolling and args.too_long != "fail":
    raise UsageError(
        "--too_long is for contexts; with --rolling no text is too long"
    )
  mesh = placing.mesh_shape(args)
  outputs.check_model(args.model, args.adapter)
  outputs.check_file(args.output)
  outputs.keep_inputs([args.output], [args.input])
  from mlit_jax import cpu, partitioning
  from mlit_jax.evals import scoring

  cpu.keep_freed_memory()
  rows = _read(pathlib.Path(args.input), _TEXT if args.rolling else _PAIR)
  model = scoring.LanguageModel(
      args.model, batch_size=args.batch_size, adapter=args.adapter,
      mesh=partitioning.make_mesh(mesh), dtype=args.dtype,
  )
  good = [row for row in rows if "failure" not in row]
  if args.rolling:
    scored = model.rolling(row["text"] for row in good)
  else:
    scored = model.score(
        [(row["context"], row["continuation"]) for row in good],
        truncate=args.too_long == "truncate",
    )
  found = iter(scored)
  out = [_result(row, row.get("failure") or next(found)) for row in rows]
  failed = sum("failure" in row for row in out)
  records.write_text(
      args.output, (json.dumps(r, ensure_ascii=False) + "\n" for r in out)
  )
  print(f"{len(out) - failed} scores: {args.output}")
  if args.rolling and failed < len(out):
    print(_all_together(good, scored))
  if unknown := [row["unknown"] for row in out if "unknown" in row]:
    print(
        f"{sum(unknown)} tokens of {len(unknown)} rows are unknown to the"
        " tokenizer: their scores tell nothing of what stood there"
    )
  if failed:
    first = next(r for r in out if "failure" in r)
    print(
        f"{failed} of {len(out)} rows failed, the first is {first['id']!r}:"
        f" {first['failure']}"
    )
  return 1 if failed else 0


def _result(row: dict, score) -> dict:
  """What the output says of a row: its score, or why there is none."""
  if isinstance(score, str):
    return {"id": row["id"], "failure": score}
  found = {
      "id": row["id"], "logprob": score.logprob,
      "num_tokens": score.num_tokens,
  }
  if score.unknown:
    found["unknown"] = score.unknown
  if "continuation" in row:
    return found | {"is_greedy": score.is_greedy}
  bits, (size, words) = -score.logprob / math.log(2), _sizes(row["text"])
  return found | {
      "bits_per_byte": bits / size, "bits_per_word": bits / words,
  }


def _all_together(rows: list[dict], scores) -> str:
  """Bits of all texts by their length: long texts weigh more."""
  there = [
      (row, score) for row, score in zip(rows, scores, strict=True)
      if not isinstance(score, str)
  ]
  bits = -sum(score.logprob for _, score in there) / math.log(2)
  sizes = [_sizes(row["text"]) for row, _ in there]
  size, words = map(sum, zip(*sizes, strict=True))
  return (
      f"all texts: {bits / size:.4f} bits per byte, {bits / words:.4f} per word"
  )


def _sizes(text: str) -> tuple[int, int]:
  """Bytes in UTF-8, and words as the harness counts them."""
  return len(text.encode()), len(re.split(r"\s+", text))


def _read(path: pathlib.Path, fields: tuple[str, ...]) -> list[dict]:
  """Rows with an id and the fields, or with a failure."""
  try:
    lines = [*records.read_lines(path)]
  except records.RecordError as e:
    raise UsageError(str(e)) from None
  rows, seen = [], set()
  for number, row in lines:
    if isinstance(row, records.RecordError):
      row = {"failure": str(row)}
    else:
      row.pop("failure", None)  # is ours to say
    name = row.get("id")
    if not isinstance(name, str):
      row["id"], name = f"line {number}", None
      row.setdefault("failure", f"line {number}: 'id' must be text; give one")
    elif name in seen:
      row["failure"] = f"line {number}: the id {name!r} stands twice"
    seen.add(name)
    for key in fields:
      if not isinstance(row.get(key), str):
        row.setdefault(
            "failure", f"line {number}: {key!r} must be text; give it"
        )
    if fields == _TEXT and row.get("text") == "":
      row.setdefault("failure", f"line {number}: 'text' is empty; give some")
    kept = {k: row[k] for k in ("id", "failure", *fields) if k in row}
    rows.append(kept)
  if not rows:
    raise UsageError(
        f"{path}: no rows; give one {'text' if fields == _TEXT else 'pair'} a"
        " line"
    )
  return rows
