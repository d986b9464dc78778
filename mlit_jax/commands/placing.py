"""Options of commands that say where a model lies, and in what type."""

from mlit_jax.errors import UsageError

DTYPES = "float32", "bfloat16"


def add_adapter(parser) -> None:
  """--adapter, of commands that know one."""
  parser.add_argument(
      "--adapter", metavar="DIR",
      help="a PEFT adapter over the model, merged into its weights",
  )


def add_arguments(parser, rows: str) -> None:
  """--mesh and --dtype.

  Args:
    parser: of the command.
    rows: what is shared out by default, for the help.
  """
  parser.add_argument(
      "--mesh", default="-1,1,1", metavar="DATA,FSDP,TENSOR",
      help=f"how devices are shared; default: all of them over {rows}",
  )
  parser.add_argument(
      "--dtype", default="float32", choices=DTYPES,
      help="of weights and activations; default: float32",
  )


def mesh_shape(args) -> tuple[int, int, int]:
  """What --mesh says.

  Raises:
    UsageError: it is not three whole numbers.
  """
  try:
    data, fsdp, tensor = map(int, args.mesh.split(","))
  except ValueError:
    raise UsageError(
        f"{args.mesh!r}: write it as --mesh DATA,FSDP,TENSOR"
    ) from None
  return data, fsdp, tensor
