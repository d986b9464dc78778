"""`mlit score`: log-probabilities of continuations."""

import json
import pathlib

from mlit_jax import records
from mlit_jax.commands import outputs, overrides, placing
from mlit_jax.errors import UsageError

SUMMARY = "score continuations of contexts by their log-probability"
EXAMPLE = """mlit score --model runs/pocket/steps/model-mono-en/model --input
  pairs.jsonl --output scores.jsonl

a row of the input is {"id", "context", "continuation"}, of the output {"id",
"logprob", "num_tokens", "is_greedy"}, in the same order; both are tokenized and
cut as lm-evaluation-harness does. A row that cannot be scored gets {"id",
"failure"}, and the exit code is then 1"""


def add_arguments(parser) -> None:
  parser.add_argument("--model", required=True, help="a model directory")
  parser.add_argument("--input", required=True, help="pairs, JSONL")
  parser.add_argument("--output", required=True, help="scores, JSONL")
  parser.add_argument(
      "--too_long", default="fail", choices=("fail", "truncate"),
      help="a context that is longer than the model reads: fail (default), or"
      " drop its beginning",
  )
  parser.add_argument("--batch_size", type=int, default=32)
  placing.add_arguments(parser, "pairs")


def run(args) -> int:
  overrides.refuse(args.overrides)
  if args.batch_size < 1:
    raise UsageError("--batch_size must be at least 1")
  mesh = placing.mesh_shape(args)
  outputs.check_model(args.model)
  outputs.check_file(args.output)
  outputs.keep_inputs([args.output], [args.input])
  from mlit_jax import cpu, partitioning
  from mlit_jax.evals import scoring

  cpu.keep_freed_memory()
  rows = _read(pathlib.Path(args.input))
  model = scoring.LanguageModel(
      args.model, batch_size=args.batch_size,
      mesh=partitioning.make_mesh(mesh), dtype=args.dtype,
  )
  scored = model.score(
      [(row["context"], row["continuation"]) if "failure" not in row else None
       for row in rows],
      truncate=args.too_long == "truncate",
  )
  failed, out = 0, []
  for row, score in zip(rows, scored, strict=True):
    failure = row.get("failure") or (
        score if isinstance(score, str) else ""
    )
    if failure:
      failed += 1
      out.append({"id": row["id"], "failure": failure})
      continue
    out.append({
        "id": row["id"],
        "logprob": score.logprob,
        "num_tokens": score.num_tokens,
        "is_greedy": score.is_greedy,
    })
  records.write_text(
      args.output, (json.dumps(r, ensure_ascii=False) + "\n" for r in out)
  )
  print(f"{len(out) - failed} scores: {args.output}")
  if failed:
    first = next(r for r in out if "failure" in r)
    print(
        f"{failed} of {len(out)} rows failed, the first is {first['id']!r}:"
        f" {first['failure']}"
    )
  return 1 if failed else 0


def _read(path: pathlib.Path) -> list[dict]:
  """Rows with id, context and continuation, or with a failure."""
  try:
    lines = [*records.read_lines(path)]
  except records.RecordError as e:
    raise UsageError(str(e)) from None
  rows, seen = [], set()
  for number, row in lines:
    if isinstance(row, records.RecordError):
      row = {"failure": str(row)}
    name = row.get("id")
    if not isinstance(name, str):
      row["id"], name = f"line {number}", None
      row.setdefault("failure", f"line {number}: 'id' must be text; give one")
    elif name in seen:
      row["failure"] = f"line {number}: the id {name!r} stands twice"
    seen.add(name)
    for key in ("context", "continuation"):
      if not isinstance(row.get(key), str):
        row.setdefault(
            "failure", f"line {number}: {key!r} must be text; give it"
        )
    rows.append(row)
  if not rows:
    raise UsageError(f"{path}: no rows; give one pair a line")
  return rows
