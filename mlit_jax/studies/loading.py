"""Studies by name, or by the path of a file that holds one.

A study is two modules, its config (configs/studies/NAME.py) and its graph
(studies/NAME.py). In a study of one's own one file is both
(docs/adding-a-study.md).
"""

import difflib
import functools
import importlib
import importlib.util
import pathlib
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from mlit_jax.errors import UsageError
from mlit_jax.studies.study import Step

STUDIES = ("pinch", "lucky52", "alpaca", "polyglot", "xllama")
_CONFIG, _GRAPH = ("PRESETS", "get_config"), ("NAME", "check", "graph")


def is_file(source: str) -> bool:
  """Whether a study is meant by its file rather than by its name."""
  return source.endswith(".py")


def configs(source: str) -> ModuleType:
  """The module with PRESETS and get_config.

  Raises:
    UsageError: there is no such study (names the nearest), or its file cannot
      be used.
  """
  if is_file(source):
    return _file(source)
  if source not in STUDIES:
    near = difflib.get_close_matches(source, STUDIES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else (
        f"known: {', '.join(STUDIES)}, or a file of your own, my_study.py"
    )
    raise UsageError(f"unknown study {source!r}; {hint}")
  return importlib.import_module(f"mlit_jax.configs.studies.{source}")


def study(source: str) -> ModuleType:
  """The module with check and graph."""
  if is_file(source):
    return _file(source)
  return importlib.import_module(f"mlit_jax.studies.{source}")


def graph(
    source: str, config, preset: str, workdir: pathlib.Path
) -> list[Step]:
  """A study's steps, runs joined that can be (together.py).

  Workers call it, too, which know no module of a file.
  """
  from mlit_jax.studies import together

  return together.join(study(source).graph(config, preset, workdir))


def _file(source: str) -> ModuleType:
  return _load(source, pathlib.Path(source).absolute())


@functools.cache
def _load(source: str, path: pathlib.Path) -> ModuleType:
  if not path.is_file():
    raise UsageError(f"{source}: there is no such file")
  name = f"mlit_study_{path.stem}"
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  # Where dataclasses and pickle look for it.
  sys.modules[name] = module
  try:
    spec.loader.exec_module(module)
  except Exception as e:
    line = _line(e, path)
    raise UsageError(f"{source}{line and f':{line}'}: {_what(e)}") from e
  if missing := [x for x in (*_CONFIG, *_GRAPH) if not hasattr(module, x)]:
    raise UsageError(
        f"{source}: a study needs {', '.join(missing)} (docs/adding-a-study.md)"
    )
  if module.NAME in STUDIES or not _is_name(module.NAME):
    raise UsageError(
        f"{source}: NAME = {module.NAME!r} must be a word of letters, digits, -"
        f" and _, and none of {', '.join(STUDIES)}"
    )
  return module


def _is_name(name) -> bool:
  return isinstance(name, str) and name.replace("-", "_").isidentifier()


def _line(error: Exception, path: pathlib.Path) -> int | str:
  """The last line of the file that was at work; "" if none was."""
  if isinstance(error, SyntaxError):
    return error.lineno or ""
  lines = [
      frame.lineno for frame in traceback.extract_tb(error.__traceback__)
      if frame.filename == str(path)
  ]
  return lines[-1] if lines else ""


def _what(error: Exception) -> str:
  text = error.msg if isinstance(error, SyntaxError) else str(error)
  return f"{type(error).__name__}: {text}".splitlines()[0]


def preset(source: str, name: str, presets: Sequence[str]) -> str:
  """A preset's name, the first one by default; UsageError if unknown."""
  name = name or presets[0]
  if name not in presets:
    near = difflib.get_close_matches(name, presets, n=1)
    hint = f"did you mean {near[0]!r}?" if near else (
        f"known: {', '.join(presets)}"
    )
    raise UsageError(f"study {source} has no preset {name!r}; {hint}")
  return name
