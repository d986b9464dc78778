"""Words before the parts of a prompt, in the language that is tested."""

import functools
import tomllib
from importlib import resources
from typing import Any


@functools.cache
def table(kind: str) -> dict[str, Any]:
  """Language -> the labels of a kind of prompt.

  Args:
    kind: `qa` or `mgsm`, which have several, or `mgsm_direct`, which has one.
  """
  text = resources.files(__package__).joinpath("labels.toml").read_text("utf-8")
  return tomllib.loads(text)[kind]
