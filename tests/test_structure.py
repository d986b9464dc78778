"""The structure: imports go down only, heavy libraries stay in their place."""

import ast
import pathlib
import re
import resource
import subprocess
import sys

import pytest

import mlit_jax

PACKAGE = pathlib.Path(mlit_jax.__file__).parent
ROOT = PACKAGE.parent

# A module may import from its own layer and from lower ones (DESIGN, 1).
LAYERS = {
    "errors": 0, "sigterm": 0, "languages": 0, "scripts": 0, "records": 0,
    "cpu": 0, "cache": 0, "pacing": 0, "distributed": 0, "locked_directory": 0,
    "translation": 1, "data": 1, "partitioning": 1, "mesh_presets": 1,
    "judging": 1,
    "models": 2,
    "training": 3, "decoding": 3,
    "evals": 4, "analysis": 4,
    "studies": 5,
    "commands": 6, "interactive": 6,
    "main": 7,
}
# What a layer must not import although it lies lower.
FORBIDDEN = {
    ("models", "data"), ("judging", "data"), ("analysis", "data"),
    ("analysis", "models"), ("training", "data"), ("decoding", "data"),
    ("partitioning", "data"), ("judging", "translation"),
}
WITHOUT_JAX = (
    "records", "languages", "scripts", "cache", "pacing", "judging", "analysis",
    "translation",
)
TENSORFLOW = {"tensorflow", "seqio", "tensorflow_datasets", "tensorflow_text"}


def _imports(path: pathlib.Path) -> set[str]:
  found = set()
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      found.add(node.module)
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
  return found


def _modules():
  for path in sorted(PACKAGE.rglob("*.py")):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts != ("__init__",):
      yield parts, path


def _part(name: str) -> str | None:
  pieces = name.split(".")
  if pieces[0] != "mlit_jax" or len(pieces) < 2:
    return None
  return pieces[1] if pieces[1] in LAYERS else None


def test_every_module_has_a_layer():
  unknown = {parts[0] for parts, _ in _modules()} - LAYERS.keys()
  assert not unknown


def test_imports_go_down_only():
  wrong = []
  for parts, path in _modules():
    for name in _imports(path):
      part = _part(name)
      if part is None or part == parts[0]:
        continue
      upward = LAYERS[part] > LAYERS[parts[0]]
      if upward or (parts[0], part) in FORBIDDEN:
        wrong.append(f"{'/'.join(parts)} imports {name}")
  # `mlit` finds its subcommands in the layer below it.
  assert wrong == []


def test_tensorflow_comes_in_through_two_modules_alone():
  importers = {
      "/".join(parts)
      for parts, path in _modules()
      if {name.split(".")[0] for name in _imports(path)} & TENSORFLOW
  }
  # The second reads TFDS datasets, and is imported for nothing else.
  assert importers == {"data/tasks", "data/sources/tfds_rows"}
  # The first is for users of seqio: no command needs it.
  assert not any("mlit_jax.data.tasks" in _imports(p) for _, p in _modules())


@pytest.mark.parametrize("part", WITHOUT_JAX)
def test_light_parts_import_neither_jax_nor_tensorflow(part):
  names = [
      ".".join(("mlit_jax", *parts)).removesuffix(".__init__")
      for parts, _ in _modules()
      if parts[0] == part
  ]
  if not names:
    pytest.skip(f"there is no mlit_jax.{part} yet")
  code = f"import sys, {', '.join(names)}; print(*sorted(sys.modules))"
  out = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  loaded = {name.split(".")[0] for name in out.stdout.split()}
  assert not loaded & ({"jax", "flax"} | TENSORFLOW)


def test_help_is_quick_and_loads_nothing_heavy():
  code = (
      "import sys; from mlit_jax import main; main.parser().format_help();"
      " print(*sorted(sys.modules))"
  )
  seconds = []
  for _ in range(3):
    # Processor time: other tests run beside this one.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds.append(
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    )
  loaded = {name.split(".")[0] for name in out.stdout.split()}
  heavy = {"jax", "numpy", "scipy", "matplotlib", "ml_collections"} | TENSORFLOW
  assert not loaded & heavy
  assert min(seconds) < 0.5


def test_files_are_short():
  long = {
      str(path.relative_to(ROOT)): lines
      for folder in (PACKAGE, ROOT / "configs", ROOT / "tests")
      for path in folder.rglob("*.py")
      if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 450
  }
  assert long == {}


def test_readme_has_a_line_per_module():
  readme = (ROOT / "README.md").read_text(encoding="utf-8")
  lines = re.findall(r"^\| `(\S+)\.py` \|", readme, re.MULTILINE)
  modules = [
      "/".join(parts)
      for parts, _ in _modules()
      if parts[-1] != "__init__" and parts[0] != "commands"
  ]
  assert sorted(lines) == sorted(modules)


def test_no_requirement_on_empty_or_nightly_packages():
  setup = (ROOT / "setup.py").read_text(encoding="utf-8")
  assert '"t5x' not in setup
  assert "tfds-nightly" not in setup
