"""Under which settings a folder's results were made."""

import json
import os
import pathlib
from typing import Any

import mlit_jax
from mlit_jax import records
from mlit_jax.data import checkpoint_template, templates
from mlit_jax.errors import UsageError

_FILE = "settings.json"
_VERSIONS = "mlit_jax"  # those that had a part in the results


def describe(
    model: str | os.PathLike,
    template: str | None,
    shots: int = 0,
    dtype: str = "float32",
    adapter: str | os.PathLike | None = None,
) -> dict[str, Any]:
  """What answers depend on; what is asked is in the rows themselves."""
  found = _directory("model", model) | {"template": template}
  # A file, or another model's: what it says may change under its name.
  if template is not None and template not in templates.TEMPLATES:
    found["template_sha256"] = checkpoint_template.fingerprint(template, model)
  # What is as it always was is not written: folders of old stay good.
  if shots:
    found["shots"] = shots
  if dtype != "float32":
    found["dtype"] = dtype
  if adapter is not None:
    found["adapter"] = _directory("directory", adapter)
  return found


def _directory(name: str, given: str | os.PathLike) -> dict[str, Any]:
  """Where it is, and its files: trained anew it is another one."""
  place = pathlib.Path(given)
  return {
      name: str(place.resolve()),
      "files": {
          path.name: [path.stat().st_size, path.stat().st_mtime_ns]
          for path in sorted(place.glob("*")) if path.is_file()
      },
  }


def check(output: str | os.PathLike, wanted: dict[str, Any]) -> None:
  """Checks that a folder is new or has results of the same settings.

  Raises:
    UsageError: it has results of another model, adapter, template, number of
      examples or type.
    RecordError: its settings are damaged.
  """
  found = _read(output)
  if found is None:
    return
  found.pop(_VERSIONS, None)
  if found != wanted:
    raise UsageError(
        f"{output} has the results of another model, adapter, template,"
        f" --shots or --dtype ({_path(output)}); give another --output"
    )


def keep(output: str | os.PathLike, wanted: dict[str, Any]) -> None:
  """Notes the settings in the folder, and this version beside earlier ones."""
  earlier = (_read(output) or {}).get(_VERSIONS, [])
  versions = list(dict.fromkeys([*earlier, mlit_jax.__version__]))
  records.write_json(_path(output), wanted | {_VERSIONS: versions})


def _path(output: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(output) / _FILE


def _read(output: str | os.PathLike) -> dict[str, Any] | None:
  """What is noted; None where nothing is."""
  path = _path(output)
  if not path.exists():
    return None
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as e:
    raise records.RecordError(f"{path}: not JSON ({e}); delete it") from None
  if not isinstance(found, dict):
    raise records.RecordError(f"{path}: no settings; delete it")
  return found
