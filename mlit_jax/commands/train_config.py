"""A run's config from `--config`, `--gin_file` and the rest of the line.

Only here ConfigDict and gin are seen: both become mappings, from which
training/config_fields.py makes the same dataclasses.
"""

import difflib
import importlib
import importlib.util
import pathlib
import sys
from typing import Any

from mlit_jax.errors import UsageError

_PACKAGE = "mlit_jax.configs.train"
# Helpers of the configs, no configs themselves.
_HELPERS = ("families", "papers")
_PREFIX = "--config."


def add_arguments(parser) -> None:
  """Adds what says which run it is, for `mlit train` and `mlit plan`."""
  parser.add_argument(
      "--config", metavar="FILE[:PRESET]",
      help="a Python file with get_config(preset), or a name in configs/train",
  )
  parser.add_argument(
      "--gin_file", action="append", default=[], metavar="FILE",
      help="a gin file, after the config; repeated: the later one holds",
  )
  parser.add_argument(
      "--gin_bindings", action="append", default=[], metavar="BINDING",
      help="e.g. 'train.learning_rate = 1e-5'; repeated",
  )
  parser.add_argument(
      "--config_help", action="store_true",
      help="print every field of a config with its meaning, and stop",
  )


def load(args):
  """The Run of parsed arguments; `--config.KEY=VALUE` holds last.

  Raises:
    UsageError: no config, no such file or preset, an unknown key, a value of a
      wrong type, or one that a dataclass refuses.
  """
  from mlit_jax.training import config_fields
  from mlit_jax.training.config import Run

  if not args.config and not args.gin_file:
    raise UsageError(
        f"say which run: --config FILE[:PRESET], e.g. --config tiny; there are"
        f" {', '.join(names())}"
    )
  values = _from_file(args.config) if args.config else {}
  if args.gin_file or args.gin_bindings:
    from mlit_jax.commands import gin_config

    values = gin_config.values(values, args.gin_file, args.gin_bindings)
  for argument in args.overrides:
    key, given, text = argument.partition("=")
    if not key.startswith(_PREFIX) or not given:
      raise UsageError(
          f"unknown argument {argument!r}; a field of the config is set by"
          f" {_PREFIX}KEY=VALUE"
      )
    key = key.removeprefix(_PREFIX)
    value = config_fields.from_text(Run, key, text)
    config_fields.merge(values, key, value)
  return config_fields.build(Run, values)


def names() -> list[str]:
  """The configs that are installed."""
  package = importlib.import_module(_PACKAGE)
  folder = pathlib.Path(package.__path__[0])
  found = {path.stem for path in folder.glob("*.py")}
  return sorted(found - {"__init__", *_HELPERS})


def print_help() -> None:
  """Prints every field with its type, its default and its docstring."""
  import textwrap

  from mlit_jax.training import config_fields
  from mlit_jax.training.config import Run

  for key, kind, default, said in config_fields.describe(Run):
    print(f"--config.{key}  ({kind}, {default})")
    print(textwrap.indent(textwrap.fill(said, 74), "    "))


def _from_file(spec: str) -> dict[str, Any]:
  """What get_config(preset) of `FILE[:PRESET]` gives, as a mapping."""
  name, _, preset = spec.partition(":")
  module = _module(name)
  try:
    presets = module.PRESETS
    get_config = module.get_config
  except AttributeError as e:
    raise UsageError(
        f"{name}: a config has PRESETS and get_config(preset); {e}"
    ) from None
  if not presets or not callable(get_config):
    raise UsageError(
        f"{name}: a config has PRESETS, a sequence of names, and a function"
        " get_config(preset)"
    )
  preset = preset or presets[0]
  if preset not in presets:
    raise UsageError(
        f"config {name} has no preset {preset!r}; there are"
        f" {', '.join(presets)}"
    )
  try:
    return get_config(preset).to_dict()
  except Exception as e:  # A user's file may raise anything.
    raise UsageError(
        f"{name}: get_config({preset!r}) gives no ConfigDict:"
        f" {type(e).__name__}: {e}"
    ) from e


def _module(name: str):
  known = names()
  if name.endswith(".py"):
    path = pathlib.Path(name)
    if not path.is_file():
      raise UsageError(f"--config {name}: no such file")
    spec = importlib.util.spec_from_file_location("mlit_config", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mlit_config"] = module
    try:
      spec.loader.exec_module(module)
    except Exception as e:  # A user's file may raise anything.
      raise UsageError(f"--config {name}: {type(e).__name__}: {e}") from e
    return module
  if name not in known:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else (
        f"there are {', '.join(known)}, or give a path that ends in .py"
    )
    raise UsageError(f"no config {name!r}; {hint}")
  return importlib.import_module(f"{_PACKAGE}.{name}")
