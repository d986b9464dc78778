"""A run's config from gin files and bindings, in T5X's manner.

Every section of a Run is a configurable of its name: `train`, `data`,
`model`, `lora`, …; the root is `run`. All are linked already, so that a file
needs its values alone:

    LEARNING_RATE = 3e-4
    run.name = 'mine'
    train.learning_rate = %LEARNING_RATE

Ours are included by their place in the package, as T5X's are:
`include 'mlit_jax/configs/gin/papers/alpaca_lora.gin'`. A section that may be
missing (`lora`, `model`) is there once a value is bound in it.
"""

import difflib
import pathlib
import re
import tokenize
from collections.abc import Sequence
from typing import Any

import gin

from mlit_jax import configs
from mlit_jax.errors import UsageError

_SECTIONS = (
    "model", "lora", "data", "train", "mesh", "watch", "validation",
    "checkpoint", "logging", "plan",
)
_LINKS = "".join(f"run.{name} = @{name}()\n" for name in _SECTIONS)
_LINKED_MODEL = "model.rope_scaling = @rope_scaling()\n"
_LINKS += _LINKED_MODEL
# As gin's config names the sections that say what a model is.
_MODEL = ("", "mlit.model"), ("", "mlit.rope_scaling")
_FOLDER = pathlib.Path(configs.__file__).parent / "gin"


def _register(name: str):
  # Any parameter is taken: config_fields knows which there are, and the
  # nearest one.
  def section(**fields):
    return fields

  section.__name__ = section.__qualname__ = name
  return gin.external_configurable(section, name, module="mlit")


_run = [_register(name) for name in ("rope_scaling", *_SECTIONS, "run")][-1]


def values(
    given: dict[str, Any], files: Sequence[str], bindings: Sequence[str]
) -> dict[str, Any]:
  """The fields that gin gives, over those given.

  Args:
    given: section -> field -> value, of another config.
    files: paths, or names in configs/gin; later ones hold. One that says
      `model.family` describes a model: no field of another one stays.
    bindings: statements, after the files.

  Raises:
    UsageError: a file that is not there, or what gin cannot read.
  """
  gin.clear_config()
  where = "gin"
  try:
    gin.parse_config(_LINKS)
    _bind(given)
    for file in map(_find, files):
      where = f"--gin_file {file}"
      _parse(file)
    for binding in bindings:
      where = f"--gin_bindings {binding!r}"
      gin.parse_config(binding)
    where = "gin"
    found = _without_empty(_run())
    _check_used()
    return found
  except UsageError:
    raise
  except RecursionError:
    raise UsageError(
        f"{where}: a value stands for itself, by way of a macro or a section;"
        " give it a number or a text"
    ) from None
  # SyntaxError: gin's own; ImportError: of a file's import statement.
  except (
      ValueError, TypeError, SyntaxError, OSError, ImportError,
      tokenize.TokenError,
  ) as e:
    raise UsageError(f"{where}: {_explain(e)}") from None
  finally:
    gin.clear_config()


def _parse(file: str) -> None:
  """Reads a file; one that names a family has the whole model.

  Fields of a model that came before would make a mixture of the two.
  """
  known = gin.config._CONFIG
  before = {key: known.pop(key, {}) for key in _MODEL}
  gin.parse_config_file(file)
  if "family" in known.get(_MODEL[0], ()):
    gin.parse_config(_LINKED_MODEL)
    return
  for key, fields in before.items():
    known[key] = fields | known.get(key, {})


def _check_used() -> None:
  """Raises UsageError if a macro, or a value in a scope, changes nothing."""
  used = gin.config._OPERATIVE_CONFIG
  macros = [scope for scope, selector in used if selector == "gin.macro"]
  for scope, selector in gin.config._CONFIG:
    if (scope, selector) in used:
      continue
    if selector != "gin.macro":
      name = selector.rpartition(".")[2]
      raise UsageError(
          f"gin: {scope}/{name}: there is one {name} and it has no scope; write"
          f" {name}.FIELD = …"
      )
    fields = [f"{section}.FIELD" for section in _SECTIONS if section == scope]
    near = fields or difflib.get_close_matches(scope, macros, n=1)
    hint = f"did you mean {near[0]}?" if near else "write SECTION.FIELD = …"
    raise UsageError(f"gin: nothing uses the macro {scope}; {hint}")


def _bind(values: dict[str, Any], section: str = "run") -> None:
  for name, value in values.items():
    if isinstance(value, dict):
      _bind(value, name)
    elif value is not None:
      gin.bind_parameter(f"{section}.{name}", value)


def _find(file: str) -> str:
  for path in (pathlib.Path(file), _FOLDER / file, _FOLDER / f"{file}.gin"):
    if path.is_file():
      return str(path)
  known = [str(p.relative_to(_FOLDER)) for p in _FOLDER.rglob("*.gin")]
  near = difflib.get_close_matches(file, known, n=3, cutoff=0.5)
  hint = f"did you mean {' or '.join(near)}?" if near else "give a path"
  raise UsageError(f"--gin_file {file}: no such file; {hint}")


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
  """Without the sections in which nothing is bound."""
  found = {}
  for name, value in fields.items():
    if isinstance(value, dict):
      value = _without_empty(value)
      if not value:
        continue
    found[name] = value
  return found


def _explain(error: Exception) -> str:
  text = " ".join(str(error).split())
  if macro := re.search(r"'macro' .* in scope '(\w+)'", text):
    return f"no value for the macro {macro[1]}; write {macro[1]} = …"
  if missing := re.search(r"No configurable matching '(\w+)'", text):
    known = ("run", *_SECTIONS, "rope_scaling")
    near = difflib.get_close_matches(missing[1], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"no section {missing[1]!r}; {hint}"
  return text
