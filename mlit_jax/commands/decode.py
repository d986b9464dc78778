"""`mlit decode`: a model directory answers prompts."""

from mlit_jax.commands import overrides
from mlit_jax.errors import UsageError

SUMMARY = "answer the prompts of a JSONL file with a model"
EXAMPLE = (
    "mlit decode --model runs/pocket/steps/model-mono-en/model --input"
    " prompts.jsonl --output responses.jsonl"
)


def add_arguments(parser) -> None:
  parser.add_argument("--model", required=True, help="a model directory")
  parser.add_argument("--input", required=True, help="prompts, JSONL")
  parser.add_argument("--output", required=True, help="responses, JSONL")
  parser.add_argument("--name", help="the model's name in the output")
  parser.add_argument(
      "--template", default="plain",
      help="a name, a file.toml, or checkpoint: the one that the model ships",
  )
  parser.add_argument("--max_new_tokens", type=int, default=64)
  parser.add_argument("--batch_size", type=int, default=64)


def run(args) -> int:
  overrides.refuse(args.overrides)
  import pathlib

  from mlit_jax import cpu, records
  from mlit_jax.data import checkpoint_template

  if args.max_new_tokens < 1 or args.batch_size < 1:
    raise UsageError("--max_new_tokens and --batch_size must be at least 1")
  checkpoint_template.find(args.template, args.model)
  prompts = records.read_records(args.input, records.Instruction)
  cpu.keep_freed_memory()
  from mlit_jax.studies import steps

  model = pathlib.Path(args.model)
  steps.decode(
      pathlib.Path(args.output),
      model,
      args.name or model.name,
      prompts,
      template=args.template,
      max_new_tokens=args.max_new_tokens,
      batch_size=args.batch_size,
      show=lambda text: None,
  )
  print(f"{len(prompts)} responses: {args.output}")
  return 0
